"""The training of a trial's learner, as `rppg train` does it, resumed where it was killed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rppg.models.checkpoint import Network, save_checkpoint
from rppg.models.physnet import PhysNet
from rppg.peers.train import train_peer
from rppg.peers.trainer import EpochState
from rppg.study.config import LearnerConfig, StudyConfig, learner_config, processes_of
from rppg.study.parts import open_parts
from rppg.study.plan import Trial
from rppg.study.progress import training_writer
from rppg.train import distributed
from rppg.train.config import TrainConfig
from rppg.train.launch import run_ranks
from rppg.train.resume import STATE_FILE
from rppg.train.run import train

CHECKPOINT = "checkpoint.safetensors"
EVERY_EPOCH_UP_TO = 10
BETWEEN_EPOCHS = 1.25


@dataclass(frozen=True)
class Trained:
    """A training that has finished.

    Attributes:
        checkpoints: by the epoch after which they were saved; the last one is the network that the
            method keeps, and has the number of epochs trained.
        about: what was trained on and what came of it, the same for every run.
        seconds: of training until each of these epochs.
    """

    checkpoints: Mapping[int, Path]
    about: Mapping[str, Any]
    seconds: Mapping[int, float]


def train_trial(
    trial: Trial,
    study: StudyConfig,
    folder: Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    workers: int = 1,
    cache: bool = True,
    progress: Path | None = None,
) -> Trained:
    """Train a trial's learner in `folder`; a training that has finished there isn't repeated.

    Args:
        device: where the network is trained.
        threads: of torch, in each process of a training that has several.
        workers: processes that read videos.
        cache: whether crops are kept in the cache.
        progress: a file for the progress, see `rppg.study.progress`.

    Raises:
        InputError: a part can't be opened, or the training fails; see `rppg.train.train`.
        RankError: one of several processes died.
    """
    config = _config(trial, study)
    if not _has_finished(folder):
        arguments = (trial, study, folder, device, workers, cache, progress)
        ranks = processes_of(trial.method, study)
        if ranks > 1:
            run_ranks(_train, arguments, ranks, device=device, threads=threads)
        else:
            _train(*arguments)
    return _read(folder, _points(trial, config))


def epochs_tested(epochs: int) -> list[int]:
    """Return the epochs after which a curve of convergence has a point: fewer and fewer, and all
    of the first."""
    points, last = list(range(1, min(epochs, EVERY_EPOCH_UP_TO) + 1)), EVERY_EPOCH_UP_TO
    while last < epochs:
        last = min(epochs, round(last * BETWEEN_EPOCHS))
        points.append(last)
    return points


def _has_finished(folder: Path) -> bool:
    description = (folder / CHECKPOINT).with_suffix(".json")
    return description.exists() and not (folder / STATE_FILE).exists()


def _config(trial: Trial, study: StudyConfig) -> LearnerConfig:
    specs = tuple(dict.fromkeys(part.spec for part in trial.training))
    return learner_config(study, trial.method, data=specs, seed=trial.seed, levels=trial.levels)


def _points(trial: Trial, config: LearnerConfig) -> list[int]:
    return epochs_tested(config.epochs) if trial.each_epoch else []


def _train(
    trial: Trial,
    study: StudyConfig,
    folder: Path,
    device: str,
    workers: int,
    cache: bool,
    progress: Path | None,
) -> None:
    """Train, as the only process or as one of several ranks, of which the first one writes."""
    config = _config(trial, study)
    points = _points(trial, config)
    first = distributed.rank() == 0
    recordings = open_parts(trial.training, study, cache=cache, workers=workers)
    common: dict[str, Any] = {
        "out": folder,
        "recordings": recordings,
        "resume": True,
        "device": device,
        "progress": training_writer(progress, config.epochs) if progress and first else None,
    }

    def save(net: Network, epoch: int) -> None:
        if first and epoch in points:
            _save_epoch(folder, epoch, net, config)

    if isinstance(config, TrainConfig):
        train(config, on_epoch=save, **common)
        return

    def on_epoch(net: PhysNet, state: EpochState) -> None:
        save(net, state.epoch)

    train_peer(config, on_epoch=on_epoch, **common)


def _save_epoch(folder: Path, epoch: int, net: Network, config: LearnerConfig) -> None:
    device = next(net.parameters()).device
    save_checkpoint(
        _epoch_file(folder, epoch), net.cpu(), {"config": config.model_dump(mode="json")}
    )
    net.to(device)


def _epoch_file(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.safetensors"


def _read(folder: Path, points: Sequence[int]) -> Trained:
    """Read what a finished training left."""
    text = (folder / CHECKPOINT).with_suffix(".json").read_text(encoding="utf-8")
    provenance = json.loads(text)["provenance"]
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    seconds = {int(row["epoch"]): float(row["seconds"]) for row in rows}  # the last of each
    epochs = max(seconds)
    checkpoints = {e: _epoch_file(folder, e) for e in points if _epoch_file(folder, e).exists()}
    names = (
        "recordings",
        "subjects",
        "clips_per_epoch",
        "steps",
        "skipped",
        "best_epoch",
        "held_out",
    )
    about = {name: provenance[name] for name in names if name in provenance}
    about |= {"epochs": epochs, "config": provenance["config"]}
    if not points:
        checkpoints = {epochs: folder / CHECKPOINT}
    return Trained(checkpoints, about, {epoch: seconds[epoch] for epoch in checkpoints})
