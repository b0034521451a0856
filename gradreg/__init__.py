"""Optimizer wrappers that calm oscillating gradients at three levels.

level      wrapper                what it does
gradient   PostVerificationMask   what fails verification contributes no gradient
landscape  PerturbationSmoother   descends along the gradient of perturbed weights
feature    NullSpaceProjector     weight updates stay out of the noise features' subspace
"""

from gradreg.masking import MaskStats, MaskStep, PostVerificationMask
from gradreg.one_pass import OnePassSmoother
from gradreg.perturbations import SAM, Gaussian, Perturbation
from gradreg.priors import MedianOutlier, Prior, WeakAmplitude
from gradreg.projection import NullSpaceProjector
from gradreg.regularize import regularize
from gradreg.smoothing import PerturbationSmoother
from gradreg.wrapper import OptimizerWrapper

__version__ = "0.1.0"

__all__ = [
    "SAM",
    "Gaussian",
    "MaskStats",
    "MaskStep",
    "MedianOutlier",
    "NullSpaceProjector",
    "OnePassSmoother",
    "OptimizerWrapper",
    "Perturbation",
    "PerturbationSmoother",
    "PostVerificationMask",
    "Prior",
    "WeakAmplitude",
    "regularize",
]
