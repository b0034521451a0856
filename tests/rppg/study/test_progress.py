"""How far trials are: in a file, in the time that is left, in a line."""

import json
from dataclasses import replace

import pytest

from rppg.study import progress as progress_module
from rppg.study.claims import claim
from rppg.study.config import StudyConfig
from rppg.study.cost import Cost, Costs
from rppg.study.counter import Counter
from rppg.study.key import Job, job_of
from rppg.study.plan import plan_trials
from rppg.study.progress import FILE, Progress, read_progress, training_writer
from rppg.study.store import Store
from rppg.study.survey import PartSurvey
from rppg.train.run import TrainProgress


@pytest.fixture
def jobs() -> list[Job]:
    """FCUS-rPPG on each of two datasets of two recordings."""
    study = StudyConfig(data=["a=pure:/x", "b=pure:/y"], methods=["fcus"], seeds=1)
    trials = plan_trials(study)
    used = dict.fromkeys(p for t in trials for p in (*t.training, *t.tests))
    parts = {part: PartSurvey((part.title, "other"), 2) for part in used}
    return [job_of(trial, study, parts) for trial in trials]


def step(number: int) -> TrainProgress:
    return TrainProgress(number, 8, {"step": number, "epoch": 1 + number // 4, "clips_seen": 2})


def test_steps_are_written_now_and_then(tmp_path, monkeypatch):
    path = tmp_path / "run" / FILE
    write = training_writer(path, 2)
    write(step(3))
    write(step(5))  # too early
    found = read_progress(path)
    assert found == Progress("training", 3, 8, 0.0, "epoch 1 of 2, 2 clips")
    monkeypatch.setattr(progress_module, "WRITE_EVERY_S", 0.0)
    write(step(7))
    found = read_progress(path)
    assert found.words == "epoch 2 of 2, 2 clips" and found.share == 7 / 8
    assert 0 < found.seconds_each < 10
    path.write_text('{"stage": "training"}')
    assert read_progress(path) is None


def test_what_is_done_of_a_running_trial_is_not_left(jobs):
    costs = Costs({"fcus": Cost(train_s=10.0, test_s=1.0, trials=1)})
    training = Progress("training", 1, 4, 3.0, "")
    assert costs.seconds(jobs[0]) == 2 * 10 + 4 * 1
    assert costs.seconds(jobs[0], training) == 2 * 10 * 0.75 + 4 * 1
    assert costs.seconds(jobs[0], replace(training, stage="tests")) == 4 * 0.75
    unknown = Costs()
    assert unknown.seconds(jobs[0]) is None
    assert unknown.seconds(jobs[0], training) == 3 * 3.0  # by its own pace


def test_the_line_is_of_the_trials_that_run(jobs, tmp_path):
    store, lines = Store(tmp_path), []
    costs = Costs({"fcus": Cost(train_s=10.0, test_s=1.0, trials=1)})
    counter = Counter(jobs, costs, 2, store, lines.append)
    for job in jobs:
        path = store.run_folder(job) / FILE
        path.parent.mkdir(parents=True)
        words = {"stage": "training", "done": 1, "total": 4, "seconds_each": 3.0, "words": "1 of 4"}
        path.write_text(json.dumps(words))
    assert counter.line() == ""  # left by processes that were killed
    with claim(store.claims, jobs[1].key):
        assert counter.line() == "fcus; on b, training; seed 0: 1 of 4; 19 s left"
    store.save(jobs[0], {"training": {}, "tests": {}, "timing": {"spent_s": 7.0}})
    counter.done(0, "done")
    assert lines == ["[1/2] fcus; on a, training; seed 0: 7 s; 10 s left"]
