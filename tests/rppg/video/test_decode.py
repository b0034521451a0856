"""Real files: clocks, formats, rotation, and every way to be broken."""

import logging
import re
from fractions import Fraction

import av
import numpy as np
import pytest

from rppg.errors import InputError
from rppg.types import Frame
from rppg.video import probe, read_frames, write_video


def images(count, height=64, width=96):
    """Frames whose brightness encodes their number; the left edge is bright, the top red."""
    out = np.zeros((count, height, width, 3), dtype=np.uint8)
    out[:] = (30 + np.arange(count) * 180 // max(count - 1, 1))[:, None, None, None]
    out[:, :, : width // 4] = 250
    out[:, : height // 4] = (200, 20, 20)
    return out


def write_raw(path, frames, rate=30, codec="libx264", pix_fmt="yuv420p", pts=None, rotation=None,
              **options):  # fmt: skip
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for n, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt)
            frame.pts = n if pts is None else pts[n]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_variable_rate_keeps_its_own_clock(tmp_path, suffix):
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 60))
    path = tmp_path / f"phone{suffix}"
    write_video(path, images(60), times_s=times)
    got = np.array([frame.time_s for frame in read_frames(path)])
    assert got[0] == 0 and np.all(np.diff(got) > 0)
    np.testing.assert_allclose(got, times - times[0], atol=6e-4)  # Matroska counts milliseconds


def test_probe(tmp_path):
    write_video(tmp_path / "a.mp4", images(45), fps=29.97)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.frames, info.rotation) == (96, 64, 45, 0)
    assert info.fps == pytest.approx(29.97) and info.duration_s == pytest.approx(1.5015, abs=1e-3)


def test_avi_with_reordered_frames(tmp_path):
    """AVI holds no display times: naively read, every other frame has a time in the past."""
    path = write_raw(tmp_path / "a.avi", images(60))
    frames = list(read_frames(path))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(60) / 30, atol=1e-3)
    assert np.all(np.diff([f.rgb[-1, -1, 0].astype(int) for f in frames]) >= 0)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "size"),
    [
        ("libx264", "yuv420p10le", (64, 96)),
        ("libx264", "gray", (64, 96)),
        ("libx264", "yuv444p", (63, 97)),
        ("mjpeg", "yuvj422p", (63, 97)),
        ("mpeg4", "yuv420p", (63, 97)),
        ("ffv1", "gray16le", (63, 97)),
        ("ffv1", "bgr0", (63, 97)),
    ],
)
def test_pixel_formats_and_odd_sizes(tmp_path, codec, pix_fmt, size):
    path = write_raw(tmp_path / "a.mkv", images(5, *size), codec=codec, pix_fmt=pix_fmt)
    frames = list(read_frames(path))
    assert len(frames) == 5
    for frame, truth in zip(frames, images(5, *size), strict=True):
        assert frame.rgb.shape == (*size, 3) and frame.rgb.dtype == np.uint8
        # FFmpeg writes grey with full range and reads it as limited: 30 comes back as 16.
        assert abs(int(frame.rgb[-8, -8, 0]) - int(truth[-8, -8, 0])) <= 15


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV can't write rotation"
)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, rotation):
    path = write_raw(tmp_path / "phone.mp4", images(3), rotation=rotation)
    shown = np.rot90(images(3)[0], rotation // 90)
    info = probe(path)
    assert (info.height, info.width) == shown.shape[:2] and info.rotation == rotation
    rgb = next(read_frames(path)).rgb
    assert rgb.shape == shown.shape
    assert np.abs(rgb.astype(float) - shown).mean() < 8


def test_part_of_a_video(tmp_path):
    frames = images(120)
    write_video(tmp_path / "a.mp4", frames, fps=30, crf=5)
    part = list(read_frames(tmp_path / "a.mp4", start_s=1.1, duration_s=1.5))
    assert len(part) == 45 and part[0].time_s == 0
    for n, frame in enumerate(part):
        assert abs(int(frame.rgb[-8, -8, 0]) - int(frames[33 + n, -8, -8, 0])) <= 3


def test_reduced_pictures_are_means(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (1, 60, 90, 1), dtype=np.uint8)
    rgb = np.repeat(grey, 3, axis=-1)  # FFmpeg reduces colour more coarsely than brightness
    write_video(tmp_path / "a.mkv", rgb, fps=30, codec="ffv1")
    got = next(read_frames(tmp_path / "a.mkv", reduce=3)).rgb
    means = rgb[0].reshape(20, 3, 30, 3, 3).mean(axis=(1, 3))
    assert got.shape == (20, 30, 3) and np.abs(got - means).mean() < 2


def test_a_waiting_picture_stays_as_the_codec_left_it(tmp_path):
    """Half the memory of RGB; what it becomes doesn't depend on when it is asked for."""
    write_video(tmp_path / "a.mp4", images(20), fps=30)
    at_once = [frame.rgb for frame in read_frames(tmp_path / "a.mp4")]
    waiting = list(read_frames(tmp_path / "a.mp4"))
    assert all(callable(frame.image) for frame in waiting)
    for frame, rgb in zip(waiting[::-1], at_once[::-1], strict=True):
        np.testing.assert_array_equal(frame.rgb, rgb)
        np.testing.assert_array_equal(frame.rgb, rgb)
    write_video(tmp_path / "b.mkv", images(2), fps=30, codec="ffv1")  # no smaller than RGB
    assert not any(callable(frame.image) for frame in read_frames(tmp_path / "b.mkv"))


def test_memory_does_not_grow_with_length(tmp_path):
    write_video(tmp_path / "a.mp4", (p for p in images(300)), fps=30)
    stream = read_frames(tmp_path / "a.mp4")
    assert next(stream).time_s == 0  # long before the last frame is decoded
    stream.close()
    (tmp_path / "a.mp4").unlink()


def test_unordered_times_are_dropped_with_a_warning(tmp_path, caplog):
    """mpegts and mjpeg in Matroska let a writer repeat a time."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuvj420p"
        packets = []
        for n, rgb in enumerate(images(30)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = n, Fraction(1, 30)
            packets += stream.encode(frame)
        packets += stream.encode()
        for n, packet in enumerate(packets):
            packet.pts = packet.dts = n - (n == 10)
            packet.time_base = Fraction(1, 30)
            container.mux(packet)
    with caplog.at_level(logging.WARNING):
        times = [frame.time_s for frame in read_frames(tmp_path / "a.mkv")]
    assert len(times) == 29 and np.all(np.diff(times) > 0)
    assert "1 of 30 frames" in caplog.text


def assert_input_error(path, message):
    with pytest.raises(InputError, match=message) as caught:
        list(read_frames(path))
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_what_is_not_a_video(tmp_path):
    assert_input_error(tmp_path, "folder")
    assert_input_error(tmp_path / "none.mp4", "no such file")
    for name, content, message in [
        ("empty.mp4", b"", "0 bytes"),
        ("text.mp4", b"subject,hr\n1,72\n" * 99, "not a video"),
        ("notes.txt", b"subject,hr\n1,72\n" * 99, "not a video"),
        ("noise.avi", np.random.default_rng(0).bytes(50_000), "not a video"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert_input_error(tmp_path / name, message)
        with pytest.raises(InputError, match=message):
            probe(tmp_path / name)


def test_sound_without_pictures(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert_input_error(path, "no video stream in it, only audio")


def noisy(count):
    rng = np.random.default_rng(0)
    return np.clip(images(count) + rng.normal(0, 20, (count, 64, 96, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mjpeg"), ("a.avi", "mpeg4")]
)
def test_a_truncated_file_says_where_it_ends(tmp_path, name, codec):
    path = tmp_path / name
    write_video(path, noisy(150), fps=30, codec=codec, bit_rate=2_000_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"breaks .*frame \d+") as caught:
        list(read_frames(path))
    assert 50 < int(re.search(r"frame (\d+)", str(caught.value))[1]) < 100
    assert len(list(read_frames(path, duration_s=1))) == 30  # the part before can be read


def test_truncated_mp4(tmp_path):
    path = write_raw(tmp_path / "a.mp4", noisy(150), movflags="faststart")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert_input_error(path, r"breaks at frame \d+")
    write_raw(path, noisy(30))  # the index is at the end
    path.write_bytes(path.read_bytes()[:-2000])
    assert_input_error(path, "cut off before its index")


def test_corrupt_in_the_middle(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, noisy(150), fps=30)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(content)
    assert_input_error(path, r"breaks at frame \d+ ")


def test_bad_spans(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, images(30), fps=30)
    with pytest.raises(InputError, match="choose an earlier start"):
        list(read_frames(path, start_s=7))
    for arguments in ({"start_s": -1}, {"duration_s": 0}, {"reduce": 0}):
        with pytest.raises(InputError, match=r"give|reduced"):
            list(read_frames(path, **arguments))


def test_a_picture_that_changes_its_size(tmp_path):
    """A box in the first image is elsewhere in the second."""
    parts = [
        write_raw(tmp_path / f"{k}.mjpeg", images(30, *size), codec="mjpeg", pix_fmt="yuvj420p")
        for k, size in enumerate([(64, 96), (48, 64)])
    ]
    path = tmp_path / "both.mjpeg"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(InputError, match=r"from 96x64 to 64x48 pixels at 1\.20 s"):
        list(read_frames(path, raw_fps=25))
    assert len(list(read_frames(path, duration_s=1.2, raw_fps=25))) == 30


def test_the_old_name_of_a_frames_image_warns() -> None:
    frame = Frame(0.0, np.zeros((2, 2, 3), np.uint8))
    with pytest.warns(DeprecationWarning, match=r"Frame\.picture is now Frame\.image"):
        assert frame.picture is frame.image
