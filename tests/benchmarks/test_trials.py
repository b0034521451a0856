"""The studies of FCUS-rPPG: stored trials, statistics, and the claims that follow from them."""

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

from benchmarks import (
    ablation,
    contamination,
    convergence,
    cross_domain,
    mechanisms,
    pack,
    same_results,
)
from benchmarks.study.from_study import (
    StudyOptions,
    add_column,
    joined,
    parse_study,
    run_study,
)
from benchmarks.study.kept_trials import pack_study, rekey_study, renew
from benchmarks.study.options import parse
from benchmarks.study.statistics import (
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
from benchmarks.study.transfer import TransferTable
from benchmarks.trials import key as keys
from benchmarks.trials import store as stores
from benchmarks.trials.diagnosis import Diagnosis, only_background
from benchmarks.trials.evaluation import CONTINUOUS
from benchmarks.trials.fcus import clips_of, new_network, run_fcus
from benchmarks.trials.filtered import Filtered, run_filtered
from benchmarks.trials.key import CODE, code_digest, key
from benchmarks.trials.store import Store, compute, load, packed_results, run_all
from benchmarks.trials.trial_settings import LEVELS, PEERS, Trial, peer_config, train_config
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.evaluation import Protocol, classical, evaluate
from rppg.study import key as study_key
from rppg.study import store as study_store
from rppg.study.config import EvaluationConfig, StudyConfig, learner_config
from rppg.study.plan import plan_trials
from rppg.study.run import prepare, run_missing
from rppg.study.survey import PartSurvey
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.train.run import train

ROOT = Path(__file__).parents[2]
SMALL = Trial("fcus", "lab", subjects=3, test_subjects=2, targets=("lab",))
VERIFIED = Trial("pos+skin+verified", test_subjects=1, targets=("lab",))


def point(errors, *, epoch=1, clips=100, train_s=10.0, subjects=None):
    """Return a point with the same errors on each of the five domains, one window per subject."""
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


# ---- Stored trials ------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "trials.jsonl", tmp_path)


def path_of(store, trial):
    return store.path(stores.file_name(trial), key(trial), keys.CODE_DIGESTS[trial.kind])


def test_a_finished_run_is_not_made_again(store):
    lines = []
    (first,) = run_all(store, [VERIFIED], report=lines.append)
    changed = path_of(store, VERIFIED).stat().st_mtime_ns
    (second,) = run_all(store, [VERIFIED], report=lines.append)
    assert first == second
    assert path_of(store, VERIFIED).stat().st_mtime_ns == changed
    assert len(lines) == 2
    assert lines[1] == "1 of 1 trials are finished already"


def test_a_killed_program_goes_on(tmp_path, store):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from benchmarks.trials.store import Store, run_all\n"
        "from benchmarks.trials.trial_settings import Trial\n"
        "folder = Path(sys.argv[1])\n"
        "methods = ('pos+skin+verified', 'chrom+skin+verified')\n"
        "trials = [Trial(m, test_subjects=1, targets=('lab',)) for m in methods]\n"
        "def report(line): print(line, flush=True); time.sleep(60)\n"
        "run_all(Store(folder / 'trials.jsonl', folder), trials, report=report)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("[1/2] pos+skin+verified")
        process.send_signal(signal.SIGKILL)
    assert [path.name[:8] for path in tmp_path.glob("*.json")] == ["pos+skin"]
    changed = path_of(store, VERIFIED).stat().st_mtime_ns
    lines = []
    both = [VERIFIED, replace(VERIFIED, method="chrom+skin+verified")]
    results = run_all(store, both, report=lines.append)
    assert [result["trial"]["method"] for result in results] == [t.method for t in both]
    assert lines[0] == "1 of 2 trials are finished already"
    assert lines[1].startswith("[1/1] chrom+skin")
    assert path_of(store, VERIFIED).stat().st_mtime_ns == changed


def test_workers_end_with_a_killed_program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        "from rppg.processes import work_through\n"
        "def work(job): return os.getpid()\n"
        "def done(index, pid): print(pid, flush=True); time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    work_through(work, [1, 2], 2, done)\n"
    )
    with subprocess.Popen(
        [sys.executable, program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        worker = int(process.stdout.readline())
        assert worker != process.pid
        assert Path(f"/proc/{worker}").exists()
        process.kill()
    for _ in range(100):
        status = Path(f"/proc/{worker}/stat")
        if not status.exists() or status.read_text(encoding="ascii").split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there")


def test_a_run_that_did_not_go_far_enough_is_made_again(store):
    path = path_of(store, SMALL)
    path.write_text(json.dumps({"trial": {"epochs": 2}, "points": []}))
    assert load(store, SMALL) is not None
    assert path_of(store, replace(SMALL, epochs=3)) == path
    assert load(store, replace(SMALL, epochs=3)) is None
    path.write_text(json.dumps({"trial": {"epochs": 2}, "points": [], "failed": "no"}))
    assert load(store, replace(SMALL, epochs=3)) is not None


@pytest.fixture
def stored(store):
    """A store with a classical trial and the description of an FCUS one, both packed."""
    run_all(store, [VERIFIED], report=lambda line: None)
    result = {
        "key": key(SMALL),
        "code": keys.CODE_DIGESTS["fcus"],
        "trial": SMALL.to_json(),
        "points": [{"criterion": 0.1 + 0.2}],
        "config": train_config(SMALL).model_dump(mode="json"),
    }
    store.save("fcus-lab-0", result)
    pack.pack(store)
    return store


def test_packed_results_are_found_as_they_were(stored):
    assert list(stored.folder.glob("*.json")) == []
    assert load(stored, SMALL)["points"] == [{"criterion": 0.1 + 0.2}]
    first = stored.packed.read_bytes()
    assert pack.pack(stored).endswith("0 results added, 2 in all")
    assert stored.packed.read_bytes() == first
    assert run_all(stored, [VERIFIED], report=lambda line: None) == [load(stored, VERIFIED)]


def test_a_single_file_wins_over_the_packed_one(stored):
    newer = {**load(stored, SMALL), "points": []}
    stored.save("fcus-lab-0", newer)
    assert load(stored, SMALL)["points"] == []
    pack.pack(stored)
    assert load(stored, SMALL)["points"] == []
    assert len(packed_results(stored.packed)) == 2


def test_results_of_other_code_are_kept_only_if_that_code_is_equal(stored, monkeypatch):
    old = dict(keys.CODE_DIGESTS)
    monkeypatch.setitem(keys.CODE_DIGESTS, "fcus", "new code")
    assert load(stored, SMALL) is None
    other = {**old, "fcus": "something else"}
    assert pack.rekey(stored, [other]).endswith("0 results re-keyed, 1 of other code left")
    assert load(stored, SMALL) is None
    assert pack.rekey(stored, [other, old]).endswith("1 results re-keyed, 0 of other code left")
    assert load(stored, SMALL)["points"] == [{"criterion": 0.1 + 0.2}]


def test_results_of_other_code_are_dropped_where_asked(stored, monkeypatch):
    monkeypatch.setitem(keys.CODE_DIGESTS, "fcus", "new code")
    assert pack.pack(stored).endswith("0 results added, 2 in all")
    assert pack.pack(stored, drop=True).endswith("1 of older code removed, 1 in all")
    assert list(packed_results(stored.packed)) == [key(VERIFIED)]


def test_results_with_other_settings_are_not_kept(stored, monkeypatch):
    old = dict(keys.CODE_DIGESTS)
    monkeypatch.setitem(keys.CODE_DIGESTS, "fcus", "new code")
    (result,) = [r for r in packed_results(stored.packed).values() if "config" in r]
    result["config"]["lr"] *= 2
    assert pack.rekey(stored, [old]).endswith("0 results re-keyed, 1 of other code left")


def test_keeping_results_needs_a_comparison_of_this_code(tmp_path, monkeypatch):
    monkeypatch.setattr(same_results, "STAMP", tmp_path / "stamp.json")
    with pytest.raises(InputError, match="same_results OLD_TREE"):
        same_results.read_stamp()
    same_results.write_stamp({"fcus": "old"})
    same_results.write_stamp({"fcus": "older"})
    assert same_results.read_stamp() == [{"fcus": "old"}, {"fcus": "older"}]
    monkeypatch.setitem(keys.CODE_DIGESTS, "fcus", "newer")
    with pytest.raises(InputError, match="same_results OLD_TREE"):
        same_results.read_stamp()


def test_every_number_is_compared_but_times():
    old = {"train_s": 1.0, "points": [{"mae": 1.0, "none": None}, {"mae": float("nan")}]}
    assert same_results.compare(old, {**old, "train_s": 2.0}) == []
    new = {"points": [{"mae": 1.0, "none": None}, {"mae": 0.1 + 0.2}]}
    assert same_results.compare(old, new) == [
        "/points/1/mae: nan in the old tree, 0.30000000000000004 in this one"
    ]


def test_an_added_column_is_compared_where_both_trees_have_it():
    old, new = {"pred_bpm": [60.0]}, {"pred_bpm": [60.0], CONTINUOUS: [61.0]}
    assert same_results.compare(old, new) == []
    assert len(same_results.compare(new, {**new, CONTINUOUS: [62.0]})) == 1
    assert len(same_results.compare(new, old)) == 1


def test_trials_hold_the_estimates_with_continuity():
    result = run_filtered(replace(VERIFIED, split="validation"))
    windows = result["points"][0]["targets"]["lab"]
    (recording,) = synthetic_recordings("lab", "validation", 1)
    protocol = Protocol(continuity=True)
    method = Filtered(classical("pos", skin=True), untrained())
    found = evaluate([recording], {"verified": method}, protocol)
    path = [round(row.hr_pred_bpm, 3) for row in found.windows]
    assert windows[CONTINUOUS] == path
    assert len(windows[CONTINUOUS]) == len(windows["pred_bpm"]) == len(windows["true_bpm"])


def test_rows_with_continuity_are_there_if_every_trial_has_it():
    def with_path(errors):
        plain = point(errors)
        windows = plain["targets"]["lab"]
        path = {CONTINUOUS: [bpm + 0.25 for bpm in windows["true_bpm"]]}
        return {**plain, "targets": dict.fromkeys(DOMAINS, windows | path)}

    def table(fcus):
        results = [{"points": [fcus], "trial": {"seed": 0}}]
        return TransferTable(
            ("lab", "webcam"),
            constant={name: {"points": [with_path([5.0])]} for name in ("lab", "webcam")},
            fcus={"lab": results, "webcam": results},
            untrained=[{"points": [with_path([3.0])]}],
            classical={name: {"points": [with_path([4.0])]} for name in ("pos+skin", "chrom+skin")},
            peers={},
        )

    new, old = table(with_path([2.0])), table(point([2.0]))
    rows = ["CHROM, skin mask, continuity", "POS, skin mask, continuity", "untrained, continuity"]
    assert list(old.continuity()) == rows
    assert list(new.continuity()) == [*rows, "FCUS, continuity"]
    assert all(row == dict.fromkeys(DOMAINS, 0.25) for row in new.continuity().values())
    assert new.columns() == old.columns()
    assert new.columns()["constant guess"]["lab"] == 5
    assert new.columns()["fcus"]["wild"] == 2 and new.columns()["POS, skin mask"]["wild"] == 4


def test_committed_trials_are_in_order_and_each_is_there_once():
    lines = (ROOT / "docs/results/trials.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    assert len({result["key"] for result in results}) == len(results)
    assert [json.dumps(result) for result in sorted(results, key=pack._order)] == lines
    assert all(Trial.from_json(r["trial"]).to_json() == r["trial"] for r in results)


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
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    (tmp_path / "folder").mkdir()
    digests = []
    for text in ("x = 1\n", "# said\nx = 1  # of it\n", "x = 2\n"):
        (tmp_path / "folder" / "a.py").write_text(text)
        digests.append(code_digest("folder"))
    assert digests[0] == digests[1] != digests[2]


def test_code_that_changes_under_way_is_refused(store):
    with pytest.raises(InputError, match="the code changed"):
        compute((store, VERIFIED, "another digest"))


def test_every_place_of_code_is_there():
    for paths in CODE.values():
        assert all((ROOT / path).exists() for path in paths)


def test_unknown_learners_and_domains_are_refused():
    with pytest.raises(InputError, match="no method 'fcs'"):
        Trial("fcs")
    with pytest.raises(InputError, match="no domain 'mars'"):
        Trial("fcus", "mars")


# ---- Methods ------------------------------------------------------------------------------------


@pytest.mark.slow
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
    measured = longer["diagnosis"]
    assert measured["eigenvalue_converged"]
    assert measured["drift"] > 0
    assert measured["cka_loss"] > 0


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
    start = diagnosis.feature_drift()
    assert (start["drift"], start["cka_loss"]) == pytest.approx((0, 0), abs=1e-9)
    with torch.no_grad():
        for parameter in net.attention.encoder[2].parameters():
            parameter.mul_(3.0)
    found = diagnosis.feature_drift()
    assert found["drift"] == pytest.approx((0 + 2) / 2, abs=1e-5)
    assert found["cka_loss"] == pytest.approx(0, abs=1e-6)  # CKA does not see a common scale
    with torch.no_grad():
        net.attention.encoder[2].weight.copy_(torch.randn(net.attention.encoder[2].weight.shape))
    assert diagnosis.feature_drift()["cka_loss"] > 1e-3


def test_probes_hold_nothing_but_background():
    clip = torch.zeros(1, 18, 18)
    clip[:, :13, :3], clip[:, :13, -3:] = 1.0, 2.0
    assert set(only_background(clip).unique().tolist()) == {1.0, 2.0}


def test_untrained_networks_start_where_training_does():
    config = train_config(SMALL)
    ours, known = new_network(config).state_dict(), untrained(config.model, 0).net.state_dict()
    assert all(torch.equal(ours[name], known[name]) for name in known)


def test_a_study_s_methods_go_by_the_protocol(tmp_path):
    """And its results come in the form of the benchmarks' own trials."""
    study = StudyConfig(data=["synthetic:lab"], methods=["green", "pos+skin"], test_subjects=2)
    options = StudyOptions(study, True, tmp_path, 1, tmp_path / "found.json", "")
    recordings = synthetic_recordings("lab", "test", 2)
    estimators = {"green": classical("green"), "pos+skin": classical("pos", skin=True)}
    expected = {s.method: s.mae_bpm.value for s in evaluate(recordings, estimators).summary()}
    results = run_study(options)
    assert {t.method: mae(joined([r])["points"][0], "lab") for t, r in results.items()} == (
        pytest.approx(expected, abs=1e-3)
    )
    again = study.model_copy(update={"evaluation": EvaluationConfig(continuity=True)})
    add_column(results, CONTINUOUS, run_study(options, again))
    windows = results[plan_trials(study)[0]]["points"][0]["targets"]["lab"]
    found = evaluate(recordings, {"green": estimators["green"]}, Protocol(continuity=True))
    assert windows[CONTINUOUS] == pytest.approx([r.hr_pred_bpm for r in found.windows], abs=1e-3)
    assert run_study(options).keys() == results.keys()  # both evaluations are kept
    assert len(list((tmp_path / "trials").iterdir())) == 2


def test_peers_depart_from_what_is_published():
    study = parse_study("cross_domain", "x", {}, ["--full", "--peers", *PEERS]).study
    assert learner_config(study, "contrast-phys").lr == 3e-4
    assert learner_config(study, "sinc").model.side == 32
    assert study.learners == ("fcus", *PEERS)
    assert peer_config(Trial("contrast-phys", "lab", arm="plain")).lr == 1e-3


# ---- Studies that are kept ----------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    """`kept()`: the trial of a small study, stored and packed in `tmp_path`, as it is found now."""
    study = StudyConfig(data=["synthetic:lab"], methods=["green"], test_subjects=1)
    store = study_store.Store(tmp_path)

    def load():
        (job,) = prepare(study, print).jobs.values()
        return store.load(job) if store.complete(job) else None

    run_missing(prepare(study, print), store, report=lambda line: None)
    pack_study(tmp_path)
    return load


def test_a_packed_study_is_found_as_it_was(kept, tmp_path):
    assert not list((tmp_path / "trials").iterdir())
    first = (tmp_path / study_store.PACKED).read_bytes()
    assert kept()["trial"]["method"] == "green"
    assert pack_study(tmp_path).endswith("0 results added, 1 in all")
    assert rekey_study(tmp_path, []).endswith("0 results re-keyed, 0 of other code left")
    assert (tmp_path / study_store.PACKED).read_bytes() == first


@pytest.mark.parametrize("kind", ["classical", "test"])
def test_a_study_of_other_code_is_kept_only_if_that_code_is_equal(
    kept, tmp_path, monkeypatch, kind
):
    old, before = dict(study_key.CODE_DIGESTS), kept()
    monkeypatch.setitem(study_key.CODE_DIGESTS, "data", "new code, of files alone")
    assert kept() == before
    monkeypatch.setitem(study_key.CODE_DIGESTS, kind, "new code")
    assert kept() is None
    other = {**old, kind: "something else"}
    assert rekey_study(tmp_path, [other]).endswith("0 results re-keyed, 1 of other code left")
    assert kept() is None
    assert rekey_study(tmp_path, [other, old]).endswith("1 results re-keyed, 0 of other code left")
    windows = [[t["windows"] for t in r["tests"].values()] for r in (kept(), before)]
    assert windows[0] == windows[1]


def test_a_study_s_trials_of_other_code_are_dropped_where_asked(kept, tmp_path, monkeypatch):
    assert pack_study(tmp_path, drop=True).endswith("0 results added, 1 in all")
    monkeypatch.setitem(study_key.CODE_DIGESTS, "test", "new code")
    assert pack_study(tmp_path).endswith("0 results added, 1 in all")
    assert pack_study(tmp_path, drop=True).endswith("1 of older code removed, 0 in all")


def test_fields_that_a_study_gains_do_not_cost_its_trials(tmp_path):
    study = StudyConfig(data=["synthetic:lab"], methods=["fcus"], seeds=1)
    parts = {part: PartSurvey(("x",), 1) for t in plan_trials(study) for part in t.training}
    parts |= {part: PartSurvey(("y",), 1) for t in plan_trials(study) for part in t.tests}
    job = study_key.job_of(plan_trials(study)[0], study, parts)
    older = json.loads(json.dumps(job.identity))
    del older["config"]["tether"]
    older_test = json.loads(json.dumps(job.test_identities[0]))
    del older_test["protocol"]["continuity"]
    key = study_key.digest(older)
    tests = {study_key.test_key(key, older_test): {"identity": older_test}}
    found = renew({"key": key, "identity": older, "tests": tests}, [])
    assert (found["key"], tuple(found["tests"])) == (job.key, job.tests) != (key, tuple(tests))


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


# ---- Claims -------------------------------------------------------------------------------------


def source_of(peer_points):
    def result(method, points):
        return {
            "trial": {"method": method, "seed": 0},
            "points": points,
            "clips_per_epoch": 100,
            "epochs": 3,
            "best_epoch": 2,
            "config": {"epochs": 30},
        }

    ours = [
        point([2.0, 2.0], epoch=1, clips=100, train_s=10.0),
        point([1.0, 1.0], epoch=2, clips=200, train_s=20.0),
    ]
    untrained = [result("untrained", [point([4.0, 4.0], epoch=0, clips=0, train_s=0.0)])]
    peers = [result("sinc", peer_points)]
    return convergence.Source("lab", [result("fcus", ours)], untrained, peers)


def test_ratios_to_the_best_peer_s_best():
    best = point([1.5], epoch=2, clips=1000, train_s=600.0)
    worse = point([5.0], epoch=3, clips=1500, train_s=900.0)
    source = source_of([worse, best])
    reached = source.reached()
    assert (reached.peer, reached.mae_bpm, reached.fcus_mae_bpm) == ("sinc", 1.5, 2.0)
    assert reached.ratios == {"clips": [5.0], "train_s": [30.0]}
    assert [row["picked"] for row in source.peer_rows()] == [False, True]
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
    return {level: Interval(mean, mean - 0.1, mean + 0.1, p) for level in LEVELS}


def test_main_claims_are_corrected():
    effects = {source: effects_of(-0.5, 0.02) for source in ("wild", "mobile")}
    judged = ablation.judge(effects)
    assert [claim.holds for claim in judged[:3]] == [False, False, False]  # 3 × 0.02 > 0.05
    effects["wild"]["mask"] = Interval(-0.5, -0.6, -0.4, 0.001)
    assert [claim.holds for claim in ablation.judge(effects)[:3]] == [True, True, True]
    effects["wild"]["mask"] = Interval(0.5, 0.4, 0.6, 0.001)
    assert [claim.holds for claim in ablation.judge(effects)[:3]] == [False, True, True]


def test_harm_on_another_source_is_seen():
    effects = {source: effects_of(-0.5, 0.02) for source in ("wild", "mobile")}
    effects["mobile"]["mask"] = Interval(0.4, 0.3, 0.5, 0.9)
    harm = [claim for claim in ablation.judge(effects) if "hurts" in claim.claim]
    assert [claim.holds for claim in harm] == [False, True, True]


def test_effects_of_levels_are_paired_by_seed():
    """On two sources, and a seed of which a training diverged is left out."""

    def result(trial):
        if trial.seed == 2 and trial.levels == ("mask",):
            return {"failed": "loss"}
        error = 4.0 + trial.seed - ("mask" in trial.levels) - 2 * (trial.levels == ("smooth",))
        return {"points": [point([error, error])]}

    data = [f"synthetic:{name}" for name in DOMAINS]
    study = StudyConfig(data=data, methods=["fcus"], protocol="ablation", train_on=("wild",))
    found = ablation.Ablation("wild", {trial: result(trial) for trial in plan_trials(study)})
    assert found.seeds == [0, 1]
    assert found.effect("mask").mean == pytest.approx((-1 - 1 - 1 + 1) / 4)
    assert found.settings()["smooth"]["own_mae_bpm"] == pytest.approx([2.0, 3.0])
    assert found.settings()["none"]["mae_bpm"] == pytest.approx([4.0, 5.0])


def test_intended_effects_have_a_direction():
    measured = {}
    for setting in settings_of(LEVELS):
        drifts = [5.0 + seed - 2 * ("project" in setting) for seed in range(3)]
        measured[setting] = dict.fromkeys(mechanisms.SHOWN, drifts)
    effects = mechanisms.effects_of(measured)
    assert effects["project"]["drift"].mean == -2 and effects["mask"]["drift"].mean == 0
    claims = mechanisms.judge({"lab": effects})
    assert [c.claim.split(":")[0] for c in claims if c.holds] == ["project"]


def test_rate_of_divergence_is_bounded():
    assert cross_domain.upper_rate(0, 30) == pytest.approx(1 - 0.05 ** (1 / 30))
    assert cross_domain.upper_rate(0, 30) < 0.1 < cross_domain.upper_rate(0, 28)


def test_divergence_is_seen():
    reference = point([0.0] * 4)
    result = {"trial": {"source": "lab"}, "points": [point([1.0] * 4)]}
    assert not cross_domain.has_diverged(result, reference)
    assert cross_domain.has_diverged({**result, "failed": "loss"}, reference)
    assert cross_domain.has_diverged({**result, "points": [point([40.0] * 4)]}, reference)
    assert cross_domain.has_diverged({**result, "points": [point([np.nan] * 4)]}, reference)


def test_options_replace_the_budget():
    words = ["--full", "--seeds", "3", "--sources", "lab"]
    options = parse("contamination", "x", contamination.QUICK, contamination.FULL, words)
    assert (options.budget.seeds, options.budget.sources) == (3, ("lab",))
    assert options.budget.test_subjects == contamination.FULL.test_subjects
    assert options.command == "python -m benchmarks.contamination --full --seeds 3 --sources lab"


def test_options_win_over_a_study_s_file():
    words = ["--full", "--seeds", "3", "--sources", "lab", "--split", "validation"]
    options = parse_study("ablation", "x", ablation.QUICK, words)
    assert (options.study.seeds, options.sources) == (3, ("lab",))
    assert (options.study.test_subjects, options.study.test_split) == (40, "validation")
    assert options.command == f"python -m benchmarks.ablation {' '.join(words)}"
    quick = parse_study("ablation", "x", ablation.QUICK, ["--quick", "--seeds", "1"])
    assert (quick.study.seeds, quick.study.subjects) == (1, 6)


@pytest.mark.slow
def test_convergence_without_peers_and_without_a_tether(tmp_path, capsys):
    """The whole program: what it trains with, and that it asks nothing of peers."""
    study = tmp_path / "study.toml"
    text = (ROOT / "benchmarks/studies/convergence.toml").read_text(encoding="utf-8")
    study.write_text(text.replace("epochs = 10", "epochs = 10\ntether = 0.0"))
    size = ["--seeds", "1", "--subjects", "3", "--test-subjects", "1", "--sources", "lab"]
    out = tmp_path / "found.json"
    places = ["--config", str(study), "--trials", str(tmp_path), "--out", str(out)]
    convergence.main(["--quick", *size, *places])
    found = json.loads(out.read_text())
    assert found["peers"] == [] and found["reached"] == {}
    assert not any("peer" in claim["claim"] for claim in found["claims"])
    assert [point["epoch"] for point in found["curves"]["lab"]] == [0, 1, 2]
    assert "Peers" not in capsys.readouterr().out
    (kept,) = tmp_path.glob("trials/fcus-*.json")
    config = json.loads(kept.read_text())["training"]["config"]
    assert config["tether"] == 0
