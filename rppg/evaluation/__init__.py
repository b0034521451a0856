"""Evaluation: metrics with their uncertainty, under one protocol for every method."""

from typing import TYPE_CHECKING

from gradreg.moved_modules import load
from rppg.estimators.classical import classical
from rppg.estimators.estimator import ConstantGuess, Estimator, constant_guess
from rppg.evaluation.journal import Journal
from rppg.evaluation.metrics import BlandAltman, Statistic
from rppg.evaluation.prepared_recording import PreparedRecording, prepare
from rppg.evaluation.results import (
    Difference,
    Evaluation,
    Failure,
    Row,
    Scope,
    Scores,
    TrainedOn,
    Waveform,
    Waves,
    paired_difference,
)
from rppg.evaluation.run import evaluate
from rppg.renamed import renamed, warn_of_old_name
from rppg.signals.protocol import TOOLBOX, Measured, Protocol, measure

__all__ = [
    "TOOLBOX",
    "BlandAltman",
    "ConstantGuess",
    "Difference",
    "Estimator",
    "Evaluation",
    "Failure",
    "Journal",
    "Measured",
    "PreparedRecording",
    "Protocol",
    "Row",
    "Scope",
    "Scores",
    "Statistic",
    "TrainedOn",
    "Waveform",
    "Waves",
    "classical",
    "constant_guess",
    "evaluate",
    "measure",
    "paired_difference",
    "prepare",
]

if not TYPE_CHECKING:
    _renamed = renamed(
        __name__,
        {"Trial": ("rppg.evaluation.prepared_recording.PreparedRecording", PreparedRecording)},
    )

    def __getattr__(name: str) -> object:
        if name not in ("to_csv", "to_json"):
            return _renamed(name)
        new_name = f"rppg.report.result_files.{name}"  # above this package: it can't be imported
        warn_of_old_name(f"{__name__}.{name}", new_name)
        return load(new_name)
