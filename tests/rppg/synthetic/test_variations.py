"""Options of the synthetic domains: what they change, what they leave alone, and their names."""

import hashlib
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import rppg
from rppg.data.specs import open_dataset
from rppg.errors import InputError
from rppg.signals import heart_rate_bpm, resample
from rppg.synthetic import cache
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.head import ellipse, map_positions
from rppg.synthetic.pulse_motion_light import TimeSeries, at_rest
from rppg.synthetic.render import Additions, Body
from rppg.synthetic.subjects import SyntheticSubject, draw_subject, render_crops
from rppg.synthetic.variations.beside import BESIDE_DRAWS
from rppg.synthetic.variations.draw import draw_varied
from rppg.synthetic.variations.heart import irregular_beats, recovery_beats
from rppg.synthetic.variations.variation import (
    BESIDE,
    OPTION_KEYS,
    TUNED_KINDS,
    Variation,
    parse_variation,
)

TRAIN = 310
"""A subject of the training split that nothing else here looks at."""
SHORT_S = 2.0


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))


def drawn(variation: Variation, *, name: str = "wild", number: int = TRAIN, s: float = 10.0):
    return draw_varied(DOMAINS[name], number, s, variation)


def assert_series_equal(a: TimeSeries, b: TimeSeries, *but: str) -> None:
    for field in fields(TimeSeries):
        if field.name not in but:
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@pytest.mark.parametrize("name", DOMAINS)
def test_without_options_a_subject_is_the_domains_own(name: str) -> None:
    plain, varied = draw_subject(DOMAINS[name], TRAIN, SHORT_S), drawn(Variation(), name=name, s=2)
    np.testing.assert_array_equal(render_crops(plain).frames, render_crops(varied).frames)
    np.testing.assert_array_equal(plain.truth.bvp, varied.truth.bvp)


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("beside", BESIDE)
def test_what_is_beside_the_face_leaves_the_person_and_the_truth_alone(
    name: str, beside: str
) -> None:
    plain = draw_subject(DOMAINS[name], TRAIN, SHORT_S)
    one, again = (drawn(Variation(beside=beside), name=name, s=SHORT_S) for _ in range(2))
    assert_series_equal(plain.series, one.series)
    np.testing.assert_array_equal(plain.truth.bvp, one.truth.bvp)
    np.testing.assert_array_equal(plain.head.albedo, one.head.albedo)
    frames = render_crops(one).frames
    np.testing.assert_array_equal(frames, render_crops(again).frames)
    changed = np.abs(frames.astype(float) - render_crops(plain).frames).max((0, 3)) > 20
    assert 0.02 < changed.mean() < 0.5


def test_a_body_of_half_the_size_covers_a_quarter_of_the_area() -> None:
    subject = draw_subject(DOMAINS["lab"], TRAIN, 0.2)
    alone = replace(subject, head=replace(subject.head, alpha=np.zeros_like(subject.head.alpha)))
    oval = replace(subject.head.surface, alpha=ellipse(*map_positions(), 0, 0, 0.4, 0.4, 0.02))

    def area(scale: float) -> float:
        body = Body(oval, at_rest(subject.series), in_front=False, scale=scale)
        shown = replace(alone, additions=Additions(bodies=(body,)))
        changed = render_crops(shown).frames[0] != render_crops(alone).frames[0]
        return float(changed.any(-1).sum())

    assert area(0.5) / area(1.0) == pytest.approx(0.25, rel=0.3)


def border_pulse(subject: SyntheticSubject) -> np.ndarray:
    """The pulse in the crop's border, `(T,)`: the difference that the pulse makes, negated."""
    border = np.ones((36, 36), dtype=bool)
    border[4:, 6:30] = border[26:] = False
    green = [
        render_crops(subject, pulse_gain=gain).frames[:, border, 1].mean(1) for gain in (0.0, 20.0)
    ]
    return green[0] - green[1]


def test_bare_skin_pulses_with_the_face_and_a_second_face_does_not() -> None:
    for beside in BESIDE:
        subject = drawn(Variation(beside=beside), name="lab")
        wave = border_pulse(subject)
        truth = subject.truth
        delayed = [
            np.corrcoef(wave, resample(truth.bvp, truth.times_s, subject.series.times_s - d))[0, 1]
            for d in (0.0, 0.02, 0.04, 0.06)
        ]
        assert wave.std() > 0.05
        if beside == "second-face":
            assert max(delayed) < 0.5
            other = heart_rate_bpm(wave, DOMAINS["lab"].fps)
            assert abs(other - heart_rate_bpm(truth.bvp, 60.0)) > 15
        else:
            assert max(delayed) > 0.95
    assert border_pulse(drawn(Variation(), name="lab")).std() < 0.01


def test_rates_and_amplitudes_are_in_their_range_and_change_nothing_else() -> None:
    plain = drawn(Variation())
    slow, weak = drawn(Variation(hr_bpm=(36, 38))), drawn(Variation(amplitude=(0.001, 0.0012)))
    for number in range(5):
        subject = drawn(Variation(hr_bpm=(36, 38)), number=number, s=30.0)
        assert heart_rate_bpm(subject.truth.bvp, 60.0, low_hz=0.4) == pytest.approx(37, abs=2)
        assert 36 <= subject.rates.slowest_bpm == subject.rates.fastest_bpm <= 38
    assert_series_equal(plain.series, slow.series, "pulse")
    assert_series_equal(plain.series, weak.series, "pulse")
    np.testing.assert_array_equal(plain.truth.bvp, weak.truth.bvp)
    pulse = np.interp(weak.series.times_s, weak.truth.times_s, weak.truth.bvp)
    assert 0.001 <= np.ptp(weak.series.pulse) / np.ptp(pulse) <= 0.0012
    assert np.ptp(slow.series.pulse) == pytest.approx(np.ptp(plain.series.pulse), rel=0.4)


def test_a_drawn_rate_keeps_away_from_what_else_is_periodic() -> None:
    for number in range(40):
        rates = drawn(Variation(hr_bpm=(50, 140)), number=number, s=SHORT_S).rates
        assert all(abs(60 * hz - rates.fastest_bpm) > 15 for hz in rates.disturbances_hz)


def test_a_recovery_falls_by_30_to_50_bpm_within_the_recording() -> None:
    for seed in range(5):
        beats_s = recovery_beats(np.random.default_rng(seed), 20.0, 150.0, 40.0)
        rates_bpm = 60 / np.diff(beats_s)
        starts, ends = beats_s[:-1] < 1, beats_s[1:] > 19.5
        assert rates_bpm[starts].mean() == pytest.approx(150, abs=4)
        assert rates_bpm[ends].mean() == pytest.approx(110, abs=3)
    subject = drawn(Variation(rhythm="recovery"), s=20.0)
    assert 145 <= subject.rates.fastest_bpm <= 155
    assert 30 <= subject.rates.fastest_bpm - subject.rates.slowest_bpm <= 50


def test_irregular_beats_vary_independently() -> None:
    for spread in (0.15, 0.25):
        beats_s = irregular_beats(np.random.default_rng(1), 2000.0, 80.0, spread)
        assert beats_s[0] < 0 and beats_s[-1] > 2000
        intervals_s = np.diff(beats_s)
        assert intervals_s.min() > 0.25
        assert intervals_s.mean() == pytest.approx(0.75, rel=0.02)
        assert intervals_s.std() / intervals_s.mean() == pytest.approx(spread, rel=0.1)
        assert abs(np.corrcoef(intervals_s[1:], intervals_s[:-1])[0, 1]) < 0.05


def test_options_are_in_the_name_and_in_the_path_and_a_plain_domain_has_neither(
    tmp_path: Path,
) -> None:
    domain = DOMAINS["lab"]
    (plain,) = synthetic_recordings("lab", "train", 1, duration_s=SHORT_S)
    assert plain.dataset == "synthetic:lab@1" and "kind" not in plain.metadata
    (folder,) = (tmp_path / "synthetic" / cache.version_name()).iterdir()
    (varied,) = synthetic_recordings(
        "lab", "train", 1, duration_s=SHORT_S, variation=Variation(hr_bpm=(60, 70.5))
    )
    assert varied.dataset == "synthetic:lab@1?hr=60-70.5&options=1"
    assert varied.metadata == {**plain.metadata, "kind": "living"}
    assert len(list(folder.parent.iterdir())) == 2
    assert not np.array_equal(varied.load_truth().bvp, plain.load_truth().bvp)
    np.testing.assert_array_equal(
        render_crops(draw_subject(domain, 0, SHORT_S)).frames, plain.load_crops().frames
    )


def test_the_code_of_options_is_in_the_key_of_recordings_with_options_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "rppg"
    shutil.copytree(
        Path(rppg.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    before = cache._code_digest(package), cache._options_digest(package)
    assert before == (cache._code_digest(), cache._options_digest())
    with (package / "synthetic" / "variations" / "kinds.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    for digest in (cache._code_digest, cache._options_digest):
        digest.cache_clear()
    after = cache._code_digest(package), cache._options_digest(package)
    assert before[0] == after[0] and before[1] != after[1]

    domain, hand = DOMAINS["lab"], Variation(beside="hand")
    plain, varied = (cache._file(domain, 0, 20.0, v) for v in (Variation(), hand))
    content = f"{cache._code_digest()}/{domain!r}/20.0"
    assert plain.parent.name == f"lab@1-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    monkeypatch.setattr(cache, "_options_digest", lambda: "other code")
    assert cache._file(domain, 0, 20.0, Variation()) == plain
    assert cache._file(domain, 0, 20.0, hand) != varied


def test_a_spec_opens_options_and_filters() -> None:
    spec = "synthetic:lab?beside=hand&amplitude=0.001-3e-3&kind=living"
    (recording,) = open_dataset(spec, split="train", subjects=1)
    assert recording.dataset == "synthetic:lab@1?beside=hand&amplitude=0.001-0.003&options=1"
    (again,) = open_dataset(recording.dataset, split="train", subjects=1)
    assert again.dataset == recording.dataset


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("beside=foot", r"no beside=foot; choose one of shoulder, hand, second-face"),
        ("beside=hand,shoulder", r"beside=hand,shoulder: give one value"),
        ("rhythm=samba", r"no rhythm=samba; choose one of recovery, irregular"),
        ("hr=fast", r"hr=fast is no range; give hr=LOW-HIGH"),
        ("hr=90-60", r"hr=90-60; give hr=LOW-HIGH within 25-220"),
        ("hr=40-60&rhythm=recovery", r"hr=40-60; give hr=LOW-HIGH within 100-220"),
        ("amplitude=0-0.1", r"amplitude=0-0.1; give amplitude=LOW-HIGH within 1e-05-0.1"),
        ("replay=2", r"no replay=2; choose one of 0, 1"),
        ("dead=60", r"dead=60; give a share of subjects, from 0 to 1"),
        ("dead=half", r"dead=half; give a share of subjects, from 0 to 1"),
        ("dead_kinds=wall", r"dead_kinds without dead; give dead=SHARE"),
        ("dead=1&dead_kinds=wall,ghost", r"no dead_kinds=ghost; choose one of photograph, dummy"),
        ("options=7", r"options=7: this package has version 1 of the options"),
        ("foot=1", r"no key 'foot'; there are skin_type, motion, camera, split, beside, hr"),
    ],
)
def test_an_option_that_there_is_not_is_named_with_the_known_ones(query: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(f"synthetic:lab?{query}", split="train", subjects=1)
    assert str(caught.value).startswith("synthetic:lab?")


def test_the_text_of_options_is_parsed_to_the_same_options() -> None:
    kinds = ("wall", "mains")
    variation = Variation("hand", (36, 38), (0.001, 0.003), "irregular", True, 0.6, kinds)
    query = dict(part.split("=") for part in variation.text.split("&"))
    assert set(query) == set(OPTION_KEYS)
    parsed = parse_variation({key: tuple(value.split(",")) for key, value in query.items()})
    assert parsed == variation
    assert set(BESIDE_DRAWS) == set(BESIDE)
    assert Variation().text == Variation(dead_kinds=("mains",)).text == ""
    assert Variation(dead=0.5, dead_kinds=tuple(reversed(TUNED_KINDS))).text == "dead=0.5&options=1"
