"""Perturbations of the weights at which a smoother computes the gradient.

perturbation   offset
SAM            the gradient, at length rho
ASAM           the same, measured in units of each weight's size
Friendly       the gradient minus its running mean, at length rho
Random         a random direction, at length rho
Gaussian       normal noise of standard deviation rho

A perturbation is any object with the method of `Perturbation`. One that learns from step to step
also has the three methods of `LearningPerturbation`.
"""

from gradreg.smooth.perturbations.asam import ASAM
from gradreg.smooth.perturbations.friendly import Friendly
from gradreg.smooth.perturbations.noise import Gaussian, Random
from gradreg.smooth.perturbations.protocol import LearningPerturbation, Perturbation
from gradreg.smooth.perturbations.sam import SAM

__all__ = [
    "ASAM",
    "SAM",
    "Friendly",
    "Gaussian",
    "LearningPerturbation",
    "Perturbation",
    "Random",
]
