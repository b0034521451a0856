"""Files that version 0.1.0 wrote still load, and the peers' runs that it began end the same.

FCUS-rPPG's runs can't go on: its network chooses by verification since.

fixtures/README.md lists each file with the command that wrote it.
"""

import csv
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

import gradreg
from rppg.models.checkpoint import CHOICE, load_network
from rppg.models.fcus import FcusNet
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig
from rppg.train import TrainConfig
from rppg.train.resume import is_finished, load_state, settings_of

FIXTURES = Path(__file__).parent / "fixtures"

RUNS: dict[str, list[str]] = {
    "sinc": ["--config", "peer.toml"],
    "contrast-phys": ["--config", "peer.toml"],
}
"""Arguments of `rppg train` for the killed runs, by the fixture's folder."""

CHANGING = {"date", "format", "rppg", "run", "seconds", "torch"}
"""Keys that depend on the moment, the machine and the version, not on the result."""


def processor() -> str:
    """Return the processor's name: kernels that differ in the last bits are chosen by it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line for line in lines if line.startswith("model name")), "")


def this_machine() -> dict[str, str]:
    """Return what the last bits of a result depend on."""
    return {
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processor": processor(),
        "torch": torch.__version__,
    }


EXACT = this_machine() == json.loads((FIXTURES / "made_on.json").read_text())
"""Whether results must be equal to the bit; on another machine they need only be close."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _made_states() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_states", FIXTURES / "make_states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STATES = _made_states()


def read_states(name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(FIXTURES / "states" / f"{name}.pt", weights_only=True)
    return found


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Compare mappings and sequences: bit for bit where `EXACT`, else closely."""
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert found.shape == expected.shape, where
        if EXACT:
            assert torch.equal(found.isnan(), expected.isnan()), where
            assert torch.equal(found.nan_to_num(), expected.nan_to_num()), where
        else:
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5, equal_nan=True)
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for n, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{n}]")
    elif isinstance(expected, float) and not EXACT:
        assert found == pytest.approx(expected, rel=1e-2, abs=1e-4), where
    else:
        assert found == expected, where


NEW_KEYS = {"made": "provenance", "recipe": "method"}


def in_new_words(document: Any) -> Any:
    """Rename the keys of JSON that version 0.1.0 wrote, as the CHANGELOG's table does."""
    if isinstance(document, dict):
        return {NEW_KEYS.get(k, k): in_new_words(value) for k, value in document.items()}
    if isinstance(document, list):
        return [in_new_words(item) for item in document]
    return document


def assert_contains(found: Any, expected: Any, where: str = "") -> None:
    """Compare JSON that may have more keys than before; keys of `CHANGING` are left out."""
    if isinstance(expected, dict):
        assert set(expected) <= set(found), where
        for key, value in expected.items():
            if key not in CHANGING and (EXACT or key not in ("weights", "evidence", "why")):
                assert_contains(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for n, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_contains(one, other, f"{where}[{n}]")
    else:
        assert_same(found, expected, where)


# ---- gradreg ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(STATES.WRAPPERS) - set(STATES.MOMENTS)))
def test_a_saved_optimizer_continues(name: str) -> None:
    state = read_states(name)
    model, opt = STATES.build(name, seed=1)
    STATES.load(name, state, model, opt)
    STATES.advance(name, model, opt, STATES.BEFORE, STATES.AFTER)
    assert_same(STATES.clean(model, opt), state["parameters"])


@pytest.mark.parametrize("name", STATES.WRAPPERS)
def test_a_loaded_state_is_saved_as_it_was(name: str) -> None:
    state = read_states(name)
    model, opt = STATES.build(name, seed=1)
    model.load_state_dict(state["model"])
    opt.load_state_dict(state["optimizer"])
    assert_same(opt.state_dict(), state["optimizer"])


def test_a_state_loads_into_another_nesting() -> None:
    state = read_states("all_three")
    model, _ = STATES.build("all_three", seed=1)
    opt: Any = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    prior = gradreg.WeakAmplitude(0.01, 3.0, adaptive=0.8, momentum=0.3)
    opt = gradreg.PostVerificationMask(opt, prior)
    opt = gradreg.PerturbationSmoother(opt, 0.05, model=model)
    opt = gradreg.NullSpaceProjector(opt, model, energy=0.9)
    STATES.load("all_three", state, model, opt)
    own, there = opt.state_dict()["gradreg"], state["optimizer"]["gradreg"]
    assert_same({key: own[key] for key in there}, there)


# ---- Settings and checkpoints -------------------------------------------------------------------


def settings_in(name: str) -> tuple[str, TrainConfig | PeerConfig]:
    [path] = [p for p in (FIXTURES / name).glob("*.toml") if p.name != "start.toml"]
    given = tomllib.loads(path.read_text())
    method = given.get("recipe", "fcus")
    if method == "fcus":
        given.pop("recipe", None)
        return method, TrainConfig.model_validate(given)
    return method, PeerConfig.model_validate(given)


@pytest.mark.parametrize("name", ["sinc", "contrast-phys"])
def test_settings_files_mean_the_same(name: str, tmp_path: Path) -> None:
    method, config = settings_in(name)
    made = json.loads((FIXTURES / name / "checkpoint.json").read_text())["made"]
    assert_contains(config.model_dump(mode="json"), in_new_words(made["config"]))
    out = copied(name, tmp_path, "checkpoint.safetensors", "checkpoint.json")
    assert is_finished(out, settings_of(method, config))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("fcus/checkpoint", FcusNet),
        ("adapt/start", FcusNet),
        ("adapt/checkpoint", FcusNet),
        ("sinc/checkpoint", PhysNet),
        ("contrast-phys/checkpoint", PhysNet),
    ],
)
def test_checkpoints_are_read(path: str, kind: type) -> None:
    file = FIXTURES / f"{path}.safetensors"
    net, about = load_network(file)
    assert isinstance(net, kind)
    assert_contains(net.config.model_dump(mode="json"), about["model"])
    stored, weights = load_file(file), net.state_dict()
    assert weights.keys() == stored.keys()
    fresh = kind(net.config).state_dict()
    for name, value in stored.items():
        expected = fresh[name] if kind is FcusNet and name in CHOICE else value
        assert torch.equal(weights[name], expected), name


def test_settings_of_the_former_mask_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"high, low, .*former mask.*give threshold"):
        settings_in("fcus")


@pytest.mark.parametrize("name", [*RUNS, "fcus", "adapt"])
def test_states_of_runs_are_read(name: str) -> None:
    run, state = load_state(FIXTURES / name / "resume.safetensors")
    made = json.loads((FIXTURES / name / "checkpoint.json").read_text())["made"]
    assert set(run) >= {"recipe", "config", "data"}
    assert run["config"] == made["config"]
    assert 0 < len(state["log"]) < made["steps"]


# ---- Commands -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache of rendered people that these tests share."""
    return tmp_path_factory.getbasetemp() / "rppg-cache"


Rppg = Callable[..., str]


@pytest.fixture
def rppg(cache: Path, tmp_path: Path) -> Rppg:
    """Return a function that runs a command in a folder, on one thread, and returns its output."""

    def run(*arguments: str) -> str:
        environment = {
            **os.environ, "RPPG_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "400",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "rppg", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def copied(name: str, folder: Path, *outputs: str) -> Path:
    """Copy a fixture's settings and start to `folder`, and the named outputs to `folder`/out."""
    out = folder / "out"
    out.mkdir()
    for path in (FIXTURES / name).iterdir():
        if path.suffix == ".toml" or path.stem == "start":
            shutil.copy(path, folder)
    for output in outputs:
        shutil.copy(FIXTURES / name / output, out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_finished_run_is_recognised(name: str, rppg: Rppg, tmp_path: Path) -> None:
    copied(name, tmp_path, "checkpoint.safetensors", "checkpoint.json")
    assert "Finished already" in rppg("train", *RUNS[name], "--out", "out", "--resume")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_resumes(name: str, rppg: Rppg, tmp_path: Path) -> None:
    out = copied(name, tmp_path, "resume.safetensors")
    rppg("train", *RUNS[name], "--out", "out", "--resume")
    assert not (out / "resume.safetensors").exists()
    begun = load_state(FIXTURES / name / "resume.safetensors")[1]["log"]
    found, expected = (
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (out, FIXTURES / name)
    )
    assert found[len(begun) - 1]["seconds"] == begun[-1]["seconds"]  # it resumed
    assert_contains(found, [{k: v for k, v in row.items() if k != "seconds"} for row in expected])
    assert_same(
        load_file(out / "checkpoint.safetensors"),
        load_file(FIXTURES / name / "checkpoint.safetensors"),
    )
    written, expected = (
        json.loads((folder / "checkpoint.json").read_text()) for folder in (out, FIXTURES / name)
    )
    assert_contains(written, in_new_words(expected))
    load_network(out / "checkpoint.safetensors")


@pytest.mark.slow
def test_a_killed_evaluation_of_older_quality_is_refused(rppg: Rppg, tmp_path: Path) -> None:
    """Its quality knows nothing of the objections: half of it would be of another kind."""
    out = copied("evaluation", tmp_path, "evaluation.jsonl")
    for name in ("checkpoint.safetensors", "checkpoint.json"):
        shutil.copy(FIXTURES / "fcus" / name, tmp_path)
    method = ["--checkpoint", "checkpoint.safetensors", "--method", "pos"]
    data = ["--data", "synthetic:lab", "--subjects", "3"]
    with pytest.raises(AssertionError, match="of another evaluation, or another version"):
        rppg("evaluate", *data, *method, "--out", "out", "--resume")
    journal = FIXTURES / "evaluation" / "evaluation.jsonl"
    assert (out / "evaluation.jsonl").read_bytes() == journal.read_bytes()
    rppg("evaluate", *data, *method, "--out", "out")
    assert not (out / "evaluation.jsonl").exists()
    with (
        (out / "scores.csv").open() as found,
        (FIXTURES / "evaluation/scores.csv").open() as expected,
    ):
        columns = next(csv.reader(expected))
        assert next(csv.reader(found))[: len(columns)] == columns  # new ones are at the end
