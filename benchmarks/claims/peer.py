"""A peer trained on one domain until its own criterion is flat, or its time is over."""

import time
from typing import Any

from benchmarks.claims.runs import Run, peer_config
from benchmarks.claims.targets import errors_on
from rppg.estimators.physnet import PeerEstimator
from rppg.models.physnet import PhysNet
from rppg.peers.config import PeerConfig
from rppg.peers.train import train_peer
from rppg.peers.trainer import EpochState
from rppg.synthetic.cache import synthetic_recordings
from rppg.train.run import TrainProgress

BETWEEN_POINTS = 1.8
"""A point follows when this many times the last one's training time is over."""


def run_peer(run: Run) -> dict[str, Any]:
    """Train; points on `curve_subjects`, and one on all, `picked`, of the kept epoch's weights."""
    config = peer_config(run)
    points: list[dict[str, Any]] = []
    out_of_time = False
    cpu = {"epoch": 0.0, "sum": 0.0, "step": 0.0}

    def on_progress(_: TrainProgress) -> None:
        cpu["step"] = time.process_time()

    def on_epoch(net: PhysNet, state: EpochState) -> bool:
        nonlocal out_of_time
        cpu["sum"] += cpu["step"] - cpu["epoch"]
        out_of_time = state.train_s >= 60 * run.minutes
        due = BETWEEN_POINTS * (points[-1]["train_s"] if points else 0.0)
        if state.train_s >= due or out_of_time:
            points.append(_point(run, net, config, state, run.curve_subjects, cpu["sum"]))
        cpu["epoch"] = time.process_time()
        return out_of_time

    recordings = synthetic_recordings(run.source, "train", run.subjects)
    cpu["epoch"] = time.process_time()
    trained = train_peer(config, recordings=recordings, progress=on_progress, on_epoch=on_epoch)
    best = [state for state in trained.epochs if state.best][-1]
    share = best.train_s / max(trained.epochs[-1].train_s, 1e-9)
    kept = _point(run, trained.net, config, best, run.test_subjects, share * cpu["sum"])
    flat = len(trained.epochs) < config.epochs
    return {
        "points": [*points, {**kept, "picked": True}],
        "criteria": [state.criterion for state in trained.epochs],
        "stopped": "time" if out_of_time else "flat" if flat else "published epochs",
        "epochs_done": len(trained.epochs),
        "epochs_published": config.epochs,
        "parameters": sum(p.numel() for p in trained.net.parameters()),
        "clips_per_epoch": trained.provenance["clips_per_epoch"],
        "config": config.model_dump(mode="json"),
    }


def _point(
    run: Run, net: PhysNet, config: PeerConfig, state: EpochState, count: int, cpu_s: float
) -> dict[str, Any]:
    estimator = PeerEstimator(net, config.clip_frames, precision=config.precision)
    return {
        "epoch": state.epoch,
        "clips": state.clips_seen,
        "train_s": round(state.train_s, 3),
        "cpu_s": round(cpu_s, 3),
        "criterion": state.criterion,
        "targets": errors_on(run, estimator, count=min(count, run.test_subjects), grid=None),
    }
