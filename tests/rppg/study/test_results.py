"""Tables by hand: what is pooled, what is averaged, what counts where."""

import math

import pytest

from rppg.study.results import Tables, tables
from tests.rppg.study.invented import invent


@pytest.fixture
def found(tmp_path) -> Tables:
    """Two datasets, two seeds: the second one's errors are 2 bpm larger; pos lacks a trial."""
    return tables(*invent(tmp_path))


def test_a_cell_pools_the_windows_of_all_seeds(found):
    cells = {(c.method, c.training, c.test, c.part): c for c in found.cells}
    cell = cells["fcus", "b", "a", "whole"]
    assert cell.mae_by_seed == pytest.approx((2.0, 4.0)) and cell.mae_bpm == pytest.approx(3.0)
    assert cell.low < 3.0 < cell.high
    assert (cell.n_windows, cell.n_subjects, cell.n_seeds, cell.clips) == (4, 2, 2, 8)
    assert cells["fcus", "a", "b", "whole"].coverage == pytest.approx(2 / 3)
    assert cell.seen == 1  # "shared"
    single = cells["pos", "", "a", "test"]
    assert single.mae_bpm == 100.0 and math.isnan(single.low)


def test_means_leave_the_own_test_split_out(found):
    means = {(m.method, m.test): m for m in found.means}
    assert means["fcus", "a"].mae_bpm == pytest.approx(3.0)
    assert means["fcus", "b"].mae_bpm == pytest.approx(6.0)
    overall = means["fcus", ""]
    assert overall.mae_bpm == pytest.approx(4.5)  # each dataset once, whatever its windows
    assert (overall.n_windows, overall.n_subjects, overall.n_training_sets) == (7, 4, 2)
    assert overall.low < 4.5 < overall.high
    assert means["pos", "a"].n_training_sets == 0
    assert overall.coverage == pytest.approx((1 + 2 / 3) / 2) and overall.seen == 2
    squares = [[1, 1, 1, 25], [9, 9, 9, 49], [9, 49], [25, 81]]
    a, *b = (math.sqrt(sum(own) / len(own)) for own in squares)
    assert overall.rmse_bpm == pytest.approx(((a + b[0]) / 2 + (b[1] + b[2]) / 2) / 2)


def test_ranks_share_ties_and_say_how_sure_they_are(found):
    ranks = {(r.method, r.test): r for r in found.ranks}
    fcus, pos = ranks["fcus", "a"], ranks["pos", "a"]
    assert (fcus.rank, pos.rank, pos.n_methods, pos.n_subjects) == (2.0, 1.0, 2, 2)
    # pos's errors are those of fcus's first seed: it is first unless both drawn are of that seed
    assert pos.first == pytest.approx(3 / 4 + 1 / 8, abs=0.02)
    assert fcus.first + pos.first == pytest.approx(1.0)
    assert (pos.low, pos.high) == (1.0, 1.5)
    assert ranks["fcus", "b"].n_methods == 1  # pos's trial is missing
    assert math.isnan(ranks["pos", ""].rank) and ranks["pos", ""].n_datasets == 1
    assert (ranks["fcus", ""].rank, ranks["fcus", ""].n_datasets) == (1.5, 2)


def test_agreement_is_of_all_seeds_and_of_subjects(found):
    agreement = {(a.method, a.test): a for a in found.agreement}
    pos = agreement["pos", "a"]  # 1, 1, 1 of one subject, 5 of another: between 12, within 0
    assert (pos.bias_bpm, pos.n, pos.n_subjects, pos.n_trials) == (2.0, 4, 2, 1)
    assert pos.high_bpm == pytest.approx(2 + 1.96 * math.sqrt(12 / 1.5))
    fcus = agreement["fcus", ""]
    assert (fcus.bias_bpm, fcus.n, fcus.n_subjects, fcus.n_trials) == (4.0, 12, 4, 4)


def test_groups_of_recordings_in_their_natural_order(found):
    groups = [(g.mean.method, g.mean.test, g.value, g.mean.mae_bpm) for g in found.breakdown]
    assert groups == [
        ("fcus", "b", "9 lux", 4.0), ("fcus", "b", "unknown", 8.0), ("fcus", "a", "9 lux", 2.0),
        ("pos", "a", "9 lux", 1.0), ("fcus", "a", "10 lux", 6.0), ("pos", "a", "10 lux", 5.0),
    ]  # fmt: skip
    counts = [(g.key, g.mean.n_windows, g.mean.n_subjects) for g in found.breakdown]
    assert counts[0] == ("light", 2, 1) and counts[2] == ("light", 3, 1)


def test_what_is_missing_or_left_out_is_named(found):
    assert found.trials == 6 and len(found.missing) == 1 and "pos" in found.missing[0]
    out = {(entry.kind, entry.what): entry.trials for entry in found.left_out}
    assert out == {("recording", "a: r"): 5, ("recording", "b: r"): 4}
    assert "pos" not in {m.method for m in found.means if m.test == "b"}
