"""Train FCUS-rPPG without labels: `train(config)`, `python -m rppg.train`, `rppg train`."""

import hashlib
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
from rppg.crops.cache import cached, checked_elsewhere, store
from rppg.data.provenance import data_provenance
from rppg.data.specs import open_datasets
from rppg.devices import find_device
from rppg.errors import InputError
from rppg.models.checkpoint import Network, digest_of, load_network, save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.train import distributed
from rppg.train.clips import batch_sizes, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.loop import LogRow, fit
from rppg.train.resume import SAVE_EVERY_S, RunState
from rppg.types import FaceCrops, Recording

logger = logging.getLogger(__name__)

STATE_FILE = "resume.safetensors"


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
    recordings: list[Recording] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    loading: Callable[[int, int], None] | None = None,
    cache: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
    device: str = "cpu",
) -> TrainResult:
    """Train without labels.

    Args:
        config: the run; one epoch on `synthetic:webcam` by default.
        out: folder for `checkpoint.safetensors`, `checkpoint.json` and `log.jsonl`, and, while the
            run goes on, `resume.safetensors`.
        records: recordings to train on, in place of `config.data`. Their ground truth is not read.
        progress: called after each step.
        loading: called with the recordings made ready, and their total.
        cache: keep the crops of `config.data`'s videos, and take them from there the next time.
        workers: processes that read videos into the cache, see `rppg.crops.cache.store`.
        resume: go on where a run into `out` was killed or stopped, if one was.
        save_every_s: seconds after which the state of the run is saved again, for `resume`.
        device: where the network is trained: `cpu`, `cuda`, `cuda:1`.

    Returns:
        The network and its log. The same configuration gives the same bits on one machine, also
        where the run was killed and resumed. Recordings that can't be read, or hold no clip, are
        left out, told of, and counted in `skipped`.

    Raises:
        InputError: none of the recordings can be used, the loss is not finite, the cache can't be
            written to, or `out` holds the state of another run.
    """
    config = config or TrainConfig()
    if recordings is None:
        recordings = training_recordings(
            config.data, config.subjects, cache=cache, workers=workers, loading=loading
        )
    crops, reasons = readable_crops(recordings, config.clip_s)
    clip_set = cut_clips(crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
    settings = settings_of("fcus", config)
    state = open_state(
        out, settings, clip_set.clips, recordings, reasons, resume=resume, save_every_s=save_every_s
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = FcusNet(config.model).to(find_device(device))
        steps = len(batch_sizes(len(clip_set.clips), config.batch_size)) * config.epochs
        log = fit(net, clip_set, config, each_step(progress, steps), state)
        net.cpu()
    made = {
        **how_made(config, recordings, reasons),
        "clips_per_epoch": len(clip_set.clips),
        "steps": len(log),
        "run": digest_of_run(settings),
    }
    checkpoint = save_run(out, net, made, log, state)
    return TrainResult(net, log, made, checkpoint, made["skipped"])


def settings_of(recipe: str, config: BaseModel, start: Path | None = None) -> dict[str, Any]:
    """What a run's result depends on beside its data; `start`: the checkpoint it starts from."""
    about = {"recipe": recipe, "config": config.model_dump(mode="json")}
    return about if start is None else {**about, "start": digest_of(start)}


def digest_of_run(settings: Mapping[str, Any]) -> str:
    """How a checkpoint names the run it is from."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def is_finished(out: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a run into `out` is over, so that there is nothing to resume.

    Raises:
        InputError: `out` holds the checkpoint of another run, which would be written over.
    """
    checkpoint = out / "checkpoint.safetensors"
    if (out / STATE_FILE).exists() or not checkpoint.with_suffix(".json").exists():
        return False
    _, about = load_network(checkpoint)
    if about["made"].get("run") == digest_of_run(settings):
        return True
    raise InputError(
        f"{checkpoint}: of another run than the one to resume (its settings differ); give the same "
        "settings, name another folder, or train anew, without --resume"
    )


def open_state(
    out: Path | None,
    settings: Mapping[str, Any],
    clips: object,
    recordings: Sequence[Recording],
    reasons: Mapping[tuple[str, str], str],
    *,
    resume: bool,
    save_every_s: float,
) -> RunState | None:
    """Where a run keeps its state; None where it has no folder.

    Args:
        settings: as of `settings_of`.
        clips: which clips it trains on, as JSON values.
        records, reasons: as for `how_made`.
    """
    if out is None:
        return None
    used_by = [[r.dataset, r.name] for r in recordings if (r.dataset, r.name) not in reasons]
    data = hashlib.sha256(json.dumps([used_by, clips]).encode()).hexdigest()
    run = {**settings, "data": data}
    return RunState(out / STATE_FILE, run, resume=resume, every_s=save_every_s)


def training_recordings(
    data: Sequence[str],
    subjects: int,
    *,
    cache: bool,
    workers: int | None,
    loading: Callable[[int, int], None] | None,
) -> list[Recording]:
    """The training split of some SPECs; `cache`, `workers` and `loading` as for `train`.

    Of several ranks the first renders, and each reads a share of the videos into the cache, and
    checks what is there already; the others take its word.
    """
    recordings = distributed.first_rank_first(
        lambda: open_datasets(data, split="train", subjects=subjects, progress=loading)
    )
    if not cache:
        return recordings
    if not distributed.several():
        return cached(recordings, workers=workers, progress=loading)
    distributed.each_its_share(
        lambda part: store(recordings[part], workers=workers, progress=loading, verify=True)
    )
    return checked_elsewhere(cached(recordings, workers=workers, progress=loading))


def each_step(
    progress: Callable[[TrainProgress], None] | None, steps: int
) -> Callable[[LogRow], None] | None:
    """What a loop calls with each row of its log, so that `progress` is told of `steps`."""
    if progress is None:
        return None
    return lambda row: progress(TrainProgress(int(row["step"]), steps, row))


def how_made(
    config: BaseModel, recordings: Sequence[Recording], reasons: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """What a checkpoint tells of any training run: configuration, versions and data.

    Args:
        records: all that there were.
        reasons: why, by dataset and name, some of them could not be used.
    """
    data = data_provenance(recordings, reasons)
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


def save_run(
    out: Path | None,
    net: Network,
    made: Mapping[str, Any],
    log: Sequence[LogRow],
    state: RunState | None,
) -> Path | None:
    """Write the log as JSON lines, one a step, `checkpoint.safetensors` and its JSON.

    Killed in between, it is done again on `resume`: the state is removed at the end. Returns the
    checkpoint; None, and nothing is written, without `out`. Of several ranks the first writes.
    """
    if out is None:
        return None
    if distributed.rank() > 0:
        return out / "checkpoint.safetensors"
    with atomic_path(out / "log.jsonl") as temporary:
        rows = "".join(json.dumps(_missing_as_null(row)) + "\n" for row in log)
        temporary.write_text(rows, encoding="utf-8")
    checkpoint = out / "checkpoint.safetensors"
    save_checkpoint(checkpoint, net, made)
    if state is not None:
        state.remove()
    return checkpoint


def readable_crops(
    recordings: Sequence[Recording], clip_s: float
) -> tuple[list[FaceCrops], dict[tuple[str, str], str]]:
    """Crops of the recordings that can be used; why not, by dataset and name, of the others."""
    found: list[FaceCrops] = []
    skipped: dict[tuple[str, str], str] = {}
    for recording in recordings:
        try:
            crops = recording.load_crops()
            if len(crops.times_s) < 2 or crops.duration_s + 1 / crops.fps < clip_s - 1e-3:
                raise InputError(
                    f"{recording.name}: {len(crops.times_s)} frames, shorter than a clip of "
                    f"{clip_s:g} s; record longer, or choose a smaller clip_s"
                )
        except InputError as error:
            skipped[recording.dataset, recording.name] = str(error)
            logger.warning("left out: %s", error)
        else:
            found.append(crops)
    if skipped:
        logger.warning("%d of %d recordings are left out", len(skipped), len(recordings))
    if not found:
        raise InputError(
            f"none of the {len(recordings)} recordings can be used; the first: "
            f"{next(iter(skipped.values()), 'there are none')}"
        )
    return found, skipped


def _missing_as_null(row: LogRow) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {key: None if value != value else value for key, value in row.items()}  # noqa: PLR0124
