"""Where a smoother looks beside the present weights.

perturbation   offset
SAM            the gradient, at length rho
ASAM           the same, measured in units of each weight's size
Friendly       the gradient less its running mean, at length rho
Random         a random direction, at length rho
Gaussian       normal noise of standard deviation rho

A perturbation is any object with the one method of `Perturbation`; one that learns from step to
step has three more, those of `LearningPerturbation`.
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
