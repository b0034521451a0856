"""Variability of noisy waves: trains of beats with known RMSSD and SDNN; NeuroKit2 as oracle."""

import numpy as np
import pytest

from rppg.signals import (
    Beats,
    Variability,
    find_beats,
    local_rate_hz,
    rate_series,
    variability,
    variability_of_wave,
)
from rppg.signals.protocol import Protocol, measure
from rppg.signals.refine import modulation_gain, refine

FPS = 30.0
SECONDS = 60.0

RHYTHMS = {
    "metronome": (0.0, 0.0),
    "respiratory sinus arrhythmia": (0.06, 0.0),
    "irregular": (0.0, 0.06),
    "both": (0.04, 0.03),
}
"""Depth of the sinus arrhythmia and standard deviation of the intervals, both relative."""


def beat_times(bpm: float, rhythm: str, seed: int) -> np.ndarray:
    depth, spread = RHYTHMS[rhythm]
    number = np.arange(int(1.2 * (SECONDS + 10) * bpm / 60))
    breath = np.sin(2 * np.pi * 0.25 * number * 60 / bpm)
    noise = np.random.default_rng(seed).standard_normal(len(number))
    return -3 + np.cumsum(60 / bpm * (1 + depth * breath + spread * noise))


def train(beats_s: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """A wave of standard deviation 1 with a systole at each of the beats, and white noise."""
    times_s = np.arange(round(SECONDS * FPS)) / FPS
    width_s = 0.13 * np.median(np.diff(beats_s))
    wave = np.exp(-0.5 * ((times_s[:, None] - beats_s) / width_s) ** 2).sum(1)
    wave = (wave - wave.mean()) / wave.std()
    return wave + noise * np.random.default_rng(1000 + seed).standard_normal(len(wave))


def filtered(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The wave in the pulse's band, and the heart rate at each sample."""
    clean = measure(wave, Protocol()).bvp
    return clean, local_rate_hz(rate_series(clean, FPS), FPS, len(clean), 0.8)


def found_in(wave: np.ndarray) -> Variability:
    clean, rate_hz = filtered(wave)
    beats, found = variability_of_wave(clean, FPS, rate_hz)
    assert isinstance(found, Variability), found
    assert found.beats == len(beats.times_s)
    return found


def true_values(beats_s: np.ndarray) -> tuple[float, float]:
    inside = beats_s[(beats_s > 0.5) & (beats_s < SECONDS - 0.5)]
    intervals_ms = 1000 * np.diff(inside)
    rmssd = np.sqrt(np.mean(np.diff(intervals_ms) ** 2))
    return float(rmssd), float(np.std(intervals_ms, ddof=1))


@pytest.mark.parametrize("rhythm", RHYTHMS)
@pytest.mark.parametrize("bpm", [55.0, 75.0, 110.0])
def test_without_noise_the_values_are_those_of_the_train(bpm: float, rhythm: str) -> None:
    beats_s = beat_times(bpm, rhythm, seed=1)
    found = found_in(train(beats_s, 0.0, seed=1))
    for value, true in zip((found.rmssd_ms, found.sdnn_ms), true_values(beats_s), strict=True):
        if rhythm == "metronome":
            assert value is None or value < 2
        else:
            assert value == pytest.approx(true, rel=0.15, abs=1)
    assert found.noise is not None and found.noise < 0.1
    assert found.mean_ibi_ms == pytest.approx(60_000 / bpm, rel=0.02)


@pytest.mark.parametrize("noise", [pytest.param(0.3, marks=pytest.mark.slow), 0.6])
def test_a_metronome_in_noise_has_no_variability(noise: float) -> None:
    values = []
    for seed in range(10):
        wave = train(beat_times(75.0, "metronome", 0), noise, seed)
        found = found_in(wave)
        clean, rate_hz = filtered(wave)
        raw = variability(find_beats(clean, FPS, rate_hz))
        assert isinstance(raw, Variability) and raw.rmssd_ms is not None and raw.rmssd_ms > 10
        values += [found.rmssd_ms, found.sdnn_ms]
    # One standard deviation above zero is one of six cases.
    assert sum(value is None for value in values) >= 14


def test_the_uncertainty_covers_the_error_in_two_of_three() -> None:
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        bpm, noise = rng.uniform(50, 120), rng.uniform(0.1, 0.6)
        rhythm = str(rng.choice(list(RHYTHMS)[1:]))
        beats_s = beat_times(bpm, rhythm, seed)
        wave = train(beats_s, noise, seed)
        clean, rate_hz = filtered(wave)
        found = variability_of_wave(clean, FPS, rate_hz)[1]
        if isinstance(found, str):
            continue
        for name, true in zip(("rmssd", "sdnn"), true_values(beats_s), strict=True):
            value, uncertainty = (getattr(found, name + end) for end in ("_ms", "_uncertainty_ms"))
            if value is not None:
                assert 0 < uncertainty < value
                covered.append(abs(value - true) <= uncertainty)
    assert len(covered) > 40
    assert np.mean(covered) > 0.68


def test_uncertainty_falls_with_noise_and_a_wave_of_noise_has_no_value() -> None:
    beats_s = beat_times(75.0, "both", 3)
    uncertainty = []
    for noise in (0.0, 0.2, 0.4, 0.6):
        found = found_in(train(beats_s, noise, 3)).rmssd_uncertainty_ms
        assert found is not None
        uncertainty.append(found)
    assert uncertainty == sorted(uncertainty)
    drowned = found_in(train(beats_s, 1.1, 3))
    assert drowned.noise is not None and drowned.noise > 0.12
    assert drowned.rmssd_ms is None and drowned.sdnn_ms is None
    assert drowned.rmssd_uncertainty_ms is None and drowned.sdnn_uncertainty_ms is None
    assert drowned.mean_ibi_ms == pytest.approx(800, rel=0.03)


def test_a_pulse_that_changes_its_amplitude_is_taken_for_noise_not_for_variability() -> None:
    breath = 1 + 0.2 * np.sin(2 * np.pi * 0.25 * np.arange(round(SECONDS * FPS)) / FPS)
    found = found_in(train(beat_times(75.0, "metronome", 4), 0.0, 4) * breath)
    assert found.rmssd_ms is None and found.sdnn_ms is None


def test_no_beat_at_a_lost_face_and_no_interval_across() -> None:
    clean, rate_hz = filtered(train(beat_times(75.0, "metronome", 0), 0.0, 0))
    rate_hz[900:960] = np.nan
    beats, found = variability_of_wave(clean, FPS, rate_hz)
    assert isinstance(found, Variability)
    assert not np.any((beats.times_s > 30) & (beats.times_s < 32))
    assert found.intervals == found.beats - 2 and found.seconds == pytest.approx(58, abs=0.1)


def test_no_rate_and_too_short() -> None:
    beats, reason = variability_of_wave(np.zeros(900), FPS, np.full(900, np.nan))
    assert len(beats.times_s) == 0 and isinstance(reason, str) and "0 s" in reason
    clean, rate_hz = filtered(train(beat_times(75.0, "metronome", 0), 0.0, 0)[:600])
    beats, reason = variability_of_wave(clean, FPS, rate_hz)
    assert len(beats.times_s) > 20 and isinstance(reason, str) and "at least 30 s" in reason


@pytest.mark.parametrize("width_hz", [0.15, 0.3])
def test_the_filters_gain_of_a_modulation(width_hz: float) -> None:
    times_s = np.arange(round(120 * FPS)) / FPS
    rate_hz = 1.5
    hz = np.array([0.05, 0.2, 0.4])  # a wider band would reach the second harmonic's
    for modulation_hz, expected in zip(hz, modulation_gain(hz, width_hz, FPS), strict=True):
        envelope = 1 + 0.05 * np.sin(2 * np.pi * modulation_hz * times_s)
        wave = envelope * np.cos(2 * np.pi * rate_hz * times_s)
        found = refine(wave, np.full(len(wave), rate_hz), FPS, width_hz)
        line = 2 * np.exp(-2j * np.pi * (rate_hz + modulation_hz) * times_s)
        inside = slice(300, -300)  # 100 s: a whole number of periods
        share = abs(np.mean((found * line)[inside])) / (0.05 / 2)
        assert share == pytest.approx(expected, abs=0.05)


def test_neurokit_agrees_on_beats_and_on_values() -> None:
    neurokit = pytest.importorskip("neurokit2", reason="the oracle is in the extra `oracle`")
    for rhythm in list(RHYTHMS)[1:]:
        beats_s = beat_times(75.0, rhythm, 5)
        inside = beats_s[(beats_s > 0.5) & (beats_s < SECONDS - 0.5)]
        oracle = neurokit.hrv_time(np.round(1000 * inside).astype(int), sampling_rate=1000)
        exact = variability(Beats(inside, np.zeros(len(inside), dtype=np.intp), SECONDS))
        assert isinstance(exact, Variability) and exact.artefacts == 0
        found = found_in(train(beats_s, 0.0, 5))
        for value, of_wave, name in (
            (exact.rmssd_ms, found.rmssd_ms, "HRV_RMSSD"),
            (exact.sdnn_ms, found.sdnn_ms, "HRV_SDNN"),
        ):
            true = float(oracle[name].iloc[0])
            assert value == pytest.approx(true, abs=1)  # its peaks are whole milliseconds
            assert of_wave == pytest.approx(true, rel=0.15, abs=1)
