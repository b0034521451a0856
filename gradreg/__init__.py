"""Optimizer wrappers that calm oscillating gradients at three levels.

level      wrapper                what it does
gradient   PostVerificationMask   what fails verification contributes no gradient
landscape  PerturbationSmoother   descends along the gradient of perturbed weights
feature    NullSpaceProjector     weight updates stay out of the noise features' subspace
"""

from gradreg.kept_mean import kept_mean
from gradreg.mask_counts import MaskStats, MaskStep
from gradreg.masking import PostVerificationMask
from gradreg.one_pass import OnePassSmoother
from gradreg.perturbations import (
    ASAM,
    SAM,
    Friendly,
    Gaussian,
    LearningPerturbation,
    Perturbation,
    Random,
)
from gradreg.priors import (
    Agreement,
    BandEnergy,
    Entropy,
    GradientPrior,
    MedianOutlier,
    NormOutlier,
    Prior,
    SignAgreement,
    WeakAmplitude,
)
from gradreg.projection import NullSpaceProjector
from gradreg.regularize import regularize
from gradreg.smoothing import PerturbationSmoother
from gradreg.wrapper import OptimizerWrapper

__version__ = "0.1.0"

__all__ = [
    "ASAM",
    "SAM",
    "Agreement",
    "BandEnergy",
    "Entropy",
    "Friendly",
    "Gaussian",
    "GradientPrior",
    "LearningPerturbation",
    "MaskStats",
    "MaskStep",
    "MedianOutlier",
    "NormOutlier",
    "NullSpaceProjector",
    "OnePassSmoother",
    "OptimizerWrapper",
    "Perturbation",
    "PerturbationSmoother",
    "PostVerificationMask",
    "Prior",
    "Random",
    "SignAgreement",
    "WeakAmplitude",
    "kept_mean",
    "regularize",
]
