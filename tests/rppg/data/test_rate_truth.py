"""Heart rates alone as ground truth: for rates, while metrics of waves are missing."""

import json
from pathlib import Path

import numpy as np
import pytest

from rppg.cli import main
from rppg.data.check import check_recording
from rppg.data.layouts import manifest
from rppg.data.rate_truth import wave_of_rates
from rppg.data.specs import open_dataset
from rppg.errors import InputError
from rppg.signals import resample, uniform_grid
from rppg.signals.protocol import Protocol, measure
from rppg.types import HeartRate


def study(root: Path, write, bpm: list[float]) -> str:
    """A video of 20 s with a pulse of 72 bpm, and a rate a second."""
    write.video(root / "a.avi", 20)
    rows = "".join(f"{second},{value:g}\n" for second, value in enumerate(bpm))
    (root / "watch.csv").write_text("time_s,hr_bpm\n" + rows)
    (root / "study.csv").write_text("video,ground_truth,subject\na.avi,watch.csv,anna\n")
    return f"{root / 'study.csv'}?face=full"


def test_rates_are_evaluated_and_waves_are_not(write, tmp_path, capsys):
    spec = study(tmp_path, write, [71, 72, 73, 72] * 5)
    (recording,) = open_dataset(spec, split="test", subjects=1)
    assert recording.rate_only and check_recording(recording) == []
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--no-cache", "--method", "green", "--json", "--data", spec])
    assert not ended.value.code
    result = json.loads(capsys.readouterr().out)
    assert len(result["windows"]) == 2 and result["failures"] == []
    for row in (*result["windows"], *result["clips"]):
        assert row["hr_true_bpm"] == pytest.approx(72, abs=0.3)
        assert row["hr_pred_bpm"] == pytest.approx(72, abs=0.3)
        assert row["snr_db"] is not None
        for name in ("correlation", "sine_correlation", "macc", "beat_error_ms"):
            assert row[name] is None


def test_rates_that_are_missing_are_a_defect_and_left_out(write, tmp_path):
    (recording,) = open_dataset(
        study(tmp_path, write, [72, 0, 300, 0, *([72] * 16)]), split="test", subjects=1
    )
    (defect,) = check_recording(recording)
    assert "3 of 20 heart rates" in defect.message and "they are left out" in defect.message
    assert np.isfinite(recording.load_truth().bvp).all()


def test_the_protocol_measures_the_rates_that_were_given() -> None:
    times = np.arange(0, 61, 5.0)
    truth = wave_of_rates(HeartRate(times, 60 + 0.5 * times), Path("w.csv"))
    grid = uniform_grid([truth.times_s[0], truth.times_s[-1]], 30)
    found = measure(resample(truth.bvp, truth.times_s, grid), Protocol()).windows
    middle = (found.start_s + found.end_s) / 2
    np.testing.assert_allclose(found.hr_bpm, 60 + 0.5 * middle, atol=0.7)


def test_a_long_gap_between_rates_is_not_bridged() -> None:
    times = np.array([*range(20), *range(50, 70)], dtype=float)
    truth = wave_of_rates(HeartRate(times, np.full(40, 80.0)), Path("w.csv"))
    inside = (truth.times_s > 19.01) & (truth.times_s < 49.99)
    assert np.isnan(truth.bvp[inside]).all() and np.isfinite(truth.bvp[~inside]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_s,hr_bpm\n0,72\n", "1 of 1 heart rates are usable"),
        ("time_s,hr_bpm\n0,72\n1000,72\n2000,72\n", "are the times in seconds"),
        ("time_s,rate\n0,72\n1,72\n", "no column 'bvp'"),
    ],
)
def test_rates_that_say_nothing_are_refused(tmp_path, text, message):
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        manifest.read_truth(tmp_path / "w.csv")
