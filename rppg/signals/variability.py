"""Heart rate variability in the time domain, from the intervals between beats."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rppg.signals.beats import Beats

Array = NDArray[np.float64]

LEAST_S = 30.0
"""Minimum length: RMSSD and SDNN of shorter signals differ too much from those of five minutes."""
LEAST_INTERVALS = 20
LEAST_NORMAL = 0.8
"""Minimum share of normal intervals; with fewer, the beats are unreliable."""
MOST_DEVIATION = 0.2
NEIGHBOURS = 11
SHORTEST_S, LONGEST_S = 60 / 198, 60 / 36


@dataclass(frozen=True)
class Variability:
    """Heart rate variability.

    Attributes:
        rmssd_ms: root mean square of successive differences of normal intervals, ms; None if noise
            in the wave hides it.
        sdnn_ms: standard deviation of normal intervals, ms; None likewise.
        mean_ibi_ms: mean of normal intervals, ms.
        beats: number of beats.
        intervals: number of normal intervals between them.
        artefacts: number of intervals that were left out as missed, extra or ectopic beats.
        seconds: length of the signal that was searched for beats.
        rmssd_uncertainty_ms: standard uncertainty of RMSSD, ms, by noise in the wave and by the
            filter; None if it is unknown, as for beats without their wave, or
            where the noise is too strong to estimate it.
        sdnn_uncertainty_ms: that of SDNN.
        noise: standard deviation of the noise around the heart rate, relative to the pulse's
            amplitude; None if unknown.
    """

    rmssd_ms: float | None
    sdnn_ms: float | None
    mean_ibi_ms: float
    beats: int
    intervals: int
    artefacts: int
    seconds: float
    rmssd_uncertainty_ms: float | None = None
    sdnn_uncertainty_ms: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Intervals:
    """The intervals between successive beats, those across two spans included.

    Attributes:
        seconds: `(N − 1,)`.
        normal: `(N − 1,)` whether the interval is normal; never across two spans.
        total: number of intervals within spans.
    """

    seconds: Array
    normal: NDArray[np.bool_]
    total: int

    @property
    def successive(self) -> NDArray[np.bool_]:
        """`(N − 2,)` whether an interval and the next one are normal."""
        return self.normal[1:] & self.normal[:-1]


def variability(beats: Beats) -> Variability | str:
    """Compute the variability of beats, or return the reason why it is undefined.

    The beats count as exact, as those of a contact sensor; noise in a video's wave raises both
    values, which `variability_of_wave` allows for. RMSSD is over the differences of successive
    normal intervals, SDNN over all normal intervals (n − 1 in the divisor); `find_intervals` has
    what is normal and what is required.

    References:
        Task Force of ESC and NASPE, "Heart rate variability: standards of measurement", Circulation
        93(5), 1996: the definitions.
    """
    found = find_intervals(beats)
    if isinstance(found, str):
        return found
    accepted = found.seconds[found.normal]
    steps = np.diff(found.seconds)[found.successive]
    return Variability(
        rmssd_ms=float(1000 * np.sqrt(np.mean(steps**2))),
        sdnn_ms=float(1000 * np.std(accepted, ddof=1)),
        mean_ibi_ms=float(1000 * np.mean(accepted)),
        beats=len(beats.times_s),
        intervals=len(accepted),
        artefacts=found.total - len(accepted),
        seconds=beats.seconds,
    )


def find_intervals(beats: Beats) -> Intervals | str:
    """Return the intervals between beats, or the reason why they don't suffice for variability.

    An interval is normal if it lies between 0.30 and 1.67 s (the band of the pulse) and within 20 %
    of the median of the eleven intervals around it in its span. Others come from missed, extra or
    ectopic beats; they are left out, not repaired.

    Required are 30 s of signal, 20 normal intervals, and 80 % of all intervals normal.

    References:
        Malik et al., "Heart rate variability in relation to prognosis after myocardial infarction:
        selection of optimal processing techniques", European Heart Journal 10(12), 1989: 20 %.
        Munoz et al., "Validity of (ultra-)short recordings for heart rate variability
        measurements", PLoS ONE 10(9), 2015: 30 s.
    """
    if beats.seconds < LEAST_S - 0.5:  # tolerance: a video of 30 s ends at its last frame
        return (
            f"{beats.seconds:.0f} s of reliable pulse; heart rate variability needs at least "
            f"{LEAST_S:.0f} s"
        )
    same = np.diff(beats.span) == 0
    intervals = np.diff(beats.times_s)
    normal = np.zeros(len(intervals), dtype=np.bool_)
    for span in np.unique(beats.span):
        part = same & (beats.span[1:] == span)
        normal[part] = _is_normal(intervals[part])
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
    return Intervals(intervals, normal, total)


def _is_normal(intervals: Array) -> NDArray[np.bool_]:
    """Return whether each of the intervals `(N,)` of one span is normal."""
    if len(intervals) == 0:
        return np.zeros(0, dtype=np.bool_)
    count = min(NEIGHBOURS, len(intervals))
    padded = np.pad(intervals, (count // 2, count - 1 - count // 2), mode="edge")
    median = np.sort(sliding_window_view(padded, count))[:, count // 2]
    near = np.abs(intervals - median) <= MOST_DEVIATION * median
    return np.asarray(near & (intervals >= SHORTEST_S) & (intervals <= LONGEST_S))
