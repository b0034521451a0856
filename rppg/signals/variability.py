"""Heart rate variability in the time domain, from the intervals between beats."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from rppg.signals.beats import Beats

Array = NDArray[np.float64]

LEAST_S = 30.0
"""Shortest signal: RMSSD and SDNN of less agree too little with those of five minutes."""
LEAST_INTERVALS = 20
LEAST_NORMAL = 0.8
"""Least share of intervals that must be normal; with fewer, the beats are not to be trusted."""
MOST_DEVIATION = 0.2
NEIGHBOURS = 11
SHORTEST_S, LONGEST_S = 60 / 198, 60 / 36


@dataclass(frozen=True)
class Variability:
    """Heart rate variability.

    Attributes:
        rmssd_ms: root mean square of successive differences of normal intervals, ms.
        sdnn_ms: standard deviation of normal intervals, ms.
        mean_ibi_ms: mean of normal intervals, ms.
        beats: beats found.
        intervals: normal intervals between them.
        artefacts: intervals left out as missed, extra or ectopic beats.
        seconds: length of the signal in which beats were looked for.
    """

    rmssd_ms: float
    sdnn_ms: float
    mean_ibi_ms: float
    beats: int
    intervals: int
    artefacts: int
    seconds: float


def variability(beats: Beats) -> Variability | str:
    """Variability of beats, or, in words, why there is none.

    An interval is normal if it lies between 0.30 and 1.67 s (the band of the pulse) and within 20 %
    of the median of the eleven intervals around it in its span; all others are taken for missed,
    extra or ectopic beats and left out, not repaired. RMSSD takes the differences of normal
    intervals that follow each other directly, SDNN all normal intervals (n − 1 in the divisor).

    At least 30 s of signal, 20 normal intervals, and 80 % of all intervals normal are required.

    References:
        Task Force of ESC and NASPE, "Heart rate variability: standards of measurement", Circulation
        93(5), 1996: the definitions.
        Malik et al., "Heart rate variability in relation to prognosis after myocardial infarction:
        selection of optimal processing techniques", European Heart Journal 10(12), 1989: 20 %.
        Munoz et al., "Validity of (ultra-)short recordings for heart rate variability
        measurements", PLoS ONE 10(9), 2015: 30 s.
    """
    if beats.seconds < LEAST_S - 0.5:  # a 30 s film ends with its last frame, not after it
        return (
            f"{beats.seconds:.0f} s of reliable pulse; heart rate variability needs at least "
            f"{LEAST_S:.0f} s"
        )
    same = np.diff(beats.span) == 0
    intervals = np.diff(beats.times_s)
    normal = np.zeros(len(intervals), dtype=np.bool_)
    for number in np.unique(beats.span):
        part = same & (beats.span[1:] == number)
        normal[part] = _normal(intervals[part])
    count, total = int(np.sum(normal)), int(np.sum(same))
    if count < LEAST_INTERVALS:
        return (
            f"{count} normal intervals between beats; heart rate variability needs at least "
            f"{LEAST_INTERVALS}"
        )
    if count < LEAST_NORMAL * total:
        return (
            f"only {count} of {total} intervals between beats are normal; heart rate variability "
            f"needs {LEAST_NORMAL:.0%}"
        )
    accepted = intervals[normal]
    follow = normal[1:] & normal[:-1]
    steps = np.diff(intervals)[follow]
    return Variability(
        rmssd_ms=float(1000 * np.sqrt(np.mean(steps**2))),
        sdnn_ms=float(1000 * np.std(accepted, ddof=1)),
        mean_ibi_ms=float(1000 * np.mean(accepted)),
        beats=len(beats.times_s),
        intervals=count,
        artefacts=total - count,
        seconds=beats.seconds,
    )


def _normal(intervals: Array) -> NDArray[np.bool_]:
    """Which of the intervals `(N,)` of one span are normal."""
    if len(intervals) == 0:
        return np.zeros(0, dtype=np.bool_)
    usual = median_filter(intervals, size=min(NEIGHBOURS, len(intervals)), mode="nearest")
    near = np.abs(intervals - usual) <= MOST_DEVIATION * usual
    return np.asarray(near & (intervals >= SHORTEST_S) & (intervals <= LONGEST_S))
