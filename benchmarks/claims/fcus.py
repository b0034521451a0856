"""FCUS-rPPG trained on one domain, evaluated after each epoch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from benchmarks.claims.diagnosis import Diagnosis
from benchmarks.claims.runs import Run, train_config
from benchmarks.claims.targets import errors_on
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.synthetic.cache import synthetic_recordings
from rppg.train.clips import ClipSet, batch_sizes, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.loop import LogRow
from rppg.train.recordings import readable_crops


class Stopwatch:
    """Wall-clock and CPU seconds since it was made, but for its pauses."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._start()

    def _start(self) -> None:
        self._since = time.monotonic(), time.process_time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stands still inside."""
        self.wall_s += time.monotonic() - self._since[0]
        self.cpu_s += time.process_time() - self._since[1]
        yield
        self._start()


def run_fcus(run: Run) -> dict[str, Any]:
    """Train; a point after each epoch, and what the levels claim after the first.

    The network's training is `rppg.train.train`'s, step by step. A run whose loss stops being
    finite is a result, too: `failed` says why.
    """
    config = train_config(run)
    clip_set, cut_s, cut_cpu_s = clips_of(
        run.source, run.subjects, config.clip_s, config.stride_s, config.model
    )
    net = new_network(config)
    diagnosis = Diagnosis(net, clip_set, config, run.source)
    steps = len(batch_sizes(len(clip_set.clips), config.batch_size))
    points: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    rows: list[LogRow] = []
    watch = Stopwatch()

    def on_step(row: LogRow) -> None:
        with watch.paused():
            rows.append(row)
            diagnosis.step()
            if len(rows) % steps:
                return
            net.eval()
            if len(rows) == steps:
                told.update(diagnosis.read(rows))
            points.append(
                {
                    "epoch": int(row["epoch"]),
                    "clips": int(row["clips_seen"]),
                    "train_s": round(cut_s + watch.wall_s, 3),
                    "cpu_s": round(cut_cpu_s + watch.cpu_s, 3),
                    "criterion": sum(r["loss"] for r in rows[-steps:]) / steps,
                    "targets": _errors(run, net, config.clip_s),
                }
            )
            net.train()

    result: dict[str, Any] = {
        "points": points,
        "diagnosis": told,
        "parameters": sum(p.numel() for p in net.parameters()),
        "clips_per_epoch": len(clip_set.clips),
        "config": config.model_dump(mode="json"),
    }
    try:
        fit_fcus(net, clip_set, config, on_step)
    except InputError as error:
        result["failed"] = str(error)
    return result


def run_untrained(run: Run) -> dict[str, Any]:
    """The network as it is before training, as a run with a single point."""
    estimator = untrained(TrainConfig().model, run.seed)
    found = _errors(run, estimator.net, TrainConfig().clip_s)
    return {"points": [{"epoch": 0, "clips": 0, "train_s": 0.0, "targets": found}]}


def new_network(config: TrainConfig) -> FcusNet:
    """The network that `rppg.train.train` starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return FcusNet(config.model)


@lru_cache(maxsize=2)
def clips_of(
    source: str, subjects: int, clip_s: float, stride_s: float, model: ModelConfig
) -> tuple[ClipSet, float, float]:
    """A domain's training clips, and the wall-clock and CPU seconds that cutting them took."""
    crops, _ = readable_crops(synthetic_recordings(source, "train", subjects), clip_s)
    wall, cpu = time.monotonic(), time.process_time()
    found = cut_clips(crops, model, clip_s=clip_s, stride_s=stride_s)
    return found, time.monotonic() - wall, time.process_time() - cpu


def _errors(run: Run, net: FcusNet, clip_s: float) -> dict[str, Any]:
    grid = net.config.grid
    return errors_on(run, FcusEstimator(net, clip_s), count=run.test_subjects, grid=grid)
