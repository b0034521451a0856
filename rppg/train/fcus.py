"""FCUS's training: one step with the three levels, and its state."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rppg.models.fcus import FcusNet, FcusOutput
from rppg.renamed import renamed
from rppg.train import distributed, loop
from rppg.train.clips import Batch, ClipSet, batch_sizes, batches
from rppg.train.config import TrainConfig
from rppg.train.loop import LogRow, OnStep
from rppg.train.objective import Loss, objective
from rppg.train.optimizer import build_optimizer, observe_background, physics_of
from rppg.train.resume import RunState
from rppg.train.steady import EpochMean, Tether
from rppg.verification import References

MaskEvidence = Callable[[FcusNet, FcusOutput, Batch], Tensor]
"""From the network's output for a batch to what the mask judges, of the regions' shape
`(B, R, T)`. Boolean evidence is the mask itself."""


def clip_scores(net: FcusNet, output: FcusOutput, batch: Batch) -> Tensor:
    """Return the score of each sample's clip, `(B, R, T)`: the mask's evidence by default."""
    return net.line(output)[:, None, None].expand_as(output.regions)


def fit_fcus(
    net: FcusNet,
    clip_set: ClipSet,
    config: TrainConfig,
    on_step: OnStep | None = None,
    state: RunState | None = None,
) -> list[LogRow]:
    """Train `net` in place on clips, without labels; return the log, one row per step.

    Args:
        on_step, state: as for `rppg.train.loop.fit`, which raises the same errors.
    """
    log = loop.fit(FcusTrainer(net, clip_set, config), config.epochs, on_step, state)
    net.eval()
    return log


class FcusTrainer:
    """A trainer of `net`, in place; see `rppg.train.loop.Trainer`.

    Args:
        evidence: what the mask judges, if it is switched on.
    """

    saves_every_step = True

    def __init__(
        self,
        net: FcusNet,
        clip_set: ClipSet,
        config: TrainConfig,
        evidence: MaskEvidence = clip_scores,
    ) -> None:
        self.net, self.clip_set, self.config = net, clip_set, config
        self.evidence = evidence
        self.steps_per_epoch = len(batch_sizes(len(clip_set.clips), config.batch_size))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer: Any = build_optimizer(net, config)
        self.tether = Tether(physics_of(net), config.tether)
        self.mean = EpochMean(list(net.parameters()), self.steps_per_epoch, config.averaged)
        self._previous: Tensor | None = None  # the gradient of the step before
        self._epoch_start = self.generator.get_state()
        self._done = 0  # steps of this epoch

    @cached_property
    def model(self) -> nn.Module:
        """The network, or DDP around it where there are several processes."""
        if distributed.is_distributed():  # its buffers never change
            return nn.parallel.DistributedDataParallel(self.net, forward_sync_buffers=False)
        return self.net

    def start(self) -> None:
        """Observe the background, if the feature level is switched on."""
        config = self.config
        if config.project is not None:
            observe_background(self.optimizer, self.net, self.clip_set, config.project, config.seed)

    def batches(self, skip: int) -> Iterator[Batch]:
        """Yield an epoch's batches, leaving out the first `skip`."""
        self.net.train()
        self._epoch_start, self._done = self.generator.get_state(), skip
        return batches(self.clip_set, self.config.batch_size, self.generator, skip)

    def step(self, batch: Batch) -> LogRow:
        """Make one optimizer step.

        Returns:
            Loss and terms, the share that the mask kept, and the norm of the gradient at the
            unperturbed weights and its cosine with the previous step's.
        """
        loss, kept, gradient = self._optimize(batch)
        self.tether.pull()
        self.mean.update(self._done)
        previous, self._previous = self._previous, gradient
        self._done += 1
        columns = {
            "loss": loss.total,
            "sparsity": loss.sparsity,
            "variance": loss.variance,
            "coherence": loss.coherence,
            "kept": kept,
            "gradient_norm": gradient.norm(),
            "gradient_cosine": F.cosine_similarity(
                gradient, gradient if previous is None else previous, 0
            ),
        }
        values = torch.stack([value.detach() for value in columns.values()]).tolist()
        row = dict(zip(columns, values, strict=True))
        return row if previous is not None else {**row, "gradient_cosine": math.nan}

    def _on_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return clips and speed where the network is, in its precision."""
        weights = self.net.fusion_power
        clips, speed = batch.clips.to(weights.dtype), batch.speed
        if weights.is_cuda:  # the copy overlaps with work on the host
            clips, speed = clips.pin_memory(), speed.pin_memory()
        return (
            clips.to(weights.device, non_blocking=True),
            speed.to(weights.device, non_blocking=True),
        )

    def _optimize(self, batch: Batch) -> tuple[Loss, Tensor, Tensor]:
        """Make the step; return the loss, the share kept, and the gradient."""
        config, net = self.config, self.net
        clips, speed = self._on_device(batch)
        first: list[tuple[Loss, Tensor, Tensor]] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            output = _gather(self.model(clips), len(speed))
            keep = torch.ones_like(output.regions)
            if config.mask is not None:
                evidence = self.evidence(net, output, batch)
                regions, keep = self.optimizer.verify(output.regions, evidence=evidence)
                output = replace(output, regions=regions)
            loss = objective(net, output, keep, speed, config.objective)
            loss.total.backward()
            if not first:  # a smoother calls again, at the perturbed weights
                first.append((loss, keep.mean(), _gradient(net)))
            return loss.total

        self.optimizer.step(closure)
        return first[0]

    def end_epoch(self, row: LogRow) -> None:
        """Do nothing: `EpochMean` has set the weights in the last step."""

    def finished(self) -> bool:
        """Return False: every epoch is trained."""
        return False

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on.

        The generator's state is that at the start of the epoch, from which `batches` leaves out
        the steps that are done.
        """
        ended = self._done == self.steps_per_epoch
        return {
            "previous": self._previous,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self.mean.state(),
            "generator": self.generator.get_state() if ended else self._epoch_start,
            "random": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved `state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean.restore(state["mean"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        self._previous = state["previous"].to(self.net.fusion_power.device)


def _gather(output: FcusOutput, clips: int) -> FcusOutput:
    """Return the output of all ranks for the batch."""
    r = output.references
    parts = (output.regions, output.attention, output.choice, output.candidates)
    regions, attention, choice, candidates = (distributed.gather(part, clips) for part in parts)
    references = [distributed.gather(part, clips) for part in (r.light, r.motion, r.seen)]
    return FcusOutput(regions, attention, choice, candidates, References(*references))


def _gradient(net: FcusNet) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"fit": (f"{__name__}.fit_fcus", fit_fcus)})
