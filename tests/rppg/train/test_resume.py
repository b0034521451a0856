"""A run's state in a file, and runs that go on from it to the same bits."""

import json
import shutil
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rppg.adapt import adapt
from rppg.data.specs import open_datasets
from rppg.errors import InputError
from rppg.peers.config import PeerConfig
from rppg.peers.train import train_peer
from rppg.train.config import TrainConfig
from rppg.train.interrupts import deferred_signals
from rppg.train.resume import RunState, is_finished, load_state, save_state, settings_of
from rppg.train.run import TrainProgress, train
from rppg.types import Recording

SMALL = TrainConfig(data=("synthetic:lab",), subjects=4, clip_s=5.0, batch_size=4, epochs=2, seed=1)


class KilledError(Exception):
    """Stands for the end of the process: nothing of the run is left but its files."""


def killed(run: Callable[..., object], when: Callable[[TrainProgress], bool]) -> None:
    """Let a training run, saving its state after each step, until `when`."""

    def kill(progress: TrainProgress) -> None:
        if when(progress):
            raise KilledError

    with pytest.raises(KilledError):
        run(progress=kill, save_every_s=0)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return open_datasets(SMALL.data, split="train", subjects=SMALL.subjects)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outcome(folder: Path) -> tuple[bytes, list[dict[str, float]]]:
    """The weights' bytes, and the log without its clock."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    weights = (folder / "checkpoint.safetensors").read_bytes()
    return weights, [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "log": [{"step": 1, "loss": 0.1, "cosine": float("inf")}],
        "tensors": {0: torch.arange(3), 1: (torch.tensor(2.0), None, True, "text")},
        "empty": {},
    }
    save_state(tmp_path / "a.safetensors", {"lr": 0.1}, state)
    run, found = load_state(tmp_path / "a.safetensors")
    assert run == {"lr": 0.1}
    assert str(found) == str(state)
    assert found["tensors"][0].dtype == torch.int64
    with pytest.raises(TypeError, match="a state can't hold a set"):
        save_state(tmp_path / "b.safetensors", {}, {"x": {1}})
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, recordings: list[Recording]) -> Path:
    """The folder of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(SMALL, out=out, recordings=recordings)
    return out


SLOW = pytest.mark.slow


@pytest.mark.parametrize("step", [1, 6, *(pytest.param(step, marks=SLOW) for step in (5, 9))])
def test_a_run_goes_on_to_the_same_bits(
    tmp_path: Path, recordings: list[Recording], whole: Path, step: int
) -> None:
    run = partial(train, SMALL, out=tmp_path / "cut", recordings=recordings)
    killed(run, lambda progress: progress.step == step)
    seen: list[int] = []
    run(resume=True, progress=lambda progress: seen.append(progress.step))
    assert seen[0] == step  # the step that was not saved is done again, those before are not
    assert outcome(tmp_path / "cut") == outcome(whole)
    assert set(files(tmp_path / "cut")) == set(files(whole))


TETHERED = SMALL.model_copy(update={"tether": 0.1, "averaged": 0.5})


@pytest.fixture(scope="module")
def tethered(tmp_path_factory: pytest.TempPathFactory, recordings: list[Recording]) -> Path:
    """The same with a tether and means of weights."""
    out = tmp_path_factory.mktemp("tethered") / "run"
    train(TETHERED, out=out, recordings=recordings)
    return out


@pytest.mark.parametrize("step", [*(pytest.param(step, marks=SLOW) for step in (3, 6)), 9])
def test_tethers_and_means_go_on_to_the_same_bits(
    tmp_path: Path, recordings: list[Recording], tethered: Path, step: int
) -> None:
    """Before an epoch's second half, within it, and in the next epoch."""
    run = partial(train, TETHERED, out=tmp_path / "cut", recordings=recordings)
    killed(run, lambda progress: progress.step == step)
    run(resume=True)
    assert outcome(tmp_path / "cut") == outcome(tethered)


@pytest.mark.slow
def test_an_adaptation_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"subjects": 6, "epochs": 3})
    people = open_datasets(config.data, split="train", subjects=6)
    adapt(config, out=tmp_path / "whole", recordings=people)

    run = partial(adapt, config, out=tmp_path / "cut", recordings=people)
    killed(run, lambda progress: progress.step == 4)
    run(resume=True)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_peer_goes_on_after_its_last_epoch(tmp_path: Path, recordings: list[Recording]) -> None:
    config = PeerConfig.model_validate(
        {"method": "sinc", "epochs": 3, "clip_frames": 90, "batch_size": 8, "model": {"width": 8}}
    )
    train_peer(config, out=tmp_path / "whole", recordings=recordings)

    run = partial(train_peer, config, out=tmp_path / "cut", recordings=recordings)
    killed(run, lambda progress: progress.row["epoch"] == 3)
    run(resume=True)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, recordings: list[Recording]) -> Path:
    """The folder of a run that was killed in its third step; not to be changed."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    killed(partial(train, SMALL, out=out, recordings=recordings), lambda p: p.step == 3)
    return out


@pytest.fixture
def state(tmp_path: Path, stopped: Path) -> Path:
    """The state of that run, in a copy of its folder."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path / "resume.safetensors"


def test_another_run_is_refused_and_nothing_is_changed(
    tmp_path: Path, state: Path, recordings: list[Recording]
) -> None:
    before = files(tmp_path)
    other = SMALL.model_copy(update={"lr": 0.5})
    with pytest.raises(InputError, match=r"config\.lr \(0\.01 there, 0\.5 here\)"):
        train(other, out=tmp_path, recordings=recordings, resume=True)
    with pytest.raises(InputError, match="differs in data"):
        train(SMALL, out=tmp_path, recordings=recordings[:3], resume=True)
    assert files(tmp_path) == before


def test_a_finished_run_is_told_from_another(tmp_path: Path, whole: Path) -> None:
    assert is_finished(whole, settings_of("fcus", SMALL))
    assert not is_finished(tmp_path / "new", settings_of("fcus", SMALL))
    other = SMALL.model_copy(update={"seed": 9})
    with pytest.raises(InputError, match="of another run than the one to resume"):
        is_finished(whole, settings_of("fcus", other))


def load_state_of(content: bytes, path: Path):
    path.write_bytes(content)
    return load_state(path)


def test_damaged_states_are_refused(
    tmp_path: Path, state: Path, recordings: list[Recording]
) -> None:
    path = state
    whole = path.read_bytes()
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    spoilt = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(1000),
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    }
    for content in spoilt.values():
        path.write_bytes(content)
        with pytest.raises(InputError, match="not the state of a run"):
            train(SMALL, out=tmp_path, recordings=recordings, resume=True)
        assert path.read_bytes() == content
    run, parts = load_state_of(whole, path)
    for name in parts:
        save_state(path, run, {key: value for key, value in parts.items() if key != name})
        with pytest.raises(InputError, match="does not fit this run"):
            train(SMALL, out=tmp_path, recordings=recordings, resume=True)
    save_state(path, run, {**parts, "net": {"nothing": torch.zeros(1)}})
    with pytest.raises(InputError, match="does not fit this run"):
        train(SMALL, out=tmp_path, recordings=recordings, resume=True)
    save_file(tensors, path, {"format": "99"})
    with pytest.raises(InputError, match="format 99, this version resumes 2"):
        train(SMALL, out=tmp_path, recordings=recordings, resume=True)
    tensors["json"] = tensors["json"][:-7]
    save_file(tensors, path, {"format": "2"})
    with pytest.raises(InputError, match="not the state of a run"):
        train(SMALL, out=tmp_path, recordings=recordings, resume=True)


@pytest.mark.parametrize(
    ("number", "ended"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        pytest.param(signal.SIGTERM, SystemExit, marks=pytest.mark.slow),
    ],
)
def test_a_stop_waits_for_the_step_and_keeps_its_state(
    tmp_path: Path,
    recordings: list[Recording],
    whole: Path,
    number: signal.Signals,
    ended: type[BaseException],
) -> None:
    def ask(progress):
        if progress.step == 3:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(ended):
        train(SMALL, out=tmp_path / "cut", recordings=recordings, progress=ask)
    assert signal.getsignal(number) is before
    _, state = load_state(tmp_path / "cut" / "resume.safetensors")
    assert len(state["log"]) == 3
    train(SMALL, out=tmp_path / "cut", recordings=recordings, resume=True)
    assert outcome(tmp_path / "cut") == outcome(whole)


def test_the_second_interrupt_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_signals() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)


def test_other_threads_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run() -> None:
        with deferred_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_state_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    state = RunState(tmp_path / "file" / "resume.safetensors", {})
    with pytest.raises(InputError, match="is a file; choose another folder"):
        state.save({})
