"""SiNC and Contrast-Phys as published, as many epochs as the time allows, and FCUS's one epoch.

Each training has a process; all share the device. Every network is tested on people of both
domains, on the heart rates of windows of 10 s, beside a constant guess.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.parts import Setting, attempt
from benchmarks.gpu.recordings import open_domain, render
from rppg.estimators.fcus import FcusEstimator
from rppg.estimators.physnet import PeerEstimator
from rppg.evaluation import ConstantGuess, Estimator, Protocol, constant_guess, prepare
from rppg.evaluation import measure as measure_wave
from rppg.evaluation.metrics import mae
from rppg.models.fcus import FcusNet
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig
from rppg.peers.train import train_peer
from rppg.peers.trainer import EpochState
from rppg.processes import work_through
from rppg.synthetic.domains import DOMAINS
from rppg.train.clips import cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.types import Recording

METHODS = ("sinc", "contrast-phys", "fcus")
DOMAINS_USED = ("lab", "mobile")
RESERVED_S = 60.0
"""Time for testing, after the trainings have stopped."""


@dataclass(frozen=True)
class Sizes:
    """How much is trained and tested.

    Attributes:
        sources: domains to train on; the tests are on all of `DOMAINS_USED`.
        training, test: number of recordings of each domain.
        duration_s: their length.
        clip_s: length of FCUS's clips.
        peer: fields of the peers' configurations that aren't as published.
    """

    sources: tuple[str, ...]
    training: int
    test: int
    duration_s: float
    clip_s: float
    peer: dict[str, Any]


FULL = Sizes(DOMAINS_USED, 60, 20, 20.0, 10.0, {})
DRY_PEER = {"epochs": 1, "clip_frames": 90, "stride_frames": 180, "model": {"width": 4}}
DRY = Sizes(DOMAINS_USED[:1], 3, 1, 10.0, 5.0, DRY_PEER)


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        method, source: what is trained, on which domain.
        device: where.
        sizes: how much.
        stop_s: when to stop, by the monotonic clock.
        compressed: whether each domain has its own compression, see `recordings.render`.
    """

    method: str
    source: str
    device: str
    sizes: Sizes
    stop_s: float
    compressed: dict[str, bool]

    def recordings(self, domain: str, split: str) -> list[Recording]:
        """List a domain's recordings to train on or to test on."""
        count = self.sizes.training if split == "train" else self.sizes.test
        compressed = self.compressed[domain]
        return open_domain(domain, split, count, self.sizes.duration_s, compressed=compressed)


def measure(setting: Setting) -> None:
    """Render, train, test."""
    sizes = DRY if setting.dry else FULL
    compressed = {}
    for domain in DOMAINS_USED:
        counts = {"test": sizes.test}
        if domain in sizes.sources:
            counts["train"] = sizes.training
        compressed[domain] = render(domain, counts, sizes.duration_s)
    stop_s = time.monotonic() + setting.left_s - RESERVED_S
    trainings = [
        Training(method, source, setting.device, sizes, stop_s, compressed)
        for method in METHODS
        for source in sizes.sources
    ]
    guesses = {
        f"constant guess for {t.source}": errors(middle_rate(t.source), t)
        for t in trainings[: len(sizes.sources)]
    }
    found: dict[str, Any] = {
        "sizes": asdict(sizes),
        "with_own_compression": compressed,
        "trainings": {},
        "mae_bpm": guesses,
    }
    setting.save(found)

    def done(index: int, result: dict[str, Any] | None) -> None:
        name = f"{trainings[index].method} on {trainings[index].source}"
        result = result or {"error": "its process died"}
        if "mae_bpm" in result:
            found["mae_bpm"][name] = result.pop("mae_bpm")
        found["trainings"][name] = result
        setting.save(found)

    work_through(run_training, trainings, 2 if setting.dry else len(trainings), done)


def run_training(training: Training) -> dict[str, Any]:
    """Train and test; return what was trained, and the errors by domain."""
    return attempt(partial(train_and_test, training))


def train_and_test(training: Training) -> dict[str, Any]:
    """Do what `run_training` does, or raise."""
    if training.method == "fcus":
        estimator, result = train_fcus(training)
    else:
        estimator, result = train_published(training)
    return {**result, "mae_bpm": errors(estimator, training)}


def train_fcus(training: Training) -> tuple[Estimator, dict[str, Any]]:
    """Train FCUS for its one epoch, as `rppg train` does."""
    config = TrainConfig(clip_s=training.sizes.clip_s)
    crops = [r.load_crops() for r in training.recordings(training.source, "train")]
    clip_set = cut_clips(crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
    torch.manual_seed(config.seed)
    net = FcusNet(config.model).to(training.device)
    last = fit_fcus(net, clip_set, config)[-1]
    result = {"epochs": 1, "epochs_published": 1, "clips": int(last["clips_seen"])}
    return FcusEstimator(net, config.clip_s), {**result, "seconds": last["seconds"]}


def train_published(training: Training) -> tuple[Estimator, dict[str, Any]]:
    """Train a peer as published until the time is over; its criterion chooses the epoch."""
    config = PeerConfig.model_validate({"method": training.method, **training.sizes.peer})

    def on_epoch(_: PhysNet, state: EpochState) -> bool:
        epoch_s = state.train_s / state.epoch
        return time.monotonic() + epoch_s > training.stop_s

    trained = train_peer(
        config,
        recordings=training.recordings(training.source, "train"),
        on_epoch=on_epoch,
        device=training.device,
        score=lambda _: 1.0,  # whether there is a pulse is no question here
    )
    last = trained.epochs[-1]
    result = {
        "epochs": last.epoch,
        "epochs_published": PeerConfig.model_validate({"method": training.method}).epochs,
        "clips": last.clips_seen,
        "seconds": last.train_s,
        "best_epoch": trained.provenance["best_epoch"],
        "criterion": trained.provenance["criterion"],
    }
    net = trained.net.to(training.device)
    return PeerEstimator(net, config.clip_frames), result


def middle_rate(domain: str) -> ConstantGuess:
    """Return the guess of the middle of a domain's range of heart rates."""
    return constant_guess(sum(DOMAINS[domain].hr_bpm) / 2)


def errors(method: Estimator | ConstantGuess, training: Training) -> dict[str, Any]:
    """Return the error in bpm on each domain's test people, its interval, and n."""
    protocol = Protocol()
    found = {}
    for domain in DOMAINS_USED:
        true: list[float] = []
        predicted: list[float] = []
        subjects: list[str] = []
        for recording in training.recordings(domain, "test"):
            item = prepare(recording, protocol)
            rates = item.truth.windows.hr_bpm
            true += rates.tolist()
            subjects += len(rates) * [recording.subject]
            if isinstance(method, ConstantGuess):
                predicted += len(rates) * [method.bpm]
                continue
            wave = method(item.frames, protocol.fps)
            predicted += measure_wave(wave, protocol, valid=item.in_view).windows.hr_bpm.tolist()
        error = mae(true, predicted, subjects)
        found[domain] = {**asdict(error), "windows": len(true), "subjects": len(set(subjects))}
    return found
