"""What is known about the true signal, as functions `evidence -> keep weight in [0, 1]`.

Any function of that kind serves as a prior. Those here can also be combined:

    p & q = min(p, q)        p | q = max(p, q)        ~p = 1 - p

which for hard (0 or 1) weights are the logical and, or, not, and which stay idempotent and obey
De Morgan's laws for soft ones. Evidence that isn't finite is rejected by
`PostVerificationMask.verify` whatever the prior says of it.

prior           evidence                     keeps
WeakAmplitude   amplitudes, any shape        what is neither stronger nor weaker than a signal
MedianOutlier   numbers, any shape           what lies near the batch's median
BandEnergy      waveforms (..., T)           waveforms with power in the signal's band
Entropy         logits (..., C)              confident predictions
Agreement       vectors (..., d)             those that point where the others do

`NormOutlier` and `SignAgreement` judge the parameters' gradients themselves.
"""

from gradreg.priors.agreement import Agreement
from gradreg.priors.amplitude import WeakAmplitude
from gradreg.priors.band import BandEnergy
from gradreg.priors.base import Prior, PriorLike
from gradreg.priors.entropy import Entropy
from gradreg.priors.gradients import GradientPrior, GradientPriorLike, NormOutlier, SignAgreement
from gradreg.priors.outlier import MedianOutlier

__all__ = [
    "Agreement",
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
