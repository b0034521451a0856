"""Verification: whether a wave is a pulse, or the light or the head's motion.

A pulse has most of its power at one frequency and its double (`share`); it is in phase all over the
face (`agreement`); and neither the light on the background nor the head's motion explains it
(`coherence`), nor have they a line at its frequency. It is as strong on both sides of the face
(`side_difference`). Everything here is computed from waves and reference traces, without a gradient
and without a network, so it judges the waves of any method.
"""

from rppg.verification.evidence import (
    Evidence,
    average_evidence,
    join_evidence,
    judge,
    power_of,
)
from rppg.verification.gain import apply_gain
from rppg.verification.references import References
from rppg.verification.side import side_difference

__all__ = [
    "Evidence",
    "References",
    "apply_gain",
    "average_evidence",
    "join_evidence",
    "judge",
    "power_of",
    "side_difference",
]
