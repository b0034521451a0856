"""Optimizer wrappers that calm oscillating gradients at three levels.

level      wrapper                what it does
gradient   PostVerificationMask   outputs that fail verification contribute no gradient
landscape  PerturbationSmoother   descends along the gradient at perturbed weights
feature    NullSpaceProjector     weight updates stay out of the noise features' subspace
"""

import sys

from gradreg.mask import MaskStats, MaskStep, PostVerificationMask, kept_mean
from gradreg.moved_modules import OldNames
from gradreg.priors import (
    Agreement,
    AtLeast,
    BandEnergy,
    Entropy,
    GradientPrior,
    MedianOutlier,
    NormOutlier,
    Prior,
    SignAgreement,
    WeakAmplitude,
)
from gradreg.project import NullSpaceProjector
from gradreg.regularize import regularize
from gradreg.smooth import (
    ASAM,
    SAM,
    Friendly,
    Gaussian,
    LearningPerturbation,
    OnePassSmoother,
    Perturbation,
    PerturbationSmoother,
    Random,
)
from gradreg.wrapper import OptimizerWrapper

__version__ = "0.1.0"

sys.meta_path.append(OldNames())

__all__ = [
    "ASAM",
    "SAM",
    "Agreement",
    "AtLeast",
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
