"""The columns fps, frame_times and start_s of a manifest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rppg.data.check import check_recording
from rppg.data.specs import open_dataset
from rppg.errors import InputError
from rppg.types import Recording
from rppg.video import write_video

TIMES = np.arange(96) / 15


def study(root: Path, write, columns: str, values: str, start_s: float = 0.0) -> Path:
    """A video recorded at 15 fps and stored as 30, and its ground truth on a clock of its own."""
    write_video(root / "a.avi", write.images(TIMES), fps=30, codec="mjpeg", qscale=1)
    at = np.arange(round(6.4 * 60)) / 60
    rows = "".join(f"{t + start_s:.6f},{write.wave(t):.8f},72\n" for t in at)
    (root / "a.csv").write_text("time_s,bvp,hr_bpm\n" + rows)
    path = root / "study.csv"
    path.write_text(f"video,ground_truth,subject,{columns}\na.avi,a.csv,anna,{values}\n")
    return path


def opened(path: Path) -> Recording:
    (recording,) = open_dataset(f"{path}?face=full", split="train", subjects=1)
    return recording


def check_in_step(recording: Recording, write) -> None:
    """The images' pulse and the wave are one, at the video's own times."""
    crops, truth = recording.load_crops(), recording.load_truth()
    np.testing.assert_allclose(crops.times_s, TIMES, atol=2e-3)
    green = crops.frames[..., 1].mean(axis=(1, 2))
    bvp = np.interp(crops.times_s, truth.times_s, truth.bvp)
    assert np.corrcoef(green, bvp)[0, 1] > 0.995
    assert check_recording(recording) == []


def test_a_stated_rate_replaces_the_files(write, tmp_path):
    recording = opened(study(tmp_path, write, "fps,light", "15,lamp"))
    assert dict(recording.metadata) == {"light": "lamp"}
    assert recording.video.probe().fps == 15
    check_in_step(recording, write)
    part = [frame.time_s for frame in recording.video.frames(2.0, 1.0)]
    np.testing.assert_allclose(part, np.arange(15) / 15, atol=2e-3)


@pytest.mark.parametrize("header", ["", "time_s\n"])
def test_frame_times_are_on_the_clock_of_the_ground_truth(write, tmp_path, header):
    path = study(tmp_path, write, "frame_times", "clock.csv", start_s=1000.0)
    (tmp_path / "clock.csv").write_text(header + "".join(f"{t + 1000:.6f}\n" for t in TIMES))
    recording = opened(path)
    check_in_step(recording, write)
    assert recording.load_rate().times_s[0] == 0
    (tmp_path / "clock.csv").unlink()
    assert any("clock.csv: no such file" in d.message for d in check_recording(opened(path)))


def test_a_start_moves_the_ground_truth(write, tmp_path):
    check_in_step(opened(study(tmp_path, write, "fps,start_s", "15,2.5", start_s=2.5)), write)


def test_numbered_images_have_a_stated_rate(write, tmp_path):
    path = study(tmp_path, write, "fps", "15")
    (tmp_path / "pics").mkdir()
    for k, rgb in enumerate(write.images(TIMES)):
        Image.fromarray(rgb).save(tmp_path / "pics" / f"{k:04d}.png")
    path.write_text(path.read_text().replace("a.avi", "pics"))
    check_in_step(opened(path), write)


def test_a_raw_stream_is_counted(write, tmp_path):
    path = study(tmp_path, write, "fps", "15")
    (tmp_path / "a.avi").unlink()
    raw = b"".join(write.jpeg(rgb) for rgb in write.images(TIMES))
    (tmp_path / "a.mjpeg").write_bytes(raw)
    path.write_text(path.read_text().replace("a.avi", "a.mjpeg"))
    check_in_step(opened(path), write)


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        ("fps", "fast", "row 2: fps is 'fast'; expected a number"),
        ("fps", "0", "expected 1 to 1000 frames a second"),
        ("fps,frame_times", "15,clock.csv", "both fps and frame_times"),
        ("start_s,frame_times", "1,clock.csv", "both start_s and frame_times"),
        ("frame_times", "../clock.csv", "leads out of the manifest's folder"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(write, tmp_path, columns, values, message):
    with pytest.raises(InputError, match=message):
        opened(study(tmp_path, write, columns, values))
