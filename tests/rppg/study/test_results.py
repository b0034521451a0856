"""Tables by hand: what is pooled, what is averaged, what counts where."""

import math

import pytest

from rppg.study.config import StudyConfig
from rppg.study.key import job_of
from rppg.study.plan import plan_trials
from rppg.study.results import Tables, tables
from rppg.study.run import Prepared
from rppg.study.store import Store
from rppg.study.survey import PartSurvey

ERRORS = {  # bpm, by test dataset and part: subject → its windows
    ("a", "test"): {"a9": [100.0]},
    ("b", "test"): {"b9": [100.0]},
    ("a", "whole"): {"a1": [1.0, 1.0, 1.0], "a2": [5.0]},
    ("b", "whole"): {"b1": [3.0, None], "b2": [7.0]},
}


@pytest.fixture
def found(tmp_path) -> Tables:
    """Two datasets, two seeds: the second one's errors are 2 bpm larger; pos lacks a trial."""
    study = StudyConfig(data=["a=pure:/x", "b=pure:/y"], methods=["fcus", "pos"], seeds=2)
    trials, store = plan_trials(study), Store(tmp_path)
    used = dict.fromkeys(p for t in trials for p in (*t.training, *t.tests))
    parts = {
        part: PartSurvey((part.title,), 1, fingerprints=(part.title, "shared")) for part in used
    }
    jobs = {trial: job_of(trial, study, parts) for trial in trials}
    for trial, job in list(jobs.items())[:-1]:
        tests = {}
        for part, key in zip(trial.tests, job.tests, strict=True):
            rows = [
                (subject, 70.0, None if error is None else 70.0 + error + 2 * trial.seed)
                for subject, errors in ERRORS[part.dataset, part.kind].items()
                for error in errors
            ]
            subjects, true, predicted = (list(column) for column in zip(*rows, strict=True))
            nothing = [None] * len(rows)
            columns = {"record": subjects, "subject": subjects, "hr_true_bpm": true,
                       "hr_pred_bpm": predicted, "snr_db": nothing}  # fmt: skip
            left_out = [{"recording": "r", "reason": "is dark", "method": False}]
            tests[key] = {"windows": {"1": columns}, "left_out": left_out}
        store.save(job, {"training": {"clips_per_epoch": 8}, "tests": tests, "timing": {}})
    return tables(Prepared(study, parts, jobs), store)


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


def test_what_is_missing_or_left_out_is_named(found):
    assert found.trials == 6 and len(found.missing) == 1 and "pos" in found.missing[0]
    out = {(entry.kind, entry.what): entry.trials for entry in found.left_out}
    assert out == {("recording", "a: r"): 5, ("recording", "b: r"): 4}
    assert "pos" not in {m.method for m in found.means if m.test == "b"}
