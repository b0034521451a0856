"""Pulse signals on a uniform clock: resampling, filters, spectrum, heart rate, quality, windows."""

from rppg.signals.filters import bandpass, detrend
from rppg.signals.quality import pulse_power_share, quality
from rppg.signals.rates import RateCourse, rate_course
from rppg.signals.resample import resample, resample_frames, uniform_grid
from rppg.signals.spectrum import heart_rate_bpm, power_spectrum
from rppg.signals.windows import sliding_windows, valid_share

__all__ = [
    "RateCourse",
    "bandpass",
    "detrend",
    "heart_rate_bpm",
    "power_spectrum",
    "pulse_power_share",
    "quality",
    "rate_course",
    "resample",
    "resample_frames",
    "sliding_windows",
    "uniform_grid",
    "valid_share",
]
