"""The benchmark outside rPPG: its protocol, its tasks in short trainings, its stored results."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from benchmarks.results import with_tables
from benchmarks.reuse import protocol
from benchmarks.reuse.levels import LEVELS
from benchmarks.reuse.protocol import VARIANTS, Budget, Row, run_all, settings, winner
from benchmarks.reuse.report import BEGIN, END, as_json, tables
from benchmarks.reuse.statistics import Interval, paired_gain
from benchmarks.reuse.tasks import TASKS, images, separation
from benchmarks.reuse.trials import Trials, trial_key

ROOT = Path(__file__).parents[2]
NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20)


# ---- Statistics ---------------------------------------------------------------------------------


@given(PAIRS)
def test_interval_is_students(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    gain = paired_gain(a, b, higher_is_better=True)
    if len({round(x - y, 6) for x, y in pairs}) > 1:
        known = ttest_rel(a, b).confidence_interval(0.95)
        assert gain.low == pytest.approx(known.low, abs=1e-6)
        assert gain.high == pytest.approx(known.high, abs=1e-6)
    assert gain.low <= gain.mean <= gain.high


@given(PAIRS)
def test_a_metric_turned_over_turns_the_gain_over(pairs):
    a, b = map(list, zip(*pairs, strict=True))
    up, down = (paired_gain(a, b, higher_is_better=h) for h in (True, False))
    assert (up.mean, up.low, up.high) == pytest.approx((-down.mean, -down.high, -down.low))


@given(PAIRS, st.randoms(use_true_random=False))
def test_seeds_have_no_order(pairs, random):
    mixed = random.sample(pairs, len(pairs))
    gains = [paired_gain(*zip(*p, strict=True), higher_is_better=True) for p in (pairs, mixed)]
    assert gains[0].low == pytest.approx(gains[1].low, abs=1e-9)


def test_pairs_must_be_pairs():
    with pytest.raises(ValueError, match="two or more pairs, found 2 values and 3"):
        paired_gain([1, 2], [1, 2, 3], higher_is_better=True)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 1, "helps"), (-1, -0.1, "harms"), (-0.1, 0.1, "unclear")]
)
def test_verdict_needs_an_interval_without_zero(low, high, verdict):
    assert Interval((low + high) / 2, low, high).verdict == verdict


# ---- Protocol -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_variant_has_the_same_budget(task):
    count = protocol.FULL.settings
    for variant, chosen in VARIANTS.items():
        tried = settings(task, variant, count)
        assert len(tried) == count, variant
        assert len({tuple(options.items()) for options in tried}) == count
        own = {option for level in chosen.levels for option in LEVELS[level]}
        of_levels = {option for options in LEVELS.values() for option in options}
        assert all(set(options) & of_levels == own for options in tried)
        assert tried == settings(task, variant, count)


def test_a_table_on_its_tuning_seeds_is_refused():
    with pytest.raises(ValueError, match=r"found \[3\] in both"):
        Budget(settings=1, tuning_seeds=[3, 4], table_seeds=[1, 3])


@pytest.mark.parametrize("name", ["adaptation", "autoencoder"])
@given(data=st.data())
def test_the_best_setting_wins_and_a_failed_one_never(tmp_path_factory, name, data):
    task = TASKS[name]
    tried = settings(task, "plain", 6)
    means = data.draw(st.lists(NUMBERS, min_size=6, max_size=6, unique=True))
    failed = data.draw(st.integers(0, 5))
    trials = Trials(tmp_path_factory.mktemp("trials") / "trials.json")
    for i, options in enumerate(tried):
        trials.add(trial_key(task, options, 0), means[i])
        trials.add(trial_key(task, options, 1), math.nan if i == failed else means[i])
    usable = [m for i, m in enumerate(means) if i != failed]
    best = max(usable) if task.metric.higher_is_better else min(usable)
    assert winner(task, trials, tried, [0, 1]) == tried[means.index(best)]


def test_a_broken_off_benchmark_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "VARIANTS", {"plain": VARIANTS["plain"]})
    budget = Budget(settings=2, tuning_seeds=[7], table_seeds=[0, 1])
    path = tmp_path / "trials.json"
    rows = run_all(["adaptation"], budget, Trials(path), quick=True, workers=1)
    kept = json.loads(path.read_text())
    assert len(kept) == 4
    lost = dict(list(kept.items())[:2])
    path.write_text(json.dumps({key: value + 1 for key, value in lost.items()}))
    again = Trials(path)
    run_all(["adaptation"], budget, again, quick=True, workers=1)
    assert again.values == {**kept, **{key: value + 1 for key, value in lost.items()}}
    assert set(rows["adaptation"]) == {"plain"}


# ---- Tasks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_short_runs_are_finite_and_repeatable(task, variant):
    options = {**settings(task, variant, 1)[0], **task.quick}
    value = task.run(options, 3)
    assert math.isfinite(value)
    assert value == task.run(options, 3)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_neutral_levels_change_nothing(task):
    plain = {**settings(task, "plain", 1)[0], **task.quick}
    assert task.run({**plain, "rho": 0.0}, 3) == task.run(plain, 3)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_levels_that_act_change_the_run(task):
    plain = {**settings(task, "plain", 1)[0], **task.quick, "lr": 1e-2}
    value = task.run(plain, 3)
    for options in LEVELS.values():
        setting = {name: task.space[name][-1] for name in options}
        quick = {
            **plain,
            **setting,
            **({"mask": task.space["mask"][0]} if "mask" in setting else {}),
        }
        assert task.run(quick, 3) != value, setting


@given(st.integers(1, 10))
def test_shades_are_orthonormal(count):
    fields = images.shades(count)
    torch.testing.assert_close(fields @ fields.T, torch.eye(count))


@given(st.integers(0, 2**31), st.integers(1, 1500))
def test_a_split_parts_the_digits(seed, count):
    first, a, rest, b = images.split(seed, count)
    whole, labels = images.digits()
    assert len(first) == len(a) == count
    torch.testing.assert_close(torch.cat([first, rest]).sum(), whole.sum())
    assert torch.cat([a, b]).bincount().equal(labels.bincount())


@given(st.permutations(range(4)), st.lists(st.floats(0.1, 9), min_size=4, max_size=4))
def test_distortion_knows_neither_order_nor_scale(order, scales):
    g = torch.Generator().manual_seed(0)
    sources = torch.randn(5, 40, 4, generator=g)
    estimates = sources + 0.3 * torch.randn(sources.shape, generator=g)
    before = separation.distortion(estimates, sources)
    after = separation.distortion(estimates[..., list(order)] * torch.tensor(scales), sources)
    assert after == pytest.approx(before, abs=1e-3)
    assert before == pytest.approx(20 * math.log10(1 / 0.3), abs=1.5)


# ---- Report and results -------------------------------------------------------------------------


def rows_on_file():
    found = json.loads((ROOT / "docs/results/reuse.json").read_text(encoding="utf-8"))
    rows = {
        name: {
            variant: Row(**{**row, "gain": row["gain"] and Interval(**row["gain"])})
            for variant, row in task["variants"].items()
        }
        for name, task in found["tasks"].items()
    }
    return found, rows


def test_the_page_shows_what_is_on_file():
    _, rows = rows_on_file()
    page = (ROOT / "docs/reuse.md").read_text(encoding="utf-8")
    assert with_tables(page, tables(rows), BEGIN, END) == page


def test_results_were_made_as_the_protocol_says():
    found, rows = rows_on_file()
    assert not set(found["tuning_seeds"]) & set(found["table_seeds"])
    assert len(found["table_seeds"]) >= 8
    assert found == json.loads(json.dumps(as_json(rows, protocol.FULL)))
    for name, variants in rows.items():
        assert set(variants) == set(VARIANTS)
        for variant, row in variants.items():
            assert row.options in settings(TASKS[name], variant, found["trials"])
            if row.gain is not None:
                up = TASKS[name].metric.higher_is_better
                plain = variants["plain"].values
                assert paired_gain(row.values, plain, higher_is_better=up) == row.gain


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="marks"):
        with_tables("no table here", "", BEGIN, END)
