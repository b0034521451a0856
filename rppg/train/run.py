"""Training runs: FCUS's, `train(config)`, and what every method's run shares, `TrainingRun`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

import rppg
from rppg.atomic import write_text
from rppg.data.fingerprint import fingerprints
from rppg.data.provenance import data_provenance
from rppg.devices import find_device
from rppg.json_values import finite_or_null
from rppg.models.checkpoint import Network, save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.renamed import renamed_attribute, renamed_keyword
from rppg.train import distributed
from rppg.train.clips import batch_sizes, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.loop import LogRow, OnStep
from rppg.train.recordings import Skipped, open_recordings, readable_crops
from rppg.train.resume import SAVE_EVERY_S, STATE_FILE, RunState, digest_of_run, settings_of
from rppg.train.verified import Score, check_pulse, score_recordings
from rppg.types import FaceCrops, Recording

Loading = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.

    Attributes:
        net: the trained network.
        log: one row per step: loss terms, kept fraction, gradient norm and cosine, clips, seconds.
        provenance: configuration, data and versions, as in the checkpoint.
        checkpoint: where it was saved, if it was.
        skipped: reasons, by name, for recordings that could not be used.
    """

    net: FcusNet
    log: list[LogRow]
    provenance: dict[str, Any]
    checkpoint: Path | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)

    made = renamed_attribute("made", "provenance")


@dataclass(frozen=True)
class TrainProgress:
    """The progress of a run: steps made, their total, and the last row of the log."""

    step: int
    steps: int
    row: LogRow


@renamed_keyword("records", "recordings")
def train(
    config: TrainConfig | None = None,
    *,
    out: Path | None = None,
    recordings: list[Recording] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    on_epoch: Callable[[FcusNet, int], None] | None = None,
    loading: Loading | None = None,
    cache: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
    device: str = "cpu",
) -> TrainResult:
    """Train without labels.

    Args:
        config: the configuration; one epoch on `synthetic:webcam` by default.
        out: folder for `checkpoint.safetensors`, `checkpoint.json` and `log.jsonl`, and, until the
            run has finished, `resume.safetensors`.
        recordings: recordings to train on, instead of `config.data`. Their ground truth is not
            read.
        progress: called after each step.
        on_epoch: called with the network and the number of epochs after each of them, before the
            state is saved from which a killed run would resume.
        loading: called with the number of recordings that are ready, and their total.
        cache: read the crops of `config.data`'s videos from the cache, and store them there.
        workers: processes that read videos into the cache, see `rppg.crops.cache.store`.
        resume: resume a run into `out` that was killed or stopped, if there is one.
        save_every_s: seconds after which the state of the run is saved again, for `resume`.
        device: where the network is trained: `cpu`, `cuda`, `cuda:1`.

    Returns:
        The network and its log. The same configuration gives the same bits on one machine, also if
        the run was killed and resumed. Recordings that can't be read, or hold no clip, are left
        out with a warning, and listed in `skipped`; with `config.require_pulse` also those in
        which no pulse is found. Without it, a warning names these.

    Raises:
        InputError: no such device, none of the recordings can be used or has a pulse, the loss is
            not finite, the cache can't be written to, or `out` holds the state of another run.
    """
    config = config or TrainConfig()
    run = TrainingRun.open(
        settings_of("fcus", config),
        config,
        recordings,
        out=out,
        progress=progress,
        loading=loading,
        cache=cache,
        workers=workers,
        resume=resume,
        save_every_s=save_every_s,
        device=device,
    )
    clip_set = cut_clips(run.crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
    each = len(batch_sizes(len(clip_set.clips), config.batch_size))
    with run.seeded():
        net = FcusNet(config.model).to(run.device)
        on_step = run.on_step(each * config.epochs)

        def on_row(row: LogRow) -> None:
            if on_step is not None:
                on_step(row)
            if on_epoch is not None and row["step"] % each == 0:
                on_epoch(net, int(row["epoch"]))

        log = fit_fcus(net, clip_set, config, on_row, run.state(clip_set.clips))
    counts = {"clips_per_epoch": len(clip_set.clips), "steps": len(log)}
    provenance = {**run.provenance(), **counts, "run": run.digest}
    checkpoint = run.save(net.cpu(), provenance, log)
    return TrainResult(net, log, provenance, checkpoint, provenance["skipped"])


class RunConfig(Protocol):
    """The part of a configuration that every method has."""

    @property
    def data(self) -> tuple[str, ...]:
        """SPECs of the datasets."""

    @property
    def subjects(self) -> int:
        """Recordings per synthetic domain."""

    @property
    def require_pulse(self) -> bool:
        """Whether recordings in which no pulse is found are left out."""

    @property
    def seed(self) -> int:
        """Seed of all random numbers."""

    @property
    def clip_s(self) -> float:
        """Length of a clip in seconds."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the configuration as JSON values."""


@dataclass(frozen=True)
class TrainingRun:
    """A training run of any method: its data, its files, and how its result came to be.

    Attributes:
        settings: see `settings_of`.
        config: the configuration.
        recordings: the recordings, those that are left out included.
        crops: the crops of the others.
        scores: how sure it is that there is a pulse in each of them, see `verified`.
        skipped: reasons why recordings are left out.
        device: where the network is trained.
        out: the folder for its files, if it has one.
        resume: whether to resume from the state in that folder.
        save_every_s: seconds after which the state is saved again.
        progress: called after each step.
    """

    settings: Mapping[str, Any]
    config: RunConfig
    recordings: Sequence[Recording]
    crops: Sequence[FaceCrops]
    scores: Sequence[float]
    skipped: Skipped
    device: torch.device
    out: Path | None
    resume: bool
    save_every_s: float
    progress: Callable[[TrainProgress], None] | None

    @classmethod
    def open(
        cls,
        settings: Mapping[str, Any],
        config: RunConfig,
        recordings: Sequence[Recording] | None,
        *,
        out: Path | None,
        progress: Callable[[TrainProgress], None] | None,
        loading: Loading | None,
        cache: bool,
        workers: int | None,
        resume: bool,
        save_every_s: float,
        device: str,
        score: Score | None = None,
    ) -> "TrainingRun":
        """Find the device, read the recordings and score them; see `train` for the arguments.

        Args:
            score: the function that scores a recording's crops; that of `verified` if None.
        """
        found = find_device(device)
        if recordings is None:
            recordings = open_recordings(
                config.data, config.subjects, cache=cache, workers=workers, loading=loading
            )
        crops, skipped = readable_crops(recordings, config.clip_s)
        readable = [r for r in recordings if (r.dataset, r.name) not in skipped]
        scores = score_recordings(crops, score)
        pulseless = check_pulse(readable, scores, require=config.require_pulse)
        kept = [n for n, r in enumerate(readable) if (r.dataset, r.name) not in pulseless]
        return cls(
            settings,
            config,
            recordings,
            [crops[n] for n in kept],
            [scores[n] for n in kept],
            {**skipped, **pulseless},
            found,
            out,
            resume,
            save_every_s,
            progress,
        )

    @property
    def digest(self) -> str:
        """The digest of the settings."""
        return digest_of_run(self.settings)

    @property
    def usable(self) -> list[Recording]:
        """The recordings that are not left out."""
        return [r for r in self.recordings if (r.dataset, r.name) not in self.skipped]

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Seed torch's random numbers inside, and leave the caller's as they are."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            yield

    def on_step(self, steps: int) -> OnStep | None:
        """Return what the loop calls with each row of its log, of `steps` in all."""
        progress = self.progress
        if progress is None:
            return None
        return lambda row: progress(TrainProgress(int(row["step"]), steps, row))

    def state(self, clips: object) -> RunState | None:
        """Return where the run saves its state; None if it has no folder.

        Args:
            clips: the clips that it trains on, as JSON values.
        """
        if self.out is None:
            return None
        names = [[recording.dataset, recording.name] for recording in self.usable]
        data = hashlib.sha256(json.dumps([names, clips]).encode()).hexdigest()
        run = {**self.settings, "data": data}
        return RunState(self.out / STATE_FILE, run, resume=self.resume, every_s=self.save_every_s)

    def provenance(self) -> dict[str, Any]:
        """Return configuration, versions and data, for the checkpoint."""
        data = data_provenance(self.recordings, self.skipped)
        return {
            "config": self.config.model_dump(mode="json"),
            "rppg": rppg.__version__,
            "torch": torch.__version__,
            "date": datetime.now(UTC).date().isoformat(),
            "data": [part.to_json() for part in data],
            "datasets": sorted(part.dataset for part in data if part.recordings),
            "subjects": sum(part.n_subjects for part in data),
            "recordings": sum(part.recordings for part in data),
            "fingerprints": fingerprints(self.usable),
            "skipped": {f"{dataset}: {name}": why for (dataset, name), why in self.skipped.items()},
        }

    def save(
        self, net: Network, provenance: Mapping[str, Any], log: Sequence[LogRow]
    ) -> Path | None:
        """Write `log.jsonl`, one row per step, `checkpoint.safetensors` and `checkpoint.json`.

        The state for resuming is removed last: if the process is killed before, a resumed run
        writes the files again. Of several ranks the first one writes.

        Returns:
            The checkpoint; None, and nothing is written, for a run without a folder.
        """
        if self.out is None:
            return None
        checkpoint = self.out / "checkpoint.safetensors"
        if distributed.rank() == 0:
            rows = "".join(json.dumps(finite_or_null(row)) + "\n" for row in log)
            write_text(self.out / "log.jsonl", rows)
            save_checkpoint(checkpoint, net, provenance)
            (self.out / STATE_FILE).unlink(missing_ok=True)
        return checkpoint
