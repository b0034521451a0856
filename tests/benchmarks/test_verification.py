"""Scores of recordings with a pulse and without: how they are stored, compared and judged."""

import numpy as np
import pytest

from benchmarks import verification
from benchmarks.study.recordings import Condition, measure_recordings
from benchmarks.trials.store import Store
from benchmarks.verification import (
    LINE,
    SCORES,
    auc_parts,
    judge,
    matched_threshold,
    mean_auc,
    score_clips,
    summarize,
)
from rppg.estimators.pulse_score import recording_score
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.variations.draw import LIVING
from rppg.synthetic.variations.variation import TESTED_KINDS, Variation

WALL = Condition("lab", "validation", 2, Variation(dead=1.0, dead_kinds=("wall",)))


def number_of(recording):
    return {"subject": recording.subject, "kind": recording.metadata["kind"]}


def test_recordings_are_measured_once(tmp_path):
    store, lines = Store(tmp_path / "packed.jsonl", tmp_path), []
    found = measure_recordings(number_of, [WALL, WALL], store, "code", report=lines.append)
    assert [(row["subject"], row["kind"]) for row in found[WALL]] == [
        ("100000", "wall"),
        ("100001", "wall"),
    ]
    changed = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(changed) == 2
    more = Condition(WALL.domain, WALL.split, 3, WALL.variation)
    assert measure_recordings(number_of, [WALL], store, "code", report=lines.append) == found
    assert len(measure_recordings(number_of, [more], store, "code", report=lines.append)[more]) == 3
    assert {path: path.stat().st_mtime_ns for path in changed} == changed
    assert len(lines) == 2
    measure_recordings(number_of, [WALL], store, "other code", report=lines.append)
    assert len(lines) == 3


def test_the_mean_over_clips_is_the_score_of_the_recording():
    (recording,) = synthetic_recordings("lab", "validation", 1)
    found = score_clips(recording)
    assert all(len(found["scores"][name]) == 3 for name in SCORES)
    assert np.mean(found["scores"][LINE]) == pytest.approx(recording_score(recording.load_crops()))
    assert all(v < 0 for v in found["scores"]["weak_amplitude"])
    assert all(0 < v <= 1 for v in found["scores"]["share"])


def test_auc_by_hand():
    living, dead = [np.array([3.0, 1.0]), np.array([2.0])], [np.array([1.0]), np.array([0.0, 2.5])]
    wins, pairs = auc_parts(living, dead)
    assert wins.tolist() == [[1.5, 3.0], [1.0, 1.0]]
    assert pairs.tolist() == [[2.0, 4.0], [1.0, 2.0]]
    found = mean_auc([(wins, pairs)])
    assert found.value == pytest.approx(6.5 / 9)
    assert found.low <= found.value <= found.high
    perfect = (np.ones((2, 2)), np.ones((2, 2)))
    assert mean_auc([(wins, pairs), perfect]).value == pytest.approx((6.5 / 9 + 1) / 2)


def test_the_interval_is_over_subjects():
    """One subject of four is the exception: it is in some of the resamples and not in others."""
    living, dead = [np.array([v]) for v in (2.0, 2.0, 2.0, 0.0)], [np.array([1.0])] * 4
    found = mean_auc([auc_parts(living, dead)])
    assert (found.value, found.low, found.high) == (0.75, pytest.approx(0.25), 1.0)


def test_simpler_scores_keep_as_many():
    living = np.array([4.0, 1.0, 3.0, 2.0])
    assert matched_threshold(living, 0.75) == 2.0
    assert matched_threshold(living, 1.0) == 1.0
    assert np.mean(living >= matched_threshold(living, 0.0)) == 0


def rows(line, share=0.5):
    return [
        {"subject": str(n), "scores": {LINE: [v, v], "share": [share], "weak_amplitude": [-v]}}
        for n, v in enumerate(line)
    ]


def domain(**dead):
    found = {LIVING: rows([0.5, 0.6, 0.7, 0.01]), "replay": rows([0.5, 0.0]), **dead}
    return summarize(found, tuple(dead))


def test_a_domain_by_hand():
    found = domain(wall=rows([0.0, 0.0, 0.0, 0.0]), mains=rows([0.55, 0.55, 0.0, 0.0]))
    line = found["scores"][LINE]
    assert line["by_recording"]["wall"]["value"] == 1.0
    assert line["by_recording"]["mains"]["value"] == pytest.approx(12 / 16)
    assert line["by_recording"]["mean"]["value"] == line["by_clip"]["mean"]["value"] == 0.875
    assert line["living_kept"] == 0.75
    assert line["dead_rejected"] == {"wall": 1.0, "mains": 0.5, "mean": 0.75}
    assert found["scores"]["weak_amplitude"]["living_kept"] == 0.75
    assert found["scores"]["weak_amplitude"]["by_recording"]["wall"]["value"] == 0.0
    assert found["scores"]["share"]["by_recording"]["wall"]["value"] == 0.5
    assert found["called_living"] == {"replay": 0.5}


def test_claims_by_hand():
    good = domain(**{kind: rows([0.0] * 4) for kind in TESTED_KINDS})
    names = list(verification.LEAST_AUC)
    assert [c.holds for c in judge(dict.fromkeys(names, good))] == [True] * 6
    assert {c.holds for c in judge(dict.fromkeys(names, good), asked=False)} == {None}
    one = {kind: rows([0.0] * 4) for kind in TESTED_KINDS}
    bad = domain(**one | {"mains": rows([0.55, 0.55, 0.0, 0.0])})
    claims = judge({"wild": bad, "lab": good})
    assert [c.holds for c in claims] == [True, None, True, None, None, False]
    assert claims[-1].found.startswith("lowest: mains on wild, 0.750")
    worse = domain(**one | {"mains": rows([0.9] * 4), "screen": rows([0.9] * 4)})
    assert judge({"codec": worse})[3].holds is False
