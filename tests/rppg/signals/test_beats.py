"""Beats and variability on pulse trains whose intervals are known, and on what is no pulse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rppg.evaluation import Protocol, measure
from rppg.signals import Beats, Variability, find_beats, local_rate_hz, rate_series, variability

FPS = 30.0
SYSTOLE = 0.26


def pulse_train(intervals_s: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """A wave with a dicrotic notch, and the times of its systoles; the first beat is at −3 s."""
    onsets = -3 + np.concatenate([[0.0], np.cumsum(intervals_s)])
    phase = np.interp(np.arange(round(seconds * FPS)) / FPS, onsets, np.arange(len(onsets)))
    wave = np.zeros_like(phase)
    for beat in (-1.0, 0.0, 1.0):
        position = phase % 1.0 + beat
        wave += np.exp(-0.5 * ((position - SYSTOLE) / 0.13) ** 2)
        wave += 0.25 * np.exp(-0.5 * ((position - 0.6) / 0.14) ** 2)
    systoles = onsets[:-1] + SYSTOLE * np.diff(onsets)
    return wave - wave.mean(), systoles[(systoles > 0.5) & (systoles < seconds - 0.5)]


def breathing(bpm: float, depth: float, jitter: float, seed: int, seconds: float) -> np.ndarray:
    number = np.arange(int((seconds + 10) * bpm / 60 * 1.3))
    noise = np.random.default_rng(seed).standard_normal(len(number))
    return 60 / bpm * (1 + depth * np.sin(2 * np.pi * 0.25 * number * 60 / bpm) + jitter * noise)


def beats_of(wave: np.ndarray, valid: np.ndarray | None = None) -> Beats:
    clean = measure(wave, Protocol()).bvp
    rate = local_rate_hz(rate_series(clean, FPS, valid=valid), FPS, len(clean), 0.8)
    return find_beats(clean, FPS, rate if valid is None else np.where(valid, rate, np.nan))


def found_in(wave: np.ndarray) -> Variability:
    found = variability(beats_of(wave))
    assert isinstance(found, Variability), found
    return found


@pytest.mark.parametrize("bpm", [48.0, 60.0, 75.0, 100.0, 140.0])
def test_a_metronome_has_no_variability(bpm: float) -> None:
    found = found_in(pulse_train(np.full(400, 60 / bpm), 60)[0])
    assert found.rmssd_ms < 2 and found.sdnn_ms < 2
    assert found.mean_ibi_ms == pytest.approx(60_000 / bpm, abs=0.2)
    assert found.artefacts == 0 and found.seconds == pytest.approx(60, abs=0.1)


@given(
    bpm=st.floats(50, 140),
    depth=st.floats(0.0, 0.06),
    jitter=st.floats(0.0, 0.03),
    seed=st.integers(0, 1000),
)
def test_known_intervals_at_thirty_frames_a_second(
    bpm: float, depth: float, jitter: float, seed: int
) -> None:
    wave, systoles = pulse_train(breathing(bpm, depth, jitter, seed, 60), 60)
    beats = beats_of(wave)
    nearest = np.min(np.abs(beats.times_s[:, None] - systoles), axis=1)
    assert np.median(nearest) < 0.02
    found = found_in(wave)
    intervals = 1000 * np.diff(systoles)
    true = np.sqrt(np.mean(np.diff(intervals) ** 2))
    assert found.rmssd_ms == pytest.approx(true, rel=0.1, abs=3)
    assert found.sdnn_ms == pytest.approx(np.std(intervals, ddof=1), rel=0.1, abs=3)
    assert found.mean_ibi_ms == pytest.approx(np.mean(intervals), rel=0.01)


@pytest.mark.parametrize("colour", ["white", "brown"])
def test_noise_has_no_variability(colour: str) -> None:
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal(1800)
        beats = beats_of(noise if colour == "white" else np.cumsum(noise))
        assert isinstance(variability(beats), str)
        if colour == "white":
            assert len(beats.times_s) == 0


def test_a_lost_face_breaks_the_series_and_is_never_bridged() -> None:
    wave, _ = pulse_train(np.full(400, 0.8), 60)
    valid = np.ones(1800, dtype=np.bool_)
    valid[900:960] = False
    beats = beats_of(wave, valid)
    assert not np.any((beats.times_s > 30) & (beats.times_s < 32))
    assert np.unique(beats.span).size == 2 and beats.seconds == pytest.approx(58, abs=0.1)
    found = variability(beats)
    assert isinstance(found, Variability)
    assert found.intervals == len(beats.times_s) - 2 and found.rmssd_ms < 5
    shifted = Beats(beats.times_s + 0.3 * beats.span, beats.span, beats.seconds)
    assert variability(shifted) == variability(beats)


def test_missed_and_ectopic_beats_are_left_out_not_repaired() -> None:
    times = np.cumsum(np.full(60, 0.8))
    one = np.zeros(59, dtype=np.intp)
    missed = variability(Beats(np.delete(times, 30), one, 48.0))
    assert isinstance(missed, Variability)
    assert missed.artefacts == 1 and missed.rmssd_ms < 1e-6 and missed.sdnn_ms < 1e-6
    early = times[:59].copy()
    early[30] -= 0.25  # a short interval, then a long one
    ectopic = variability(Beats(early, one, 48.0))
    assert isinstance(ectopic, Variability)
    assert ectopic.artefacts == 2 and ectopic.rmssd_ms < 1e-6


def test_rmssd_and_sdnn_are_the_task_forces() -> None:
    intervals = np.tile([0.8, 0.84], 20)
    found = variability(Beats(np.cumsum(intervals), np.zeros(40, dtype=np.intp), 32.8))
    assert isinstance(found, Variability)
    assert found.rmssd_ms == pytest.approx(40)
    assert found.sdnn_ms == pytest.approx(1000 * np.std(intervals[1:], ddof=1))


def test_why_there_is_none() -> None:
    def reason(times: np.ndarray, seconds: float) -> str:
        found = variability(Beats(times, np.zeros(len(times), dtype=np.intp), seconds))
        assert isinstance(found, str)
        return found

    assert "at least 30 s" in reason(np.arange(20) * 0.8, 16.0)
    assert "at least 20" in reason(np.arange(10) * 0.8, 60.0)
    assert "normal" in reason(np.cumsum(np.tile([0.6, 0.6, 1.1, 0.6], 15)), 60.0)
    assert "0 s" in reason(np.zeros(0), 0.0)
