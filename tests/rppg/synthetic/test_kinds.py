"""Recordings without a pulse: that there is none, what there is instead, and whose they are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rppg.data.specs import open_dataset
from rppg.signals import resample
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.render import Additions
from rppg.synthetic.subjects import SyntheticSubject, draw_profile, draw_subject, render_crops
from rppg.synthetic.variations.draw import LIVING, draw_kind, draw_varied
from rppg.synthetic.variations.heart import with_amplitude, with_heart
from rppg.synthetic.variations.kinds import KINDS
from rppg.synthetic.variations.variation import DEAD_KINDS, TUNED_KINDS, Variation

TRAIN = 320
"""A subject of the training split that nothing else here looks at."""
SHORT_S = 2.0
FACE, UPPER_BORDER = np.s_[:, 12:26, 12:24], np.s_[:, :4, 4:32]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    return tmp_path


def quiet(subject: SyntheticSubject) -> SyntheticSubject:
    """The subject of a domain with constant light, without noise or a codec."""
    one = np.ones_like(subject.series.times_s)
    profile = subject.profile
    camera = replace(profile.camera, noise_levels=0.3, auto_exposure=0.0)
    domain = replace(profile.domain, codec=None)
    return replace(
        subject,
        series=replace(subject.series, key=one, second=one),
        profile=replace(profile, camera=camera, domain=domain),
    )


def lines(trace: np.ndarray, fps: float) -> tuple[float, float]:
    """Rate in Hz and amplitude of the strongest line of a trace, relative to its mean."""
    change = (trace / trace.mean() - 1) * np.hanning(len(trace))
    spectrum = np.abs(np.fft.rfft(change, 8 * len(trace)))
    hz = np.fft.rfftfreq(8 * len(trace), 1 / fps)
    inside = (hz > 0.5) & (hz < 5)
    peak = spectrum[inside].argmax()
    return float(hz[inside][peak]), float(spectrum[inside][peak] * 4 / len(trace))


def green(subject: SyntheticSubject, where: tuple[slice, ...]) -> np.ndarray:
    """Mean of green `(T,)`, in linear light."""
    frames = render_crops(subject).frames[where][..., 1] / 255.0
    return np.asarray((frames**subject.profile.camera.gamma).mean((1, 2)))


@pytest.mark.default_cases(11)  # each kind, in one domain or another
@pytest.mark.parametrize("name", ["lab", "wild", "codec"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_heart_is_in_the_picture(kind: str, name: str) -> None:
    subject = draw_subject(DOMAINS[name], TRAIN, SHORT_S)
    other = with_heart(with_amplitude(subject, (0.05, 0.05)), (60, 140), "irregular")
    assert not np.array_equal(subject.series.pulse, other.series.pulse)
    dead, again = KINDS[kind](subject), KINDS[kind](other)
    assert not dead.series.pulse.any() and not dead.head.perfusion.any()
    frames = render_crops(dead).frames
    np.testing.assert_array_equal(frames, render_crops(again).frames)
    np.testing.assert_array_equal(frames, render_crops(dead, pulse_gain=100.0).frames)
    assert np.ptp(frames.mean((1, 2, 3))) > 0  # the sensor's noise, at least
    if kind not in ("mannequin", "turned", "other-motion"):  # the same pulse on the living shows
        assert not np.array_equal(frames, render_crops(subject).frames)


def test_the_dead_of_a_small_share_are_among_those_of_a_large_one() -> None:
    domain, numbers = DOMAINS["wild"], range(400)
    drawn = {
        share: [draw_kind(domain, n, Variation(dead=share)) for n in numbers]
        for share in (0.0, 0.3, 0.6, 1.0)
    }
    assert set(drawn[0.0]) == {LIVING} and LIVING not in drawn[1.0]
    for share, kinds in drawn.items():
        assert np.mean([kind != LIVING for kind in kinds]) == pytest.approx(share, abs=0.07)
        assert all(kind in (LIVING, at_one) for kind, at_one in zip(kinds, drawn[1.0], strict=True))
    for few, many in ((0.3, 0.6), (0.6, 1.0)):
        pairs = zip(drawn[few], drawn[many], strict=True)
        assert all(kind in (LIVING, other) for kind, other in pairs)
    assert {kind: drawn[1.0].count(kind) for kind in TUNED_KINDS} == pytest.approx(
        dict.fromkeys(TUNED_KINDS, 100), abs=30
    )
    chosen = Variation(dead=1.0, dead_kinds=("screen", "wall"))
    same = Variation(dead=1.0, dead_kinds=("wall", "screen", "wall"))
    assert [draw_kind(domain, n, chosen) for n in numbers] == [
        draw_kind(domain, n, same) for n in numbers
    ]
    assert set(KINDS) == set(DEAD_KINDS)


def test_a_dead_recording_has_no_truth_and_a_living_one_is_the_domains_own(folder: Path) -> None:
    plain = synthetic_recordings("wild", "train", 6, duration_s=SHORT_S)
    files = set(folder.rglob("*.npz"))
    some = Variation(dead=0.5)
    recordings = synthetic_recordings("wild", "train", 6, duration_s=SHORT_S, variation=some)
    dead = [recording for recording in recordings if recording.load_truth is None]
    assert 0 < len(dead) < 6
    new = set(folder.rglob("*.npz")) - files
    assert len(new) == len(dead) and not any(".truth" in file.name for file in new)
    for own, recording in zip(plain, recordings, strict=True):
        assert recording.dataset == "synthetic:wild@1?dead=0.5&options=1"
        assert recording.name == own.name
        same = np.array_equal(recording.load_crops().frames, own.load_crops().frames)
        assert same == (recording.load_truth is not None)
        kind = LIVING if same else recording.metadata["kind"]
        assert recording.metadata == {**own.metadata, "kind": kind}
        assert same or kind in TUNED_KINDS
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.npz")}
    more = Variation(dead=0.8)
    rendered = synthetic_recordings("wild", "train", 6, duration_s=SHORT_S, variation=more)
    assert before.items() <= {f: f.stat().st_mtime_ns for f in folder.rglob("*.npz")}.items()
    assert {r.name for r in dead} <= {r.name for r in rendered if r.load_truth is None}


def test_a_damaged_dead_recording_is_rendered_again(folder: Path) -> None:
    wall = Variation(dead=1.0, dead_kinds=("wall",))
    (recording,) = synthetic_recordings("lab", "train", 1, duration_s=SHORT_S, variation=wall)
    frames = recording.load_crops().frames
    (file,) = folder.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(recording.load_crops().frames, frames)


def test_a_spec_opens_the_dead_and_filters_by_kind() -> None:
    spec = "synthetic:lab?dead=1&dead_kinds=wall,mains&kind=wall"
    recordings = open_dataset(spec, split="train", subjects=8)
    assert 0 < len(recordings) < 8
    assert {recording.metadata["kind"] for recording in recordings} == {"wall"}
    assert {r.dataset for r in recordings} == {
        "synthetic:lab@1?dead=1&dead_kinds=wall,mains&options=1"
    }


def dead(kind: str, number: int = TRAIN, *, name: str = "lab", s: float = 12.0):
    return quiet(KINDS[kind](draw_subject(DOMAINS[name], number, s)))


@pytest.mark.parametrize("number", range(TRAIN, TRAIN + 3))
def test_a_photograph_flickers_and_the_wall_with_another_strength(number: int) -> None:
    subject = KINDS["photograph"](draw_subject(DOMAINS["lab"], number, 12.0))
    face_hz, face = lines(green(subject, FACE), 30.0)
    wall_hz, wall = lines(green(subject, UPPER_BORDER), 30.0)
    assert 0.6 < face_hz < 3.1 and wall_hz == pytest.approx(face_hz, abs=0.15)
    assert 0.001 < face < 0.04
    assert 0.15 < wall / face < 2.2 and abs(np.log(wall / face)) > 0.02
    assert np.ptp(subject.series.x) == np.ptp(subject.series.pitch) == 0


def test_a_dummy_bobs_in_constant_light() -> None:
    for number in range(TRAIN, TRAIN + 3):
        series = dead("dummy", number).series
        nod_hz, _ = lines(1 + series.pitch, 30.0)
        assert 0.6 < nod_hz < 3.1
        assert 0.002 < series.pitch.max() < 0.031 and np.ptp(series.y) > 0
        assert np.ptp(series.yaw) == np.ptp(series.roll) == np.ptp(series.mouth) == 0


def test_a_wall_has_no_head() -> None:
    subject = dead("wall")
    other = replace(subject, head=replace(subject.head, albedo=1 - subject.head.albedo))
    np.testing.assert_array_equal(render_crops(subject).frames, render_crops(other).frames)


@pytest.mark.parametrize("name", DOMAINS)
def test_mains_flicker_is_aliased_into_the_band_and_runs_down_the_picture(name: str) -> None:
    subject = dead("mains", name=name)
    fps = subject.profile.domain.fps
    rows = [(slice(None), slice(row, row + 2), slice(4, 32)) for row in (2, 10, 18, 26, 34)]
    traces = np.stack([green(subject, where) for where in rows])
    hz, amplitude = lines(traces[0], fps)
    assert 0.55 < hz < 3.2 and 0.001 < amplitude < 0.21
    basis = np.exp(-2j * np.pi * hz * np.arange(traces.shape[1]) / fps)
    phases = np.unwrap(np.angle((traces - traces.mean(1, keepdims=True)) @ basis))
    steps = np.diff(phases)
    assert np.abs(steps).min() > 0.2 and len(set(np.sign(steps))) == 1
    assert steps == pytest.approx(steps.mean(), rel=0.2)


def test_a_screens_bands_run_over_the_picture_and_not_over_the_room() -> None:
    for number in range(TRAIN, TRAIN + 3):
        subject = dead("screen", number)
        screen = subject.additions.screen
        assert screen is not None
        subject = replace(
            subject, additions=Additions(screen=replace(screen, room=np.ones_like(screen.room)))
        )
        left, middle = green(subject, np.s_[:, 12:16, :2]), green(subject, np.s_[:, 16:18, 10:26])
        hz, amplitude = lines(middle, 30.0)
        assert 0.6 < hz < 3.1
        assert amplitude > 4 * lines(left, 30.0)[1] and amplitude > 0.001


def test_a_walking_dummy_has_steps_and_sways_at_half_their_rate() -> None:
    for number in range(TRAIN, TRAIN + 3):
        series = dead("walking", number, s=20.0).series
        quick = [values - np.convolve(values, np.hanning(75) / 37, "same") for values in
                 (series.y, series.roll)]  # fmt: skip
        step_hz, _ = lines(1 + quick[0], 30.0)
        sway_hz, _ = lines(1 + series.roll, 30.0)
        assert 1.3 < step_hz < 2.5
        assert sway_hz == pytest.approx(step_hz / 2, abs=0.15)


def test_a_head_turned_away_has_no_skin_and_the_subjects_motion() -> None:
    plain, subject = draw_subject(DOMAINS["lab"], TRAIN, SHORT_S), dead("turned", s=SHORT_S)
    np.testing.assert_array_equal(plain.series.yaw, subject.series.yaw)
    assert subject.head.perfusion.max() == 0
    brightness = subject.head.albedo.mean((1, 2))
    assert brightness[0] > brightness[1] > brightness[2]
    assert np.array_equal(plain.head.alpha, subject.head.alpha)


@pytest.mark.parametrize("name", ["lab", "mobile"])
def test_keyframes_come_at_the_rate_of_a_pulse(name: str) -> None:
    domain = DOMAINS[name]
    for number in range(TRAIN, TRAIN + 6):
        compression = KINDS["keyframes"](draw_subject(domain, number, SHORT_S)).compression
        assert compression is not None and compression.keyframe_interval
        assert 0.72 < domain.fps / compression.keyframe_interval < 3.2
    subject = KINDS["keyframes"](draw_subject(domain, TRAIN, 4.0))
    assert subject.compression is not None
    interval = subject.compression.keyframe_interval
    assert interval is not None
    frames = render_crops(subject).frames.astype(float)
    jumps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    at_keyframe = np.arange(1, len(frames)) % interval == 0
    assert jumps[at_keyframe].mean() > 3 * jumps[~at_keyframe].mean()


def test_other_motion_is_another_domains() -> None:
    plain = draw_subject(DOMAINS["codec"], TRAIN, 10.0)
    moved = [KINDS["other-motion"](replace_number(plain, n)).series for n in range(20)]
    assert max(np.std(series.x) for series in moved) > 3 * np.std(plain.series.x)
    for series in moved:
        np.testing.assert_array_equal(series.key, plain.series.key)


def replace_number(subject: SyntheticSubject, number: int) -> SyntheticSubject:
    """The subject under another number, so that a kind draws something else for it."""
    return replace(subject, profile=draw_profile(subject.profile.domain, number))


@pytest.mark.parametrize("name", ["lab", "wild"])
def test_a_replay_has_the_pulse_the_truth_and_bands(name: str) -> None:
    plain = draw_subject(DOMAINS[name], TRAIN, 10.0)
    subject = draw_varied(DOMAINS[name], TRAIN, 10.0, Variation(replay=True))
    np.testing.assert_array_equal(plain.truth.bvp, subject.truth.bvp)
    loud, silent = (
        render_crops(subject, pulse_gain=gain).frames[FACE][..., 1].mean((1, 2))
        for gain in (10.0, 0.0)
    )
    pulse = resample(subject.truth.bvp, subject.truth.times_s, subject.series.times_s)
    assert np.corrcoef(silent - loud, pulse)[0, 1] > 0.95
    screen = subject.additions.screen
    assert screen is not None
    still = replace(screen, bands=replace(screen.bands, amplitude=0.0))
    unbanded = replace(subject, additions=Additions(screen=still))
    assert not np.array_equal(render_crops(unbanded).frames, render_crops(subject).frames)


def test_kinds_are_drawn_anew_for_each_subject_and_alike_each_time() -> None:
    render: Callable[[SyntheticSubject], np.ndarray] = lambda s: render_crops(s).frames  # noqa: E731
    plain = draw_subject(DOMAINS["lab"], TRAIN, 1.0)
    for kind in ("photograph", "dummy", "mains", "screen", "walking", "turned", "keyframes"):
        one, again = (render(KINDS[kind](plain)) for _ in range(2))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, render(KINDS[kind](replace_number(plain, TRAIN + 1))))
