"""The trials of each protocol: how many, and what each is trained and tested on."""

from collections import Counter

import pytest

from rppg.errors import InputError
from rppg.study.config import StudyConfig
from rppg.study.parts import Part, folds_of, open_part
from rppg.study.plan import plan_trials
from rppg.study.run import Shard
from rppg.study.train_trial import epochs_tested

DATA = ["a=pure:/x", "b=mmpd:/y", "c=synthetic:lab"]
METHODS = ["fcus", "sinc", "pos", "constant", "untrained"]


def planned(protocol, **fields):
    return plan_trials(
        StudyConfig(data=DATA, methods=METHODS, seeds=2, protocol=protocol, **fields)
    )


@pytest.mark.parametrize(
    ("protocol", "counts"),
    [
        ("cross", {"fcus": 6, "sinc": 6, "pos": 3, "constant": 3, "untrained": 2}),
        ("leave-one-out", {"fcus": 6, "sinc": 6, "pos": 3, "constant": 3, "untrained": 2}),
        ("intra", {"fcus": 24, "sinc": 24, "pos": 3, "constant": 12, "untrained": 2}),
        ("convergence", {"fcus": 6, "sinc": 6, "pos": 3, "constant": 3, "untrained": 2}),
        ("ablation", {"fcus": 48, "sinc": 48, "pos": 3, "constant": 3, "untrained": 2}),
    ],
)
def test_the_number_of_trials(protocol, counts):
    trials = planned(protocol, folds=4)
    assert Counter(trial.method for trial in trials) == counts
    assert len({trial.file_name + str(trial.tests) for trial in trials}) == len(trials)


@pytest.mark.parametrize("protocol", ["cross", "leave-one-out", "intra"])
def test_checkpoints_are_tested_on_every_part_that_a_learner_is(protocol):
    trials = planned(protocol, checkpoints={"ours": "ours.safetensors"})
    own = [part for trial in trials if trial.method == "ours" for part in trial.tests]
    assert len(own) == len(set(own))
    assert set(own) == {part for trial in trials if trial.learned for part in trial.tests}
    assert not any(trial.training or trial.seed for trial in trials if trial.method == "ours")


def test_cross_tests_on_all_others_and_on_its_own_test_split():
    trial = planned("cross")[0]
    assert [(p.dataset, p.kind) for p in trial.training] == [("a", "train")]
    assert [(p.dataset, p.kind) for p in trial.tests] == [
        ("a", "test"), ("b", "whole"), ("c", "whole")
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", ["cross", "leave-one-out", "intra"])
def test_nothing_is_trained_on_what_it_is_tested_on(protocol):
    for trial in planned(protocol):
        for trained in trial.training:
            for tested in trial.tests:
                disjoint = {("train", "test"), ("other folds", "fold")}
                same_fold = trained.fold == tested.fold
                assert trained.dataset != tested.dataset or (
                    (trained.kind, tested.kind) in disjoint and same_fold
                )


def test_only_some_datasets_are_trained_on():
    cross = planned("cross", train_on=("a", "c"))
    assert Counter(t.method for t in cross)["fcus"] == 4
    assert {t.trained_on for t in cross if t.learned} == {"a", "c"}
    assert len(cross[0].tests) == 3
    rest = planned("leave-one-out", train_on=("a",))
    assert {(t.trained_on, t.tests[0].dataset) for t in rest if t.learned} == {
        ("a", "b"), ("a", "c")
    }  # fmt: skip


def test_tuning_can_test_on_the_validation_split(tmp_path):
    rows = "".join(f"{n}.avi,,person{n}\n" for n in range(10))
    (tmp_path / "all.csv").write_text("video,ground_truth,subject\n" + rows)
    for n in range(10):
        (tmp_path / f"{n}.avi").write_bytes(b"x")
    spec = str(tmp_path / "all.csv")
    seen = {}
    for split in ("test", "validation"):
        study = StudyConfig(data=[f"m={spec}"], test_split=split)
        parts = [Part("m", spec, kind) for kind in ("train", "test")]
        seen[split] = [{r.subject for r in open_part(part, study)} for part in parts]
    assert seen["test"][0] == seen["validation"][0]
    assert not seen["test"][1] & seen["validation"][1]
    assert not seen["test"][0] & seen["validation"][1]


def test_folds_share_the_subjects_out():
    names = [f"s{n}" for n in range(11)]
    folds = folds_of(names, 4)
    assert sorted(Counter(folds.values()).values()) == [2, 3, 3, 3]
    assert folds == folds_of(reversed(names), 4)
    with pytest.raises(InputError, match="3 subjects for 4 folds"):
        folds_of(names[:3], 4)


def test_folds_of_a_dataset_are_disjoint_and_complete(tmp_path, monkeypatch):
    rows = "".join(f"{n}.avi,,person{n % 4}\n" for n in range(8))
    (tmp_path / "all.csv").write_text("video,ground_truth,subject\n" + rows)
    for n in range(8):
        (tmp_path / f"{n}.avi").write_bytes(b"x")
    spec = str(tmp_path / "all.csv")
    study = StudyConfig(data=[f"m={spec}"], protocol="intra", folds=3)
    seen = []
    for fold in (1, 2, 3):
        own = {r.subject for r in open_part(Part("m", spec, "fold", fold), study)}
        others = {r.subject for r in open_part(Part("m", spec, "other folds", fold), study)}
        assert not own & others and own | others == {f"person{n}" for n in range(4)}
        seen += sorted(own)
    assert sorted(seen) == [f"person{n}" for n in range(4)]


def test_a_split_of_the_spec_is_not_overruled(tmp_path):
    (tmp_path / "all.csv").write_text("video,ground_truth,subject\na.avi,,a\n")
    (tmp_path / "a.avi").write_bytes(b"x")
    spec = f"{tmp_path / 'all.csv'}?split=validation"
    study = StudyConfig(data=[f"m={spec}"])
    with pytest.raises(InputError, match="chooses split validation, so it has no train split"):
        open_part(Part("m", spec, "train"), study)


def test_shards_share_the_trials_out():
    trials = planned("cross")
    shards = [Shard.parse(f"{n}/3").of(trials) for n in (1, 2, 3)]
    assert sorted(str(trial) for shard in shards for trial in shard) == sorted(map(str, trials))
    for bad in ("0/3", "4/3", "3", "a/b"):
        with pytest.raises(InputError, match="give I/N"):
            Shard.parse(bad)


def test_a_curve_has_all_first_epochs_and_the_last():
    assert epochs_tested(4) == [1, 2, 3, 4]
    assert epochs_tested(30) == [*range(1, 11), 12, 15, 19, 24, 30]
