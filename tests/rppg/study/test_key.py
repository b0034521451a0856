"""A trial's key changes with what its result depends on, and with nothing else."""

import json
import shutil
from pathlib import Path

import pytest

import rppg
from rppg.models.checkpoint import SHIPPED
from rppg.study import key
from rppg.study.config import StudyConfig
from rppg.study.key import Job
from rppg.study.parts import Part
from rppg.study.plan import plan_trials
from rppg.study.run import prepare
from rppg.study.survey import PartSurvey, survey


@pytest.fixture
def job(tmp_path, monkeypatch, datasets):
    """`job(changes, method)`: the first trial of a study on a copy of a dataset."""
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "here"
    shutil.copytree(datasets, root)

    def of(method="fcus", root=root, **changes) -> Job:
        methods = [method] if method else []
        study = StudyConfig(data=[f"one={root / 'one.csv'}"], methods=methods, **changes)
        prepared = prepare(study, print)
        return prepared.jobs[plan_trials(study)[0]]

    of.root = root
    return of


def test_place_names_and_times_of_files_do_not_matter(job, tmp_path):
    there = tmp_path / "there"
    shutil.copytree(job.root, there, copy_function=shutil.copy)
    moved = job(root=there)
    assert (moved.key, moved.tests) == (job().key, job().tests)


def test_settings_data_and_evaluation_matter_where_they_act(job, monkeypatch):
    before = job()
    evaluated = job(evaluation={"window_s": 5.0})
    assert evaluated.key == before.key and evaluated.tests != before.tests
    peaks = job(evaluation={"hr": "peaks"})
    assert peaks.key == before.key and peaks.tests != before.tests
    assert (job(waves=True).key, job(waves=True).tests) == (before.key, before.tests)
    assert job(settings={"fcus": {"epochs": 2}}).key != before.key
    assert job(processes_per_trial=2).key != before.key  # which rounds otherwise
    for method in ("pos", "sinc"):  # not by several processes
        assert job(method).key == job(method, processes_per_trial=2).key
    assert job("pos").key == job("pos", settings={"fcus": {"epochs": 2}}).key
    assert job(seeds=2, subjects=7, test_subjects=3).key == before.key  # no synthetic people
    monkeypatch.setitem(key.CODE_DIGESTS, "test", "edited")
    assert job().key == before.key and job().tests != before.tests
    monkeypatch.setitem(key.CODE_DIGESTS, "fcus", "edited")
    assert job().key != before.key


def test_a_changed_file_matters(job):
    before = job("pos")
    truth = job.root / "one0.csv"
    truth.write_text(truth.read_text().replace("0.0", "0.1", 1))
    assert job("pos").key != before.key


def test_a_video_is_known_again_under_another_name(datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    shutil.copy(datasets / "one0.avi", tmp_path / "x.avi")
    (tmp_path / "other.csv").write_text("video,ground_truth,subject\nx.avi,,somebody\n")
    study = StudyConfig(data=[f"one={datasets / 'one.csv'}", f"other={tmp_path / 'other.csv'}"])
    parts = [Part(dataset.name, dataset.spec, "whole") for dataset in study.data]
    one, other = survey(parts, study).values()
    assert other.fingerprints == one.fingerprints[:1] and len(set(one.fingerprints)) == 5
    assert not set(one.digests) & set(other.digests)


def test_of_a_checkpoint_its_content_matters_not_its_path(job, tmp_path):
    def copied(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        for file in (SHIPPED, SHIPPED.with_suffix(".json")):
            shutil.copy(file, path.with_suffix(file.suffix))
        return path

    here, there = copied("here.safetensors"), copied("there/net.safetensors")
    before = job(None, checkpoints={"ours": here})
    moved = job(None, checkpoints={"ours": there})
    assert (moved.key, moved.tests) == (before.key, before.tests)
    description = there.with_suffix(".json")
    about = json.loads(description.read_text())
    about["provenance"]["config"]["clip_s"] = 7.0
    description.write_text(json.dumps(about))
    assert job(None, checkpoints={"ours": there}).key != before.key


@pytest.mark.parametrize(
    ("kind", "stale"),
    [
        ("data", {"pos": "key", "fcus": "key"}),
        ("test", {"pos": "tests", "fcus": "tests"}),
        ("classical", {"pos": "key"}),
        ("fcus", {"fcus": "key"}),
    ],
)
def test_code_makes_stale_what_it_is_behind_and_nothing_else(monkeypatch, kind, stale):
    """What reads files isn't behind the results on synthetic people, which are arrays already."""

    def jobs(spec):
        study = StudyConfig(data=[f"x={spec}"], methods=["pos", "fcus"], seeds=1)
        trials = {trial.method: trial for trial in plan_trials(study)}
        parts: dict[Part, PartSurvey] = {}
        for trial in trials.values():
            parts |= dict.fromkeys((*trial.training, *trial.tests), PartSurvey(("digest",), 1))
        return {method: key.job_of(trial, study, parts) for method, trial in trials.items()}

    specs = ("pure:/data", "synthetic:lab")
    before = {spec: jobs(spec) for spec in specs}
    monkeypatch.setitem(key.CODE_DIGESTS, kind, "edited")
    after = {spec: jobs(spec) for spec in specs}
    for spec in specs:
        for method, job in before[spec].items():
            now, what = after[spec][method], stale.get(method)
            if kind == "data" and spec == "synthetic:lab":
                what = None
            trained = bool(job.trial.training) or kind != "data"
            assert (now.key != job.key) == (what == "key" and trained), (spec, method)
            assert (now.tests != job.tests) == (what is not None), (spec, method)


def test_all_code_is_there():
    package = Path(rppg.__file__).parent
    for names in key.CODE.values():
        assert all((package / name).exists() for name in names)
