"""The arms on Contrast-Phys: PhysNet at 15 Hz with clips of 10 s, evaluated on its own domain."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import torch
from torch import Tensor

from benchmarks.redesigns.arms import ARMS, DEAD_BATCH, DEAD_RECORDINGS, Arm
from benchmarks.redesigns.evaluation import Subjects, evaluate
from benchmarks.redesigns.training import train
from rppg.estimators.physnet import PeerEstimator
from rppg.models.physnet import PhysNet, PhysNetConfig
from rppg.peers.batches import peer_batches
from rppg.peers.clips import Span, find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.contrast_phys import contrast_loss
from rppg.peers.levels import PeerProjectConfig, PeerSmoothConfig
from rppg.peers.optimizer import observe_background, unperturbed
from rppg.peers.trainer import PeerTrainer
from rppg.synthetic.cache import PLAIN, synthetic_recordings
from rppg.synthetic.variations.variation import Variation
from rppg.train.clips import Batch

FPS, CLIP_FRAMES, STRIDE_FRAMES = 15.0, 150, 60
"""A stride of 4 s: an epoch takes five clips of a recording of 20 s."""
RATE = 1e-3
"""With 3e-4, 300 clips teach nothing."""
LATE_RHO = 0.05
"""Half of the one-pass smoother's radius on a peer."""
PIECES_SEED = 1000
"""Added to the seed for the pieces that the loss of dead clips draws."""


class ContrastiveTrainer(PeerTrainer):
    """A trainer whose projector observes the faces as signal, after their background."""

    def start(self) -> None:
        """Observe both, on the same clips."""
        super().start()
        observe_background(_FacesAsSignal(self.optimizer), self.net, self.training, self.config)


class _FacesAsSignal:
    """A projector as `observe_background` sees it, which observes as signal what isn't noise."""

    def __init__(self, projector: Any) -> None:
        self.projector = projector

    def observe_noise(self, mask: Tensor) -> Any:
        """Return the context in which the faces are observed as signal."""
        return self.projector.observe_signal(~mask)


def run_peer(
    source: str, seed: int, name: str, subjects: int, validation_subjects: int
) -> dict[str, Any]:
    """Train an arm on a domain and evaluate it there; see `training.train` for what is raised."""
    arm = ARMS[name]
    config = configuration(source, seed, arm, subjects)
    spans = training_spans(source, subjects, config.model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = PhysNet(config.model)
        kind = ContrastiveTrainer if arm.project == "contrastive" else PeerTrainer
        trainer = kind(net, spans, [], config)
        dead_loss = dead_losses(net, source, config) if arm.dead_gradients else None
        result = train(trainer, arm, dead_loss)
    net.eval()
    estimator = PeerEstimator(net, CLIP_FRAMES, precision=config.precision)
    with unperturbed(trainer.optimizer):
        found = evaluate(estimator, Subjects(source, validation_subjects, fps=FPS))
    clips = result["steps"] * config.batch_size
    return {"clips": clips, **result, "domains": {source: found}}


def configuration(source: str, seed: int, arm: Arm, subjects: int) -> PeerConfig:
    """Return an arm's configuration: as published, but for rates, precision and levels."""
    return PeerConfig(
        method="contrast-phys",
        data=(f"synthetic:{source}",),
        subjects=subjects,
        epochs=1,
        seed=seed,
        clip_frames=CLIP_FRAMES,
        stride_frames=STRIDE_FRAMES,
        batch_size=arm.batch_size,
        lr=RATE,
        precision="bfloat16",
        model={"fps": FPS},
        smooth=PeerSmoothConfig(rho=LATE_RHO) if arm.late_rho else None,
        project=PeerProjectConfig() if arm.project else None,
    )


@lru_cache(maxsize=2)
def training_spans(
    source: str, subjects: int, model: PhysNetConfig, variation: Variation = PLAIN
) -> Sequence[Span]:
    """Return the spans of a domain's training recordings."""
    recordings = synthetic_recordings(source, "train", subjects, variation=variation)
    return find_spans([r.load_crops() for r in recordings], model, CLIP_FRAMES)


def dead_losses(net: PhysNet, source: str, config: PeerConfig) -> Callable[[], Tensor]:
    """Return a function whose every call is the loss of the next batch of dead clips."""
    own = config.model_copy(update={"batch_size": DEAD_BATCH})
    spans = training_spans(source, DEAD_RECORDINGS, own.model, Variation(dead=1.0))
    drawn = endless_batches(spans, own)
    generator = torch.Generator().manual_seed(config.seed + PIECES_SEED)

    def loss() -> Tensor:
        clips = next(drawn).clips
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            waves = net(clips)
        return contrast_loss(waves.float(), FPS, config.contrast, generator)["loss"]

    return loss


def endless_batches(spans: Sequence[Span], config: PeerConfig) -> Iterator[Batch]:
    """Yield batches of clips, epoch after epoch."""
    generator = torch.Generator().manual_seed(config.seed)
    for _ in count():
        yield from peer_batches(spans, config, generator)
