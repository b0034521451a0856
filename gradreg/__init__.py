"""Optimizer wrappers that calm oscillating gradients at three levels.

level      wrapper                what it does
gradient   PostVerificationMask   what fails verification contributes no gradient
landscape  PerturbationSmoother   descends along the gradient of perturbed weights
feature    NullSpaceProjector     weight updates stay out of the noise features' subspace
"""

import sys

from gradreg.mask.counts import MaskStats, MaskStep
from gradreg.mask.kept_mean import kept_mean
from gradreg.mask.level import PostVerificationMask
from gradreg.moved_modules import OldNames
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
from gradreg.project.level import NullSpaceProjector
from gradreg.regularize import regularize
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
from gradreg.wrapper import OptimizerWrapper

__version__ = "0.1.0"

sys.meta_path.append(OldNames())

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
