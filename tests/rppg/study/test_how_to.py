"""Every block of docs/how-to/benchmark.md is run, in the order of the page, on small data."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rppg.models.checkpoint import SHIPPED
from rppg.study.toml_text import toml_text

PAGE = Path(__file__).parents[3] / "docs/how-to/benchmark.md"
BLOCK = re.compile(r"```(\w*)(?: title=\"([^\"]*)\")?\n(.*?)```", re.DOTALL)
SMALL = {  # a study of minutes, on videos of 5 s
    "seeds": 1,
    "evaluation": {"window_s": 4.0},
    "settings": {
        "fcus": {"clip_s": 4.0, "batch_size": 2, "epochs": 1},
        "sinc": {"epochs": 1, "clip_frames": 90, "batch_size": 4, "model": {"width": 4}},
        "contrast-phys": {
            "epochs": 1, "clip_frames": 90, "stride_frames": 90, "model": {"width": 4}
        },
    },
}  # fmt: skip


def merged(table: dict, other: dict) -> dict:
    """The table with the values of another, at any depth."""
    for key, value in other.items():
        inner = isinstance(value, dict) and isinstance(table.get(key), dict)
        table[key] = merged(table[key], value) if inner else value
    return table


def small(text: str, five: Path) -> str:
    """A block for the small datasets and their short windows."""
    folders = {"UBFC": "ubfc-rppg", "PURE": "pure", "MMPD": "mmpd"}
    for name, layout in folders.items():
        text = text.replace(f"/data/{name}", str(five / layout))
    assert "/data/" not in text
    text = text.replace("/shared/rppg-cache", "cache").replace("/shared/runs", "runs")
    text = text.replace("--window 30", "--window 4")
    return text.replace("rppg benchmark --data", "rppg benchmark --config small.toml --data")


def assert_compiles(text: str, folder: Path) -> None:
    """Compile a block as a paper, where there is LaTeX; elsewhere its tables are there."""
    tables = re.findall(r"\\input{(.*)}", text)
    assert tables and all((folder / table).is_file() for table in tables)
    if not shutil.which("pdflatex"):
        return
    head = r"\documentclass[twocolumn]{article} \usepackage{booktabs}"
    paper = rf"{head} \begin{{document}} {text} \end{{document}}"
    (folder / "paper.tex").write_text(paper)
    run = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert (folder / "paper.pdf").is_file()


@pytest.mark.slow
def test_every_block_runs(five: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(toml_text(SMALL))
    ours = tmp_path / "runs/ours/checkpoint.safetensors"
    ours.parent.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        ours.with_suffix(suffix).write_bytes(SHIPPED.with_suffix(suffix).read_bytes())
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "srun").chmod(0o755)
    path = [programs, Path(sys.executable).parent, os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(map(str, path)),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RPPG_CACHE": str(tmp_path / "cache"),
        "SLURM_ARRAY_TASK_ID": "1",
        "OMP_NUM_THREADS": "1",
    }
    printed = []
    for language, title, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "toml":
            assert title == "study.toml"
            study = merged(tomllib.loads(small(text, five)), SMALL)
            (tmp_path / title).write_text(toml_text(study))
            continue
        if language == "latex":
            assert_compiles(text, tmp_path)
            continue
        assert language == "bash"
        run = subprocess.run(
            ["bash", "-euc", small(text, five)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, f"{text}{run.stderr}"
        printed.append(run.stdout + run.stderr)
    plan, table, checkpoint, shard = printed
    assert re.search(r"^30 trials: 0 finished, 30 to run; 0 can't be run$", plan, re.MULTILINE)
    assert "unknown cost" not in plan
    assert "Tables: runs/table/study.json" in table
    assert "2 of 2 trials are finished already" in shard
    document = json.loads((tmp_path / "runs/table/study.json").read_text())
    tested = {(cell["method"], cell["test"]) for cell in document["cells"] if cell["n_windows"]}
    assert tested >= {
        (method, test)
        for method in ("fcus", "pos", "pos+skin", "constant", "untrained")
        for test in ("UBFC", "PURE", "walking")
    }
    assert list((tmp_path / "runs/table/waves").glob("fcus-*/whole/PURE/*.csv"))
    assert "ours on pure: MAE" in checkpoint
    assert list((tmp_path / "runs/ours/table/waves").glob("ours-*/whole/pure/*.csv"))
