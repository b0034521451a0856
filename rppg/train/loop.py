"""The training loop: one optimizer stack, one closure, one row of the log a step."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradreg
from rppg.errors import InputError
from rppg.models.fcus import FcusNet, FcusOutput
from rppg.models.patches import tile_background
from rppg.train import distributed
from rppg.train.clips import Batch, ClipSet, batch_sizes, batches
from rppg.train.config import MaskConfig, ProjectConfig, TrainConfig
from rppg.train.interrupts import stops_wait
from rppg.train.objective import Loss, objective
from rppg.train.resume import RunState, fitting
from rppg.train.steady import EpochMean, Tether

LogRow = dict[str, float]
OnStep = Callable[[LogRow], None]


def fit(
    net: FcusNet,
    clip_set: ClipSet,
    config: TrainConfig,
    on_step: OnStep | None = None,
    state: RunState | None = None,
) -> list[LogRow]:
    """Train `net` in place on clips, without labels; returns the log, one row a step.

    Args:
        on_step: called after each step.
        state: where to keep the state of the run, and whether to go on from it. An interrupt or
            SIGTERM then waits for the end of the step, and the state is saved.

    Raises:
        InputError: when the loss is not finite, naming the step; or as `RunState` does.
    """
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = build_optimizer(net, config)
    per_epoch = len(batch_sizes(len(clip_set.clips), config.batch_size))
    tether = Tether(physics_of(net), config.tether)
    mean = EpochMean(list(net.parameters()), per_epoch, config.averaged)
    log: list[LogRow] = []
    previous: Tensor | None = None
    found = None if state is None else state.load()
    if found is not None:
        with fitting(state):
            log, previous = _restore(found, net, optimizer, mean, generator)
    elif config.project is not None:
        _observe_background(optimizer, net, clip_set, config.project, config.seed)
    model: nn.Module = net
    if distributed.several():  # its buffers never change
        model = nn.parallel.DistributedDataParallel(net, forward_sync_buffers=False)
    clips_seen, before_s = (log[-1]["clips_seen"], log[-1]["seconds"]) if log else (0, 0.0)
    started = saved = time.monotonic()
    net.train()
    with ExitStack() as stack:
        asked = None if state is None else stack.enter_context(stops_wait())
        while len(log) < per_epoch * config.epochs:
            epoch, done = divmod(len(log), per_epoch)
            drawn_from = generator.get_state()
            for batch in batches(clip_set, config.batch_size, generator, skip=done):
                told, gradient = _step(model, net, optimizer, batch, config, previous)
                if not math.isfinite(told["loss"]):
                    raise InputError(
                        f"the loss is {told['loss']} at step {len(log)}; nothing was saved; "
                        "lower lr, or look for damaged recordings"
                    )
                tether.pull()
                mean.update(len(log) % per_epoch)
                clips_seen += len(batch.speed)
                previous = gradient
                row = {
                    "step": len(log) + 1,
                    "epoch": epoch + 1,
                    "clips_seen": clips_seen,
                    "seconds": before_s + time.monotonic() - started,
                    **told,
                }
                log.append(row)
                if on_step:
                    on_step(row)
                if state is None or asked is None:
                    continue
                asked.number = distributed.largest(asked.number)
                due = asked.number or time.monotonic() - saved >= state.every_s
                if due and distributed.rank() == 0:
                    last = len(log) % per_epoch == 0
                    at = generator.get_state() if last else drawn_from
                    state.save(_state(log, previous, net, optimizer, mean, at))
                    saved = time.monotonic()
                if asked.number:
                    asked.stop()
    net.eval()
    return log


def _state(
    log: list[LogRow],
    previous: Tensor,
    net: FcusNet,
    optimizer: Any,
    mean: EpochMean,
    drawn_from: Tensor,
) -> dict[str, Any]:
    """All that the next step depends on; `drawn_from`: the generator when its epoch began."""
    return {
        "log": log,
        "previous": previous,
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "mean": mean.state(),
        "generator": drawn_from,
        "random": torch.get_rng_state(),
    }


def _restore(
    found: Mapping[str, Any],
    net: FcusNet,
    optimizer: Any,
    mean: EpochMean,
    generator: torch.Generator,
) -> tuple[list[LogRow], Tensor]:
    """The log and the last gradient of a state, after the rest is where it was."""
    net.load_state_dict(found["net"])
    optimizer.load_state_dict(found["optimizer"])
    mean.restore(found["mean"])
    generator.set_state(found["generator"])
    torch.set_rng_state(found["random"])
    return found["log"], found["previous"].to(net.fusion_power.device)


def physics_of(net: FcusNet) -> list[nn.Parameter]:
    """The parameters that are not the attention's: ridges, choice and fusion."""
    attention = {id(p) for p in net.attention.parameters()}
    return [p for p in net.parameters() if id(p) not in attention]


def build_optimizer(net: FcusNet, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW in gradreg's canonical stack, less the levels that are switched off."""
    attention, physics = list(net.attention.parameters()), physics_of(net)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        [
            {"params": attention, "lr": config.lr, "weight_decay": config.weight_decay},
            {"params": physics, "lr": config.lr_physics, "weight_decay": 0.0},
        ]
    )
    mask, smooth, project = config.mask, config.smooth, config.project
    return gradreg.regularize(
        optimizer,
        net,
        mask=None
        if mask is None
        else gradreg.WeakAmplitude(mask.low, mask.high, adaptive=mask.quantile),
        smooth=None if smooth is None else smooth.rho,
        project=None
        if project is None
        else {
            "energy": project.energy,
            "max_fraction": project.max_fraction,
            "include": ["attention.*"],
        },
    )


def _step(
    model: nn.Module,
    net: FcusNet,
    optimizer: Any,
    batch: Batch,
    config: TrainConfig,
    previous: Tensor | None,
) -> tuple[LogRow, Tensor]:
    """One optimizer step: what the log tells of it, and the gradient at the unperturbed weights.

    Args:
        model: the network, or what wraps it where there are several ranks.
        previous: the gradient of the step before.
    """
    seen: list[tuple[Loss, Tensor, Tensor]] = []
    weights = net.fusion_power
    clips, speed = batch.clips.to(weights.dtype), batch.speed
    if weights.is_cuda:  # the copy goes on while the host does
        clips, speed = clips.pin_memory(), speed.pin_memory()
    clips = clips.to(weights.device, non_blocking=True)
    speed = speed.to(weights.device, non_blocking=True)

    def closure() -> Tensor:
        optimizer.zero_grad()
        output = _gathered(model(clips), len(speed))
        keep = torch.ones_like(output.regions)
        if config.mask is not None:
            evidence = span_amplitude(output.regions, config.mask, net.config.fps)
            regions, keep = optimizer.verify(output.regions, evidence=evidence)
            output = replace(output, regions=regions)
        loss = objective(net, output, keep, speed, config.objective)
        loss.total.backward()
        if not seen:  # a smoother calls again, at the perturbed weights
            gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
            seen.append((loss, keep.mean(), gradient))
        return loss.total

    optimizer.step(closure)
    loss, kept, gradient = seen[0]
    cosine = F.cosine_similarity(gradient, gradient if previous is None else previous, 0)
    told = {
        "loss": loss.total,
        "sparsity": loss.sparsity,
        "variance": loss.variance,
        "coherence": loss.coherence,
        "kept": kept,
        "gradient_norm": gradient.norm(),
        "gradient_cosine": cosine,
    }
    values = torch.stack([value.detach() for value in told.values()]).tolist()
    row = dict(zip(told, values, strict=True))
    if previous is None:
        row["gradient_cosine"] = math.nan
    return row, gradient


def _gathered(output: FcusOutput, clips: int) -> FcusOutput:
    """What all ranks' networks say of the batch."""
    parts = (output.regions, output.attention, output.choice)
    return FcusOutput(*(distributed.gather(part, clips) for part in parts))


def span_amplitude(regions: Tensor, mask: MaskConfig, fps: float) -> Tensor:
    """Amplitude `(B, R, T)` of each region around each moment: the mask's evidence.

    The root mean square over a sliding span, in AC/DC units; a pulse's is 0.0002–0.01.
    """
    span = min(round(mask.span_s * fps) | 1, regions.shape[-1] | 1)
    power = F.avg_pool1d(regions.detach().square(), span, 1, span // 2, count_include_pad=False)
    return power.sqrt()


def _observe_background(
    optimizer: Any, net: FcusNet, clip_set: ClipSet, config: ProjectConfig, seed: int
) -> None:
    """Show the projector what is beside the head, where there is no blood, as noise.

    What the layers of the attention answer to it stays what it is: training may not turn them
    towards, or away from, the walls and lamps of the camera in front of it.
    """
    # A generator of its own, so that runs with and without this level see the same batches.
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(clip_set.clips), generator=generator)[: config.observe_clips]
    weights = net.fusion_power
    for first in range(0, len(chosen), distributed.world()):
        with torch.no_grad(), optimizer.observe_noise():  # all ranks enter and leave together
            for index in chosen[first + distributed.rank() :][:1].tolist():
                run, start = clip_set.clips[index]
                clip = clip_set.runs[run][start : start + clip_set.frames][None]
                clip = tile_background(clip.to(weights.device, weights.dtype))
                net.attention(*net.traces(clip))
