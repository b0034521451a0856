"""Evidence from traces with known answers, and the quality that follows from it."""

from dataclasses import replace

import numpy as np
import pytest

from rppg.estimators.fcus import FcusEstimator, find_traces, untrained, wave_and_traces
from rppg.estimators.find import find_estimator
from rppg.estimators.reference_traces import ReferenceTraces
from rppg.estimators.verified_rates import find_evidence, verify
from rppg.evaluation import evaluate
from rppg.signals import RateSeries, quality_evidence
from rppg.signals.protocol import TOOLBOX, Protocol, measure
from rppg.signals.quality import quality_of_features
from rppg.synthetic.cache import find_domain
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.types import Recording

FPS, RATE_HZ, LIGHTS, REGIONS = 30.0, 1.2, 9, 36
TIMES = np.arange(600) / FPS
PULSE = np.sin(2 * np.pi * RATE_HZ * TIMES)


def noise(rows, seed=0):
    """Noise in the pulse's band."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((rows, len(TIMES))))
    hz = np.fft.rfftfreq(len(TIMES), 1 / FPS)
    return np.fft.irfft(spectrum * ((hz > 0.6) & (hz < 3.3)), len(TIMES))


def traces(light=None, motion=None, regions=None, seen=1.0, second=PULSE, score=0.3):
    """Traces of quiet surroundings and of regions in phase, but for what is given."""
    light = 1e-3 * noise(LIGHTS, 1) if light is None else light
    motion = 1e-3 * noise(4, 2) if motion is None else motion
    regions = 1e-3 * np.tile(PULSE, (REGIONS, 1)) if regions is None else regions
    constant = np.full((LIGHTS, len(TIMES)), seen)
    attention = np.full((REGIONS, len(TIMES)), 1 / REGIONS)
    score = np.broadcast_to(score, (1, len(TIMES)))
    rows = np.concatenate([second[None], score, light, motion, constant, regions, attention])
    return ReferenceTraces(rows.astype(np.float32), LIGHTS)


def windows(wave, count=11):
    """Windows of 10 s, one each second, with the pulse's rate."""
    starts = np.arange(count) * 1.0
    cut = np.stack([wave[round(s * FPS) :][:300] for s in starts])
    rates = RateSeries(starts, starts + 10, np.full(count, 60 * RATE_HZ), np.ones(count))
    return rates, cut


def evidence(**kinds):
    return find_evidence(*windows(PULSE), traces(**kinds), FPS)


def test_a_pulse_that_nothing_explains():
    found = evidence()
    np.testing.assert_allclose(found.agreement, 1, atol=1e-3)
    assert found.light.max() < 0.8 and np.median(found.light) < 0.5
    assert np.median(found.motion) < 0.5
    assert np.median(found.light_line) < 0.2 and np.median(found.motion_line) < 0.2


def test_a_lamp_on_the_background():
    lamp = 1e-3 * noise(LIGHTS, 1)
    lamp[4] = 2e-3 * np.sin(2 * np.pi * RATE_HZ * TIMES + 1)
    found = evidence(light=lamp)
    np.testing.assert_allclose(found.light, 1, atol=0.01)
    assert found.light_line.min() > 0.8
    unseen = evidence(light=lamp, seen=0.0)
    np.testing.assert_array_equal(unseen.light, 0)
    np.testing.assert_array_equal(unseen.light_line, 0)


def test_a_lamp_from_the_side_is_noticed_whichever_windows_are_measured():
    columns = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    # As loud everywhere, by noise of other frequencies, so that no region weighs more.
    lamp = 1e-3 * np.tile(columns, 6)[:, None] * PULSE
    loud = 5e-3 * np.sin(2 * np.pi * 2.5 * TIMES)
    given = traces(regions=lamp + loud)
    rates, cut = windows(PULSE)
    found = find_evidence(rates, cut, given, FPS).side
    np.testing.assert_allclose(found, 1 / 3, atol=0.02)
    np.testing.assert_allclose(evidence(regions=1e-3 * np.tile(PULSE, (36, 1))).side, 0, atol=1e-3)
    last = RateSeries(*(x[-1:] for x in (rates.start_s, rates.end_s, rates.hr_bpm, rates.quality)))
    np.testing.assert_allclose(find_evidence(last, cut[-1:], given, FPS).side, found[-1:])


def test_a_head_that_nods():
    nod = 1e-3 * noise(4, 2)
    nod[1] = 5e-3 * PULSE
    found = evidence(motion=nod)
    np.testing.assert_allclose(found.motion, 1, atol=0.01)
    assert found.motion_line.min() > 0.8
    assert np.median(found.light) < 0.5


def test_regions_without_a_common_pulse():
    found = evidence(regions=1e-3 * noise(REGIONS, 3))
    assert found.agreement.max() < 4 / REGIONS  # 1 / R if phases are random


def test_nothing_is_known_without_a_rate():
    rates, cut = windows(PULSE, 3)
    rates = replace(rates, hr_bpm=np.array([np.nan, 72, 72]))
    cut[2, 5] = np.nan
    found = find_evidence(rates, cut, traces(), FPS)
    np.testing.assert_array_equal(np.isnan(found.light), [True, False, True])
    np.testing.assert_array_equal(np.isnan(found.agreement), [True, False, True])


def test_windows_do_not_depend_on_how_many_are_judged_at_once(monkeypatch):
    wave = PULSE + 0.3 * noise(1)[0]
    together = find_evidence(*windows(wave), traces(), FPS)
    monkeypatch.setattr("rppg.signals.windows.WINDOWS_AT_ONCE", 3)
    by_three = find_evidence(*windows(wave), traces(), FPS)
    np.testing.assert_allclose(by_three.light, together.light, rtol=1e-4)


def test_a_long_window_is_judged_by_its_pieces():
    """The lamp changes its phase in the middle: its coherence over the whole is lost, not that of
    the pieces."""
    lamp = 1e-3 * noise(LIGHTS, 1)
    lamp[4] = 2e-3 * np.sin(2 * np.pi * RATE_HZ * TIMES + np.pi * (TIMES > 10))
    rates = RateSeries(np.zeros(1), np.full(1, 20.0), np.full(1, 72.0), np.ones(1))
    found = find_evidence(rates, PULSE[None], traces(light=lamp), FPS)
    assert found.light[0] > 0.6


@pytest.mark.parametrize("protocol", [Protocol(), replace(TOOLBOX, window_s=5, stride_s=5)])
def test_quality_is_that_of_the_filtered_windows_with_the_evidence(protocol):
    measured = measure(PULSE + 0.5 * noise(1)[0], protocol)
    found = verify(measured, traces(), protocol)
    for rates, waves in ((found.windows, measured.parts), (found.clip, measured.bvp[None])):
        expected = quality_of_features(rates.features, rates.evidence)
        expected = np.minimum(expected, found.windows.quality.max())
        np.testing.assert_allclose(rates.quality, expected, rtol=1e-9)
        alone = quality_evidence(waves, FPS, 0.6, 3.3)
        np.testing.assert_allclose(rates.features[:, :3], alone[:, :3], rtol=1e-9)
    with pytest.raises(ValueError, match="rates without features"):
        verify(replace(measured, clip=replace(measured.clip, features=None)), traces(), protocol)


def test_quality_by_the_evidence():
    measured = measure(PULSE + 0.2 * noise(1)[0], Protocol())
    living = verify(measured, traces(), Protocol())
    lamp = verify(measured, traces(light=np.tile(2e-3 * PULSE, (LIGHTS, 1))), Protocol())
    assert living.windows.quality.min() > 0.5 > lamp.windows.quality.max()
    assert living.clip.quality[0] > 0.5 > lamp.clip.quality[0]
    np.testing.assert_array_equal(living.windows.hr_bpm, measured.windows.hr_bpm)
    assert verify(measured, None, Protocol()).windows is measured.windows


def test_the_whole_is_no_better_than_its_best_window():
    noisy = PULSE + 2 * noise(1, 5)[0]
    measured = measure(noisy, Protocol())
    found = verify(measured, traces(), Protocol())
    for result in (measured, found):
        assert result.clip.quality[0] <= result.windows.quality.max()
    without_windows = Protocol(window_s=30)
    short = verify(measure(noisy, without_windows), traces(), without_windows)
    assert len(short.windows.quality) == 0 and short.clip.quality[0] > 0


def test_the_score_is_the_mean_in_and_around_a_window():
    score = np.where(TIMES < 12, 0.4, 0.1)
    found = evidence(score=score).score
    np.testing.assert_allclose(found[0], (12 * 0.4 + 8 * 0.1) / 20, rtol=1e-3)
    short = find_evidence(*windows(PULSE, 1), traces(score=score), FPS)
    assert short.score[0] == found[0]
    measured = measure(PULSE + 0.2 * noise(1)[0], Protocol())
    sure, unsure = (verify(measured, traces(score=s), Protocol()).windows for s in (0.3, 0.01))
    assert np.all(sure.quality > unsure.quality)


def test_a_second_method_of_another_rate():
    measured = measure(PULSE + 0.2 * noise(1)[0], Protocol())
    agrees = verify(measured, traces(), Protocol()).windows
    other = verify(measured, traces(second=np.sin(2 * np.pi * 2 * TIMES)), Protocol()).windows
    none = verify(measured, traces(second=np.full(600, np.nan)), Protocol()).windows
    np.testing.assert_allclose(agrees.evidence.second_bpm, 0, atol=2)
    np.testing.assert_allclose(other.evidence.second_bpm, 48, atol=2)
    assert np.isnan(none.evidence.second_bpm).all()


@pytest.fixture(scope="module")
def subject():
    return draw_subject(find_domain("lab"), 3, 11.0)


@pytest.fixture(scope="module")
def crops(subject):
    return render_crops(subject)


def test_one_pass_gives_the_wave_and_the_traces(crops):
    frames = crops.frames[:320].astype(np.float32)
    estimator = untrained()
    wave, found = wave_and_traces(estimator, frames, FPS)
    np.testing.assert_array_equal(wave, estimator(frames, FPS))
    np.testing.assert_allclose(found.second, find_estimator("pos")(frames, FPS), rtol=1e-5)
    assert found is not None and found.rows.dtype == np.float32
    assert found.score.shape == (320,) and 0 < found.score.max() <= 1
    shapes = [getattr(found, name).shape for name in ("light", "motion", "seen", "regions")]
    assert shapes == [(9, 320), (4, 320), (9, 320), (36, 320)]
    np.testing.assert_allclose(found.attention.sum(0), 1, rtol=1e-5)
    assert found.seen.min() >= 0 and found.seen.max() <= 1


def test_traces_at_another_rate(crops):
    """A peer's rate is half of ours: the same lamps and regions, seen half as often."""
    frames = crops.frames[:320].astype(np.float32)
    reference = untrained()
    whole, half = find_traces(reference, frames, 30.0), find_traces(reference, frames[::2], 15.0)
    assert reference.net.config.fps == 30
    assert isinstance(reference.at_rate(15.0), FcusEstimator)
    np.testing.assert_allclose(whole.second, reference(frames, 30.0), rtol=1e-5, atol=1e-9)
    for name in ("light", "regions"):
        expected = getattr(whole, name)[:, ::2]
        found = getattr(half, name)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.7, name


def test_frames_that_the_reference_cannot_read_have_no_traces(crops):
    frames = crops.frames[:200].astype(np.float32)
    assert find_traces(untrained(), frames[..., :2], 30.0) is None
    assert find_traces(untrained(), frames[::5], 6.0) is None


@pytest.mark.parametrize("method", ["fcus", "pos"])
def test_the_evaluation_has_the_same_quality(subject, crops, method):
    recording = Recording("a", "lab", "a", lambda: crops, lambda: subject.truth)
    estimator = find_estimator(method)
    rows = evaluate([recording], {method: estimator}).clips
    frames = crops.frames.astype(np.float32)
    _, found = wave_and_traces(estimator, frames, FPS, find_estimator())
    plain = measure(estimator(frames, FPS), Protocol())
    expected = verify(plain, found, Protocol()).clip.quality[0]
    assert rows[0].quality == pytest.approx(expected, abs=1e-3)
    assert rows[0].quality != pytest.approx(plain.clip.quality[0], abs=1e-6)
