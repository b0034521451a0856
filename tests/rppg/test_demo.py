"""The demo in its quick form, as the command runs it."""

import json
import os
import subprocess
import sys

import pytest

from rppg.demo import TARGETS
from rppg.estimators.find import load_estimator
from rppg.synthetic.domains import DOMAINS

METHODS = {"fcus", "untrained", "pos", "pos+skin", "chrom", "chrom+skin", "green", "constant"}
FILES = {"report.html", "metrics.json", "checkpoint.safetensors", "checkpoint.json", "log.jsonl"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder that it wrote, and its output."""
    out = tmp_path_factory.mktemp("demo") / "out"
    cache = tmp_path_factory.getbasetemp() / "rppg-cache"
    command = [sys.executable, "-m", "rppg.cli", "demo", "--quick", "--seed", "3", "--out", out]
    ended = subprocess.run(
        command,
        env={**os.environ, "RPPG_CACHE": str(cache), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return out, ended


@pytest.fixture(scope="module")
def metrics(done):
    return json.loads((done[0] / "metrics.json").read_text())


def test_it_leaves_whole_files_and_nothing_else(done):
    out, ended = done
    assert {path.name for path in out.iterdir()} == FILES
    assert "Traceback" not in ended.stderr
    assert "report.html" in ended.stdout
    for method in METHODS:
        assert method in ended.stdout


def test_the_metrics_cover_every_method_on_every_domain(metrics):
    assert metrics["seed"] == 3
    assert metrics["made"]["config"]["seed"] == 3 and metrics["made"]["config"]["epochs"] == 1
    assert metrics["made"]["config"]["data"] == ["synthetic:webcam"]
    keys = {f"synthetic:{domain.key}" for domain in (DOMAINS[name] for name in TARGETS)}
    covered = {(row["dataset"], row["method"], row["subject"]) for row in metrics["windows"]}
    subjects = {row["subject"] for row in metrics["windows"]}
    assert covered == {(k, m, s) for k in keys for m in METHODS for s in subjects}
    assert len(subjects) == 4 and metrics["failures"] == []
    json.dumps(metrics, allow_nan=False)


def test_the_network_measures_what_a_constant_does_not(metrics):
    for domain in (DOMAINS[name] for name in TARGETS):
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


def test_the_report_stands_alone(done):
    report = (done[0] / "report.html").read_text(encoding="utf-8")
    assert "<html" in report and "</html>" in report
    for domain in (DOMAINS[name] for name in TARGETS):
        assert domain.key in report
    for remote in ('src="http', 'href="http://', "<script src", "@import"):
        assert remote not in report


def test_the_checkpoint_and_log_can_be_read(done):
    out, _ = done
    estimator = load_estimator(out / "checkpoint.safetensors")
    assert estimator.clip_s == 10.0
    rows = [json.loads(row) for row in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["loss"] is not None for row in rows)
    assert {path.name for path in out.iterdir()} == FILES
