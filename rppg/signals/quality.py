"""Quality index: whether a heart rate can be relied on."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.heart_rate import heart_rate_bpm, peak_frequency_hz
from rppg.signals.pulse_evidence import PulseEvidence
from rppg.signals.spectrum import power_spectrum

Array = NDArray[np.float64]

HALF_WIDTH_HZ = 0.1
"""Half width of the bands around the heart rate and its double that count as pulse: ±6 bpm."""
PART = 0.6
"""Length of each of the three overlapping parts, as a share of the window."""
RELIABLE = 0.5
"""Quality index from which a heart rate counts as reliable: it is then more likely right than
wrong, if one window in four has no pulse. On validation subjects 11 % of the reliable windows are
off by more than 5 bpm, and 59 % of the others (`benchmarks.quality`)."""
RIGHT_BPM = 5.0

WEIGHTS = (0.0, -0.26, -0.41, -0.69)
BIAS = 1.94
"""Coefficients of a logistic regression on training subjects of the synthetic domains, printed by
`python -m benchmarks.quality --fit`. Each domain and method has the same weight, and two sevenths
of the weight are on the same people rendered without a pulse."""

SIDE = 0.15
"""Difference between the sides of the face that a living one rarely reaches: on training subjects
of each domain 75 to 90 % have less."""

VERIFIED_WEIGHTS = (0.91, -0.04, -0.23, -0.55, 0.09, 3.0, 1.79, 5.39, 2.37, 3.5)
VERIFIED_BIAS = 9.28
"""The same with the evidence from the video, printed along with them. Here three quarters of the
weight are on recordings without a pulse, four kinds of which `rppg.synthetic.variations` has. The
last weight was chosen on validation subjects, and the bias raised with it: few lamps of the
training subjects are missed by the other features."""


def quality(
    x: ArrayLike,
    fps: float,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    evidence: PulseEvidence | None = None,
) -> Array:
    """Compute the quality index `(...)` of a BVP `(..., T)`.

    It is the probability that the heart rate is within 5 bpm of the truth: a logistic function of
    `quality_evidence`, fitted to 10 s windows of several methods on the synthetic domains.
    `docs/results/quality_tuned.json` has its calibration on other subjects. It is 0 if the spectrum
    has no peak.

    From the wave alone it can't detect a lamp or a motion that is as periodic as a pulse. Evidence
    from the video can. The fit then has three windows without a pulse to one with a pulse, so the
    index is lower than the probability among people.

    Args:
        x: `(..., T)`; with evidence `(W, T)`.
        fps: sampling rate in Hz.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
        evidence: on the W windows, as from `rppg.estimators.verified_rates`. Where it is NaN, the
            index is that of the wave alone.
    """
    return quality_of_features(quality_evidence(x, fps, low_hz, high_hz), evidence)


def quality_of_features(features: Array, evidence: PulseEvidence | None = None) -> Array:
    """Compute the quality index `(...)` from the features `(..., 4)` of `quality_evidence`.

    Args:
        features: with evidence `(W, 4)`.
        evidence: as for `quality`.
    """
    score = features @ np.array(WEIGHTS) + BIAS
    if evidence is not None:
        features = np.concatenate([features, verified_features(evidence)], axis=-1)
        verified = features @ np.array(VERIFIED_WEIGHTS) + VERIFIED_BIAS
        score = np.where(np.isnan(evidence.agreement), score, verified)
    return np.asarray(np.nan_to_num(1 / (1 + np.exp(-score)), nan=0.0))


def verified_features(evidence: PulseEvidence) -> Array:
    """Compute the features `(W, 6)` that evidence from the video adds to `quality_evidence`.

    1. log odds of the regions' agreement;
    2. log of the share that neither light nor motion explains, at most a half: as much is explained
       by chance, or by a trace of the pulse in the motion;
    3. log of one less the line of light or motion at the heart rate;
    4. `exp(-d / 5)` of the distance d, in bpm, to the heart rate of a second method; a half if
       there is none;
    5. log of the reference network's score;
    6. less the square of the difference between the sides of the face, in units of 0.15, at most 4.
    """
    unexplained = 1 - np.maximum(evidence.light, evidence.motion)
    columns = [
        _log_odds(evidence.agreement),
        np.log(np.clip(unexplained, 0.001, 0.5)),
        np.log(np.clip(1 - np.maximum(evidence.light_line, evidence.motion_line), 0.01, 1)),
        np.nan_to_num(np.exp(-evidence.second_bpm / RIGHT_BPM), nan=0.5),
        np.log(np.clip(evidence.score, 0, 1) + 0.001),
        -(np.minimum(np.abs(evidence.side) / SIDE, 2) ** 2),
    ]
    return np.stack(columns, axis=-1)


def quality_evidence(
    x: ArrayLike,
    fps: float,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    neighbours_bpm: ArrayLike | None = None,
) -> Array:
    """Compute the quality index's features `(..., 4)` of a BVP `(..., T)`; NaN without a peak.

    1. log odds of the share of the band's power within ±6 bpm of the peak and of its double;
    2. log of the highest power elsewhere in the band, relative to the peak;
    3. log of 1 + the largest difference, in bpm, between the heart rate of the whole signal and
       those of its first, middle and last 60 %;
    4. log of 1 + the largest difference, in bpm, between that heart rate and its neighbours'; the
       third again if no neighbour is known.

    Args:
        x: `(..., T)`.
        fps: sampling rate in Hz.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
        neighbours_bpm: `(..., N)` heart rates of windows that overlap this one by half; NaN if
            unknown.
    """
    signal = np.asarray(x, dtype=np.float64)
    total = signal.shape[-1]
    if total < 6:
        return np.full((*signal.shape[:-1], 4), np.nan)
    frequencies, power = power_spectrum(signal, fps)
    length = round(PART * total)
    parts = [signal[..., i : i + length] for i in (0, (total - length) // 2, total - length)]
    rates = np.stack([heart_rate_bpm(part, fps, low_hz, high_hz) for part in parts])
    lobe_hz = max(0.2, 2 * fps / total)  # half of a Hann window's main lobe is 2 / duration
    return features_of_spectrum(frequencies, power, rates, lobe_hz, low_hz, high_hz, neighbours_bpm)


def features_of_spectrum(
    frequencies: Array,
    power: Array,
    part_bpm: Array,
    lobe_hz: float,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
    neighbours_bpm: ArrayLike | None = None,
) -> Array:
    """Compute the features `(..., 4)` of `quality_evidence` from a spectrum.

    Args:
        frequencies: `(F,)` in Hz.
        power: `(..., F)`.
        part_bpm: `(P, ...)` heart rates of parts of the signal.
        lobe_hz: distance from the peak, and from its double, up to which power is theirs.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
        neighbours_bpm: as for `quality_evidence`.
    """
    peak = peak_frequency_hz(frequencies, power, low_hz, high_hz)
    share = pulse_power_share(frequencies, power, peak, low_hz, high_hz)
    in_band = (frequencies >= low_hz) & (frequencies <= high_hz)
    f, p = frequencies[in_band], power[..., in_band]
    distance = np.minimum(np.abs(f - peak[..., None]), np.abs(f - 2 * peak[..., None]))
    highest = np.max(p, axis=-1)
    elsewhere = np.max(np.where(distance > lobe_hz, p, 0.0), axis=-1)
    rival = elsewhere / np.where(highest > 0, highest, np.nan)
    away = np.abs(part_bpm - 60 * peak)
    away = np.max(np.where(np.isnan(away), 60 * (high_hz - low_hz), away), axis=0)
    differs = away
    if neighbours_bpm is not None:
        differences = np.abs(np.asarray(neighbours_bpm) - 60 * peak[..., None])
        known = np.isfinite(differences)
        largest = np.max(np.where(known, differences, 0.0), axis=-1, initial=0.0)
        differs = np.where(np.any(known, axis=-1), largest, away)
    evidence = [_log_odds(share), np.log(rival + 0.01), np.log1p(away), np.log1p(differs)]
    return np.where(np.isnan(peak)[..., None], np.nan, np.stack(evidence, axis=-1))


def _log_odds(share: Array) -> Array:
    return np.asarray(np.log((share + 0.01) / (1.01 - share)))


def pulse_power_share(
    frequencies: Array,
    power: Array,
    pulse_hz: ArrayLike,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> Array:
    """Compute the share `(...)` of the band's power within ±0.1 Hz of `pulse_hz` and of its double.

    NaN where `pulse_hz` is NaN or the band holds no power.

    Args:
        frequencies: `(F,)` in Hz.
        power: `(..., F)`.
        pulse_hz: `(...)` in Hz.
        low_hz: lower end of the band.
        high_hz: upper end of the band.
    """
    in_band = (frequencies >= low_hz) & (frequencies <= high_hz)
    f, p = frequencies[in_band], power[..., in_band]
    pulse = np.asarray(pulse_hz, dtype=np.float64)[..., None]
    is_pulse = (np.abs(f - pulse) <= HALF_WIDTH_HZ) | (np.abs(f - 2 * pulse) <= HALF_WIDTH_HZ)
    total = np.sum(p, axis=-1)
    share = np.sum(np.where(is_pulse, p, 0.0), axis=-1) / np.where(total > 0, total, np.nan)
    return np.asarray(np.where(np.isnan(pulse[..., 0]), np.nan, share))
