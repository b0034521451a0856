"""Filmed domains: what is drawn for a camera is what its decoded frames show."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from rppg.errors import InputError
from rppg.signals import bandpass, heart_rate_bpm, resample
from rppg.synthetic.all_domains import ALL_DOMAINS
from rppg.synthetic.cache import find_domain, synthetic_recordings
from rppg.synthetic.domains import DOMAINS, Camera
from rppg.synthetic.filmed.crops import encoding_of, face_corner
from rppg.synthetic.filmed.domains import FILMED_DOMAINS, PHONE
from rppg.synthetic.filmed.film import SWING_HZ, draw_times
from rppg.synthetic.filmed.frames import film_frames, film_squares
from rppg.synthetic.filmed.sensor import Sensor, exposure_for, reduce_noise, tone
from rppg.synthetic.scene import write_subject
from rppg.synthetic.subjects import SyntheticSubject, draw_profile, draw_subject, render_crops
from rppg.synthetic.variations.draw import draw_varied
from rppg.synthetic.variations.variation import BESIDE, DEAD_KINDS, Variation
from rppg.types import CROP_TO_FACE
from rppg.video import read_frames
from rppg.video.resize import resample_box_uint8

FIRST = 300
"""Subjects of the training split from here on are those that nothing else looks at."""
FIVE_DOMAINS = "1dd8ccf89b17b762336ec1ea4b3e6cecb7cdc18a87b4d276a29a11ed407ece45"


def profiles(name: str, count: int = 300) -> list:
    return [draw_profile(ALL_DOMAINS[name], FIRST + n) for n in range(count)]


def someone(name: str, seconds: float, **wanted: object) -> SyntheticSubject:
    """The first subject whose conditions are those wanted."""
    number = next(
        profile.number
        for profile in profiles(name)
        if all(getattr(profile.conditions, key) == value for key, value in wanted.items())
    )
    return draw_subject(ALL_DOMAINS[name], number, seconds)


def small(name: str, seconds: float, **changes: object) -> SyntheticSubject:
    """A subject in small, few frames, which are quick to render, with other conditions."""
    width, height = min(FILMED_DOMAINS[name].filming.sizes)
    subject = someone(name, seconds, fps=min(FILMED_DOMAINS[name].filming.rates_hz))
    return refilmed(subject, **{"width": width, "height": height, "face_px": 90, **changes})


def refilmed(subject: SyntheticSubject, **changes: object) -> SyntheticSubject:
    """The subject with other conditions."""
    conditions = replace(subject.film.conditions, **changes)
    return replace(subject, film=replace(subject.film, conditions=conditions))


def skin(crops: np.ndarray) -> np.ndarray:
    """Mean colour `(T, 3)` of a face's middle, which is mostly skin."""
    return crops[:, 13:25, 14:22].mean((1, 2))


def test_the_domains_that_mirror_datasets_are_what_they_were() -> None:
    """Their text is part of the key of each cached recording."""
    assert list(DOMAINS) == ["lab", "webcam", "codec", "mobile", "wild"]
    assert list(ALL_DOMAINS) == [*DOMAINS, "stream", "dim", "phone"]
    text = "\n".join(repr(domain) for domain in DOMAINS.values())
    assert hashlib.sha256(text.encode()).hexdigest() == FIVE_DOMAINS
    assert [draw_profile(domain, 0).conditions for domain in DOMAINS.values()] == [None] * 5


@pytest.mark.parametrize("name", FILMED_DOMAINS)
def test_every_condition_is_drawn_and_in_the_metadata(name: str) -> None:
    filming, drawn = FILMED_DOMAINS[name].filming, profiles(name)
    assert {profile.skin_type for profile in drawn} == {1, 2, 3, 4, 5, 6}
    conditions = [profile.conditions for profile in drawn]
    assert {(c.width, c.height) for c in conditions} == set(filming.sizes)
    for key, values in (
        ("face_px", filming.faces_px), ("fps", filming.rates_hz), ("b_frames", filming.b_frames),
        ("skin_level", filming.skin_levels), ("bit_rate_kbps", filming.bit_rates_kbps),
        ("keyframe_s", filming.keyframes_s), ("codec", filming.codecs),
    ):  # fmt: skip
        if values:
            assert {getattr(c, key) for c in conditions} == set(values), key
            assert {profile.metadata[key.replace("fps", "nominal_fps")] for profile in drawn} == {
                value if isinstance(value, str) else f"{value:g}" for value in values
            }
    assert all(c.face_px <= min(c.width, c.height) / 2 for c in conditions)
    assert ("codec" in drawn[0].metadata) == bool(filming.codecs)


@pytest.mark.parametrize("name", FILMED_DOMAINS)
def test_the_truth_is_in_the_domains_band(name: str) -> None:
    domain = FILMED_DOMAINS[name]
    for number in range(FIRST, FIRST + 12):
        subject = draw_subject(domain, number, 20.0)
        low, high = subject.profile.motion.hr_bpm or domain.hr_bpm
        assert low - 6 < heart_rate_bpm(subject.truth.bvp, 60.0) < high + 6
        assert domain.pulse[0] <= subject.rates.amplitude <= domain.pulse[1]
        assert len(subject.series.times_s) == len(subject.film.gain)


@pytest.mark.parametrize("name", FILMED_DOMAINS)
def test_the_same_number_gives_the_same_bits_and_another_other_ones(name: str) -> None:
    first = small(name, 0.3)
    again = small(name, 0.3)
    crops, crops_again = render_crops(first), render_crops(again)
    np.testing.assert_array_equal(crops.frames, crops_again.frames)
    np.testing.assert_array_equal(crops.times_s, crops_again.times_s)
    np.testing.assert_array_equal(first.truth.bvp, again.truth.bvp)
    other = draw_subject(first.profile.domain, first.profile.number + 1, 0.3)
    assert other.film.conditions != first.film.conditions
    assert not np.array_equal(other.truth.bvp[:15], first.truth.bvp[:15])


@pytest.mark.parametrize(("name", "level"), [("dim", 15), ("dim", 60), ("stream", 120),
                                             ("phone", 80)])  # fmt: skip
def test_the_decoded_skin_has_the_level_that_was_drawn(name: str, level: int) -> None:
    crops = render_crops(small(name, 0.4, skin_level=level)).frames
    assert skin(crops).mean() == pytest.approx(level, rel=0.15)


@pytest.mark.parametrize(("codec", "name", "b_frames"), [("libx264", "h264", 3),
                                                         ("libx265", "hevc", 0)])  # fmt: skip
def test_a_streams_file_has_its_bit_rate_keyframes_and_frames(
    tmp_path: Path, codec: str, name: str, b_frames: int
) -> None:
    subject = small("stream", 4.0, codec=codec, keyframe_s=1.0, b_frames=b_frames,
                    bit_rate_kbps=300)  # fmt: skip
    conditions = subject.film.conditions
    scene = write_subject(subject, tmp_path / "a.mp4")
    with av.open(str(scene.video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == name
        assert (stream.width, stream.height) == (640, 360)
        packets = [p for p in container.demux(stream) if p.size]
    kbps = sum(p.size for p in packets) * 8 / 4.0 / 1000
    assert kbps == pytest.approx(conditions.bit_rate_kbps, rel=0.2)
    by_time = sorted(packets, key=lambda packet: packet.pts)
    keys = [n for n, packet in enumerate(by_time) if packet.is_keyframe]
    assert keys == list(range(0, len(packets), conditions.keyframe_interval))
    assert (packets != by_time) == (b_frames > 0)
    # The crops are cut from this very file.
    crops, (left, top) = render_crops(subject), face_corner(subject.scene_setup, subject.film)
    side = conditions.face_px * CROP_TO_FACE
    for n, frame in enumerate(read_frames(scene.video)):
        assert frame.time_s == pytest.approx(crops.times_s[n], abs=1e-4)
        cut = resample_box_uint8(frame.rgb, (float(left[n]), float(top[n]), side, side), 36)
        np.testing.assert_array_equal(cut, crops.frames[n])
    assert n == len(crops.frames) - 1
    x, y, width, _ = scene.box
    assert (x + width / 2, y + width / 2) == pytest.approx(conditions.centre, abs=1)


def test_a_phones_frames_have_times_of_their_own() -> None:
    filming, rng = PHONE.filming, np.random.default_rng(0)
    shares = []
    for fps in filming.rates_hz:
        times_s = draw_times(rng, filming, fps, 20.0)
        steps = np.diff(times_s) * fps
        assert times_s[0] == 0 and steps.min() > 0
        assert np.std(steps[steps < 1.5]) > 0.02
        missing = 20 * fps + 1 - len(times_s)
        shares.append(missing / (20 * fps + 1))
        if fps <= 30:  # at 60, the jitter is almost as long as a frame
            assert 0 < missing == pytest.approx((steps > 1.5).sum(), abs=5)
    assert max(shares) > 0.005 and max(shares) < filming.dropped[1] + 0.02
    subject = small("phone", 0.6)
    np.testing.assert_allclose(
        render_crops(subject).times_s, subject.series.times_s, atol=1 / 60_000
    )
    assert np.std(np.diff(subject.series.times_s)) > 1e-3


@pytest.mark.parametrize("name", ["stream", "dim", "phone"])
def test_the_frames_differ_by_the_pulse(name: str) -> None:
    """Before the codec; the noise is the same in both."""
    subject = small(name, 4.0, denoise=0.0)
    lit, dark = (
        np.stack([
            frame[60:-60:3, 60:-60:3, 1].mean()
            for frame in film_squares(subject.scene_setup, subject.film, seed=1, pulse_gain=gain)
        ])
        for gain in (1.0, 0.0)
    )  # fmt: skip
    bvp = resample(subject.truth.bvp, subject.truth.times_s, subject.series.times_s)
    assert np.corrcoef(lit / dark - 1, bvp)[0, 1] < -0.9


@pytest.mark.parametrize("name", ["stream", pytest.param("phone", marks=pytest.mark.slow)])
def test_a_pulse_survives_the_codec_but_not_whole(name: str) -> None:
    rate = max(FILMED_DOMAINS[name].filming.bit_rates_kbps)
    subject = small(name, 4.0, bit_rate_kbps=rate, codec="libx264", skin_level=80)
    lit, dark = (skin(render_crops(subject, pulse_gain=g).frames)[:, 1] for g in (1.0, 0.0))
    times_s = subject.series.times_s
    bvp = resample(subject.truth.bvp, subject.truth.times_s, times_s)
    fps = (len(times_s) - 1) / times_s[-1]
    correlation = np.corrcoef(bandpass(lit / dark - 1, fps), bandpass(bvp, fps))[0, 1]
    assert -0.999 < correlation < -0.4


def test_white_balance_and_exposure_step_in_the_pixels() -> None:
    def steps(subject: SyntheticSubject) -> float:
        film = subject.film
        return min(np.std(film.white_balance[:, 0]), np.std(film.gain))

    drawn = (draw_subject(PHONE, number, 4.0) for number in range(FIRST, FIRST + 200))
    subject = next(s for s in drawn if s.profile.fps == 24.0 and steps(s) > 0.005)
    changes = {"width": 360, "height": 640, "face_px": 90, "skin_level": 40}
    subject = refilmed(subject, **changes, full_well=40_000)
    zero = np.zeros_like(subject.film.gain)
    film = replace(subject.film, contrast=zero, shake_x=zero, shake_y=zero)
    series = subject.series
    still = replace(series, key=np.ones_like(series.key), second=np.ones_like(series.second))
    setup = replace(subject.scene_setup, series=still)
    above = np.s_[210:228, 102:258]  # the wall above the head
    wall = np.stack([f[above].mean((0, 1)) for f in film_frames(setup, film, seed=0)])
    gamma = subject.profile.camera.gamma
    red = gamma * np.log(wall[:, 0] / wall[:, 1])
    expected = np.log(film.white_balance[:, 0])
    assert np.corrcoef(red, expected)[0, 1] > 0.8
    assert np.std(red) == pytest.approx(np.std(expected), rel=0.4)
    light = gamma * np.log(wall[:, 1])
    assert np.corrcoef(light, np.log(film.gain))[0, 1] > 0.95


def test_the_hand_moves_the_whole_frame() -> None:
    subject = small("phone", 0.3, full_well=10**9, read_noise=0.0, denoise=0.0)
    one, zero = np.ones_like(subject.film.gain), np.zeros_like(subject.film.gain)
    rest = dict.fromkeys(("x", "y", "yaw", "pitch", "roll", "mouth", "pulse"), zero)
    setup = replace(
        subject.scene_setup, series=replace(subject.series, key=one, second=one, **rest)
    )
    still = replace(subject.film, gain=one, white_balance=np.ones((len(one), 3)),
                    contrast=zero, shake_x=zero, shake_y=zero)  # fmt: skip
    right, down = zero.copy(), zero.copy()
    right[1], down[1] = 4 / 90, -3 / 90
    moved = replace(still, shake_x=right, shake_y=down)
    first, second = itertools.islice(film_frames(setup, moved, seed=0), 2)
    difference = np.abs(second[:-3, 4:].astype(float) - first[3:, :-4])
    assert np.abs(second.astype(float) - first).mean() > 1.0
    assert difference.mean() < 0.3


def test_a_dim_rooms_gain_swings_beside_the_heart_and_its_noise_is_strong() -> None:
    domain = FILMED_DOMAINS["dim"]
    for number in range(FIRST, FIRST + 10):
        subject = draw_subject(domain, number, 20.0)
        gain = np.log(subject.film.gain)
        low, high = domain.filming.pumping
        assert 0.3 * low < np.sqrt(2) * np.std(gain) < 2 * high
        swing_bpm = heart_rate_bpm(gain, 30.0) if gain.std() > 0 else 0
        assert swing_bpm < 60 * SWING_HZ.max() + 10
        assert abs(swing_bpm - subject.rates.fastest_bpm) > 8
        assert subject.additions.bands is not None
    quiet, loud = (small("dim", 0.4, skin_level=level) for level in (60, 15))
    relative = []
    for subject in (quiet, loud):
        frames = np.stack(list(film_squares(subject.scene_setup, subject.film, seed=0)))
        middle = frames.shape[1] // 2
        patch = frames[:, middle - 5 : middle + 5, middle + 8 : middle + 18].astype(float)
        relative.append(np.std(np.diff(patch, axis=0)) / patch.mean())
    assert relative[1] > 1.5 * relative[0] > 0.05


def test_noise_is_that_of_photons_and_of_the_readout_before_the_tone_curve() -> None:
    sensor = Sensor(Camera((0.4, 0.7, 0.5), gamma=2.0), 1.0, 1000.0, 3.0)
    one, flat = torch.ones(1, 3, 1, 1), torch.zeros(1)
    for light in (0.05, 0.4):
        levels = sensor.expose(
            torch.full((1, 3, 200, 200), light), one, flat, torch.Generator().manual_seed(0)
        )
        linear = (levels / 255) ** 2
        expected = np.sqrt(light / 1000 + (3 / 1000) ** 2)
        assert linear.std().item() == pytest.approx(expected, rel=0.03)
        assert linear.mean().item() == pytest.approx(light, rel=0.01)


def test_the_exposure_gives_the_level_through_the_tone_curve() -> None:
    camera, light = Camera((0.4, 0.7, 0.5), gamma=2.2), torch.tensor([[0.5], [0.3], [0.2]])
    for level, contrast in ((15, 0.0), (120, 0.5)):
        exposure = exposure_for(level, light, replace(camera, crosstalk=0.0), contrast)
        found = 255 * tone(exposure * light, 2.2, torch.tensor(contrast)).mean()
        assert found.item() == pytest.approx(level, abs=0.05)


def test_levels_after_other_gains_are_those_of_an_exposure_with_them() -> None:
    sensor = Sensor(Camera((0.4, 0.7, 0.5), gamma=2.2), 1.0, 1e9, 0.0)
    light = torch.linspace(0.02, 0.7, 50).expand(1, 3, 1, 50)
    gain = np.array([1.1, 0.9, 1.0])
    first = sensor.expose(light, torch.ones(1, 3, 1, 1), torch.tensor(0.2), None)[0, 0, 0].numpy()
    then = sensor.expose(
        light, torch.from_numpy(gain).float()[None, :, None, None], torch.tensor(0.4), None
    )
    found = sensor.levels_after(first.astype(float), gain, 0.4, 0.2)
    np.testing.assert_allclose(found, then[0, :, 0].numpy(), atol=0.3)


def test_noise_reduction_averages_what_is_still_and_leaves_what_moves() -> None:
    share, generator = 0.6, torch.Generator().manual_seed(0)
    before = None
    for _ in range(30):
        noisy = 100 + 2 * torch.randn(3, 64, 64, generator=generator)
        before = reduce_noise(noisy, before, share)
    assert before.std().item() == pytest.approx(2 * np.sqrt((1 - share) / (1 + share)), rel=0.1)
    moved = reduce_noise(torch.full((3, 64, 64), 160.0), before, share)
    assert (moved - 160).abs().max() < 1e-3


@pytest.mark.parametrize("option", [*(f"dead={kind}" for kind in DEAD_KINDS), *BESIDE, "replay"])
def test_options_change_filmed_people_too(option: str) -> None:
    domain, number = FILMED_DOMAINS["dim"], FIRST
    variation = {
        "replay": Variation(replay=True),
        **{kind: Variation(beside=kind) for kind in BESIDE},
        **{f"dead={kind}": Variation(dead=1.0, dead_kinds=(kind,)) for kind in DEAD_KINDS},
    }[option]
    plain = render_crops(draw_subject(domain, number, 0.3))
    crops = render_crops(draw_varied(domain, number, 0.3, variation))
    assert crops.frames.shape == plain.frames.shape
    assert not np.array_equal(crops.frames, plain.frames)
    if option.startswith("dead"):
        subject = draw_varied(domain, number, 0.3, variation)
        np.testing.assert_array_equal(crops.frames, render_crops(subject, pulse_gain=0.0).frames)


def test_recordings_are_cached_with_their_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    (recording,) = synthetic_recordings("dim@1", "train", 1, duration_s=0.5)
    assert recording.dataset == "synthetic:dim@1"
    assert recording.metadata == draw_profile(find_domain("dim"), 0).metadata
    assert {"skin_level", "face_px", "nominal_fps", "height"} <= set(recording.metadata)
    assert len(recording.load_crops().frames) == 16
    with pytest.raises(InputError, match="phone@1"):
        find_domain("phones")


def test_what_the_encoder_is_asked_for_is_what_was_drawn() -> None:
    stream = someone("stream", 0.1, keyframe_s=10.0, fps=25.0).film.conditions
    encoding = encoding_of(stream)
    assert encoding.keyframe_interval == 250 and encoding.bit_rate == 1000 * stream.bit_rate_kbps
    assert encoding_of(draw_profile(FILMED_DOMAINS["dim"], 0).conditions) is None
