"""Train FCUS-rPPG without labels: `train(config)`, `python -m rppg.train`, `rppg train`."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

import rppg
from rppg.atomic import atomic_path
from rppg.data.cache import cached
from rppg.data.specs import open_datasets
from rppg.data.used import used
from rppg.errors import InputError
from rppg.models.checkpoint import Network, save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.records import FaceCrops, Record
from rppg.training.clips import batch_sizes, cut_clips
from rppg.training.config import TrainConfig
from rppg.training.loop import LogRow, fit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves.

    Attributes:
        net: the trained network.
        log: one row a step: loss terms, kept fraction, gradient norm and cosine, clips, seconds.
        made: how it was made, as the checkpoint tells it.
        checkpoint: where it was saved, if it was.
        skipped: why, by name, for recordings that could not be used.
    """

    net: FcusNet
    log: list[LogRow]
    made: dict[str, Any]
    checkpoint: Path | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)


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
    cache: bool = True,
    workers: int | None = 1,
) -> TrainResult:
    """Train without labels.

    Args:
        config: the run; one epoch on `synthetic:webcam` by default.
        out: folder for `checkpoint.safetensors`, `checkpoint.json` and `log.jsonl`.
        records: recordings to train on, in place of `config.data`. Their ground truth is not read.
        progress: called after each step.
        loading: called with the recordings made ready, and their total.
        cache: keep the crops of `config.data`'s videos, and take them from there the next time.
        workers: processes that read videos into the cache, see `rppg.data.cache.store`.

    Returns:
        The network and its log. The same configuration gives the same bits on one machine.
        Recordings that can't be read, or hold no clip, are left out, told of, and counted in
        `skipped`.

    Raises:
        InputError: none of the recordings can be used, the loss is not finite, or the cache
            can't be written to.
    """
    config = config or TrainConfig()
    if records is None:
        records = training_records(
            config.data, config.subjects, cache=cache, workers=workers, loading=loading
        )
    crops, reasons = readable_crops(records, config.clip_s)
    clip_set = cut_clips(crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = FcusNet(config.model)
        steps = len(batch_sizes(len(clip_set.clips), config.batch_size)) * config.epochs
        log = fit(net, clip_set, config, each_step(progress, steps))
    made = {
        **how_made(config, records, reasons),
        "clips_per_epoch": len(clip_set.clips),
        "steps": len(log),
    }
    checkpoint = None if out is None else save_run(out, net, made, log)
    return TrainResult(net, log, made, checkpoint, made["skipped"])


def training_records(
    data: Sequence[str],
    subjects: int,
    *,
    cache: bool,
    workers: int | None,
    loading: Callable[[int, int], None] | None,
) -> list[Record]:
    """The training split of some SPECs; `cache`, `workers` and `loading` as for `train`."""
    records = open_datasets(data, split="train", subjects=subjects, progress=loading)
    return cached(records, workers=workers, progress=loading) if cache else records


def each_step(
    progress: Callable[[TrainProgress], None] | None, steps: int
) -> Callable[[LogRow], None] | None:
    """What a loop calls with each row of its log, so that `progress` is told of `steps`."""
    if progress is None:
        return None
    return lambda row: progress(TrainProgress(int(row["step"]), steps, row))


def how_made(
    config: BaseModel, records: Sequence[Record], reasons: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """What a checkpoint tells of any training run: configuration, versions and data.

    Args:
        records: all that there were.
        reasons: why, by dataset and name, some of them could not be used.
    """
    data = used(records, reasons)
    return {
        "config": config.model_dump(mode="json"),
        "rppg": rppg.__version__,
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "data": [part.to_json() for part in data],
        "datasets": sorted(part.dataset for part in data if part.recordings),
        "subjects": sum(part.n_subjects for part in data),
        "recordings": sum(part.recordings for part in data),
        "skipped": {f"{dataset}: {name}": reason for (dataset, name), reason in reasons.items()},
    }


def save_run(out: Path, net: Network, made: Mapping[str, Any], log: Sequence[LogRow]) -> Path:
    """Write `checkpoint.safetensors`, its JSON, and the log as JSON lines, one a step."""
    checkpoint = out / "checkpoint.safetensors"
    save_checkpoint(checkpoint, net, made)
    with atomic_path(out / "log.jsonl") as temporary:
        rows = "".join(json.dumps(_missing_as_null(row)) + "\n" for row in log)
        temporary.write_text(rows, encoding="utf-8")
    return checkpoint


def readable_crops(
    records: Sequence[Record], clip_s: float
) -> tuple[list[FaceCrops], dict[tuple[str, str], str]]:
    """Crops of the recordings that can be used; why not, by dataset and name, of the others."""
    found: list[FaceCrops] = []
    skipped: dict[tuple[str, str], str] = {}
    for record in records:
        try:
            crops = record.load_crops()
            if len(crops.times_s) < 2 or crops.duration_s + 1 / crops.fps < clip_s - 1e-3:
                raise InputError(
                    f"{record.name}: {len(crops.times_s)} frames, shorter than a clip of "
                    f"{clip_s:g} s; record longer, or choose a smaller clip_s"
                )
        except InputError as error:
            skipped[record.dataset, record.name] = str(error)
            logger.warning("left out: %s", error)
        else:
            found.append(crops)
    if skipped:
        logger.warning("%d of %d recordings are left out", len(skipped), len(records))
    if not found:
        raise InputError(
            f"none of the {len(records)} recordings can be used; the first: "
            f"{next(iter(skipped.values()), 'there are none')}"
        )
    return found, skipped


def _missing_as_null(row: LogRow) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {key: None if value != value else value for key, value in row.items()}  # noqa: PLR0124


if __name__ == "__main__":
    import sys

    from rppg.cli import main

    main(["train", *sys.argv[1:]])
