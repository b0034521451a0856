"""The benchmarks of FCUS-rPPG's claims: kept runs, statistics, and what is read off them."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ablation, convergence, cross_domain
from benchmarks.claims import runs, stored
from benchmarks.claims.diagnosis import Diagnosis, only_background
from benchmarks.claims.fcus import clips_of, new_network, run_fcus
from benchmarks.claims.options import parse
from benchmarks.claims.runs import LEVELS, Run, code_digest, key, peer_config, train_config
from benchmarks.claims.statistics import (
    Interval,
    bootstrap,
    by_subject,
    guess_mae,
    holm,
    level_effect,
    mae,
    mean_mae,
    settings_of,
    stack,
    student,
)
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.evaluation import classical, evaluate
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.train.run import train

ROOT = Path(__file__).parents[2]
SMALL = Run("fcus", "lab", subjects=3, test_subjects=2, targets=("lab",))
STILL = Run("green", test_subjects=2, targets=("lab",))


def point(errors, *, epoch=1, clips=100, train_s=10.0, subjects=None):
    """A point with the same errors on each of the five domains, one window a subject."""
    names = subjects or [str(n) for n in range(len(errors))]
    windows = {
        "subject": names,
        "true_bpm": [60.0 + n for n in range(len(errors))],
        "pred_bpm": [60.0 + n + e for n, e in enumerate(errors)],
    }
    return {
        "epoch": epoch,
        "clips": clips,
        "train_s": train_s,
        "cpu_s": train_s / 2,
        "criterion": 1.0,
        "targets": dict.fromkeys(DOMAINS, windows),
    }


# ---- Kept runs ----------------------------------------------------------------------------------


def test_a_finished_run_is_not_made_again(tmp_path):
    told = []
    (first,) = stored.make_all(tmp_path, [STILL], tell=told.append)
    changed = stored.path_of(tmp_path, STILL).stat().st_mtime_ns
    (second,) = stored.make_all(tmp_path, [STILL], tell=told.append)
    assert first == second
    assert stored.path_of(tmp_path, STILL).stat().st_mtime_ns == changed
    assert len(told) == 2
    assert told[1] == "1 of 1 runs are there already"


def test_a_killed_program_goes_on(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from benchmarks.claims import stored; from benchmarks.claims.runs import Run\n"
        "folder = Path(sys.argv[1])\n"
        "whole = [Run(m, test_subjects=2, targets=('lab',)) for m in ('green', 'pos')]\n"
        "def tell(line): print(line, flush=True); time.sleep(60)\n"
        "stored.make_all(folder, whole, tell=tell)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("[1/2] green")
        process.send_signal(signal.SIGKILL)
    assert [path.name[:5] for path in tmp_path.glob("*.json")] == ["green"]
    changed = stored.path_of(tmp_path, STILL).stat().st_mtime_ns
    told = []
    both = [STILL, replace(STILL, learner="pos")]
    results = stored.make_all(tmp_path, both, tell=told.append)
    assert [result["run"]["learner"] for result in results] == ["green", "pos"]
    assert told[0] == "1 of 2 runs are there already"
    assert told[1].startswith("[1/1] pos")
    assert stored.path_of(tmp_path, STILL).stat().st_mtime_ns == changed


def test_workers_end_with_a_killed_program(tmp_path):
    program = (
        "import os, time\n"
        "from benchmarks.claims.workers import pool_of\n"
        "if __name__ == '__main__':\n"
        "    pool = pool_of(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        worker = int(process.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        process.kill()
    for _ in range(100):
        status = Path(f"/proc/{worker}/stat")
        if not status.exists() or status.read_text(encoding="ascii").split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there")


def test_a_run_that_did_not_go_far_enough_is_made_again(tmp_path):
    path = stored.path_of(tmp_path, SMALL)
    path.write_text(json.dumps({"run": {"epochs": 2}, "points": []}))
    assert stored.load(tmp_path, SMALL) is not None
    assert stored.path_of(tmp_path, replace(SMALL, epochs=3)) == path
    assert stored.load(tmp_path, replace(SMALL, epochs=3)) is None
    path.write_text(json.dumps({"run": {"epochs": 2}, "points": [], "failed": "no"}))
    assert stored.load(tmp_path, replace(SMALL, epochs=3)) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"source": "wild"},
        {"levels": ("mask",)},
        {"subjects": 4},
        {"split": "validation"},
        {"test_subjects": 3},
        {"targets": ("lab", "wild")},
    ],
)
def test_key_tells_runs_apart(change):
    assert key(replace(SMALL, **change)) != key(SMALL)


def test_key_follows_the_code_but_not_what_is_said_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    (tmp_path / "folder").mkdir()
    digests = []
    for text in ("x = 1\n", "# said\nx = 1  # of it\n", "x = 2\n"):
        (tmp_path / "folder" / "a.py").write_text(text)
        code_digest.cache_clear()
        digests.append(code_digest("folder"))
    code_digest.cache_clear()
    assert digests[0] == digests[1] != digests[2]


def test_code_that_changes_under_way_is_refused(tmp_path):
    with pytest.raises(InputError, match="the code changed"):
        stored.make(tmp_path, STILL, "another key")


def test_every_place_of_code_is_there():
    for places in (runs.SHARED_CODE, *runs.CODE.values()):
        assert all((ROOT / place).exists() for place in places)


def test_unknown_learners_and_domains_are_refused():
    with pytest.raises(InputError, match="no learner 'fcs'"):
        Run("fcs")
    with pytest.raises(InputError, match="no domain 'mars'"):
        Run("fcus", "mars")


# ---- Learners -----------------------------------------------------------------------------------


def test_a_run_is_the_package_s_own_training(tmp_path):
    """And its first epoch is that of a longer run."""
    longer = run_fcus(replace(SMALL, epochs=2))
    trained = train(train_config(SMALL))
    recordings = synthetic_recordings("lab", "test", 2)
    rows = evaluate(recordings, {"fcus": FcusEstimator(trained.net)}).windows
    windows = longer["points"][0]["targets"]["lab"]
    assert [p["epoch"] for p in longer["points"]] == [1, 2]
    assert longer["points"][0]["clips"] == longer["clips_per_epoch"]
    assert windows["pred_bpm"] == pytest.approx([row.hr_pred_bpm for row in rows], abs=2e-2)
    assert windows["true_bpm"] == pytest.approx([row.hr_true_bpm for row in rows], abs=1e-3)
    assert windows["subject"] == [row.subject for row in rows]
    assert longer["points"][1]["train_s"] > longer["points"][0]["train_s"] > 0
    told = longer["diagnosis"]
    assert told["eigenvalue_converged"]
    assert told["drift"] > 0
    assert told["cka_loss"] > 0


def test_sign_flips_by_hand():
    config = train_config(SMALL)
    net = new_network(config)
    clip_set, _, _ = clips_of("lab", 3, config.clip_s, config.stride_s, config.model)
    diagnosis = Diagnosis(net, clip_set, config, "lab")
    assert diagnosis.sign_flips() is None
    for sign in (-1, 1, 1, -1, -1):  # the first says nothing
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, sign)
        diagnosis.step()
    assert diagnosis.sign_flips() == pytest.approx(1 / 3)


def test_drift_by_hand():
    config = train_config(SMALL)
    net = new_network(config)
    clip_set, _, _ = clips_of("lab", 3, config.clip_s, config.stride_s, config.model)
    diagnosis = Diagnosis(net, clip_set, config, "lab")
    assert diagnosis.layers == ["encoder.0", "encoder.2"]
    still = diagnosis.moved()
    assert (still["drift"], still["cka_loss"]) == pytest.approx((0, 0), abs=1e-9)
    with torch.no_grad():
        for parameter in net.attention.encoder[2].parameters():
            parameter.mul_(3.0)
    found = diagnosis.moved()
    assert found["drift"] == pytest.approx((0 + 2) / 2, abs=1e-5)
    assert found["cka_loss"] == pytest.approx(0, abs=1e-6)  # CKA does not see a common scale
    with torch.no_grad():
        net.attention.encoder[2].weight.copy_(torch.randn(net.attention.encoder[2].weight.shape))
    assert diagnosis.moved()["cka_loss"] > 1e-3


def test_probes_hold_nothing_but_background():
    clip = torch.zeros(1, 18, 18)
    clip[:, :13, :3], clip[:, :13, -3:] = 1.0, 2.0
    assert set(only_background(clip).unique().tolist()) == {1.0, 2.0}


def test_untrained_networks_start_where_training_does():
    config = train_config(SMALL)
    ours, known = new_network(config).state_dict(), untrained(config.model, 0).net.state_dict()
    assert all(torch.equal(ours[name], known[name]) for name in known)


def test_classical_methods_go_by_the_protocol():
    found = stored.MAKERS["classical"](STILL)["points"][0]
    table = evaluate(
        synthetic_recordings("lab", "test", 2), {"green": classical("green")}
    ).summary()
    assert mae(found, "lab") == pytest.approx(table[0].mae_bpm.value, abs=1e-2)


def test_peers_depart_from_what_is_published_unless_told():
    run = Run("contrast-phys", "lab")
    assert peer_config(run).lr == 3e-4
    assert peer_config(replace(run, published=True)).lr == 1e-5
    assert peer_config(replace(run, learner="sinc")).model.side == 32


# ---- Statistics ---------------------------------------------------------------------------------


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == pytest.approx([0.04])


def test_level_effect_by_hand():
    assert settings_of(("a", "b")) == [(), ("a",), ("b",), ("a", "b")]
    found = {(): [10.0, 20.0], ("a",): [7.0, 18.0], ("b",): [9.0, 19.0], ("a", "b"): [4.0, 20.0]}
    arrays = {setting: np.array(values) for setting, values in found.items()}
    assert level_effect(arrays, "a") == pytest.approx([(-3 - 5) / 2, (-2 + 1) / 2])
    assert level_effect(arrays, "b") == pytest.approx([(-1 - 3) / 2, (-1 + 2) / 2])


def test_eight_settings_of_three_levels():
    assert len(set(settings_of(LEVELS))) == 8
    assert settings_of(LEVELS)[-1] == LEVELS


def test_bootstrap_by_hand():
    """Groups weigh the same whatever their size; what is missing is left out."""
    found = bootstrap([[1.0, 3.0, np.nan, 8.0]], ["a", "a", "a", "b"])
    assert found.mean == pytest.approx((2 + 8) / 2)
    constant = bootstrap(np.full((3, 4), -2.0), ["a", "a", "b", "b"])
    assert (constant.mean, constant.low, constant.high) == pytest.approx((-2, -2, -2))
    assert constant.p < 0.001


def test_bootstrap_is_as_wide_as_the_standard_error():
    values = np.random.default_rng(0).normal(1, 2, (1, 100))
    found = bootstrap(values, ["a"] * 100)
    half = 1.96 * values.std() / 10
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    # The same error in all of 100 subjects, but another in each seed: only seeds can tell.
    seeds = np.repeat(np.random.default_rng(1).normal(0, 1, (8, 1)), 100, axis=1)
    wide = bootstrap(seeds, ["a"] * 100)
    assert (wide.high - wide.low) / 2 == pytest.approx(1.96 * seeds[:, 0].std() / 8**0.5, rel=0.2)


def test_student_by_hand():
    found = student([1.0, 2.0, 3.0])
    assert (found.mean, found.low) == pytest.approx((2.0, 2 - 4.3027 / 3**0.5), abs=1e-3)
    assert student([0.0, 0.0]).p == 1.0


def test_errors_of_points():
    found = point([1.0, -3.0])
    found["targets"]["lab"] = {
        "subject": ["0", "0", "1"],
        "true_bpm": [60.0, 62.0, 70.0],
        "pred_bpm": [61.0, None, 67.0],
    }
    assert mae(found, "lab") == pytest.approx(2.0)
    assert mae(found, "lab", [("lab", "1")]) == pytest.approx(3.0)
    assert mean_mae(found, ["lab", "wild"], [("lab", "0"), ("wild", "1")]) == pytest.approx(2.0)
    assert by_subject(found, ["lab"]) == {("lab", "0"): 1.0, ("lab", "1"): 3.0}
    assert guess_mae(found, "lab", 65) == pytest.approx((5 + 3 + 5) / 3)
    values, groups = stack([{("a", "1"): 1.0, ("a", "2"): 2.0}, {("a", "2"): 5.0}])
    assert (values.tolist(), groups) == ([[2.0], [5.0]], ["a"])


# ---- What is read off ---------------------------------------------------------------------------


def source_of(peer_points):
    def run(learner, points):
        return {
            "run": {"learner": learner, "seed": 0},
            "points": points,
            "clips_per_epoch": 100,
            "stopped": "time",
            "epochs_done": 3,
            "epochs_published": 30,
            "parameters": 1,
        }

    ours = [
        point([2.0, 2.0], epoch=1, clips=100, train_s=10.0),
        point([1.0, 1.0], epoch=2, clips=200, train_s=20.0),
    ]
    untrained = [run("untrained", [point([4.0, 4.0], epoch=0, clips=0, train_s=0.0)])]
    return convergence.Source(
        "lab", [run("fcus", ours)], untrained, [run("sinc", peer_points)], epochs=2
    )


def test_ratios_to_the_best_peer_s_best():
    best = point([1.5], epoch=2, clips=1000, train_s=600.0)
    worse = point([5.0], epoch=3, clips=1500, train_s=900.0)
    source = source_of([worse, best])
    reached = source.reached()
    assert (reached.peer, reached.mae_bpm, reached.fcus_mae_bpm) == ("sinc", 1.5, 2.0)
    assert reached.ratios == {"clips": [5.0], "train_s": [30.0], "cpu_s": [30.0]}
    claims = convergence.against_peers({"lab": source}, {"lab": reached})
    assert [claim.holds for claim in claims[:3]] == [False, True, True]


def test_a_peer_that_is_never_reached_gives_no_ratio():
    source = source_of([point([0.5])])
    assert source.reached().ratios["clips"] == [0.0]
    claims = convergence.against_peers({"lab": source}, {"lab": source.reached()})
    assert [claim.holds for claim in claims[:3]] == [False, False, False]


def test_one_epoch_is_held_to_the_best_of_all():
    beats, _, near = convergence.one_epoch({"lab": source_of([point([0.5])])})
    assert beats.holds
    assert not near.holds
    assert near.found == "2.00; best 1.00 after 2"


def effects_of(mean, p):
    return {
        level: Interval(mean, mean - 0.1, mean + 0.1, p)
        for level in (ablation.MAE, *ablation.MECHANISMS)
    }


def test_main_claims_are_corrected():
    effects = {s: {level: effects_of(-0.5, 0.02) for level in LEVELS} for s in ("wild", "mobile")}
    judged = ablation.judge(effects)
    assert [claim.holds for claim in judged[:3]] == [False, False, False]  # 3 × 0.02 > 0.05
    effects["wild"]["mask"] = effects_of(-0.5, 0.001)
    assert [claim.holds for claim in ablation.judge(effects)[:3]] == [True, True, True]
    effects["wild"]["mask"] = effects_of(0.5, 0.001)
    assert [claim.holds for claim in ablation.judge(effects)[:3]] == [False, True, True]


def test_harm_on_another_source_is_seen():
    effects = {s: {level: effects_of(-0.5, 0.02) for level in LEVELS} for s in ("wild", "mobile")}
    effects["mobile"]["mask"] = effects_of(0.4, 0.9)
    harm = [claim for claim in ablation.judge(effects) if "hurts" in claim.claim]
    assert [claim.holds for claim in harm] == [False, True, True]


def test_rate_of_divergence_is_bounded():
    assert cross_domain.upper_rate(0, 30) == pytest.approx(1 - 0.05 ** (1 / 30))
    assert cross_domain.upper_rate(0, 30) < 0.1 < cross_domain.upper_rate(0, 28)


def test_divergence_is_seen():
    reference = point([0.0] * 4)
    run = {"run": {"source": "lab"}, "points": [point([1.0] * 4)]}
    assert not cross_domain.has_diverged(run, reference)
    assert cross_domain.has_diverged({**run, "failed": "loss"}, reference)
    assert cross_domain.has_diverged({**run, "points": [point([40.0] * 4)]}, reference)
    assert cross_domain.has_diverged({**run, "points": [point([np.nan] * 4)]}, reference)


def test_options_are_told_from_the_budget(tmp_path):
    options = parse(
        "ablation",
        "x",
        ablation.QUICK,
        ablation.FULL,
        ["--full", "--seeds", "3", "--sources", "lab"],
    )
    assert (options.budget.seeds, options.budget.sources) == (3, ("lab",))
    assert options.budget.test_subjects == ablation.FULL.test_subjects
    assert options.command == "python -m benchmarks.ablation --full --seeds 3 --sources lab"


@pytest.mark.slow
def test_convergence_without_peers_for_several_epochs(tmp_path, capsys):
    """The whole program: what it trains with, and that it asks nothing of peers."""
    size = ["--quick", "--seeds", "1", "--subjects", "3", "--test-subjects", "1"]
    out = tmp_path / "found.json"
    convergence.main([*size, "--steady", "--peers", "--runs", str(tmp_path), "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["peers"] == [] and found["reached"] == {}
    assert not any("peer" in claim["claim"] for claim in found["claims"])
    assert "Peers" not in capsys.readouterr().out
    (kept,) = tmp_path.glob("fcus-*.json")
    config = json.loads(kept.read_text())["config"]
    assert (config["tether"], config["averaged"]) == (0.02, 0.5)
