"""Metrics against closed forms and scipy.stats, on random and on adversarial input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from rppg.evaluation import metrics

rates = st.floats(36, 198)
pairs = st.integers(3, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=rates), hnp.arrays(np.float64, n, elements=rates)
    )
)


@given(pairs)
def test_values_and_standard_errors_are_the_closed_forms(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    true, predicted = pair
    e, n = predicted - true, len(true)
    found = metrics.mae(true, predicted)
    assert found.value == pytest.approx(np.mean(np.abs(e)))
    assert found.se == pytest.approx(stats.sem(np.abs(e)), abs=1e-9)
    found = metrics.mape(true, predicted)
    assert found.value == pytest.approx(100 * np.mean(np.abs(e) / true))
    found = metrics.rmse(true, predicted)
    assert found.value == pytest.approx(np.sqrt(np.mean(e**2)))
    if found.value > 0:
        expected = np.std(e**2, ddof=1) / (2 * found.value * np.sqrt(n))
        assert found.se == pytest.approx(expected, abs=1e-9)
    agreement = metrics.bland_altman(true, predicted)
    assert agreement.bias_bpm == pytest.approx(np.mean(e), abs=1e-9)
    assert agreement.high_bpm - agreement.low_bpm == pytest.approx(
        2 * 1.96 * np.std(e, ddof=1), abs=1e-9
    )


@given(pairs)
def test_pearson_is_scipys_where_that_is_defined(pair: tuple[np.ndarray, np.ndarray]) -> None:
    true, predicted = pair
    found = metrics.pearson(true, predicted)
    if min(np.std(true), np.std(predicted)) > 1e-3:
        r = stats.pearsonr(true, predicted).statistic
        assert found.value == pytest.approx(r, abs=1e-6)
        expected = np.sqrt(max(0, 1 - r**2) / (len(true) - 2))
        assert found.se == pytest.approx(expected, abs=1e-3)
    if np.ptp(true) == 0 or np.ptp(predicted) == 0:
        assert np.isnan(found.value)
        assert np.isnan(found.se)


@given(pairs, st.data())
def test_a_missing_value_is_as_if_it_were_not_there(
    pair: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    true, predicted = pair
    missing = np.array(data.draw(st.lists(st.booleans(), min_size=len(true), max_size=len(true))))
    spoilt = np.where(missing, np.nan, predicted)
    subjects = [str(i % 4) for i in range(len(true))]
    rest = [s for s, gone in zip(subjects, missing, strict=True) if not gone]
    for metric in (metrics.mae, metrics.rmse, metrics.mape, metrics.pearson):
        with np.errstate(all="raise"):
            found = metric(true, spoilt, subjects)
        expected = metric(true[~missing], predicted[~missing], rest)
        np.testing.assert_allclose(
            [found.value, found.se, found.low, found.high],
            [expected.value, expected.se, expected.low, expected.high],
        )


@pytest.mark.parametrize("metric", [metrics.mae, metrics.rmse, metrics.mape, metrics.pearson])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_what_is_undefined_is_missing_and_never_zero(metric: object, n: int) -> None:
    assert callable(metric)
    found = metric(np.full(n, 70.0), np.full(n, 75.0), ["a"] * n)
    if n == 0 or metric is metrics.pearson:
        assert np.isnan(found.value)
    if n < 2:
        assert np.isnan(found.se)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_all_missing_is_missing() -> None:
    gone = np.full(5, np.nan)
    for metric in (metrics.mae, metrics.rmse, metrics.mape, metrics.pearson):
        assert np.isnan(metric(np.full(5, 70.0), gone).value)
    assert np.isnan(metrics.bland_altman(gone, gone).bias_bpm)


def test_the_interval_resamples_subjects_not_windows() -> None:
    rng = np.random.default_rng(0)
    of_subject = rng.normal(0, 5, 20)
    subjects = [f"{i}" for i in range(20) for _ in range(30)]
    true = np.full(600, 80.0)
    predicted = true + 10 + np.repeat(of_subject, 30) + rng.normal(0, 0.1, 600)
    by_subject = metrics.mae(true, predicted, subjects)
    by_window = metrics.mae(true, predicted)
    width = by_subject.high - by_subject.low
    assert width == pytest.approx(2 * 1.96 * 5 / np.sqrt(20), rel=0.35)
    assert by_window.high - by_window.low < width / 3
    assert by_subject.low < by_subject.value < by_subject.high
    assert metrics.mae(true, predicted, subjects) == by_subject
    assert metrics.mae(true, predicted, subjects, seed=1) != by_subject


def test_the_intervals_cover_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        found = metrics.mean(rng.normal(3.0, 1.0, 40))
        hits += found.low <= 3.0 <= found.high
    assert 86 <= hits <= 100


def test_snr_of_a_tone_in_white_noise_is_that_of_the_bands() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(3000) / 30
    tone = np.sqrt(2) * np.sin(2 * np.pi * 1.3 * times)
    noise = rng.standard_normal((200, 3000)) * 2
    found = np.mean(metrics.snr_db(tone + noise, 30.0, np.full(200, 78.0)))
    density = 4 / 15  # variance 4 spread over 0–15 Hz
    expected = 10 * np.log10((1 + 0.4 * density) / (2.3 * density))
    assert found == pytest.approx(expected, abs=0.15)


def test_snr_wants_the_true_rate() -> None:
    tone = np.sin(2 * np.pi * 1.3 * np.arange(300) / 30)
    right, wrong = metrics.snr_db(tone, 30.0, 78.0), metrics.snr_db(tone, 30.0, 120.0)
    assert right > 8
    assert wrong < -8
    assert np.isnan(metrics.snr_db(tone, 30.0, np.nan))
    assert np.isnan(metrics.snr_db(np.zeros(300), 30.0, 78.0))


def test_limits_of_agreement_are_of_one_sample_of_another_subject() -> None:
    """Bland and Altman 2007: the variance between subjects, (16 − 2) / 2, and that within, 2."""
    found = metrics.bland_altman([70.0] * 4, [71.0, 73.0, 75.0, 77.0], ["a", "a", "b", "b"])
    assert (found.bias_bpm, found.low_bpm) == pytest.approx((4.0, 4 - 1.96 * 3))
    # sizes 1 and 3: means 1 and 5, between 12, within 1, and a mean size of (4 − 10 / 4) / 1
    found = metrics.bland_altman([0.0] * 4, [1.0, 4.0, 5.0, 6.0], ["a", "b", "b", "b"])
    assert found.high_bpm == pytest.approx(4 + 1.96 * np.sqrt((12 - 1) / 1.5 + 1))
    alone = metrics.bland_altman([0.0, 0.0], [1.0, 2.0], ["a", "a"])
    assert alone.bias_bpm == 1.5 and np.isnan(alone.low_bpm)


@given(pairs)
def test_limits_of_agreement_with_one_sample_a_subject_are_the_simple_ones(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    simple = metrics.bland_altman(*pair)
    found = metrics.bland_altman(*pair, [str(number) for number in range(len(pair[0]))])
    assert found.low_bpm == pytest.approx(simple.low_bpm, abs=1e-9)
    assert found.high_bpm == pytest.approx(simple.high_bpm, abs=1e-9)


@given(pairs)
def test_without_resamples_there_is_no_interval(pair: tuple[np.ndarray, np.ndarray]) -> None:
    for metric in (metrics.mae, metrics.rmse, metrics.mape, metrics.pearson):
        fast, full = metric(*pair, resamples=0), metric(*pair)
        assert (fast.value, fast.se) == pytest.approx((full.value, full.se), nan_ok=True)
        assert np.isnan(fast.low) and np.isnan(fast.high)
