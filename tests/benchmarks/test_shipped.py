"""Programs about the shipped network: accuracy, a second compression, and what is needed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import accuracy, subject_errors
from benchmarks.limits import CURVES, GOOD, PEOPLE
from benchmarks.reencoding import claim, reencode_dataset
from rppg.evaluation.results import Row
from rppg.synthetic.subjects import draw_subject
from rppg.video.decode_video import read_frames
from rppg.video.encode import write_video


def row(subject, true, found, quality=0.9, method="fcus"):
    return Row("d", subject, subject, {}, method, 0.0, 10.0, true, found, quality=quality)


ROWS = [
    row("a", 60, 61),
    row("a", 60, 63, quality=0.2),
    row("b", 70, 90, quality=0.4),
    row("b", 70, 76),
    row("b", 70, np.nan, quality=np.nan),
    row("b", np.nan, 70),
    row("a", 60, 160, method="pos"),
]


def test_accuracy_by_hand():
    assert subject_errors(ROWS, "fcus") == {"a": 2.0, "b": 13.0}
    found = accuracy(ROWS, "fcus")
    assert (found.windows, found.mae_bpm) == (5, 7.5)
    assert found.se_bpm == pytest.approx(np.std([2, 13], ddof=1) / np.sqrt(2), abs=1e-3)
    assert (found.wrong, found.reliable, found.wrong_if_reliable) == (0.6, 0.4, 0.5)


def test_without_a_reliable_window_none_is_wrong_or_right():
    found = accuracy([row("a", 60, 61, quality=0.1), row("b", 60, 61, quality=0.1)], "fcus")
    assert (found.reliable, found.wrong_if_reliable) == (0.0, None)


def test_a_video_encoded_again_keeps_its_times_and_has_a_keyframe_a_second(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "people.csv").write_text("video\n1.mp4\n")
    noise = np.random.default_rng(0).integers(0, 255, (75, 64, 96, 3), np.uint8)
    times_s = np.arange(75) / 25 + np.random.default_rng(1).uniform(0, 0.01, 75)
    write_video(before / "1.mp4", noise, times_s=times_s, crf=1)
    reencode_dataset(before, after)
    first, second = (list(read_frames(folder / "1.mp4")) for folder in (before, after))
    assert [f.time_s for f in second] == pytest.approx([f.time_s for f in first])
    assert [i for i, f in enumerate(second) if f.is_key] == [0, 25, 50]
    assert (after / "people.csv").read_text() == "video\n1.mp4\n"
    sizes = [(folder / "1.mp4").stat().st_size for folder in (before, after)]
    assert sizes[1] < sizes[0] / 4


def test_the_claim_compares_with_the_error_before():
    row = {"fcus": {"ratio": 1.6, "interval": [1.1, 2.2]}}
    assert claim("lab", row).holds is False
    assert claim("lab", {"fcus": {"ratio": 1.5, "interval": [1.1, 2.2]}}).holds is True


def test_the_same_people_are_filmed_at_each_level():
    people = [
        draw_subject(replace(PEOPLE, filming=filming), 3, 6.0)
        for curve in CURVES.values()
        for filming in (GOOD, *curve.levels.values())
    ]
    first = people[0]
    for person in people:
        assert person.profile.skin_type == first.profile.skin_type
        assert person.profile.light == first.profile.light
        np.testing.assert_array_equal(person.truth.bvp, first.truth.bvp)
        np.testing.assert_array_equal(person.series.x, first.series.x)


def test_one_condition_changes_along_a_curve():
    for curve in CURVES.values():
        changed = {
            name
            for filming in curve.levels.values()
            for name, value in vars(filming).items()
            if value != vars(GOOD)[name]
        }
        assert len(changed) == 1
