"""The arms on FCUS-rPPG, whose mask is on as it is shipped."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from typing import Any

import torch
from torch import Tensor

from benchmarks.redesigns.arms import ARMS, DEAD_BATCH, DEAD_RECORDINGS, Arm
from benchmarks.redesigns.evaluation import Subjects, evaluate
from benchmarks.redesigns.training import train
from benchmarks.trials.fcus import clips_of, new_network
from rppg.estimators.fcus import FcusEstimator
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.variation import Variation
from rppg.train.clips import Batch, ClipSet, batches, cut_clips
from rppg.train.config import ProjectConfig, SmoothConfig, TrainConfig
from rppg.train.fcus import FcusTrainer
from rppg.train.objective import objective

LATE_RHO = 0.01
"""Half of the smoother's shipped radius."""


class ContrastiveTrainer(FcusTrainer):
    """A trainer whose projector observes the whole clips as signal, after the background."""

    def start(self) -> None:
        """Observe both, on the same clips."""
        super().start()
        project = self.config.project
        assert project is not None
        observe_faces(self.optimizer, self.net, self.clip_set, project, self.config.seed)


def run_fcus(
    source: str, seed: int, name: str, subjects: int, validation_subjects: int
) -> dict[str, Any]:
    """Train an arm on a domain and evaluate it on all; see `training.train` for what is raised."""
    arm = ARMS[name]
    config = configuration(source, seed, arm, subjects)
    clip_set, _, _ = clips_of(source, subjects, config.clip_s, config.stride_s, config.model)
    net = new_network(config)
    kind = ContrastiveTrainer if arm.project == "contrastive" else FcusTrainer
    dead_loss = dead_losses(net, config) if arm.dead_gradients else None
    result = train(kind(net, clip_set, config), arm, dead_loss)
    net.eval()
    estimator = FcusEstimator(net, config.clip_s)
    domains = {
        domain: evaluate(estimator, Subjects(domain, validation_subjects, grid=net.config.grid))
        for domain in DOMAINS
    }
    return {"clips": len(clip_set.clips), **result, "domains": domains}


def configuration(source: str, seed: int, arm: Arm, subjects: int) -> TrainConfig:
    """Return an arm's configuration."""
    return TrainConfig(
        data=(f"synthetic:{source}",),
        subjects=subjects,
        seed=seed,
        batch_size=arm.batch_size,
        smooth=SmoothConfig(rho=LATE_RHO) if arm.late_rho else None,
        project=ProjectConfig() if arm.project else None,
    )


def observe_faces(
    optimizer: Any, net: FcusNet, clip_set: ClipSet, config: ProjectConfig, seed: int
) -> None:
    """Show the projector, as signal, the clips whose background `observe_background` shows it."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(clip_set.clips), generator=generator)[: config.observe_clips]
    for index in chosen.tolist():
        with torch.no_grad(), optimizer.observe_signal():
            net.attention(*net.traces(clip_set.cut(index)[None]))


def dead_losses(net: FcusNet, config: TrainConfig) -> Callable[[], Tensor]:
    """Return a function whose every call is the loss of the next batch of dead clips, unmasked."""
    source = config.data[0].removeprefix("synthetic:")
    drawn = endless_batches(
        dead_clips(source, config.clip_s, config.stride_s, config.model), config.seed
    )

    def loss() -> Tensor:
        batch = next(drawn)
        output = net(batch.clips)
        keep = torch.ones_like(output.regions)
        return objective(net, output, keep, batch.speed, config.objective).total

    return loss


@lru_cache(maxsize=2)
def dead_clips(source: str, clip_s: float, stride_s: float, model: ModelConfig) -> ClipSet:
    """Return the clips of recordings without a pulse."""
    recordings = synthetic_recordings(
        source, "train", DEAD_RECORDINGS, variation=Variation(dead=1.0)
    )
    crops = [recording.load_crops() for recording in recordings]
    return cut_clips(crops, model, clip_s=clip_s, stride_s=stride_s)


def endless_batches(clip_set: ClipSet, seed: int) -> Iterator[Batch]:
    """Yield batches of clips, epoch after epoch."""
    generator = torch.Generator().manual_seed(seed)
    for _ in count():
        yield from batches(clip_set, DEAD_BATCH, generator)
