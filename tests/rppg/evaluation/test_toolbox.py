"""rPPG-Toolbox's numbers, against its formulas written out plainly."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from rppg.evaluation import TOOLBOX, Protocol, classical, constant_guess, evaluate
from rppg.signals import rppg_toolbox
from rppg.types import FaceCrops, Pulse, Recording


@pytest.mark.parametrize(("fps", "n"), [(20.0, 310), (30.0, 300), (30.0, 512)])
@pytest.mark.parametrize("band", [(0.6, 3.3), (0.75, 2.5)])
def test_one_clip_is_scored_as_the_toolbox_does(
    fps: float, n: int, band: tuple[float, float]
) -> None:
    rng = np.random.default_rng(n)
    raw = np.sin(2 * np.pi * 1.23 * np.arange(n) / fps) + rng.standard_normal(n).cumsum() / 5
    d = np.diff(np.eye(n), n=2, axis=0)
    expected = (np.eye(n) - np.linalg.inv(np.eye(n) + 100.0**2 * d.T @ d)) @ raw
    coefficients = signal.butter(1, [edge / fps * 2 for edge in band], btype="bandpass")
    expected = signal.filtfilt(*coefficients, expected)
    found = rppg_toolbox.clean(raw, fps, *band, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)

    size = 2 ** int(np.ceil(np.log2(n)))
    power = np.abs(np.fft.rfft(expected, size)) ** 2
    power[1:-1] *= 2
    f = np.arange(len(power)) * fps / size
    inside = [k for k in range(len(f)) if band[0] <= f[k] <= band[1]]
    best = max(inside, key=lambda k: power[k])
    assert rppg_toolbox.heart_rate_bpm(found, fps, *band) == pytest.approx(60 * f[best])
    true = 74.0 / 60
    near = [k for k in range(len(f)) if min(abs(f[k] - true), abs(f[k] - 2 * true)) <= 0.1]
    rest = sum(power[k] for k in inside if k not in near)
    snr = 20 * np.log10(sum(power[k] for k in near) / rest)
    assert rppg_toolbox.snr_db(found, fps, 74.0, *band) == pytest.approx(snr, abs=1e-4)


def test_its_standard_errors_divide_by_n_and_take_a_fourth_root() -> None:
    true, predicted = np.array([60.0, 70.0, 80.0, 90.0]), np.array([61.0, 74.0, 80.0, np.nan])
    found = rppg_toolbox.standard_errors(true, predicted, [1.0, 3.0, np.nan], [0.5])
    assert found["mae_bpm"] == pytest.approx(np.std([1, 4, 0]) / np.sqrt(3))
    assert found["rmse_bpm"] == pytest.approx(np.sqrt(np.std([1, 16, 0]) / np.sqrt(3)))
    assert found["snr_db"] == pytest.approx(1 / np.sqrt(2))
    nothing = rppg_toolbox.standard_errors(true[:0], true[:0], [], [])
    assert all(np.isnan(value) for value in nothing.values())


def test_rates_from_peaks_are_the_toolbox_s() -> None:
    rng = np.random.default_rng(0)
    raw = np.sin(2 * np.pi * 1.23 * np.arange(900) / 30) + rng.standard_normal((3, 900))
    waves = rppg_toolbox.clean(raw, 30.0, 0.6, 3.3, 1)
    expected = [60 / (np.mean(np.diff(signal.find_peaks(wave)[0])) / 30) for wave in waves]
    np.testing.assert_allclose(rppg_toolbox.peak_rate_bpm(waves, 30.0, 0.6, 3.3), expected)
    assert np.isnan(rppg_toolbox.peak_rate_bpm(np.zeros(300), 30.0, 0.6, 3.3))


def test_silence_has_no_rate() -> None:
    assert np.isnan(rppg_toolbox.heart_rate_bpm(np.zeros(300), 30.0, 0.6, 3.3))
    assert np.isnan(rppg_toolbox.snr_db(np.zeros(300), 30.0, 72.0, 0.6, 3.3))
    assert rppg_toolbox.heart_rate_bpm(np.zeros((0, 300)), 30.0, 0.6, 3.3).shape == (0,)


@pytest.mark.parametrize("protocol", [TOOLBOX, replace(TOOLBOX, low_hz=0.75, high_hz=2.5)])
def test_the_protocol_end_to_end(protocol: Protocol) -> None:
    times = np.arange(900) / 30
    wave = np.sin(2 * np.pi * 1.2 * times)
    frames = np.round(128 - 20 * np.array([0.4, 1.0, 0.6]) * wave[:, None]).astype(np.uint8)
    crops = FaceCrops(
        np.broadcast_to(frames[:, None, None], (900, 6, 6, 3)), times, np.ones(900, dtype=np.bool_)
    )
    recording = Recording("r", "made", "s", lambda: crops, lambda: Pulse(times, wave))
    found = evaluate(
        [recording], {"pos": classical("pos"), "guess": constant_guess(80.0)}, protocol
    )
    clip = found.clips[0]
    assert clip.hr_true_bpm == clip.hr_pred_bpm == pytest.approx(72, abs=30 * 60 / 1024 / 2)
    assert clip.snr_db > 10
    assert found.settings["name"] == "toolbox"
    clips, windows = found.summary("clips"), found.summary("windows")
    assert np.isnan(clips[1].mae_bpm.se)
    errors = [abs(row.error_bpm) for row in found.windows if row.method == "guess"]
    assert windows[1].mae_bpm.se == pytest.approx(np.std(errors) / np.sqrt(len(errors)))
