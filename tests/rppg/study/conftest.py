"""Small datasets of tiny videos, and a study on them that has run once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rppg.cli import main

SETTINGS = """
methods = ["fcus", "pos", "constant", "untrained"]
seeds = 1
[settings.fcus]
clip_s = 5.0
batch_size = 2
mask = false
"""
LAYOUTS = {
    "webcam": "ubfc-rppg",
    "lab": "pure",
    "codec": "cohface",
    "mobile": "mmpd",
    "wild": "vipl-hr",
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory, write: SimpleNamespace) -> Path:
    """`one.csv` and `two.csv` with five people each; `damaged.csv`, `single.csv`."""
    root = tmp_path_factory.mktemp("datasets")
    write.video(root / "good.avi", 12)
    write.truth(root / "good.csv", 12)
    whole = (root / "good.avi").read_bytes()
    for name in ("one", "two", "damaged", "single"):
        rows = ["video,ground_truth,subject"]
        for person in range(1 if name == "single" else 5):
            # no video has another's bytes: those would count as trained on
            (root / f"{name}{person}.avi").write_bytes(whole + f"{name}{person}".encode())
            (root / f"{name}{person}.csv").write_bytes((root / "good.csv").read_bytes())
            rows.append(f"{name}{person}.avi,{name}{person}.csv,{name}{person}")
        (root / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (root / "damaged0.avi").write_bytes(whole[: len(whole) // 2])
    (root / "damaged1.csv").unlink()
    return root


@pytest.fixture
def study_file(tmp_path: Path, datasets: Path) -> Callable[..., Path]:
    """`study_file("one", "two")`: the file of a study on these datasets."""

    def write_study(*names: str, settings: str = SETTINGS) -> Path:
        specs = {name: json.dumps(f"{datasets / name}.csv?face=full") for name in names}
        path = tmp_path / f"{'-'.join(names)}.toml"
        lines = [f"{name} = {spec}" for name, spec in specs.items()]
        path.write_text(settings + "[data]\n" + "\n".join(lines) + "\n")
        return path

    return write_study


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five datasets of four people, in folders by their layouts, as `rppg synthesize` writes them.

    Each is of the domain that mirrors it, with videos of 5 s.
    """
    root = tmp_path_factory.mktemp("five")
    for domain, layout in LAYOUTS.items():
        with pytest.raises(SystemExit) as ended:
            main(["synthesize", "--domain", domain, "--layout", layout, "--subjects", "4",
                  "--duration", "5", "--out", str(root / layout)])  # fmt: skip
        assert not ended.value.code
    return root


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start(*arguments)`: `rppg benchmark` in a process of its own, with one cache for all but
    those that name another."""
    shared = tmp_path_factory.mktemp("cache")
    started: list[subprocess.Popen[str]] = []

    def run(
        *arguments: object, program: tuple[str, ...] = ("-m", "rppg.cli"), cache: Path = shared
    ):
        process = subprocess.Popen(
            [sys.executable, *program, "benchmark", *map(str, arguments)],
            env={**os.environ, "RPPG_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:  # alive only after a test that failed
        process.kill()
