"""A peer's training loop: published loss, AdamW at a constant rate, the best epoch's weights."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rppg.errors import InputError
from rppg.models.physnet import PhysNet
from rppg.peers.batches import Batch, batches
from rppg.peers.clips import Run, clip_starts, cut_clip
from rppg.peers.config import PeerConfig
from rppg.peers.contrast_phys import contrast_loss, irrelevant_power
from rppg.peers.sinc import sinc_criterion, sinc_loss
from rppg.train.loop import LogRow
from rppg.train.resume import RunState, fitting

VALIDATION_BATCH = 4


@dataclass(frozen=True)
class EpochState:
    """Where a run is after an epoch.

    Attributes:
        epoch: from 1.
        clips_seen: clips trained on so far.
        train_s: wall-clock seconds spent in training so far, without criterion and callbacks.
        criterion: the recipe's own, on the held-out recordings; the less the better.
        best: whether it is the least so far.
    """

    epoch: int
    clips_seen: int
    train_s: float
    criterion: float
    best: bool


OnEpoch = Callable[[PhysNet, EpochState], bool | None]


def fit(
    net: PhysNet,
    training: Sequence[Run],
    held_out: Sequence[Run],
    config: PeerConfig,
    on_step: Callable[[LogRow], None] | None = None,
    on_epoch: OnEpoch | None = None,
    state: RunState | None = None,
) -> tuple[list[LogRow], list[EpochState]]:
    """Train `net` in place; it ends with the weights of the epoch of the least criterion.

    Dropout draws from torch's own generator, everything else from one seeded here.

    Args:
        state: where to keep the state of the run, after each epoch of `state.every_s` or more, and
            whether to go on from it.

    Raises:
        InputError: when the loss is not finite, naming the step; or as `RunState` does.
    """
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    log: list[LogRow] = []
    states: list[EpochState] = []
    kept: dict[str, Tensor] = {}
    found = None if state is None else state.load()
    if found is not None:
        with fitting(state):
            log, states, kept = _restore(found, net, optimizer, generator)
    clips_seen, train_s = (states[-1].clips_seen, states[-1].train_s) if states else (0, 0.0)
    least = min((s.criterion for s in states if s.best), default=math.inf)
    since_best = len(states) - max((s.epoch for s in states if s.best), default=0)
    saved = time.monotonic()
    for epoch in range(len(states) + 1, config.epochs + 1):
        if config.patience is not None and since_best >= config.patience:
            break
        net.train()
        started = time.monotonic()
        for batch in batches(training, config, generator):
            terms = _step(net, optimizer, batch, config, generator)
            if not math.isfinite(terms["loss"]):
                raise InputError(
                    f"the loss is {terms['loss']} at step {len(log)}; nothing was saved; "
                    "lower lr, or look for damaged recordings"
                )
            clips_seen += len(batch.clips)
            row = {
                "step": len(log) + 1,
                "epoch": epoch,
                "clips_seen": clips_seen,
                "seconds": train_s + time.monotonic() - started,
                **terms,
            }
            log.append(row)
            if on_step:
                on_step(row)
        train_s += time.monotonic() - started
        net.eval()
        score = criterion(net, held_out, config)
        best = score < least  # never where it is not a number
        if best:
            least = score
            kept = {name: value.clone() for name, value in net.state_dict().items()}
        states.append(EpochState(epoch, clips_seen, train_s, score, best))
        since_best = 0 if best else since_best + 1
        with torch.random.fork_rng():  # what the callback draws changes nothing
            if on_epoch is not None and on_epoch(net, states[-1]):
                break
        if state is not None and time.monotonic() - saved >= state.every_s:
            state.save(_state(log, states, kept, net, optimizer, generator))
            saved = time.monotonic()
    if not kept:
        raise InputError("the criterion is not finite after any epoch; nothing was saved; lower lr")
    net.load_state_dict(kept)
    net.eval()
    return log, states


def _state(
    log: list[LogRow],
    states: list[EpochState],
    kept: dict[str, Tensor],
    net: PhysNet,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Any]:
    """All that the next epoch depends on."""
    device = _device(net)
    return {
        "log": log,
        "epochs": [asdict(state) for state in states],
        "kept": kept,
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _restore(
    found: Mapping[str, Any],
    net: PhysNet,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> tuple[list[LogRow], list[EpochState], dict[str, Tensor]]:
    """Log, epochs and best weights of a state, after the rest is where it was."""
    net.load_state_dict(found["net"])
    optimizer.load_state_dict(found["optimizer"])
    generator.set_state(found["generator"])
    torch.set_rng_state(found["random"])
    if found["random_cuda"] is not None:
        torch.cuda.set_rng_state(found["random_cuda"], _device(net))
    return found["log"], [EpochState(**epoch) for epoch in found["epochs"]], found["kept"]


def _step(
    net: PhysNet,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: PeerConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """One optimizer step, none where the loss is not finite; the terms of the loss."""
    optimizer.zero_grad()
    device = _device(net)
    low = config.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=low):
        waves = net(batch.clips.to(device))
    terms = _loss(waves.float(), batch.speed.to(device), config, generator)
    found = {name: float(term.detach()) for name, term in terms.items()}
    if math.isfinite(found["loss"]):
        terms["loss"].backward()
        optimizer.step()
    return found


def _device(net: PhysNet) -> torch.device:
    return next(net.parameters()).device


def _loss(
    waves: Tensor, speed: Tensor, config: PeerConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """The recipe's loss on waves `(B, N, T)`."""
    fps = config.model.fps
    if config.recipe == "sinc":
        return sinc_loss(waves[:, -1], fps, config.sinc, speed)
    return contrast_loss(waves, fps, config.contrast, generator)


def criterion(net: PhysNet, held_out: Sequence[Run], config: PeerConfig) -> float:
    """The recipe's label-free criterion of a network in evaluation mode; the less the better.

    Mean over the recordings' clips, which follow on each other.
    """
    frames, fps = config.clip_frames, config.model.fps
    places = [(run, first) for run in held_out for first in clip_starts(run, frames, frames)]
    waves = []
    with torch.inference_mode():
        for n in range(0, len(places), VALIDATION_BATCH):
            part = places[n : n + VALIDATION_BATCH]
            clips = [cut_clip(run, first, frames, config.model) for run, first in part]
            waves.append(net(torch.stack(clips).to(_device(net)))[:, -1])
        wave = torch.cat(waves)
        if config.recipe == "sinc":
            return float(sinc_criterion(wave, fps, config.sinc))
        return float(irrelevant_power(wave, fps, config.contrast))
