"""A peer's training: the published loss, AdamW at a constant rate, the best epoch's weights.

gradreg's levels can be added. The mask then judges each recording by evidence from outside the
network. A rejected clip doesn't even enter the network, whose BatchNorm would mix it into the
others: it has no influence at all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rppg.errors import InputError
from rppg.models.physnet import PhysNet
from rppg.peers.batches import peer_batch_sizes, peer_batches
from rppg.peers.clips import Span
from rppg.peers.config import PeerConfig
from rppg.peers.contrast_phys import contrast_loss
from rppg.peers.optimizer import build_optimizer, observe_background, unperturbed
from rppg.peers.selection import Target, criterion, criterion_by_reference
from rppg.peers.sinc import sinc_loss
from rppg.renamed import renamed
from rppg.train import loop
from rppg.train.clips import Batch
from rppg.train.loop import LogRow, OnStep
from rppg.train.resume import RunState


@dataclass(frozen=True)
class EpochState:
    """The state of a run after an epoch.

    Attributes:
        epoch: from 1.
        clips_seen: clips trained on so far.
        train_s: wall-clock seconds spent in training so far, without criterion and callbacks.
        criterion: on the held-out recordings, by `config.select`; lower is better.
        best: whether it is the lowest so far.
    """

    epoch: int
    clips_seen: int
    train_s: float
    criterion: float
    best: bool


OnEpoch = Callable[[PhysNet, EpochState], bool | None]


def fit_peer(
    net: PhysNet,
    training: Sequence[Span],
    held_out: Sequence[Span],
    config: PeerConfig,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    state: RunState | None = None,
    evidence: Mapping[int, float] | None = None,
    targets: Sequence[Target] = (),
) -> tuple[list[LogRow], list[EpochState]]:
    """Train `net` in place; it ends with the weights of the epoch with the lowest criterion.

    Args:
        on_step, state: as for `rppg.train.loop.fit`; the state is saved after epochs.
        on_epoch: see `rppg.peers.train.train_peer`.
        evidence: what the mask judges, by the index of the recording. One without evidence is
            rejected, as is one whose evidence is NaN.
        targets: the held-out clips by which the epoch is chosen, if `config.select` is `reference`.

    Returns:
        The log, one row per step, and the state after each epoch.

    Raises:
        InputError: the criterion is not finite after any epoch; or as `rppg.train.loop.fit` does.
    """
    trainer = PeerTrainer(net, training, held_out, config, on_epoch, evidence, targets)
    log = loop.fit(trainer, config.epochs, on_step, state)
    if not trainer.best_weights:
        raise InputError("the criterion is not finite after any epoch; nothing was saved; lower lr")
    net.load_state_dict(trainer.best_weights)
    net.eval()
    return log, trainer.epochs


class PeerTrainer:
    """A trainer of `net`, in place; see `rppg.train.loop.Trainer`.

    Dropout draws from torch's global generator, everything else from one that is seeded here.
    """

    saves_every_step = False

    def __init__(
        self,
        net: PhysNet,
        training: Sequence[Span],
        held_out: Sequence[Span],
        config: PeerConfig,
        on_epoch: OnEpoch | None = None,
        evidence: Mapping[int, float] | None = None,
        targets: Sequence[Target] = (),
    ) -> None:
        if config.mask is not None and evidence is None:
            raise ValueError("config.mask judges evidence, found none: give each recording's")
        if config.select == "reference" and not targets:
            raise ValueError(
                "config.select is 'reference', found no targets: give find_targets(...)"
            )
        self.targets = targets
        self.net, self.training, self.held_out = net, training, held_out
        self.config, self.on_epoch, self.evidence = config, on_epoch, evidence or {}
        self.steps_per_epoch = len(peer_batch_sizes(training, config))
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer: Any = build_optimizer(net, config)
        self.epochs: list[EpochState] = []
        self.best_weights: dict[str, Tensor] = {}
        self._stopped = False

    def start(self) -> None:
        """Observe the background of the recordings that are kept, if the feature level is on."""
        spans = self.training
        if self.config.mask is not None:
            keep = self._judge([span.recording for span in spans]).tolist()
            spans = [span for span, kept in zip(spans, keep, strict=True) if kept]
        observe_background(self.optimizer, self.net, spans, self.config)

    def batches(self, skip: int) -> Iterator[Batch]:
        """Yield an epoch's batches; `skip` is 0, as runs resume between epochs."""
        self.net.train()
        return peer_batches(self.training, self.config, self.generator)

    def step(self, batch: Batch) -> LogRow:
        """Make one optimizer step, none if the loss is not finite.

        With a mask, a step is also skipped if it keeps fewer than two clips of several: both losses
        compare clips with each other.

        Returns:
            The loss and its terms; with a mask also `kept`, the share of the clips, and `skipped`.
        """
        if self.config.mask is None:
            return self._optimize(batch)
        kept = self._judge(batch.recordings)
        row = {"kept": float(kept.float().mean())}
        if int(kept.sum()) < min(2, len(kept)):
            return {"loss": math.nan, **row, "skipped": 1.0}
        return {**self._optimize(batch, kept), **row, "skipped": 0.0}

    def _judge(self, recordings: Sequence[int]) -> Tensor:
        """Return which recordings the mask keeps, `(B,)` bool."""
        with torch.no_grad():  # so that it doesn't count for the step
            _, keep = self.optimizer.verify(self._evidence(recordings))
        return keep > 0

    def _evidence(self, recordings: Sequence[int]) -> Tensor:
        return torch.tensor([self.evidence.get(index, math.nan) for index in recordings])

    def _optimize(self, batch: Batch, kept: Tensor | None = None) -> LogRow:
        """Make a step; return the loss and its terms at the unperturbed weights."""
        device = _device(self.net)
        clips, speed = batch.clips.to(device), batch.speed.to(device)
        before = self.generator.get_state()
        rows: list[LogRow] = []

        def closure() -> Tensor:
            self.generator.set_state(before)  # a smoother calls again, and draws the same pieces
            self.optimizer.zero_grad()
            if kept is None:
                waves, keep = self._waves(clips), None
            else:
                waves, keep = self._verified_waves(clips, batch.recordings, kept.to(device))
            terms = _loss(waves, speed, self.config, self.generator, keep)
            rows.append({name: float(term.detach()) for name, term in terms.items()})
            if math.isfinite(rows[-1]["loss"]):
                terms["loss"].backward()
            return terms["loss"]

        self.optimizer.step(closure)
        return rows[0]

    def _verified_waves(
        self, clips: Tensor, recordings: Sequence[int], kept: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return waves `(B, N, T)` of clips, zero where they are rejected, and `(B,)` bool."""
        computed = self._waves(clips[kept])
        waves = computed.new_zeros(len(clips), *computed.shape[1:])
        waves[kept] = computed
        evidence = self._evidence(recordings).to(clips.device)[:, None, None]
        waves, keep = self.optimizer.verify(waves, evidence=evidence)
        return waves, keep[:, 0, 0] > 0

    def _waves(self, clips: Tensor) -> Tensor:
        """Return the network's waves `(B, N, T)` of clips."""
        low = self.config.precision == "bfloat16"
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=low):
            waves: Tensor = self.net(clips)
        return waves.float()

    def end_epoch(self, row: LogRow) -> None:
        """Compute the criterion, keep the weights if it is the lowest, and call `on_epoch`."""
        with unperturbed(self.optimizer):
            self._end_epoch(row)

    def _end_epoch(self, row: LogRow) -> None:
        self.net.eval()
        if self.config.select == "own":
            score = criterion(self.net, self.held_out, self.config)
        else:
            score = criterion_by_reference(self.net, self.targets, self.config)
        lowest = min((state.criterion for state in self.epochs if state.best), default=math.inf)
        best = score < lowest  # never if it is NaN
        if best:
            weights = self.net.state_dict().items()
            self.best_weights = {name: value.clone() for name, value in weights}
        seen = int(row["clips_seen"])
        self.epochs.append(EpochState(len(self.epochs) + 1, seen, row["seconds"], score, best))
        with torch.random.fork_rng():  # the callback's random numbers change nothing
            if self.on_epoch is not None:
                self._stopped = bool(self.on_epoch(self.net, self.epochs[-1]))

    def finished(self) -> bool:
        """Return whether `on_epoch` has asked to stop, or the criterion no longer improves."""
        best_epoch = max((state.epoch for state in self.epochs if state.best), default=0)
        patience = self.config.patience
        return self._stopped or (patience is not None and len(self.epochs) - best_epoch >= patience)

    def state(self) -> dict[str, Any]:
        """Return all that the next epoch depends on."""
        device = _device(self.net)
        return {
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "kept": self.best_weights,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved `state`."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], _device(self.net))
        self.epochs = [EpochState(**epoch) for epoch in state["epochs"]]
        self.best_weights = state["kept"]


def _device(net: PhysNet) -> torch.device:
    return next(net.parameters()).device


def _loss(
    waves: Tensor,
    speed: Tensor,
    config: PeerConfig,
    generator: torch.Generator,
    keep: Tensor | None,
) -> dict[str, Tensor]:
    """Return the method's loss and its terms for waves `(B, N, T)`, of the clips `(B,)` to keep."""
    fps = config.model.fps
    if config.method == "sinc":
        return sinc_loss(waves[:, -1], fps, config.sinc, speed, keep)
    return contrast_loss(waves, fps, config.contrast, generator, keep)


if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"fit": (f"{__name__}.fit_peer", fit_peer)})
