"""A signal in stretches, between which it is missing for long: measured apart, then joined."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from rppg.signals.beats import Beats
from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.heart_rate import halve_doubled, heart_rate_bpm, peak_frequency_hz
from rppg.signals.pulse_evidence import PulseEvidence
from rppg.signals.quality import features_of_spectrum
from rppg.signals.rates import RateSeries
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]


def pooled_rate(
    waves: Sequence[Array], fps: float, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> tuple[float, Array]:
    """Compute the heart rate in bpm of all stretches together, and its features `(4,)`.

    It is the peak of the mean of their spectra, weighted by length, as in Welch's method: their
    phases to each other are unknown. The features are those of
    `rppg.signals.quality.quality_evidence`, with the stretches as the signal's parts.

    Args:
        waves: filtered BVPs `(T,)`, at least one.
        fps: sampling rate in Hz.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
    """
    frequencies, _ = power_spectrum(max(waves, key=len), fps)
    power = np.zeros((1, len(frequencies)))
    for wave in waves:
        power += len(wave) * np.interp(frequencies, *power_spectrum(wave, fps))
    peak_hz = peak_frequency_hz(frequencies, power, low_hz, high_hz)
    rate_bpm = 60 * halve_doubled(frequencies, power, peak_hz, low_hz, high_hz)
    parts = np.stack([heart_rate_bpm(wave[None], fps, low_hz, high_hz) for wave in waves])
    lobe_hz = max(0.2, 2 * fps / min(map(len, waves)))
    features = features_of_spectrum(frequencies, power, parts, lobe_hz, low_hz, high_hz)
    return float(rate_bpm[0]), features[0]


def join_rates(series: Sequence[RateSeries], start_s: Sequence[float]) -> RateSeries:
    """Join the rates of stretches that start at `start_s` in seconds."""
    if len(series) == 1 and start_s[0] == 0:
        return series[0]
    evidence = [rates.evidence for rates in series if rates.evidence is not None]
    features = [rates.features for rates in series if rates.features is not None]
    return RateSeries(
        np.concatenate([rates.start_s + s for rates, s in zip(series, start_s, strict=True)]),
        np.concatenate([rates.end_s + s for rates, s in zip(series, start_s, strict=True)]),
        np.concatenate([rates.hr_bpm for rates in series]),
        np.concatenate([rates.quality for rates in series]),
        _join_evidence(evidence) if len(evidence) == len(series) else None,
        np.concatenate(features) if len(features) == len(series) else None,
    )


def pool_evidence(evidence: Sequence[PulseEvidence], seconds: Sequence[float]) -> PulseEvidence:
    """Average the evidence `(W,)` on the same rates in several stretches, weighted by length."""
    total = sum(seconds)
    return PulseEvidence(
        *(
            sum(
                getattr(part, field.name) * (s / total)
                for part, s in zip(evidence, seconds, strict=True)
            )
            for field in fields(PulseEvidence)
        )
    )


def join_beats(beats: Sequence[Beats], start_s: Sequence[float]) -> Beats:
    """Join the beats of stretches that start at `start_s` in seconds; none spans two of them."""
    if len(beats) == 1 and start_s[0] == 0:
        return beats[0]
    spans, count = [], 0
    for part in beats:
        spans.append(part.span + count)
        count += int(part.span.max(initial=-1)) + 1
    return Beats(
        np.concatenate([part.times_s + s for part, s in zip(beats, start_s, strict=True)]),
        np.concatenate(spans),
        sum(part.seconds for part in beats),
    )


def _join_evidence(evidence: Sequence[PulseEvidence]) -> PulseEvidence:
    return PulseEvidence(
        *(
            np.concatenate([getattr(part, field.name) for part in evidence])
            for field in fields(PulseEvidence)
        )
    )
