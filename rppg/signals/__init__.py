"""Signal processing of the pulse: resampling, filters, spectrum, heart rate, quality, beats."""

from typing import TYPE_CHECKING

from rppg.renamed import renamed
from rppg.signals.beats import Beats, find_beats, local_rate_hz
from rppg.signals.continuity import continuous_rate_series
from rppg.signals.filters import bandpass, detrend
from rppg.signals.heart_rate import heart_rate_bpm
from rppg.signals.quality import RELIABLE, pulse_power_share, quality, quality_evidence
from rppg.signals.rates import RateSeries, rate_series
from rppg.signals.refine import refine
from rppg.signals.resample import resample, resample_frames, uniform_grid
from rppg.signals.spectrum import power_spectrum
from rppg.signals.variability import Variability, variability
from rppg.signals.wave_variability import variability_of_wave
from rppg.signals.windows import sliding_windows, valid_share

__all__ = [
    "RELIABLE",
    "Beats",
    "RateSeries",
    "Variability",
    "bandpass",
    "continuous_rate_series",
    "detrend",
    "find_beats",
    "heart_rate_bpm",
    "local_rate_hz",
    "power_spectrum",
    "pulse_power_share",
    "quality",
    "quality_evidence",
    "rate_series",
    "refine",
    "resample",
    "resample_frames",
    "sliding_windows",
    "uniform_grid",
    "valid_share",
    "variability",
    "variability_of_wave",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {
            "RateCourse": ("rppg.signals.rates.RateSeries", RateSeries),
            "rate_course": ("rppg.signals.rates.rate_series", rate_series),
        },
    )
