"""The evidence from a video that windows of a wave are a pulse, at their heart rates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PulseEvidence:
    """Evidence from outside of the wave; arrays `(W,)`, NaN where there is none.

    It is computed from the video by `rppg.estimators.verified_rates`.

    Attributes:
        agreement: in 0..1, of the face's regions: 1 if all are in phase at the heart rate.
        light: in 0..1, how far the light on the background explains the wave at the heart rate.
        motion: in 0..1, how far the head's motion explains it.
        light_line: in 0..1, how far the light on the background has a line at the heart rate. The
            wave of a method that cancels light may have lost its coherence with a lamp, but keeps
            the lamp's rate.
        motion_line: the same of the head's motion.
        score: in 0..1, how sure the reference network is that there is a pulse around the window,
            at whatever rate.
        side: in −1..1, how much stronger the wave is in the left half of the face (1: only there)
            than in the right, in and around the window.
        second_bpm: distance in bpm of the heart rate from that of a second method; NaN if there is
            none.
    """

    agreement: Array
    light: Array
    motion: Array
    light_line: Array
    motion_line: Array
    score: Array
    side: Array
    second_bpm: Array


def no_evidence(count: int) -> PulseEvidence:
    """Return the evidence on windows of which nothing but the wave is known."""
    return PulseEvidence(*np.full((8, count), np.nan))
