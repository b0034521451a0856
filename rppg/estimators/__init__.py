"""Estimators: functions from face crops to a BVP."""

from typing import TYPE_CHECKING

from rppg.estimators.classical import classical
from rppg.estimators.estimator import ConstantGuess, Estimator, constant_guess
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.find import find_estimator, find_estimators, load_estimator
from rppg.estimators.physnet import PeerEstimator
from rppg.renamed import renamed

__all__ = [
    "ConstantGuess",
    "Estimator",
    "FcusEstimator",
    "PeerEstimator",
    "classical",
    "constant_guess",
    "find_estimator",
    "find_estimators",
    "load_estimator",
    "untrained",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__, {"trained": ("rppg.estimators.find.load_estimator", load_estimator)}
    )
