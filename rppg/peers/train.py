"""Train PhysNet without labels, as SiNC or Contrast-Phys: `train_peer(config)`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rppg.devices import find_device
from rppg.errors import InputError
from rppg.models.physnet import PhysNet
from rppg.peers.batches import batch_sizes
from rppg.peers.clips import Run, find_runs
from rppg.peers.config import PeerConfig
from rppg.peers.loop import EpochState, OnEpoch, fit
from rppg.train import distributed
from rppg.train.loop import LogRow
from rppg.train.resume import SAVE_EVERY_S
from rppg.train.run import (
    TrainProgress,
    digest_of_run,
    each_step,
    how_made,
    open_state,
    readable_crops,
    save_run,
    settings_of,
    training_recordings,
)
from rppg.types import Recording


@dataclass(frozen=True)
class PeerResult:
    """What a training run leaves.

    Attributes:
        net: the network of the epoch with the least criterion.
        log: one row a step: loss and its terms, clips, seconds.
        made: how it was made, as the checkpoint tells it.
        epochs: where the run was after each epoch, criterion and all.
        checkpoint: where it was saved, if it was.
        skipped: why, by name, for recordings that could not be used.
    """

    net: PhysNet
    log: list[LogRow]
    made: dict[str, Any]
    epochs: list[EpochState]
    checkpoint: Path | None = None
    skipped: dict[str, str] = field(default_factory=dict)


def train_peer(
    config: PeerConfig | None = None,
    *,
    out: Path | None = None,
    recordings: list[Recording] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    loading: Callable[[int, int], None] | None = None,
    on_epoch: OnEpoch | None = None,
    cache: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
    device: str = "cpu",
) -> PeerResult:
    """Train PhysNet without labels.

    The last tenth of the recordings, one at least, is not trained on: the recipe's criterion on
    them, which needs no label, chooses the epoch whose weights are kept.

    Args:
        config: the run; SiNC on `synthetic:webcam` by default.
        out: folder for `checkpoint.safetensors`, `checkpoint.json` and `log.jsonl`.
        records: recordings to train on, in place of `config.data`. Their ground truth is not read.
        progress: called after each step; `steps` is what there are unless the run stops early.
        loading: called with the recordings made ready, and their total.
        on_epoch: called after each epoch with the network, in evaluation mode, and where the run
            is. If it returns True, the run stops there; so it does after `config.patience` epochs
            without a better criterion.
        cache: keep the crops of `config.data`'s videos, and take them from there the next time.
        workers: processes that read videos into the cache, see `rppg.crops.cache.store`.
        resume: go on after the last epoch whose state a run into `out` has saved, if it has.
        save_every_s: seconds after which the state is saved again, at the end of an epoch.
        device: where the network is trained: `cpu`, `cuda`, `cuda:1`.

    Returns:
        The network and its log. The same configuration gives the same bits on one machine with the
        same number of threads, whatever random numbers `on_epoch` draws.

    Raises:
        InputError: too few recordings can be used, the loss is not finite, or the cache can't be
            written to.
    """
    config = config or PeerConfig()
    if distributed.several():
        raise InputError(f"recipe {config.recipe} trains in one process; leave torchrun out")
    if recordings is None:
        recordings = training_recordings(
            config.data, config.subjects, cache=cache, workers=workers, loading=loading
        )
    crops, reasons = readable_crops(recordings, config.clip_s)
    training, held_out = _hold_out(find_runs(crops, config.model, config.clip_frames), config)
    sizes = batch_sizes(training, config)
    steps = len(sizes) * config.epochs
    settings = settings_of(config.recipe, config)
    state = open_state(
        out, settings, sizes, recordings, reasons, resume=resume, save_every_s=save_every_s
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = PhysNet(config.model).to(find_device(device))
        step = each_step(progress, steps)
        log, states = fit(net, training, held_out, config, step, on_epoch, state)
        net.cpu()
    made = {
        **how_made(config, recordings, reasons),
        "held_out": len({run.recording for run in held_out}),
        "clips_per_epoch": sum(sizes),
        "steps": len(log),
        "criterion": [epoch.criterion for epoch in states],
        "best_epoch": max(epoch.epoch for epoch in states if epoch.best),
        "run": digest_of_run(settings),
    }
    checkpoint = save_run(out, net, made, log, state)
    return PeerResult(net, log, made, states, checkpoint, made["skipped"])


def _hold_out(runs: Sequence[Run], config: PeerConfig) -> tuple[list[Run], list[Run]]:
    """Runs to train on, and those of the last tenth of the recordings, for the criterion."""
    recordings = sorted({run.recording for run in runs})
    if len(recordings) < 2:
        raise InputError(
            f"{len(recordings)} recordings with a clip of {config.clip_s:g} s with a face "
            "throughout; one is held out, so give two or more, or a smaller clip_frames"
        )
    first = recordings[-max(1, round(len(recordings) / 10))]
    training = [run for run in runs if run.recording < first]
    return training, [run for run in runs if run.recording >= first]
