"""Files appear whole or not at all; a codec's losses come back, deterministically."""

import av
import numpy as np
import pytest

from rppg.errors import InputError
from rppg.video import CODECS, read_frames, roundtrip, write_video


@pytest.mark.parametrize(
    ("codec", "suffix", "loss"),
    [("libx264", ".mp4", 4), ("libx265", ".mp4", 6), ("libx264", ".avi", 4), ("mpeg4", ".mkv", 9),
     ("mjpeg", ".mov", 9), ("ffv1", ".mkv", 0)],
)  # fmt: skip
def test_what_is_written_is_read(tmp_path, portrait, film, codec, suffix, loss):
    frames = list(film(portrait, 1, motion=lambda t: (40 * t, 20), size=120))
    path = tmp_path / f"clip{suffix}"
    write_video(path, frames, fps=15, codec=codec)
    read = list(read_frames(path))
    assert [f.rgb.shape for f in read] == [(120, 120, 3)] * 15
    np.testing.assert_allclose([f.time_s for f in read], np.arange(15) / 15, atol=1e-3)
    error = [np.abs(f.rgb.astype(float) - g).mean() for f, g in zip(read, frames, strict=True)]
    assert max(error) <= loss
    assert list(tmp_path.iterdir()) == [path]


def _sizes(codec):
    return [(128, 96), (99, 127)] if codec == "libx265" else [(48, 48), (47, 51)]


@pytest.mark.parametrize(("codec", "size"), [(c, size) for c in CODECS for size in _sizes(c)])
def test_roundtrip_gives_the_same_every_time(portrait, codec, size):
    frames = np.stack([np.roll(portrait, n, 1)[20 : 20 + size[0], 40 : 40 + size[1]]
                       for n in range(20)])  # fmt: skip
    first = roundtrip(frames, 30, codec)
    assert first.shape == frames.shape and first.dtype == np.uint8
    assert np.abs(first.astype(float) - frames).mean() < 12
    assert np.array_equal(first, frames) == (codec == "ffv1")
    for _ in range(3):
        assert np.array_equal(first, roundtrip(frames, 30, codec))


def test_less_quality_loses_more(portrait):
    frames = np.stack([np.roll(portrait, n, 1)[:64, 64:128] for n in range(10)]).astype(np.uint8)

    def loss(**options):
        return np.abs(roundtrip(frames, 30, **options).astype(float) - frames).mean()

    assert loss(crf=10) < loss(crf=30) < loss(crf=45)
    for codec in ("mpeg4", "mjpeg"):
        assert (
            loss(codec=codec, qscale=2) < loss(codec=codec, qscale=8) < loss(codec=codec, qscale=31)
        )
    assert loss(bit_rate=2_000_000) < loss(bit_rate=20_000)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_keyframes_come_at_the_interval_asked_for(tmp_path, portrait, codec):
    frames = [np.roll(portrait, 40 * n, 1)[:64, :64] for n in range(20)]  # changes invite more
    path = tmp_path / "clip.mkv"
    write_video(path, frames, fps=30, codec=codec, keyframe_interval=7)
    with av.open(str(path)) as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert keys == [n % 7 == 0 for n in range(20)]


def test_coarse_keyframes_are_worse_than_other_frames(portrait):
    frames = np.stack([portrait[:64, 96:160]] * 20)

    def error(**options):
        decoded = roundtrip(frames, 30, crf=24, keyframe_interval=5, **options).astype(float)
        by_frame = np.abs(decoded - frames).mean((1, 2, 3))
        return by_frame[::5].mean() / by_frame[4::5].mean()

    assert error(keyframe_quantiser=4.0) > 1.1 > error(keyframe_quantiser=0.5)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "clip.mp4"
    good = [np.zeros((16, 16, 3), np.uint8)] * 4
    write_video(path, good, fps=30)
    before = path.read_bytes()

    def broken():
        yield good[0]
        raise RuntimeError("the camera fell")

    with pytest.raises(RuntimeError, match="fell"):
        write_video(path, broken(), fps=30)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fps": 0}, "positive rate"),
        ({"fps": 30, "codec": "cinepak"}, "libx264, libx265, mpeg4"),
        ({}, "either fps or times_s"),
        ({"fps": 30, "codec": "mjpeg", "crf": 20}, "bit_rate"),
        ({"fps": 30, "qscale": 5}, "qscale is an option of mpeg4"),
        ({"fps": 30, "keyframe_interval": 0}, "keyframe_interval 0 with libx264; give at least 1"),
        ({"fps": 30, "keyframe_interval": 5, "codec": "mjpeg"}, "one of libx264, libx265, mpeg4"),
        ({"fps": 30, "keyframe_quantiser": 2.0, "codec": "mpeg4"}, "quantiser 2 with mpeg4"),
        ({"times_s": [0, 0.1, 0.1]}, "increase"),
        ({"times_s": [0, 0.1]}, "2 times"),
        ({"times_s": [0, 0.1, 0.2, 0.3]}, "4 times but 3"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    frames = [np.zeros((16, 16, 3), np.uint8)] * 3
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / "clip.mp4", frames, **arguments)
    assert not list(tmp_path.iterdir())


def test_small_frames_are_kept_from_an_encoder_that_damages_memory():
    with pytest.raises(InputError, match=r"95x200 frames with libx265.*at least 96"):
        roundtrip(np.zeros((3, 200, 95, 3), np.uint8), 30, "libx265")


def test_bad_frames(tmp_path):
    with pytest.raises(InputError, match="no frames"):
        write_video(tmp_path / "clip.mp4", [], fps=30)
    frames = [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)]
    with pytest.raises(InputError, match=r"frame 1 .*\(16, 18, 3\).*\(16, 16, 3\)"):
        write_video(tmp_path / "clip.mp4", frames, fps=30)
    with pytest.raises(InputError, match="AVI"):
        write_video(tmp_path / "clip.avi", frames, times_s=[0, 1])
    with pytest.raises(InputError, match="container"):
        write_video(tmp_path / "clip.nonsense", frames[:1], fps=30)


def test_all_codecs_are_in_this_pyav():
    assert set(CODECS) <= set(av.codecs_available)
