"""Other libraries' suites: torch's database, substitution of optimizers, and the comparison."""

import json
import tarfile

import pytest

import gradreg
from benchmarks.results import RESULTS
from benchmarks.suites import sources, torch_database
from benchmarks.suites.__main__ import PAGE, table
from benchmarks.suites.comparison import Comparison, Outcome, compare
from benchmarks.suites.neutral import NEUTRAL
from benchmarks.suites.pytest_run import PytestSuite, run

TESTS = """
import copy, pickle, subprocess, sys

import torch
from torch import nn
from torch.optim import SGD

SHOW = "import torch; p = torch.nn.Parameter(torch.ones(1)); print(torch.optim.SGD([p], 0.1))"


def make():
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return parameter, SGD([parameter], lr=0.5)


def test_it_is_sgd():
    assert type(make()[1]) is SGD


def test_copies_step():
    for duplicate in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        parameter, optimizer = duplicate(make())
        parameter.grad = torch.ones(2)
        optimizer.step()
        assert parameter.tolist() == [0.5, 0.5]


def test_an_optimizer_around_another_is_left_alone():
    class Around(torch.optim.Optimizer):
        def __init__(self, optimizer):
            super().__init__(optimizer.param_groups, {})
            self.count = getattr(self, "count", 0) + 1

    assert Around(make()[1]).count == 1


def test_a_process_of_its_own_shows_sgd():
    shown = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True).stdout
    assert shown.partition("(")[0].strip() == "SGD"


def test_nothing():
    assert "torch" in sys.modules
"""


@pytest.mark.parametrize(
    ("optimizers", "wrappings"),
    [(["Rprop"], 20), pytest.param(["LBFGS", "Rprop"], 30, marks=pytest.mark.slow)],
)
def test_torchs_database_holds_and_a_wrapper_that_changes_something_is_found(
    monkeypatch, optimizers, wrappings
):
    pytest.importorskip("expecttest")  # torch.testing._internal needs it
    monkeypatch.setitem(NEUTRAL, "rho", lambda opt: gradreg.PerturbationSmoother(opt, rho=0.05))
    neutral, changed = torch_database.compare_all(["all three", "rho"], optimizers)
    assert neutral.bare == neutral.wrapped
    assert neutral.bare["failed"] == 0
    assert neutral.wrapping > wrappings
    assert not neutral.broken
    assert {name.rpartition(" ")[2] for name in changed.broken} == {"steps", "resume"}


@pytest.mark.slow
def test_optimizers_are_wrapped_in_tests_that_know_nothing_of_it(tmp_path):
    (tmp_path / "test_sgd.py").write_text(TESTS, encoding="utf-8")
    found = run(PytestSuite("sgd", "sgd 1", tmp_path, ["."]), "all three")
    assert not found.trouble
    outcomes = {name.rpartition("::")[2]: outcome for name, outcome in found.outcomes.items()}
    wrapped = {name: outcome.wrapped for name, outcome in outcomes.items()}
    assert wrapped == {
        "test_it_is_sgd": 1,
        "test_copies_step": 2,
        "test_an_optimizer_around_another_is_left_alone": 1,
        "test_a_process_of_its_own_shows_sgd": 0,  # in this one
        "test_nothing": 0,
    }
    broken = {name: o.reason for name, o in outcomes.items() if o.result != "passed"}
    assert broken.keys() == {"test_it_is_sgd", "test_a_process_of_its_own_shows_sgd"}
    assert "'PostVerificationMask' == 'SGD'" in broken["test_a_process_of_its_own_shows_sgd"]


def test_what_is_missing_or_skipped_wrapped_is_broken():
    passed, failed = Outcome("passed"), Outcome("failed", "why")
    bare = {"a": passed, "b": passed, "c": passed, "d": failed, "e": failed}
    wrapped = {"a": passed, "b": Outcome("skipped", "not here"), "d": passed, "e": failed}
    found = compare("library", "suite", "wrapper", bare, wrapped)
    assert found.broken == {"b": "not here", "c": "the run ended before this test"}
    assert found.repaired == ("d",)
    assert found.bare_failures == {"why": 2}


def test_a_missing_attribute_of_one_class_alone_is_beyond_a_wrapper():
    reasons = {
        "a": "AttributeError: 'PostVerificationMask' object has no attribute 'init_group'",
        "b": "AttributeError: 'PostVerificationMask' object has no attribute 'zero_grad'",
        "c": "AttributeError: 'NoneType' object has no attribute 'init_group'",
    }
    failed = {name: Outcome("failed", reason) for name, reason in reasons.items()}
    found = compare("", "", "", dict.fromkeys("abc", Outcome("passed")), failed)
    assert found.beyond.keys() == {"a"}
    assert found.broken.keys() == {"b", "c"}


def test_the_page_shows_the_results():
    rows = json.loads((RESULTS / "suites.json").read_text(encoding="utf-8"))["comparisons"]
    assert rows
    assert table([Comparison(**row) for row in rows]) in PAGE.read_text(encoding="utf-8")


def test_sources_are_taken_from_a_folder_and_not_downloaded_unasked(tmp_path):
    with pytest.raises(sources.UnavailableError, match=r"--fetch.*--sources"):
        sources.unpacked("some_library", tmp_path, fetch=False)
    inside = tmp_path / "module.py"
    inside.write_text("", encoding="utf-8")
    with tarfile.open(tmp_path / "some-library-1.0.tar.gz", "w:gz") as archive:
        archive.add(inside, "some-library-1.0/module.py")
    found = sources.unpacked("some_library", tmp_path, fetch=False)
    assert (found / "module.py").exists()
