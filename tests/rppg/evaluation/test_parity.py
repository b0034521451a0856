"""The toolbox protocol, end to end, beside a plain re-computation with SciPy; and the metrics.

The reference is written from rPPG-Toolbox's published definition: each video (or each window of it,
cut first) is detrended with λ = 100, filtered by `filtfilt` of a first-order Butterworth bandpass,
and given to a rectangular periodogram of the next power of two; the heart rate is the highest bin
of the band, for the label as for the prediction.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft, signal, sparse, stats
from scipy.sparse.linalg import spsolve

from rppg.evaluation import TOOLBOX, Evaluation, Protocol, Row, evaluate, metrics
from rppg.evaluation.results import Scores
from rppg.evaluation.run import evaluate_recording  # ground truth may be anything
from rppg.signals import rppg_toolbox
from rppg.types import FaceCrops, Pulse, Recording

KINDS = ["pulse", "noise", "walk", "trend", "square", "edges", "clicks", "steps", "constant"]


def wave(kind: str, frames: int, fps: float, seed: int) -> np.ndarray:
    """A signal that a careless filter, spectrum or tie-break would get wrong."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / fps
    hz = rng.uniform(0.7, 3.2)
    beat = np.sin(2 * np.pi * hz * t) + 0.4 * np.sin(4 * np.pi * hz * t + 1)
    noise = rng.standard_normal(frames)
    return {
        "pulse": beat + 0.2 * noise,
        "noise": noise,
        "walk": np.cumsum(noise),
        "trend": beat + 0.01 * noise + 50 * t + 1000,
        "square": np.sign(beat) + 1e-3 * noise,
        "edges": np.sin(2 * np.pi * 0.6 * t) + np.sin(2 * np.pi * 3.3 * t) + 1e-3 * noise,
        "clicks": beat + 100 * (rng.uniform(size=frames) < 0.01) + 1e-3 * noise,
        "steps": beat + 10 * (t > t[frames // 2]) + 1e-3 * noise,
        "constant": np.full(frames, rng.uniform(-1e3, 1e3)),
    }[kind]


def recording_of(label: np.ndarray, fps: float, name: str = "r") -> Recording:
    times = np.arange(len(label)) / fps
    frames = np.zeros((len(label), 2, 2, 3), dtype=np.uint8)
    crops = FaceCrops(frames, times, np.ones(len(label), dtype=np.bool_))
    return Recording(
        name=name,
        dataset="made",
        subject=f"subject of {name}",
        load_crops=lambda: crops,
        load_truth=lambda: Pulse(times, label),
    )


def reference_clean(x: np.ndarray, fps: float, band: tuple[float, float]) -> np.ndarray:
    n = len(x)
    second = sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(n - 2, n))
    system = sparse.eye(n) + 100**2 * second.T @ second
    level = x[0]  # the smoother passes a constant as it is
    z = (x - level) - spsolve(sparse.csc_matrix(system), x - level)
    b, a = signal.butter(1, [edge / fps * 2 for edge in band], btype="bandpass")
    return signal.filtfilt(b, a, z)


def reference_spectrum(x: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    size = 2 ** int(np.ceil(np.log2(len(x))))
    return signal.periodogram(x, fs=fps, nfft=size, detrend=False)


def reference_rate(x: np.ndarray, fps: float, band: tuple[float, float]) -> tuple[float, float]:
    """Heart rate in bpm, and by what share its bin is above the next in the band."""
    f, power = reference_spectrum(x, fps)
    inside = np.flatnonzero((f >= band[0]) & (f <= band[1]))
    order = inside[np.argsort(-power[inside], kind="stable")]
    return f[order[0]] * 60, float(1 - power[order[1]] / power[order[0]])


def reference_snr(x: np.ndarray, rate: float, fps: float, band: tuple[float, float]) -> float:
    f, power = reference_spectrum(x, fps)
    first = (f >= rate / 60 - 0.1) & (f <= rate / 60 + 0.1)
    second = (f >= 2 * rate / 60 - 0.1) & (f <= 2 * rate / 60 + 0.1)
    rest = (f >= band[0]) & (f <= band[1]) & ~first & ~second
    return 20 * np.log10((power[first].sum() + power[second].sum()) / power[rest].sum())


def reference_macc(label: np.ndarray, predicted: np.ndarray) -> float:
    lags = range(len(label) - 1)
    return max(abs(np.corrcoef(predicted, np.roll(label, lag))[0, 1]) for lag in lags)


def check_row(
    row: Row, label: np.ndarray, predicted: np.ndarray, fps: float, band: tuple[float, float]
) -> None:
    label, predicted = (reference_clean(x, fps, band) for x in (label, predicted))
    true, margin_true = reference_rate(label, fps, band)
    rate, margin = reference_rate(predicted, fps, band)
    if min(margin_true, margin) < 1e-6:
        return  # two bins are as high but for rounding
    assert row.hr_true_bpm == pytest.approx(true, abs=1e-6)
    assert row.hr_pred_bpm == pytest.approx(rate, abs=1e-6)
    assert row.snr_db == pytest.approx(reference_snr(predicted, true, fps, band), abs=1e-6)
    assert row.macc == pytest.approx(reference_macc(label, predicted), abs=1e-6)


@given(
    kinds=st.tuples(st.sampled_from(KINDS[:-1]), st.sampled_from(KINDS[:-1])),
    frames=st.sampled_from([256, 257, 300, 449, 512, 513, 600]),
    fps=st.sampled_from([20.0, 25.6, 30.0]),
    band=st.sampled_from([(0.6, 3.3), (0.75, 2.5)]),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_videos_and_windows_are_the_toolboxs(
    kinds: tuple[str, str],
    frames: int,
    fps: float,
    band: tuple[float, float],
    scale: float,
    seed: int,
) -> None:
    label, predicted = (wave(kind, frames, fps, seed + k) for k, kind in enumerate(kinds))
    predicted = scale * predicted
    protocol = replace(TOOLBOX, fps=fps, low_hz=band[0], high_hz=band[1])
    estimators = {"m": lambda frames, _: predicted}
    found = evaluate_recording(recording_of(label, fps), estimators, protocol, example=False)
    (clip,) = found.clips
    assert clip.end_s - clip.start_s == pytest.approx(frames / fps)
    check_row(clip, label, predicted, fps, band)
    length = round(10 * fps)
    assert len(found.windows) == frames // length
    for k, row in enumerate(found.windows):
        part = slice(k * length, (k + 1) * length)
        check_row(row, label[part], predicted[part], fps, band)


def evaluation_of(true: np.ndarray, predicted: np.ndarray, name: str) -> Evaluation:
    """An evaluation with these heart rates; three windows of each subject."""
    rows = tuple(
        Row("made", f"r{k}", f"s{k // 3}", {}, "m", 0.0, 10.0, t, p, snr_db=p / 10, macc=t / 200)
        for k, (t, p) in enumerate(zip(true.tolist(), predicted.tolist(), strict=True))
    )
    return Evaluation({"name": name}, rows, rows)


rates = st.one_of(
    st.floats(36, 198),
    st.sampled_from([36.0, 70.0, 70.0 + 1e-9, 72.0, 198.0]),  # ties, and nearly so
    st.just(float("nan")),
)
tables = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(rates, min_size=n, max_size=n), st.lists(rates, min_size=n, max_size=n)
    )
)


@given(table=tables)
@pytest.mark.parametrize("name", ["default", "toolbox"])
def test_the_table_is_closed_forms_of_its_rows(
    table: tuple[list[float], list[float]], name: str
) -> None:
    true, predicted = (np.array(column) for column in table)
    (scores,) = evaluation_of(true, predicted, name).summary()
    labelled = np.isfinite(true)
    t, p = true[labelled], predicted[labelled]
    both = np.isfinite(p)
    assert scores.n == len(t)
    if len(t):
        assert scores.coverage == pytest.approx(np.mean(both))
    snr = p[both] / 10
    macc = t / 200
    t, p = t[both], p[both]
    ddof = 0 if name == "toolbox" else 1

    def agrees(field: str, values: np.ndarray) -> None:
        found = getattr(scores, field)
        if len(values) == 0:
            assert np.isnan(found.value)
        else:
            assert found.value == pytest.approx(np.mean(values), abs=1e-9)
        if len(values) < 2:
            assert np.isnan(found.se)
        else:
            assert found.se == pytest.approx(stats.sem(values, ddof=ddof), abs=1e-9)

    agrees("mae_bpm", np.abs(p - t))
    agrees("mape_percent", 100 * np.abs((p - t) / t))
    agrees("snr_db", snr)
    agrees("macc", macc)
    check_rmse(scores, p - t, name)
    check_pearson(scores, t, p)


def check_rmse(scores: Scores, error: np.ndarray, name: str) -> None:
    n = len(error)
    if n == 0:
        assert np.isnan(scores.rmse_bpm.value)
        return
    rmse = np.sqrt(np.mean(error**2))
    assert scores.rmse_bpm.value == pytest.approx(rmse, abs=1e-9)
    if n < 2 or (name == "default" and rmse == 0):
        assert np.isnan(scores.rmse_bpm.se)
    elif name == "toolbox":
        expected = np.sqrt(np.std(error**2) / np.sqrt(n))
        assert scores.rmse_bpm.se == pytest.approx(expected, abs=1e-9)
    else:
        expected = np.std(error**2, ddof=1) / (2 * rmse * np.sqrt(n))
        assert scores.rmse_bpm.se == pytest.approx(expected, abs=1e-9)


def check_pearson(scores: Scores, true: np.ndarray, predicted: np.ndarray) -> None:
    found = scores.pearson_r
    if len(true) < 3 or np.ptp(true) == 0 or np.ptp(predicted) == 0:
        assert np.isnan(found.value)
        assert np.isnan(found.se)
    elif min(np.std(true), np.std(predicted)) > 1e-3:
        r = float(np.clip(stats.pearsonr(true, predicted).statistic, -1, 1))
        assert found.value == pytest.approx(r, abs=1e-6)
        if abs(r) < 0.999:
            expected = np.sqrt((1 - r**2) / (len(true) - 2))
            assert found.se == pytest.approx(expected, abs=1e-6)


def test_a_label_without_a_rate_enters_neither_the_means_nor_their_errors() -> None:
    true, predicted = np.array([60.0, 70.0, np.nan, 80.0]), np.array([61.0, 72.0, 500.0, 83.0])
    rows = [
        replace(row, macc=macc)
        for row, macc in zip(
            evaluation_of(true, predicted, "toolbox").windows, [0.5, 0.6, 99.0, 0.7], strict=True
        )
    ]
    found = Evaluation({"name": "toolbox"}, tuple(rows), tuple(rows)).summary()[0]
    assert found.macc.value == pytest.approx(0.6)
    assert found.macc.se == pytest.approx(np.std([0.5, 0.6, 0.7]) / np.sqrt(3))


@pytest.mark.parametrize("kind", ["constant", "line", "nan", "one nan", "inf"])
@pytest.mark.parametrize("protocol", [TOOLBOX, Protocol()])
def test_a_prediction_without_a_pulse_is_missing(kind: str, protocol: Protocol) -> None:
    label = wave("pulse", 600, 30.0, 0)
    predicted = {
        "constant": np.full(600, 3.7),
        "line": 5 + 0.3 * np.arange(600),
        "nan": np.full(600, np.nan),
        "one nan": np.where(np.arange(600) == 450, np.nan, label),
        "inf": np.where(np.arange(600) == 450, np.inf, label),
    }[kind]
    with np.errstate(invalid="ignore"):
        found = evaluate([recording_of(label, 30.0)], {"m": lambda frames, _: predicted}, protocol)
    clip = found.clips[0]
    assert np.isnan([clip.hr_pred_bpm, clip.snr_db, clip.correlation, clip.macc]).all()
    assert np.isfinite(clip.hr_true_bpm)
    scores = found.summary("clips")[0]
    assert (scores.n, scores.coverage) == (1, 0)
    assert np.isnan([scores.mae_bpm.value, scores.snr_db.value, scores.macc.value]).all()


def test_a_spoilt_window_of_the_toolbox_leaves_the_others_alone() -> None:
    label = wave("pulse", 900, 30.0, 0)
    spoilt = np.where(np.arange(900) == 450, np.nan, label)
    found = evaluate([recording_of(label, 30.0)], {"m": lambda frames, _: spoilt}, TOOLBOX)
    rate = [row.hr_pred_bpm for row in found.windows]
    assert np.isnan(rate[1])
    assert rate[0] == found.windows[0].hr_true_bpm
    assert rate[2] == found.windows[2].hr_true_bpm


@given(
    kind=st.sampled_from(KINDS[:-1]),
    frames=st.sampled_from([150, 300, 301, 900]),
    rate=st.floats(40, 190),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_default_snr_is_scipys_periodogram_summed(
    kind: str, frames: int, rate: float, seed: int
) -> None:
    x = wave(kind, frames, 30.0, seed)
    size = fft.next_fast_len(18000, real=True)  # a grid of 0.1 bpm at 30 Hz
    f, power = signal.periodogram(x - x[0], 30.0, window="hann", nfft=size)
    band = (f >= 0.6) & (f <= 3.3)
    near = (np.abs(f - rate / 60) <= 0.1) | (np.abs(f - rate / 30) <= 0.1)
    expected = 10 * np.log10(power[band & near].sum() / power[band & ~near].sum())
    assert metrics.snr_db(x, 30.0, rate) == pytest.approx(expected, abs=1e-6)


def test_a_clip_too_short_for_a_bin_in_the_band_has_no_rate() -> None:
    assert np.isnan(rppg_toolbox.heart_rate_bpm(np.ones(3), 30.0, 0.6, 3.3))
    assert np.isnan(rppg_toolbox.macc(np.ones(1), np.ones(1)))
