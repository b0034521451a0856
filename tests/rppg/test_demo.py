"""The demo in its quick form, as the command runs it."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

import rppg.demo
from rppg.cli import main
from rppg.estimators.find import load_estimator
from rppg.synthetic.domains import DOMAINS

METHODS = {"fcus", "untrained", "pos", "pos+skin", "chrom", "chrom+skin", "green", "constant"}
FILES = {"report.html", "metrics.json", "checkpoint.safetensors", "checkpoint.json", "log.jsonl"}


QUICK = ["demo", "--quick", "--seed", "3", "--out"]


@pytest.fixture(scope="module", params=["webcam", pytest.param("all", marks=pytest.mark.slow)])
def targets(request):
    """The domains that it evaluates: one of them, or as the command runs it."""
    return rppg.demo.TARGETS if request.param == "all" else (request.param,)


@pytest.fixture(scope="module")
def done(tmp_path_factory, targets):
    """The folder that it wrote, its stdout and stderr; of one domain within this process."""
    out = tmp_path_factory.mktemp("demo") / "out"
    if targets != rppg.demo.TARGETS:
        said, errors = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(rppg.demo, "TARGETS", targets)
            patch.setenv("COLUMNS", "120")
            main([*QUICK, str(out)])
        assert not ended.value.code, errors.getvalue()
        return out, said.getvalue(), errors.getvalue()
    cache = tmp_path_factory.getbasetemp() / "rppg-cache"
    ended = subprocess.run(
        [sys.executable, "-m", "rppg.cli", *QUICK, out],
        env={**os.environ, "RPPG_CACHE": str(cache), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return out, ended.stdout, ended.stderr


@pytest.fixture(scope="module")
def metrics(done):
    return json.loads((done[0] / "metrics.json").read_text())


def test_it_leaves_whole_files_and_nothing_else(done):
    out, said, errors = done
    assert {path.name for path in out.iterdir()} == FILES
    assert "Traceback" not in errors
    assert "report.html" in said
    for method in METHODS:
        assert method in said


def test_the_metrics_cover_every_method_on_every_domain(metrics, targets):
    assert metrics["seed"] == 3
    assert metrics["made"]["config"]["seed"] == 3 and metrics["made"]["config"]["epochs"] == 1
    assert metrics["made"]["config"]["data"] == ["synthetic:webcam"]
    keys = {f"synthetic:{domain.key}" for domain in (DOMAINS[name] for name in targets)}
    covered = {(row["dataset"], row["method"], row["subject"]) for row in metrics["windows"]}
    subjects = {row["subject"] for row in metrics["windows"]}
    assert covered == {(k, m, s) for k in keys for m in METHODS for s in subjects}
    assert len(subjects) == 4 and metrics["failures"] == []
    json.dumps(metrics, allow_nan=False)


def test_the_network_measures_what_a_constant_does_not(metrics, targets):
    for domain in (DOMAINS[name] for name in targets):
        error = {
            method: [
                abs(row["hr_pred_bpm"] - row["hr_true_bpm"])
                for row in metrics["windows"]
                if (row["dataset"], row["method"]) == (f"synthetic:{domain.key}", method)
            ]
            for method in ("fcus", "constant")
        }
        assert sum(error["fcus"]) < 0.5 * sum(error["constant"]), domain.key


def test_the_gain_is_an_interval(metrics):
    gain = metrics["trained_less_untrained"]
    assert gain["dataset"] == f"synthetic:{DOMAINS['webcam'].key}" and gain["n_subjects"] == 4
    assert gain["low_bpm"] <= gain["mean_bpm"] <= gain["high_bpm"]


def test_the_report_stands_alone(done, targets):
    report = (done[0] / "report.html").read_text(encoding="utf-8")
    assert "<html" in report and "</html>" in report
    for domain in (DOMAINS[name] for name in targets):
        assert domain.key in report
    for remote in ('src="http', 'href="http://', "<script src", "@import"):
        assert remote not in report


def test_the_checkpoint_and_log_can_be_read(done):
    out, *_ = done
    estimator = load_estimator(out / "checkpoint.safetensors")
    assert estimator.clip_s == 10.0
    rows = [json.loads(row) for row in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["loss"] is not None for row in rows)
    assert {path.name for path in out.iterdir()} == FILES
