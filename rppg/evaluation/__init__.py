"""Evaluation: metrics with their uncertainty, under one protocol for every method."""

from rppg.estimators.classical import ConstantGuess, Estimator, classical, constant_guess
from rppg.evaluation.journal import Journal
from rppg.evaluation.metrics import BlandAltman, Statistic
from rppg.evaluation.results import (
    Difference,
    Evaluation,
    Failure,
    Row,
    Scope,
    Scores,
    Waveform,
    paired_difference,
)
from rppg.evaluation.run import Trial, evaluate, prepare
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
    "Protocol",
    "Row",
    "Scope",
    "Scores",
    "Statistic",
    "Trial",
    "Waveform",
    "classical",
    "constant_guess",
    "evaluate",
    "measure",
    "paired_difference",
    "prepare",
]
