"""The reason why a heart rate is unreliable, in words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rppg.signals.pulse_evidence import no_evidence
from rppg.signals.quality import RELIABLE
from rppg.signals.rates import RateSeries

GREY = "the frames have no colour: a pulse can't be told from light and motion"
NO_FACE = "the face is out of view"
LIGHT = "the same rate is in the background: flickering light"
MOTION = "the same rate is in the head's motion"
ONE_SIDE = "the wave is stronger on one side of the face: a lamp beside it, or motion"
REGIONS = "the face's regions don't agree: no common pulse"
NO_RATE = "no clear rate"
CUT = "a cut to another picture or person: its parts are not joined"
KEYFRAMES = "the rate is that of the video's keyframes"
FROZEN = "most frames repeat the one before: a frozen picture"
FOLDED = "too few frames a second: it may be a faster rate, folded over"

EXPLAINED = 0.5
"""Light or motion that explains this much of the wave is the reason."""
STRONG_LINE = 0.5
"""Light or motion that has so much of a line at the rate is the reason, too."""
ONE_SIDED = 0.25
"""Difference between the sides of the face (`PulseEvidence.side`) that is the reason."""
AGREED = 0.5
"""Agreement under which the regions have no common pulse."""


def find_reasons(
    rates: RateSeries,
    in_view: NDArray[np.bool_] | None = None,
    *,
    grey: bool = False,
    objections: Sequence[str | None] | None = None,
) -> tuple[str | None, ...]:
    """Return for each window the reason why its rate is unreliable; None where it is reliable.

    Args:
        rates: of W windows.
        in_view: `(W,)` whether enough of the window shows the face; None if all do.
        grey: whether the frames have no colour.
        objections: for each window, a reason that was found elsewhere, such as `FOLDED`.
    """
    count = len(rates.quality)
    evidence = rates.evidence or no_evidence(count)
    light, motion, agreement = evidence.light, evidence.motion, evidence.agreement
    in_view = np.ones(count, dtype=np.bool_) if in_view is None else in_view
    # NaN, where there is no evidence, fulfils none of the comparisons. The first that holds counts.
    conditions = [
        (rates.quality >= RELIABLE, None),
        (~in_view, NO_FACE),
        (np.full(count, grey), GREY),
        (np.isnan(rates.hr_bpm), NO_RATE),
        ((light >= EXPLAINED) & (light >= motion), LIGHT),
        (motion >= EXPLAINED, MOTION),
        (evidence.light_line >= STRONG_LINE, LIGHT),
        (evidence.motion_line >= STRONG_LINE, MOTION),
        (np.abs(evidence.side) >= ONE_SIDED, ONE_SIDE),
        (agreement < AGREED, REGIONS),
    ]
    if objections is not None:
        objected = [
            (np.array([o == reason for o in objections]), reason)
            for reason in dict.fromkeys(objections)
            if reason is not None
        ]
        conditions[2:2] = objected
    return tuple(
        next((reason for holds, reason in conditions if holds[index]), NO_RATE)
        for index in range(count)
    )
