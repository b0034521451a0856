"""From files to crops."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from rppg.errors import InputError
from rppg.types import CROP_TO_FACE
from rppg.video import crop, read_crops, write_video
from rppg.video.resize import resample_box


@pytest.fixture(scope="module")
def clip(tmp_path_factory, portrait, film):
    """Six seconds of a swaying portrait, 240 × 240 at 15 Hz."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, film(portrait, 6, motion=lambda t: (40 + 20 * np.sin(t), 20)), fps=15, crf=18)
    return path


def test_crops_follow_the_face(clip):
    crops = read_crops(clip, size=48)
    assert crops.frames.shape == (90, 48, 48, 3) and crops.frames.dtype == np.uint8
    assert crops.valid.all() and crops.fps == pytest.approx(15)
    assert crops.times_s[0] == 0 and np.all(np.diff(crops.times_s) > 0)
    assert crops.boxes.shape == (90, 4)
    assert np.all(crops.boxes[:, 2] == crops.boxes[:, 3])
    # The window sways over the image by ±20 pixels; in the crops the face nearly stands still.
    assert np.ptp(crops.boxes[:, 0]) > 25

    def movement(crops):
        middle = crops.frames[:, 12:36, 12:36].astype(float)
        return np.abs(middle - middle.mean(axis=0)).mean()

    x, y, side, _ = crops.boxes.mean(axis=0)
    inner = side / CROP_TO_FACE
    still = (x + (side - inner) / 2, y + (side - inner) / 2, inner, inner)
    assert movement(crops) < 0.5 * movement(read_crops(clip, box=still))


def test_the_same_file_gives_the_same_crops(clip):
    assert np.array_equal(read_crops(clip).frames, read_crops(clip).frames)


def test_variable_rate(tmp_path, portrait, film):
    times = np.cumsum(np.random.default_rng(0).uniform(0.04, 0.1, 90))
    write_video(tmp_path / "a.mkv", film(portrait, 6), times_s=times)
    crops = read_crops(tmp_path / "a.mkv")
    np.testing.assert_allclose(crops.times_s, times - times[0], atol=1e-3)
    assert crops.valid.all()


def test_box_and_full_frame_look_for_no_face(tmp_path):
    """Fixed crops of an image without a face, exact but for the codec, which has no loss."""
    ramp = np.zeros((40, 60, 3), np.uint8)
    ramp[..., 0] = 3 * np.arange(60)
    ramp[..., 1] = 5 * np.arange(40)[:, None]
    write_video(tmp_path / "a.mkv", [ramp] * 60, fps=10, codec="ffv1")
    crops = read_crops(tmp_path / "a.mkv", size=15, box=(22.5, 12.5, 20, 16))
    side = 20 * CROP_TO_FACE
    np.testing.assert_allclose(crops.boxes, np.tile([17.5, 5.5, side, side], (60, 1)))
    cells = side * (np.arange(15) + 0.5) / 15
    np.testing.assert_allclose(crops.frames[0, 5, :, 0], 3 * (17.5 + cells - 0.5), atol=0.51)
    np.testing.assert_allclose(crops.frames[9, :, 5, 1], 5 * (5.5 + cells - 0.5), atol=0.51)
    full = read_crops(tmp_path / "a.mkv", size=20, full_frame=True)
    np.testing.assert_allclose(full.boxes, np.tile([0, 0, 60, 40], (60, 1)))
    np.testing.assert_allclose(full.frames[0, 9, 1:-1, 0], 9 * np.arange(1, 19) + 3, atol=0.51)
    assert full.valid.all()


def test_no_face_names_the_mends(tmp_path):
    grey = np.full((120, 160, 3), 100, np.uint8)
    write_video(tmp_path / "wall.mp4", [grey] * 90, fps=15)
    with pytest.raises(InputError, match=r"wall.mp4: no face.*--box x,y,w,h.*--full-frame"):
        read_crops(tmp_path / "wall.mp4")


def test_a_late_face_is_preceded_by_invalid_frames(tmp_path, portrait, film, caplog):
    grey = [np.full((240, 240, 3), 100, np.uint8)] * 45
    write_video(tmp_path / "a.mp4", [*grey, *film(portrait, 4)], fps=15)
    with caplog.at_level(logging.WARNING):
        crops = read_crops(tmp_path / "a.mp4")
    assert len(crops.frames) == 105 and not crops.valid[:28].any() and crops.valid[60:].all()
    assert np.array_equal(crops.frames[0], crops.frames[10]) and "lost" in caplog.text


@pytest.mark.default_cases(4)
@pytest.mark.parametrize(
    ("codec", "pixels", "size", "rotation"),
    [
        ("libx264", "yuv420p", (240, 240), 90),
        ("libx264", "yuv420p", (240, 240), 270),
        ("libx264", "yuv420p10le", (240, 240), 0),
        ("libx264", "gray", (240, 240), 0),
        ("ffv1", "gray16le", (239, 233), 0),
        ("libx264", "yuv444p", (239, 233), 0),
        ("mjpeg", "yuvj422p", (239, 233), 0),
    ],
)
def test_any_kind_of_picture(tmp_path, portrait, film, codec, pixels, size, rotation):
    """Bit depth, grey, odd sizes and rotation end in the same crops of the same face."""
    expected = next(film(portrait, 1))[: size[0], : size[1]]
    stored = np.ascontiguousarray(np.rot90(expected, -rotation // 90))
    path = tmp_path / "a.mkv" if rotation == 0 else tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=15)
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], pixels
        if rotation:
            stream.set_display_rotation(rotation)
        for n in range(90):
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = n, Fraction(1, 15)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    crops = read_crops(path)
    assert crops.valid.all() and len(crops.frames) == 90
    centre = crops.boxes[45, :2] + crops.boxes[45, 2:] / 2
    np.testing.assert_allclose(centre, (114.5, 97), atol=8)  # of the head in `portrait`
    grey = "gray" in pixels
    assert (np.ptp(crops.frames[45].astype(int), axis=-1).max() == 0) == grey


def test_two_faces_and_one_that_goes_and_comes_back(tmp_path, portrait, film, caplog):
    frames = []
    small = np.rint(resample_box(portrait[:, ::-1], (80, 40, 170, 170), 150)).astype(np.uint8)
    for n, shown in enumerate(film(portrait, 9)):
        frame = np.full((240, 480, 3), 100, np.uint8)
        if not 45 <= n < 90:
            frame[:, :240] = shown
        if n < 30:
            frame[60:210, 320:470] = small
        frames.append(frame)
    write_video(tmp_path / "a.mp4", frames, fps=15)
    with caplog.at_level(logging.WARNING):
        crops = read_crops(tmp_path / "a.mp4")
    assert "2 faces" in caplog.text and "the face is lost in" in caplog.text
    assert (crops.boxes[:, 0] + crops.boxes[:, 2] / 2 < 200).all()  # never the smaller one
    assert crops.valid[:42].all() and not crops.valid[50:85].any() and crops.valid[110:].all()
    assert len(crops.frames) == 135


def test_a_hole_between_frames_is_invalid(tmp_path, portrait, film, caplog):
    times = np.arange(90) / 15 + 2.0 * (np.arange(90) >= 45)
    write_video(tmp_path / "a.mp4", film(portrait, 6), times_s=times)
    with caplog.at_level(logging.WARNING):
        crops = read_crops(tmp_path / "a.mp4")
    invalid = np.flatnonzero(~crops.valid)  # and the frames between the last look and the hole
    assert {44, 45} <= set(invalid) <= {42, 43, 44, 45} and "no frames from" in caplog.text


def test_part_of_a_video(clip):
    whole, part = read_crops(clip, full_frame=True), read_crops(
        clip, full_frame=True, start_s=0.4, duration_s=5
    )  # fmt: skip
    assert len(part.frames) == 75 and part.times_s[0] == 0
    np.testing.assert_array_equal(part.frames, whole.frames[6:81])


def test_reduced_pictures_give_nearly_the_same(clip, monkeypatch):
    full = read_crops(clip)
    monkeypatch.setattr(crop, "BUFFER_BYTES", 240 * 240 * 3 * 15 * crop.LOOKAHEAD_S / 3)
    reduced = read_crops(clip)
    assert np.abs(full.boxes - reduced.boxes).max() < 6
    assert np.abs(full.frames.astype(float).mean((1, 2)) - reduced.frames.mean((1, 2))).max() < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_s": 4}, r"4\.0 s of video.*at least 5 s"),
        ({"box": (300, 10, 50, 50)}, "not in the frame of 240x240"),
        ({"box": (30, 10, 0, 50)}, "give x,y,w,h"),
        ({"box": (30, 10, float("nan"), 50)}, "give x,y,w,h"),
        ({"box": (30, 10, 50, 50), "full_frame": True}, "choose one"),
        ({"size": 1}, "2 or more"),
    ],
)
def test_bad_arguments(clip, arguments, message):
    with pytest.raises(InputError, match=message):
        read_crops(clip, **arguments)


def test_real_clip(real_face):
    crops = read_crops(real_face / "video.mp4")
    assert crops.frames.shape == (354, 48, 48, 3)
    assert crops.valid.all()
    assert crops.times_s[-1] == pytest.approx(11.76, abs=0.01)
    inside = (crops.boxes[:, :2] > 0).all() and (crops.boxes[:, 0] + crops.boxes[:, 2] < 640).all()
    assert inside and np.ptp(crops.boxes[:, 2]) < 0.1 * crops.boxes[0, 2]
