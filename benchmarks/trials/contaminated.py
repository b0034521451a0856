"""Trials of FCUS-rPPG on folders in which some recordings have no pulse.

The arms of `ARMS` differ in the mask, or in which recordings are trained on. An arm that leaves
recordings out makes fewer steps in an epoch than a mask, which sees every clip.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import gradreg
from benchmarks.trials.fcus import Stopwatch, new_network, predict_domains
from benchmarks.trials.trial_settings import Trial, train_config
from rppg.errors import InputError
from rppg.estimators.pulse_score import PULSE_SCORE, recording_score
from rppg.models.fcus import FcusNet, FcusOutput
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.variations.draw import LIVING
from rppg.train import loop
from rppg.train.clips import Batch, ClipSet, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import FcusTrainer
from rppg.train.loop import LogRow
from rppg.train.optimizer import build_optimizer
from rppg.types import FaceCrops

FORMER_LOW, FORMER_HIGH, FORMER_QUANTILE, FORMER_SPAN_S = 5e-5, 1e-2, 0.8, 2.1
"""The former mask: bounds of a pulse's amplitude in AC/DC units, the share that its adaptive upper
bound keeps, and the length of a time span."""


@dataclass(frozen=True)
class Folder:
    """The crops of a folder's recordings, and which of them have a pulse."""

    crops: tuple[FaceCrops, ...]
    living: tuple[bool, ...]


def run_contaminated(trial: Trial) -> dict[str, Any]:
    """Train as the trial's arm does, and evaluate after each epoch.

    Times leave out the cutting of the clips. The result also has the numbers of living and dead
    recordings that were trained on. A loss that stops being finite is a result, too: `failed` holds
    the reason.
    """
    config = train_config(trial)
    clip_set, living = training_clips(trial, config)
    net = new_network(config)
    trainer = new_trainer(trial, net, clip_set, config, living)
    points: list[dict[str, Any]] = []
    rows: list[LogRow] = []
    watch = Stopwatch()

    def on_step(row: LogRow) -> None:
        with watch.paused():
            rows.append(row)
            if len(rows) % trainer.steps_per_epoch:
                return
            epoch = rows[-trainer.steps_per_epoch :]
            net.eval()
            points.append(
                {
                    "epoch": int(row["epoch"]),
                    "clips": int(row["clips_seen"]),
                    "train_s": round(watch.wall_s, 3),
                    "cpu_s": round(watch.cpu_s, 3),
                    "criterion": sum(r["loss"] for r in epoch) / len(epoch),
                    "kept": sum(r["kept"] for r in epoch) / len(epoch),
                    "targets": predict_domains(trial, net, config.clip_s),
                }
            )
            net.train()

    result: dict[str, Any] = {
        "points": points,
        "recordings": {"living": sum(living), "dead": len(living) - sum(living)},
        "clips_per_epoch": len(clip_set.clips),
        "config": config.model_dump(mode="json"),
    }
    try:
        loop.fit(trainer, config.epochs, on_step)
    except InputError as error:
        result["failed"] = str(error)
    return result


def training_clips(trial: Trial, config: TrainConfig) -> tuple[ClipSet, tuple[bool, ...]]:
    """Return the clips that the trial's arm trains on, and whether each recording has a pulse.

    Raises:
        InputError: no recording is left.
    """
    folder = read_folder(trial.source, trial.subjects, trial.dead)
    chosen = list(range(len(folder.crops)))
    if trial.arm == "living":
        chosen = [i for i in chosen if folder.living[i]]
    elif trial.arm == "cleaned":
        scores = score_folder(trial.source, trial.subjects, trial.dead)
        chosen = [i for i in chosen if scores[i] >= PULSE_SCORE]
    crops, living = [folder.crops[i] for i in chosen], tuple(folder.living[i] for i in chosen)
    clip_set = cut_clips(crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s)
    if len(clip_set.spans) != len(crops):
        raise ValueError(
            f"{trial.title}: expected one span in each of {len(crops)} recordings, found "
            f"{len(clip_set.spans)}; the oracle tells recordings apart by their spans"
        )
    return clip_set, living


@lru_cache(maxsize=1)
def read_folder(source: str, subjects: int, dead: float) -> Folder:
    """Return a domain's training recordings, of which the share `dead` has no pulse."""
    variation = Trial("fcus", source, arm="none", dead=dead).contamination
    recordings = synthetic_recordings(source, "train", subjects, variation=variation)
    return Folder(
        tuple(recording.load_crops() for recording in recordings),
        tuple(recording.metadata.get("kind", LIVING) == LIVING for recording in recordings),
    )


@lru_cache(maxsize=4)
def score_folder(source: str, subjects: int, dead: float) -> tuple[float, ...]:
    """Return the score of each recording of a folder."""
    return tuple(recording_score(crops) for crops in read_folder(source, subjects, dead).crops)


def new_trainer(
    trial: Trial, net: FcusNet, clip_set: ClipSet, config: TrainConfig, living: tuple[bool, ...]
) -> FcusTrainer:
    """Return the trainer of the trial's arm."""
    if trial.arm == "old":
        trainer = FcusTrainer(net, clip_set, config, evidence=span_amplitude)
        prior = gradreg.WeakAmplitude(FORMER_LOW, FORMER_HIGH, adaptive=FORMER_QUANTILE)
        unmasked = build_optimizer(net, config.model_copy(update={"mask": None}))
        trainer.optimizer = gradreg.PostVerificationMask(unmasked, prior)
        return trainer
    if trial.arm == "oracle":
        alive = torch.tensor(living)

        def is_living(net: FcusNet, output: FcusOutput, batch: Batch) -> Tensor:
            return alive[list(batch.recordings)][:, None, None].expand_as(output.regions)

        return FcusTrainer(net, clip_set, config, evidence=is_living)
    return FcusTrainer(net, clip_set, config)


def span_amplitude(net: FcusNet, output: FcusOutput, batch: Batch) -> Tensor:
    """Return the amplitude `(B, R, T)` of each region around each sample, in AC/DC units.

    The root mean square over a sliding span: the former mask's evidence. A pulse's is 0.0002–0.01.
    """
    regions = output.regions.detach()
    span = min(round(FORMER_SPAN_S * net.config.fps) | 1, regions.shape[-1] | 1)
    power = F.avg_pool1d(regions.square(), span, 1, span // 2, count_include_pad=False)
    return power.sqrt()
