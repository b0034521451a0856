"""Heart rates as ground truth, for recordings without a wave: of a watch or a chest strap."""

from pathlib import Path

import numpy as np

from rppg.data.reading import RATES_BPM
from rppg.data.wave_fault import usable_samples
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse

WAVE_HZ = 30.0
MOST_GAP_S = 10.0
"""Between two heart rates further apart, none is known."""


def wave_of_rates(rate: HeartRate, path: Path) -> Pulse:
    """Return a sine with these heart rates, which the protocol measures as it does any wave.

    Only its rate means anything: its phase, shape and beats are made up. It is NaN where no heart
    rate is known. Each one holds for as long as the median step after it.

    Raises:
        InputError: less than two usable heart rates.
    """
    likely = (rate.bpm >= RATES_BPM[0]) & (rate.bpm <= RATES_BPM[1])
    usable = usable_samples(Pulse(rate.times_s, np.where(likely, rate.bpm, np.nan)))
    times, bpm = usable.times_s, usable.bvp
    if len(times) < 2:
        raise InputError(
            f"{path}: {len(times)} of {len(rate.bpm)} heart rates are usable; expected one every "
            f"{MOST_GAP_S:g} s or more often, from {RATES_BPM[0]:g} to {RATES_BPM[1]:g} bpm"
        )
    step_s = float(np.median(np.diff(times)))
    if step_s > MOST_GAP_S:
        raise InputError(
            f"{path}: a heart rate every {step_s:.3g} s; expected one every {MOST_GAP_S:g} s or "
            "more often; are the times in seconds?"
        )
    grid = np.arange(times[0], times[-1] + step_s, 1 / WAVE_HZ)
    phase = np.cumsum(np.interp(grid, times, bpm)) / 60 / WAVE_HZ
    wave = np.sin(2 * np.pi * phase)
    after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    gap = times[after] - times[after - 1] > MOST_GAP_S
    wave[gap & (grid > times[after - 1]) & (grid < times[after])] = np.nan
    return Pulse(grid, wave)
