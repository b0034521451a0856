"""`python -m benchmarks.gpu`: to its end without a GPU; torch, NumPy, safetensors suffice."""

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.__main__ import FOLDER, main
from benchmarks.gpu.epochs import is_same
from benchmarks.gpu.machine import file_name, is_older
from benchmarks.gpu.parts import ROOT, attempt, run_part
from benchmarks.gpu.stand_ins import AbsentPackageError, _Placeholder
from rppg.peers.config import PeerConfig
from rppg.train.config import TrainConfig

DRY = ("-m", "benchmarks.gpu", "--dry", "--minutes", "25", "--out")
"""It takes one minute, on a machine that does nothing else."""
DRY_PARTS = ("checks", "cuda_tests", "epochs", "prediction", "published")
ALL_LEVELS = {"mask": {}, "smooth": {}, "project": {"energy": 0.8}, "model": {"width": 4}}
DUMP = f"""
import json
from benchmarks.gpu.stand_ins import install
print(install())
from rppg.peers.config import PeerConfig
from rppg.train.config import TrainConfig
configs = [
    TrainConfig(), TrainConfig(project=None, subjects=3), PeerConfig(),
    PeerConfig.model_validate({{"method": "sinc", **{ALL_LEVELS}}}),
    PeerConfig.model_validate({{"method": "contrast-phys", **{ALL_LEVELS}}}),
]
print(json.dumps([c.model_dump(mode="json") for c in configs]))
"""


def run(python: Path | str, *arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(python), *arguments],
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1", "RPPG_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=1600,
        check=False,
    )


def written() -> set[Path]:
    return set((ROOT / FOLDER).glob("*"))


def assert_computed(parts: dict[str, Any]) -> None:
    """What needs nothing but torch has run, and found a device equal to itself."""
    for name in ("checks", "epochs", "prediction"):
        assert parts[name]["status"] == "complete", parts[name]
    assert len(parts["checks"]["result"]) == 10
    assert all(check["passed"] for check in parts["checks"]["result"].values())
    assert set(parts["epochs"]["result"]) == {"fcus", "sinc", "contrast-phys"}
    assert all(epoch["same"] for epoch in parts["epochs"]["result"].values())
    for speeds in parts["prediction"]["result"]["speeds"]["cpu"].values():
        assert all(speed["frames_per_s"] > 0 for speed in speeds.values())


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="its tests would run on the CUDA device")
def test_a_dry_run_reaches_its_end_and_writes_nothing_in_the_results(tmp_path: Path) -> None:
    before, out = written(), tmp_path / "dry.json"
    done = run(sys.executable, *DRY, str(out), cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    parts = found["parts"]
    assert tuple(parts) == DRY_PARTS
    assert_computed(parts)
    assert found["machine"]["not_installed"] == [] and not found["machine"]["torch_is_older"]
    tests = parts["cuda_tests"]["result"]
    assert set(tests["results"]) == {"skipped"} and tests["results"]["skipped"] >= 19
    assert tests["trouble"] == "" and tests["files_without_results"] == []
    published = parts["published"]
    assert published["status"] == "complete", published
    assert set(published["result"]["trainings"]) == {
        "sinc on lab", "contrast-phys on lab", "fcus on lab",
    }  # fmt: skip
    for method in published["result"]["mae_bpm"].values():
        assert set(method) == {"lab", "mobile"}
        assert all(domain["subjects"] == 1 for domain in method.values())
    assert published["result"]["with_own_compression"] == {"lab": True, "mobile": True}
    assert written() == before


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with torch, NumPy, safetensors and what they require, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in ("torch", "numpy", "safetensors"):
        for found in required_by(name, set()):
            for file in found.files or ():
                top = file.parts[0]
                link = packages / top
                if top not in ("..", "__pycache__") and not link.is_symlink():
                    link.symlink_to(Path(str(found.locate_file(top))))
    return folder / "bin" / "python"


def required_by(name: str, seen: set[str]) -> Iterator[Distribution]:
    """A distribution and those that it requires, as far as they are installed."""
    if name in seen:
        return
    seen.add(name)
    try:
        found = distribution(name)
    except PackageNotFoundError:  # required elsewhere only, or by an extra
        return
    yield found
    for requirement in found.requires or ():
        if "extra ==" not in requirement:
            yield from required_by(re.split(r"[^\w.-]", requirement)[0], seen)


@pytest.mark.slow
def test_torch_numpy_and_safetensors_suffice(bare_python: Path, tmp_path: Path) -> None:
    missing = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    others = ("av", "scipy", "h5py", "einops", "pydantic", "pytest", "typer", "matplotlib")
    assert run(bare_python, "-c", missing.format(others), cache=tmp_path).stdout == "[]\n"
    out = tmp_path / "bare.json"
    done = run(bare_python, *DRY, str(out), cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["machine"]["not_installed"] == ["av", "h5py", "scipy", "einops", "pydantic"]
    parts = found["parts"]
    assert_computed(parts)
    for name, reason in (("cuda_tests", "pytest, hypothesis not inst"), ("published", "scipy is")):
        assert parts[name]["status"] == "left out"
        assert reason in parts[name]["reason"]


@pytest.mark.slow
def test_configurations_without_pydantic_are_those_with_it(
    bare_python: Path, tmp_path: Path
) -> None:
    absent, configs = run(bare_python, "-c", DUMP, cache=tmp_path).stdout.splitlines()
    assert "pydantic" in absent
    peers = [
        PeerConfig.model_validate({"method": method, **ALL_LEVELS})
        for method in ("sinc", "contrast-phys")
    ]
    expected = [TrainConfig(), TrainConfig(project=None, subjects=3), PeerConfig(), *peers]
    assert json.loads(configs) == [config.model_dump(mode="json") for config in expected]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_it_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "finds no CUDA device" in capsys.readouterr().err


def test_a_part_ends_at_its_limit() -> None:
    found = run_part("checks", device="cpu", dry=True, limit_s=0.2)
    assert (found.status, found.result) == ("stopped", None)
    assert "its limit of 0 s" in found.reason and found.seconds < 5


def test_placeholders_can_be_imported_and_not_used() -> None:
    error = _Placeholder("av.error").FFmpegError
    assert issubclass(error, Exception)  # as in `except av.error.FFmpegError`
    with pytest.raises(AbsentPackageError, match=r"av is not inst.* and av.error.FFmpegError is"):
        error("message")
    with pytest.raises(AbsentPackageError, match=r"scipy is not .*scipy.stats.chi2.ppf is needed"):
        _Placeholder("scipy.stats").chi2.ppf(0.9, 2)


def test_other_losses_are_not_the_same() -> None:
    rows = [{"loss": 0.5}, {"loss": -2.0}]
    assert is_same(rows, rows)
    assert not is_same(rows, [{"loss": 0.51}, {"loss": -2.0}])
    assert not is_same(rows, [{"loss": 0.5}, {"loss": -1.8}])
    assert not is_same(rows, [{"loss": float("nan")}, {"loss": -2.0}])


def test_an_error_of_one_check_is_its_result() -> None:
    assert attempt(lambda: {"speed": 1.0}) == {"speed": 1.0}

    def fail() -> dict[str, float]:
        raise RuntimeError("CUDA error:\nout of memory")

    assert attempt(fail) == {"error": "RuntimeError: CUDA error: out of memory"}


def test_an_older_torch_is_known() -> None:
    assert is_older("2.11.0+cu130", ">=2.14,<3")
    assert not is_older("2.14.0", ">=2.14,<3") and not is_older("3.0.1", ">=2.14,<3")
    assert file_name("NVIDIA H200") == "nvidia-h200.json"


def test_the_documentation_says_whether_it_has_run_on_a_gpu() -> None:
    for page in ("benchmarks.md", "how-to/many-machines.md"):
        text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
        assert ("none of this has been run" in text) is not any(written()), page
