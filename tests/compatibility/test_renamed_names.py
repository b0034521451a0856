"""Old names within modules return what has the new name, with a warning."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from rppg.predict import Prediction
from rppg.signals import RateSeries

RENAMED = [
    ("rppg.estimators.trained", "rppg.estimators.find.load_estimator"),
    ("rppg.evaluation.Trial", "rppg.evaluation.prepared_recording.PreparedRecording"),
    ("rppg.evaluation.to_csv", "rppg.report.result_files.to_csv"),
    ("rppg.evaluation.to_json", "rppg.report.result_files.to_json"),
    ("rppg.export.About", "rppg.export.network.Metadata"),
    ("rppg.export.Exported", "rppg.export.network.ExportedNetwork"),
    ("rppg.report.prediction.write_course", "rppg.report.prediction.write_rates"),
    ("rppg.signals.RateCourse", "rppg.signals.rates.RateSeries"),
    ("rppg.signals.rate_course", "rppg.signals.rates.rate_series"),
    ("rppg.peers.trainer.fit", "rppg.peers.trainer.fit_peer"),
    ("rppg.train.fcus.fit", "rppg.train.fcus.fit_fcus"),
    ("rppg.train.is_finished", "rppg.train.resume.is_finished"),
    ("rppg.train.readable_crops", "rppg.train.recordings.readable_crops"),
    ("rppg.train.settings_of", "rppg.train.resume.settings_of"),
    ("rppg.train.training_recordings", "rppg.train.recordings.open_recordings"),
]


def lookup(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_an_old_name_is_the_new_one(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        assert lookup(old) is lookup(new)


def test_the_warning_names_the_importing_line_and_other_names_are_missing() -> None:
    line = "from rppg.signals import RateCourse"
    ended = subprocess.run(
        [sys.executable, "-W", "default", "-c", line], capture_output=True, text=True, check=True
    )
    assert "<string>:1: DeprecationWarning: rppg.signals.RateCourse is now" in ended.stderr
    with pytest.raises(ImportError, match="nothing"):
        exec("from rppg.signals import nothing")


def test_old_modules_hold_their_old_names() -> None:
    names = {
        "rppg.models.estimator": ["FcusEstimator", "trained", "untrained"],
        "rppg.evaluation.estimators": ["ConstantGuess", "Estimator", "classical", "constant_guess"],
        "rppg.output": ["check_plot_path", "plot_prediction", "write_course"],
        "rppg.evaluation.export": ["to_csv", "to_json"],
        "rppg.estimate": ["Estimate", "estimate"],
        "rppg.peers.loop": ["EpochState", "OnEpoch", "criterion", "fit"],
        "rppg.training.loop": ["LogRow", "build_optimizer", "fit", "physics_of"],
    }
    with pytest.warns(DeprecationWarning):
        for module, public in names.items():
            assert all(hasattr(importlib.import_module(module), name) for name in public)


def test_predictions_still_have_a_course() -> None:
    rates = RateSeries(*np.zeros((4, 1)))
    wave = np.zeros(2)
    found = Prediction(70.0, 1.0, np.arange(2.0), wave, wave, rates, 1.0, {}, 2)
    with pytest.warns(DeprecationWarning, match=r"Prediction\.rates"):
        assert found.course is rates
