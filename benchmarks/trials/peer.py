"""Trials of the peers: trained until their own criterion is flat, or their time is over."""

import time
from typing import Any

from benchmarks.trials.evaluation import predict_windows
from benchmarks.trials.trial_settings import Trial, peer_config
from rppg.estimators.physnet import PeerEstimator
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig
from rppg.peers.train import train_peer
from rppg.peers.trainer import EpochState
from rppg.synthetic.cache import synthetic_recordings
from rppg.train.run import TrainProgress

BETWEEN_POINTS = 1.8
"""The network is evaluated again when its training time is this many times the last point's."""


def run_peer(trial: Trial) -> dict[str, Any]:
    """Train a peer and evaluate it along the way.

    The points are on `curve_subjects` subjects. The last one, `picked`, is on all of them, with the
    weights of the epoch that the peer's criterion chose.
    """
    config = peer_config(trial)
    points: list[dict[str, Any]] = []
    out_of_time = False
    cpu = {"epoch": 0.0, "sum": 0.0, "step": 0.0}

    def on_progress(_: TrainProgress) -> None:
        cpu["step"] = time.process_time()

    def on_epoch(net: PhysNet, state: EpochState) -> bool:
        nonlocal out_of_time
        cpu["sum"] += cpu["step"] - cpu["epoch"]
        out_of_time = state.train_s >= 60 * trial.minutes
        due = BETWEEN_POINTS * (points[-1]["train_s"] if points else 0.0)
        if state.train_s >= due or out_of_time:
            points.append(_point(trial, net, config, state, trial.curve_subjects, cpu["sum"]))
        cpu["epoch"] = time.process_time()
        return out_of_time

    recordings = synthetic_recordings(trial.source, "train", trial.subjects)
    cpu["epoch"] = time.process_time()
    trained = train_peer(config, recordings=recordings, progress=on_progress, on_epoch=on_epoch)
    best = [state for state in trained.epochs if state.best][-1]
    share = best.train_s / max(trained.epochs[-1].train_s, 1e-9)
    picked = _point(trial, trained.net, config, best, trial.test_subjects, share * cpu["sum"])
    flat = len(trained.epochs) < config.epochs
    return {
        "points": [*points, {**picked, "picked": True}],
        "criteria": [state.criterion for state in trained.epochs],
        "stopped": "time" if out_of_time else "flat" if flat else "published epochs",
        "epochs_done": len(trained.epochs),
        "epochs_published": config.epochs,
        "parameters": sum(p.numel() for p in trained.net.parameters()),
        "clips_per_epoch": trained.provenance["clips_per_epoch"],
        "config": config.model_dump(mode="json"),
    }


def _point(
    trial: Trial, net: PhysNet, config: PeerConfig, state: EpochState, count: int, cpu_s: float
) -> dict[str, Any]:
    estimator = PeerEstimator(net, config.clip_frames, precision=config.precision)
    count = min(count, trial.test_subjects)
    return {
        "epoch": state.epoch,
        "clips": state.clips_seen,
        "train_s": round(state.train_s, 3),
        "cpu_s": round(cpu_s, 3),
        "criterion": state.criterion,
        "targets": predict_windows(trial, estimator, count=count, grid=None),
    }
