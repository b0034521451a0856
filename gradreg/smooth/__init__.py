"""Landscape level: descend along the gradient at perturbed weights."""

from gradreg.smooth.one_pass import OnePassSmoother
from gradreg.smooth.perturbations import (
    ASAM,
    SAM,
    Friendly,
    Gaussian,
    LearningPerturbation,
    Perturbation,
    Random,
)
from gradreg.smooth.two_pass import PerturbationSmoother

__all__ = [
    "ASAM",
    "SAM",
    "Friendly",
    "Gaussian",
    "LearningPerturbation",
    "OnePassSmoother",
    "Perturbation",
    "PerturbationSmoother",
    "Random",
]
