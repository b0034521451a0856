"""Trials of FCUS-rPPG: trained on one domain, diagnosed, and evaluated after each epoch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from benchmarks.trials.diagnosis import Diagnosis
from benchmarks.trials.evaluation import Windows, predict_windows
from benchmarks.trials.trial_settings import Trial, train_config
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.synthetic.cache import synthetic_recordings
from rppg.train.clips import ClipSet, batch_sizes, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.loop import LogRow
from rppg.train.recordings import readable_crops


class Stopwatch:
    """Wall-clock and CPU seconds since it was created, without its pauses."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._start()

    def _start(self) -> None:
        self._since = time.monotonic(), time.process_time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clocks within the block."""
        self.wall_s += time.monotonic() - self._since[0]
        self.cpu_s += time.process_time() - self._since[1]
        yield
        self._start()


def run_fcus(trial: Trial) -> dict[str, Any]:
    """Train; evaluate after each epoch, and measure the levels' effects after the first.

    The training is `rppg.train.train`'s, step by step. A loss that stops being finite is a result,
    too: `failed` holds the reason.
    """
    config = train_config(trial)
    clip_set, cut_s, cut_cpu_s = clips_of(
        trial.source, trial.subjects, config.clip_s, config.stride_s, config.model
    )
    net = new_network(config)
    diagnosis = Diagnosis(net, clip_set, config, trial.source)
    steps = len(batch_sizes(len(clip_set.clips), config.batch_size))
    points: list[dict[str, Any]] = []
    measured: dict[str, Any] = {}
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
                measured.update(diagnosis.read(rows))
            points.append(
                {
                    "epoch": int(row["epoch"]),
                    "clips": int(row["clips_seen"]),
                    "train_s": round(cut_s + watch.wall_s, 3),
                    "cpu_s": round(cut_cpu_s + watch.cpu_s, 3),
                    "criterion": sum(r["loss"] for r in rows[-steps:]) / steps,
                    "targets": predict_domains(trial, net, config.clip_s),
                }
            )
            net.train()

    result: dict[str, Any] = {
        "points": points,
        "diagnosis": measured,
        "parameters": sum(p.numel() for p in net.parameters()),
        "clips_per_epoch": len(clip_set.clips),
        "config": config.model_dump(mode="json"),
    }
    try:
        fit_fcus(net, clip_set, config, on_step)
    except InputError as error:
        result["failed"] = str(error)
    return result


def new_network(config: TrainConfig) -> FcusNet:
    """Return the network that `rppg.train.train` starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return FcusNet(config.model)


@lru_cache(maxsize=2)
def clips_of(
    source: str, subjects: int, clip_s: float, stride_s: float, model: ModelConfig
) -> tuple[ClipSet, float, float]:
    """Return a domain's training clips, and the wall-clock and CPU seconds of cutting them."""
    crops, _ = readable_crops(synthetic_recordings(source, "train", subjects), clip_s)
    wall, cpu = time.monotonic(), time.process_time()
    clip_set = cut_clips(crops, model, clip_s=clip_s, stride_s=stride_s)
    return clip_set, time.monotonic() - wall, time.process_time() - cpu


def predict_domains(trial: Trial, net: FcusNet, clip_s: float) -> dict[str, Windows]:
    """Return a network's predictions in the windows of the trial's target domains."""
    estimator = FcusEstimator(net, clip_s)
    return predict_windows(trial, estimator, count=trial.test_subjects, grid=net.config.grid)
