"""What people install: both distributions are built, and the wheel is used in an environment that
holds nothing else; first as `gradreg` alone, then with `[rppg]`. Some 7 GB while it runs."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import gradreg
import rppg

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "gradreg", "rppg")


def run(*command, cwd):
    """stdout of a program that sees nothing of this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "RPPG_CACHE": str(cwd / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_all_tell_the_same_version():
    """`gradreg.__version__` is the source: pyproject.toml reads it."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert rppg.__version__ == gradreg.__version__
    assert f"version: {gradreg.__version__}" in citation


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", source, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An empty environment; the tests below install into it one after the other."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "env", with_pip=True)
    yield folder
    shutil.rmtree(folder)  # gigabytes


@pytest.mark.slow
def test_what_is_in_the_distributions(built, wheel):
    (sdist,) = built.glob("*.tar.gz")
    version = gradreg.__version__
    assert wheel.name == f"gradreg-{version}-py3-none-any.whl"
    assert sdist.name == f"gradreg-{version}.tar.gz"
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=built)
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("gradreg", "rppg")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
    }
    told = {"gradreg/py.typed", "rppg/py.typed", "rppg/checkpoints/fcus.safetensors"}
    assert told <= ours
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == ours
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert ours <= inside and not any(name.startswith("tests") for name in inside)


ALONE = """
import importlib.util, sys
import torch, gradreg
for name in ("numpy", "scipy", "typer", "pydantic"):
    assert importlib.util.find_spec(name) is None, name
model = torch.nn.Linear(4, 1)
base = torch.optim.AdamW(model.parameters(), lr=1e-2)
opt = gradreg.regularize(base, model, smooth=0.05, project=0.9)
with opt.observe_noise():
    model(torch.randn(16, 4))
def closure():
    opt.zero_grad()
    loss = model(torch.ones(8, 4)).square().mean()
    loss.backward()
    return loss
before = float(closure())
for _ in range(20):
    opt.step(closure)
assert float(closure()) < before
assert gradreg.__file__.startswith(sys.prefix)
print(gradreg.__version__)
"""

TYPED = """
import torch, gradreg
opt = gradreg.PerturbationSmoother(torch.optim.SGD([torch.zeros(1)], lr=1.0), rho="large")
"""


@pytest.mark.slow
def test_gradreg_alone(wheel, environment):
    python = environment / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=environment)
    assert run(python, "-c", ALONE, cwd=environment).strip() == gradreg.__version__
    told = subprocess.run(
        [environment / "env" / "bin" / "rppg"], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.count("\n") == 1 and "pip install 'gradreg[rppg]'" in told.stderr
    (environment / "typed.py").write_text(TYPED)
    mypy = [sys.executable, "-m", "mypy", "--python-executable", python, "typed.py"]
    told = subprocess.run(mypy, cwd=environment, capture_output=True, text=True, check=False)
    assert 'typed.py:3: error: Argument "rho"' in told.stdout
    assert "Found 1 error" in told.stdout


@pytest.mark.slow
def test_with_rppg(wheel, environment):
    command = environment / "env" / "bin" / "rppg"
    python = environment / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[rppg]", cwd=environment)
    assert run(command, "--version", cwd=environment) == f"rppg {gradreg.__version__}\n"
    film = ("--domain", "lab", "--subject", 0, "--duration", 12)
    run(command, "synthesize", *film, "--out", "face.mp4", cwd=environment)
    told = json.loads(run(command, "predict", "face.mp4", "--json", cwd=environment))["videos"][0]
    times, bvp = np.loadtxt(environment / "face.csv", delimiter=",", skiprows=1).T
    power = np.abs(np.fft.rfft((bvp - bvp.mean()) * np.hanning(len(bvp)), n=1 << 17)) ** 2
    bpm = 60 * np.fft.rfftfreq(1 << 17, (times[-1] - times[0]) / (len(times) - 1))
    band = (bpm > 40) & (bpm < 200)
    assert abs(told["hr_bpm"] - bpm[band][np.argmax(power[band])]) < 2
