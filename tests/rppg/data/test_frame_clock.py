"""A ground truth with the times of the frames, and a video whose header has another rate."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rppg.data import writers
from rppg.data.frame_clock import with_truth_clock
from rppg.data.specs import open_dataset
from rppg.evaluation import evaluate
from rppg.predict import find_estimator
from rppg.types import FaceCrops, Pulse, Recording

FPS, HEADER_FPS = 25.0, 30.0
TIMES = np.arange(round(24 * FPS)) / FPS


@pytest.fixture(scope="module")
def root(tmp_path_factory, write) -> Path:
    """UBFC-rPPG: a pulse of 72 bpm at 25 frames a second, while the header says 30."""
    root = tmp_path_factory.mktemp("drift")
    truth, bpm = Pulse(TIMES, write.wave(TIMES)), np.full(len(TIMES), 72.0)
    frames = write.images(TIMES)
    writers.write_ubfc_rppg(root / "subject1", frames, truth, bpm, fps=HEADER_FPS)
    row = "subject1/vid.avi,subject1/ground_truth.txt,anna,ubfc-rppg\n"
    (root / "study.csv").write_text("video,ground_truth,subject,format\n" + row)
    return root


@pytest.mark.parametrize("spec", ["ubfc-rppg:{}?face=full", "{}/study.csv?face=full"])
def test_the_times_of_the_ground_truth_are_those_of_the_frames(root, spec, caplog):
    (recording,) = open_dataset(spec.format(root), split="test", subjects=1)
    result = evaluate([recording], {"green": find_estimator("green")})
    for row in (*result.windows, *result.clips):
        assert row.hr_true_bpm == pytest.approx(72, abs=0.3)
        assert row.hr_pred_bpm == pytest.approx(72, abs=0.3)
    (message,) = caplog.messages
    assert message.startswith(f"{recording.name}: by its own clock the video has 20.00 s")
    assert message.endswith("the ground truth's times of the frames are used")


def test_the_times_of_cuts_are_on_the_clock_of_the_frames(caplog):
    frames = np.zeros((len(TIMES), 2, 2, 3), np.uint8)
    header_s = TIMES * FPS / HEADER_FPS
    crops = FaceCrops(frames, header_s, TIMES >= 0, cuts_s=(float(header_s[300]),))
    pulse = Pulse(TIMES, np.sin(7.5 * TIMES))
    recording = Recording("a", "set", "a", lambda: crops, lambda: pulse, per_frame=True)
    assert with_truth_clock(recording).load_crops().cuts_s == (TIMES[300],)


def with_times(root: Path, to: Path, times: np.ndarray) -> Recording:
    shutil.copytree(root / "subject1", to / "subject1")
    path = to / "subject1" / "ground_truth.txt"
    bvp, bpm, _ = np.loadtxt(path)[:, : len(times)]
    lines = [" ".join(map(str, line)) for line in (bvp, bpm, times)]
    path.write_text("\n".join(lines) + "\n")
    (recording,) = open_dataset(f"ubfc-rppg:{to}?face=full", split="test", subjects=1)
    return recording


BACKWARDS = np.where(np.arange(len(TIMES)) == 50, 0, TIMES)
KEPT: list[tuple[np.ndarray, str]] = [
    (TIMES * FPS / HEADER_FPS * 1.005, ""),
    (BACKWARDS, "don't increase; each keeps its own times"),
    (TIMES[:-9], "for 600 frames and 591 values; each keeps its own times"),
    (np.delete(TIMES, slice(60, 90)) * FPS / HEADER_FPS, ""),  # a hole is no drift
]


@pytest.mark.parametrize(("times", "warning"), KEPT)
def test_other_times_leave_the_frames_as_they_are(root, tmp_path, caplog, times, warning):
    recording = with_times(root, tmp_path, times)
    crops = with_truth_clock(recording).load_crops()
    np.testing.assert_array_equal(crops.times_s, recording.load_crops().times_s)
    assert len(caplog.messages) == bool(warning) and warning in caplog.text


def test_a_ground_truth_at_its_own_rate_is_not_a_clock() -> None:
    crops = FaceCrops(np.zeros((9, 2, 2, 3), np.uint8), np.arange(9.0), np.ones(9, bool))
    recording = Recording(
        "a", "d", "s", lambda: crops, load_truth=lambda: Pulse(np.arange(9.0) * 2, np.ones(9))
    )
    assert with_truth_clock(recording) is recording
