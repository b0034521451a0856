"""Synthetic subjects: what is drawn from a number, and the physics of what is rendered."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rppg.signals import heart_rate_bpm, resample
from rppg.synthetic.cache import find_domain
from rppg.synthetic.domains import DOMAINS, Codec
from rppg.synthetic.pulse import beat_times, bvp
from rppg.synthetic.render import Viewport, render
from rppg.synthetic.subjects import SyntheticSubject, draw_profile, draw_subject, render_crops
from rppg.types import CROP_TO_FACE

TRAIN = range(300, 308)
"""Subjects of the training split that nothing else here looks at."""


def skin_of(subject: SyntheticSubject, size: int = 36) -> np.ndarray:
    """Mask `(S, S)` of pixels that are perfused skin, well inside the face."""
    axis = ((np.arange(size) + 0.5) / size - 0.5) * CROP_TO_FACE
    head = subject.head.perfusion * (subject.head.alpha > 0.99)
    index = np.clip(((axis / 0.8 + 1) / 2 * head.shape[0]).astype(int), 0, head.shape[0] - 1)
    near = np.hypot(axis[:, None] / 0.40, axis[None, :] / 0.28) < 1
    return near & (head[np.ix_(index, index)] > 0.5)


@pytest.mark.parametrize("name", DOMAINS)
def test_the_same_number_gives_the_same_bits_and_another_number_other_ones(name: str) -> None:
    domain = find_domain(name)
    one, again, other = (draw_subject(domain, n, 2.0) for n in (5, 5, 6))
    a, b, c = render_crops(one), render_crops(again), render_crops(other)
    np.testing.assert_array_equal(a.frames, b.frames)
    np.testing.assert_array_equal(a.times_s, b.times_s)
    np.testing.assert_array_equal(one.truth.bvp, again.truth.bvp)
    assert np.abs(a.frames.astype(float) - c.frames[: len(a.frames)]).mean() > 3
    assert not np.array_equal(one.truth.bvp, other.truth.bvp[: len(one.truth.bvp)])
    assert draw_profile(domain, 5) == one.profile


def test_domains_and_versions_draw_different_people() -> None:
    webcam = DOMAINS["webcam"]
    anew = draw_subject(replace(webcam, version=2), 5, 2.0)
    assert not np.array_equal(anew.truth.bvp, draw_subject(webcam, 5, 2.0).truth.bvp)


def test_many_subjects_are_spread_over_what_their_domain_allows() -> None:
    domain = DOMAINS["wild"]
    casts = [draw_profile(domain, n) for n in range(60)]
    assert {c.skin_type for c in casts} == set(domain.skin_types)
    assert {c.motion for c in casts} == set(domain.motions)
    assert {c.camera for c in casts} == set(domain.cameras)


@given(seed=st.integers(0, 10_000), hr=st.floats(45, 150))
def test_the_rate_of_the_bvp_is_the_mean_rate_of_its_beats(seed: int, hr: float) -> None:
    rng = np.random.default_rng(seed)
    beats_s = beat_times(rng, 30.0, hr, drift_bpm=0.0)
    assert np.all(np.diff(beats_s) > 0)
    times_s = np.arange(0, 30, 1 / 60)
    wave = bvp(rng, times_s, beats_s)
    inside = beats_s[(beats_s >= 0) & (beats_s <= 30)]
    mean_bpm = 60 * (len(inside) - 1) / (inside[-1] - inside[0])
    assert mean_bpm == pytest.approx(hr, rel=0.05)
    assert heart_rate_bpm(wave, 60.0) == pytest.approx(mean_bpm, abs=1.5)


def test_the_bvp_is_zero_mean_about_one_high_and_peaks_early_in_each_beat() -> None:
    beats_s = np.arange(-5, 25, 0.8)
    times_s = np.arange(0, 20, 1 / 60)
    for seed in range(5):
        wave = bvp(np.random.default_rng(seed), times_s, beats_s)
        assert abs(wave.mean()) < 1e-12
        assert 0.8 < np.ptp(wave) < 1.6
        peak_phase = ((times_s[wave > wave.max() * 0.9] - beats_s[0]) / 0.8) % 1
        assert np.all((peak_phase > 0.1) & (peak_phase < 0.4))


def test_an_irregular_clock_increases_strictly_and_keeps_its_mean_rate() -> None:
    for number in range(8):
        times_s = draw_subject(DOMAINS["wild"], number, 10.0).series.times_s
        steps = np.diff(times_s)
        assert times_s[0] == 0
        assert steps.min() > 0
        assert steps.std() > 0.002
        assert 1 / steps.mean() == pytest.approx(25, rel=0.01)
    regular = draw_subject(DOMAINS["lab"], 0, 3.0).series.times_s
    np.testing.assert_allclose(np.diff(regular), 1 / 30)


@pytest.mark.parametrize("chunk", [1, 7, 61, 500])
def test_the_chunk_size_does_not_change_the_result(chunk: int) -> None:
    subject = draw_subject(DOMAINS["wild"], 3, 2.0)
    count = len(subject.series.times_s)
    view = Viewport(np.zeros(count), np.zeros(count), 36, 36, 24, supersample=2)
    setup = replace(subject.scene_setup, spill=0.5)

    def frames(size: int) -> np.ndarray:
        return render(setup, view, seed=1, chunk=size)

    found = frames(chunk)
    assert found.shape == (count, 36, 36, 3)
    np.testing.assert_array_equal(found, frames(150))


def still(subject: SyntheticSubject, *, noise_levels: float = 0.0) -> SyntheticSubject:
    """The subject without motion, light change or noise: only the pulse is left."""
    zero, one = np.zeros_like(subject.series.times_s), np.ones_like(subject.series.times_s)
    quiet = dict.fromkeys(("x", "y", "yaw", "pitch", "roll", "mouth"), zero)
    camera = replace(subject.profile.camera, noise_levels=noise_levels, auto_exposure=0.0)
    return replace(
        subject,
        series=replace(subject.series, key=one, second=one, **quiet),
        profile=replace(subject.profile, camera=camera),
    )


def without_codec(subject: SyntheticSubject) -> SyntheticSubject:
    """The subject as rendered, its domain's codec left out."""
    profile = subject.profile
    return replace(subject, profile=replace(profile, domain=replace(profile.domain, codec=None)))


@pytest.mark.parametrize("name", DOMAINS)
def test_the_pulse_darkens_the_skin_with_the_cameras_signature(name: str) -> None:
    # Before any codec, the renderings differ by the pulse alone: noise, motion and light are alike.
    subject = without_codec(draw_subject(DOMAINS[name], TRAIN[0], 10.0))
    pulse = resample(subject.truth.bvp, subject.truth.times_s, subject.series.times_s)
    with_pulse, without = render_crops(subject), render_crops(subject, pulse_gain=0.0)
    skin = skin_of(subject)
    assert skin.sum() > 50
    camera = subject.profile.camera

    def linear(frames: np.ndarray) -> np.ndarray:
        return (frames[:, skin] / 255.0) ** camera.gamma

    lit, dark = linear(with_pulse.frames).mean(1), linear(without.frames).mean(1)
    change = lit / dark - 1  # (T, 3)
    amplitude = -(change * pulse[:, None]).sum(0) / (pulse**2).sum()
    for channel in np.argsort(camera.signature)[1:]:  # the two strongest
        assert np.corrcoef(change[:, channel], pulse)[0, 1] < -0.9
    signature = np.array(camera.signature)
    cosine = amplitude @ signature / np.linalg.norm(amplitude) / np.linalg.norm(signature)
    assert cosine > 0.97
    low, high = subject.profile.domain.pulse
    assert 0.5 * low < amplitude.max() < 1.3 * high


def test_crosstalk_mixes_the_signature_in_closed_form() -> None:
    # One lamp, and noise that dithers the 8 bits. A channel sees its neighbours' light too, each
    # with its own pulse; the relative change is their mean, weighed by brightness.
    for leak in (0.0, 0.1):
        subject = still(draw_subject(DOMAINS["lab"], TRAIN[1], 6.0), noise_levels=0.5)
        camera = replace(subject.profile.camera, crosstalk=leak)
        pulse = subject.series.pulse * 5  # well above the steps of 8 bits
        subject = replace(
            subject,
            series=replace(subject.series, pulse=pulse),
            profile=replace(subject.profile, camera=camera),
        )
        skin = skin_of(subject)
        dark, lit = (
            ((render_crops(subject, pulse_gain=g).frames[:, skin] / 255.0) ** camera.gamma).mean(1)
            for g in (0.0, 1.0)
        )
        change = lit / dark - 1
        amplitude = -(change * pulse[:, None]).sum(0) / (pulse**2).sum()
        mix = np.array([[1 - leak, leak, 0], [leak, 1 - 2 * leak, leak], [0, leak, 1 - leak]])
        light = np.linalg.solve(mix, dark.mean(0))  # what reached the sensor, per channel
        expected = mix @ (light * np.array(camera.signature)) / (mix @ light)
        cosine = amplitude @ expected / np.linalg.norm(amplitude) / np.linalg.norm(expected)
        assert cosine > 0.9999  # the camera's own signature, unmixed: 0.996 at a leak of 0.1


def test_without_a_pulse_the_same_recording_carries_none() -> None:
    subject = still(draw_subject(DOMAINS["webcam"], TRAIN[2], 4.0))
    assert np.ptp(render_crops(subject, pulse_gain=0.0).frames, axis=0).max() == 0
    assert np.ptp(render_crops(subject).frames, axis=0).max() > 0


def test_the_background_carries_no_pulse() -> None:
    subject = draw_subject(DOMAINS["wild"], TRAIN[3], 4.0)
    frames = [render_crops(subject, pulse_gain=g).frames for g in (0.0, 30.0)]
    corner = np.s_[:, :6, :3]
    np.testing.assert_array_equal(frames[0][corner], frames[1][corner])
    assert np.abs(frames[0][:, 18, 14] - frames[1][:, 18, 14].astype(float)).max() > 3


@pytest.mark.parametrize("name", ["codec", "mobile"])
def test_a_codec_changes_pixels_but_neither_the_scene_nor_its_clock(name: str) -> None:
    subject = draw_subject(DOMAINS[name], TRAIN[4], 4.0)
    coded, plain = render_crops(subject), render_crops(without_codec(subject))
    assert coded.frames.shape == plain.frames.shape
    np.testing.assert_array_equal(coded.times_s, plain.times_s)
    # What is left is the sensor's noise, drawn for other pixels, and what the codec did.
    means = [crops.frames[:, 8:28, 8:28].mean((0, 1, 2)) for crops in (coded, plain)]
    np.testing.assert_allclose(*means, atol=2.0)
    one, other = (crops.frames.mean(0) for crops in (coded, plain))
    alike = {
        shift: np.corrcoef(one.ravel(), np.roll(other, shift, (0, 1)).ravel())[0, 1]
        for shift in itertools.product((-1, 0, 1), repeat=2)
    }
    assert max(alike, key=alike.__getitem__) == (0, 0) and alike[0, 0] > 0.97


def test_a_stronger_codec_takes_more_of_the_pulse() -> None:
    subject = draw_subject(DOMAINS["codec"], TRAIN[5], 5.0)
    pulse = resample(subject.truth.bvp, subject.truth.times_s, subject.series.times_s)
    skin, found = skin_of(subject), []
    for qscale in (1, 8):
        codec = Codec("mpeg4", qscale=qscale)
        domain = replace(subject.profile.domain, codec=codec)
        coded = replace(subject, profile=replace(subject.profile, domain=domain))
        green = [
            render_crops(coded, pulse_gain=gain).frames[:, skin, 1].mean(1) for gain in (1.0, 0.0)
        ]
        found.append(-np.corrcoef(green[0] - green[1], pulse)[0, 1])
    assert found[0] > 0.7 and found[1] < 0.5


def test_a_setup_may_have_heart_rates_of_its_own_and_a_light_is_told() -> None:
    mobile = DOMAINS["mobile"]
    casts = [draw_profile(mobile, n) for n in range(40)]
    assert {c.metadata["light"] for c in casts} == {light.name for light in mobile.lights}
    assert "light" not in draw_profile(DOMAINS["webcam"], 0).metadata
    rates: dict[bool, list[float]] = {True: [], False: []}
    for cast in casts:
        truth = draw_subject(mobile, cast.number, 10.0).truth
        rates[cast.motion.hr_bpm is not None].append(heart_rate_bpm(truth.bvp, 60.0))
    assert min(rates[True]) > 80 and max(rates[False]) < 130
    assert np.mean(rates[True]) > np.mean(rates[False]) + 15
