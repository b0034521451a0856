"""Prior knowledge of the true signal, as functions `evidence -> keep weight in [0, 1]`.

Any such function can be used as a prior. Those here can also be combined:

    p & q = min(p, q)        p | q = max(p, q)        ~p = 1 - p

For hard weights (0 or 1) these are the logical and, or, not. For soft ones they are idempotent and
obey De Morgan's laws. Evidence that isn't finite is rejected by `PostVerificationMask.verify`,
independently of the prior.

prior           evidence                     keeps
WeakAmplitude   amplitudes, any shape        those within the range of a signal
AtLeast         scores, any shape            those that reach a threshold
MedianOutlier   numbers, any shape           those near the batch's median
BandEnergy      waveforms (..., T)           waveforms with power in the signal's band
Entropy         logits (..., C)              confident predictions
Agreement       vectors (..., d)             those that point in the direction of the others

`NormOutlier` and `SignAgreement` judge the parameters' gradients themselves.
"""

from gradreg.priors.agreement import Agreement
from gradreg.priors.amplitude import WeakAmplitude
from gradreg.priors.at_least import AtLeast
from gradreg.priors.band import BandEnergy
from gradreg.priors.base import Prior, PriorLike
from gradreg.priors.entropy import Entropy
from gradreg.priors.gradients import GradientPrior, GradientPriorLike, NormOutlier, SignAgreement
from gradreg.priors.outlier import MedianOutlier

__all__ = [
    "Agreement",
    "AtLeast",
    "BandEnergy",
    "Entropy",
    "GradientPrior",
    "GradientPriorLike",
    "MedianOutlier",
    "NormOutlier",
    "Prior",
    "PriorLike",
    "SignAgreement",
    "WeakAmplitude",
]
