"""Who is left out: what is measured of a recording, gaps between groups, and the claims."""

import numpy as np
import pytest

from benchmarks.who_is_left_out import (
    ALL,
    LEAST_SUBJECTS,
    VARIATIONS,
    Counts,
    counts,
    find_gap,
    gaps_of,
    judge,
    left_out,
    measure_recording,
)
from rppg.estimators.find import find_estimator
from rppg.estimators.pulse_score import recording_score
from rppg.evaluation import evaluate
from rppg.synthetic.cache import synthetic_recordings


def row(subject, score=0.5, skin="2", errors=(0.0, 0.0), quality=(0.9, 0.9)):
    return {
        "subject": str(subject),
        "skin_type": skin,
        "score": score,
        "true_bpm": [60.0] * len(errors),
        "pred_bpm": [None if e is None else 60.0 + e for e in errors],
        "quality": list(quality),
    }


def test_a_measurement_is_the_evaluation_s():
    (recording,) = synthetic_recordings("lab", "validation", 1)
    found = measure_recording(recording)
    rows = evaluate([recording], {"fcus": find_estimator("fcus")}).windows
    assert found["score"] == recording_score(recording.load_crops())
    assert found["skin_type"] == recording.metadata["skin_type"]
    assert found["true_bpm"] == pytest.approx([r.hr_true_bpm for r in rows], abs=1e-4)
    assert found["pred_bpm"] == pytest.approx([r.hr_pred_bpm for r in rows], abs=1e-4)
    assert found["quality"] == pytest.approx([r.quality for r in rows], abs=1e-4)


def test_only_right_windows_can_be_reliable():
    rows = [row(0, errors=(1.0, 9.0, -4.0, None), quality=(0.9, 0.9, 0.2, 0.9)), row(1, score=0.01)]
    reliable, kept = counts(rows, "reliable"), counts(rows, "kept")
    assert (reliable.counted.tolist(), reliable.units.tolist()) == ([1, 2], [2, 2])
    assert (kept.counted.tolist(), kept.units.tolist()) == ([1, 0], [1, 1])
    other = counts([*rows, row(2, skin="5", score=0.0)], "kept", skin_type="5")
    assert (other.counted.tolist(), other.units.tolist()) == ([0, 0, 0], [0, 0, 1])


def test_scores_that_are_not_there_keep_nobody():
    assert counts([row(0, score=float("nan"))], "kept").counted.tolist() == [0]


def test_a_gap_is_within_domains():
    """A group that only a hard domain has is compared with that domain's people."""
    hard, easy = Counts(np.array([1.0, 0, 1, 0]), np.ones(4)), Counts(np.ones(4), np.ones(4))
    everyone = {"wild": hard, "lab": easy}
    nobody = Counts(np.zeros(4), np.zeros(4))
    first = Counts(np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0]))
    found = find_gap({"wild": first, "lab": nobody}, everyone)
    assert (found.share, found.everyone, found.gap, found.subjects) == (0.5, 0.5, 0.0, 2)
    assert found.by_domain == {"wild": 0.5}
    assert found.low < 0 < found.high
    both = find_gap({"wild": first, "lab": easy}, everyone)
    assert (both.share, both.everyone) == (0.75, 0.75)
    nowhere = find_gap({"wild": nobody, "lab": nobody}, everyone)
    assert np.isnan(nowhere.gap)
    assert nowhere.subjects == 0


def test_pairs_of_the_same_people_have_no_wider_interval():
    own = Counts(np.array([1.0, 0, 1, 0]), np.ones(4))
    found = find_gap({"lab": own}, {"lab": own})
    assert (found.gap, found.low, found.high) == (0.0, 0.0, 0.0)


def study(**groups):
    """Return gaps of `kept`: ten people of `lab`, of whom so many are kept in each group."""
    measured = {
        ("lab", name): [row(n, score=0.5 * (n < groups.get(name, 10))) for n in range(10)]
        for name in VARIATIONS
    }
    return gaps_of(measured, "kept")


def test_claims_by_hand():
    fine = study(irregular=9, recovery=9)
    assert fine["irregular"].gap == pytest.approx(-0.1)
    assert left_out(fine) == []
    assert judge("kept", fine).holds
    assert judge("kept", fine, asked=False).holds is None
    bad = study(irregular=8, recovery=2)
    assert left_out(bad) == ["recovery", "irregular"]
    found = judge("kept", bad)
    assert not found.holds
    assert found.found.startswith("lowest: recovery, -80 (")
    assert set(bad) == {*VARIATIONS, "skin type 2"}
    assert bad["skin type 2"].gap == bad[ALL].gap == 0


def test_groups_of_few_people_are_not_judged():
    few = {
        ("lab", name): [row(n, score=0.0 if name == "irregular" else 0.5) for n in range(3)]
        for name in VARIATIONS
    }
    gaps = gaps_of(few, "kept")
    assert gaps["irregular"].subjects == 3 < LEAST_SUBJECTS
    assert gaps["irregular"].gap == -1
    assert left_out(gaps) == []
    assert judge("kept", gaps).holds is None
