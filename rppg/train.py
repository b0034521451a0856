"""Train FCUS-rPPG without labels: `train(config)`, `python -m rppg.train`, `rppg train`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import rppg
from rppg.atomic import atomic_path
from rppg.data.specs import open_dataset
from rppg.models.checkpoint import save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.records import FaceCrops, Record
from rppg.training.clips import batch_sizes, cut_clips
from rppg.training.config import TrainConfig
from rppg.training.loop import LogRow, fit


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves.

    Attributes:
        net: the trained network.
        log: one row a step: loss terms, kept fraction, gradient norm and cosine, clips, seconds.
        made: how it was made, as the checkpoint tells it.
        checkpoint: where it was saved, if it was.
    """

    net: FcusNet
    log: list[LogRow]
    made: dict[str, Any]
    checkpoint: Path | None = None


@dataclass(frozen=True)
class TrainProgress:
    """How far a run is; `row` is the step's log."""

    step: int
    steps: int
    row: LogRow


def train(
    config: TrainConfig | None = None,
    *,
    out: Path | None = None,
    records: list[Record] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    loading: Callable[[int, int], None] | None = None,
) -> TrainResult:
    """Train without labels.

    Args:
        config: the run; one epoch on `synthetic:webcam` by default.
        out: folder for `checkpoint.safetensors`, `checkpoint.json` and `log.jsonl`.
        records: recordings to train on, in place of `config.data`. Their ground truth is not read.
        progress: called after each step.
        loading: called with the recordings made ready, and their total.

    Returns:
        The network and its log. The same configuration gives the same bits on one machine.
    """
    config = config or TrainConfig()
    if records is None:
        records = [
            record
            for spec in config.data
            for record in open_dataset(
                spec, split="train", subjects=config.subjects, progress=loading
            )
        ]
    crops: list[FaceCrops] = [record.load_crops() for record in records]
    clip_set = cut_clips(crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = FcusNet(config.model)
        steps = len(batch_sizes(len(clip_set.clips), config.batch_size)) * config.epochs

        def on_step(row: LogRow) -> None:
            if progress:
                progress(TrainProgress(int(row["step"]), steps, row))

        log = fit(net, clip_set, config, on_step)
    made = {
        "config": config.model_dump(mode="json"),
        "rppg": rppg.__version__,
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "datasets": sorted({record.dataset for record in records}),
        "recordings": len(records),
        "clips_per_epoch": len(clip_set.clips),
        "steps": len(log),
    }
    checkpoint = None
    if out is not None:
        checkpoint = out / "checkpoint.safetensors"
        save_checkpoint(checkpoint, net, made)
        with atomic_path(out / "log.jsonl") as temporary:
            rows = "".join(json.dumps(_missing_as_null(row)) + "\n" for row in log)
            temporary.write_text(rows, encoding="utf-8")
    return TrainResult(net, log, made, checkpoint)


def _missing_as_null(row: LogRow) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {key: None if value != value else value for key, value in row.items()}  # noqa: PLR0124


if __name__ == "__main__":
    import sys

    from rppg.cli import main

    main(["train", *sys.argv[1:]])
