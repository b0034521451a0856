"""Adaptation of a network to recordings without labels, and the decision whether it helped.

    d_i = S_i(start) - S_i(adapted),    adapted is kept if mean(d) - t_0.9,n-1 sd(d) / sqrt(n) > 0

S_i is the share of the output's power away from its strongest line and that line's second harmonic,
mean over the clips of person i, who was held out of the adaptation. In doubt the start is kept.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import t as student

from rppg.errors import InputError
from rppg.models.checkpoint import SHIPPED, load_checkpoint
from rppg.models.fcus import FcusNet
from rppg.renamed import renamed_attribute, renamed_keyword, warn_of_old_name
from rppg.train.clips import HELD_BYTES, ClipSet, StreamedSpan, batch_sizes, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.loop import LogRow
from rppg.train.objective import padded_spectrum, sparsity_term
from rppg.train.resume import SAVE_EVERY_S, settings_of
from rppg.train.run import Loading, TrainingRun, TrainProgress
from rppg.types import FaceCrops, Recording

logger = logging.getLogger(__name__)

Unit = Literal["people", "recordings"]

HELD_OUT = 1 / 3
LEAST_HELD_OUT, LEAST_TRAINED = 4, 2
CONFIDENCE = 0.9
CLIPS_AT_ONCE = 4


@dataclass(frozen=True)
class Evidence:
    """The evidence for the decision between the two networks.

    Attributes:
        unit: what was held out whole: people, or recordings if there are too few people.
        names: of those held out.
        before: share, 0..1, of the start's output power away from the pulse's lines, for each.
        after: the same of the adapted network.
        gain: mean of before - after.
        gain_low: lower bound of the gain, one-sided, at `CONFIDENCE`.
    """

    unit: Unit
    names: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    gain: float
    gain_low: float

    @property
    def better(self) -> bool:
        """Whether the adapted network is clearly better."""
        return self.gain_low > 0

    def summary(self) -> str:
        """Return the decision and its numbers in one line."""
        numbers = (
            f"on {len(self.names)} {self.unit} held out, power away from the pulse went from "
            f"{np.mean(self.before):.1%} to {np.mean(self.after):.1%}; the gain's lower "
            f"{CONFIDENCE:.0%} bound is {100 * self.gain_low:+.2f} points"
        )
        if self.better:
            return f"Kept the adapted network: {numbers}, above 0"
        return (
            f"Kept the old network, the adapted one is not clearly better: {numbers}, not above 0"
        )

    def told(self) -> str:
        """Return `summary()`, under its former name."""
        warn_of_old_name("Evidence.told()", "Evidence.summary()")
        return self.summary()


@dataclass(frozen=True)
class AdaptResult:
    """The result of an adaptation.

    Attributes:
        start: the network that it started from.
        adapted: the adapted network.
        evidence: which of them is better, and by how much.
        log: one row per step of the adaptation.
        provenance: that of the kept network, and the decision, as in the checkpoint.
        checkpoint: where the kept network was saved, if it was.
        skipped: reasons, by name, for recordings that could not be used.
    """

    start: FcusNet
    adapted: FcusNet
    evidence: Evidence
    log: list[LogRow]
    provenance: dict[str, Any]
    checkpoint: Path | None
    skipped: Mapping[str, str]

    made = renamed_attribute("made", "provenance")

    @property
    def net(self) -> FcusNet:
        """The network that was kept."""
        return self.adapted if self.evidence.better else self.start


@renamed_keyword("records", "recordings")
def adapt(
    config: TrainConfig,
    *,
    start: Path | None = None,
    out: Path | None = None,
    recordings: list[Recording] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    loading: Loading | None = None,
    cache: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
    device: str = "cpu",
) -> AdaptResult:
    """Train on from `start` with two thirds of the recordings; keep the better network on the rest.

    Args:
        config: the configuration, one epoch by default. Its `model` is the start's.
        start: a checkpoint of FCUS-rPPG; the shipped one if None.
        out: folder for `checkpoint.safetensors` (of the network kept), `checkpoint.json`,
            `log.jsonl`.
        recordings: recordings, instead of `config.data`. Their ground truth is not read.
        progress: called after each step.
        loading: called with the number of recordings that are ready, and their total.
        cache, workers, resume, save_every_s, device: as for `rppg.train.train`.

    Raises:
        InputError: too few recordings to hold any out, none that can be used, recordings that don't
            fit the start, a loss or weights that are not finite, a start that can't be read.
    """
    net, description = load_checkpoint(start)
    config = _with_model_of(net, config, start)
    run = TrainingRun.open(
        settings_of("adapt", config, start or SHIPPED),
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
    unit, held_out, clip_set = _split(_sources(run, config), config.seed)
    steps = len(batch_sizes(len(clip_set.clips), config.batch_size)) * config.epochs
    adapted = copy.deepcopy(net).to(run.device)
    with run.seeded():
        log = fit_fcus(adapted, clip_set, config, run.on_step(steps), run.state(clip_set.clips))
    adapted.cpu()
    if not all(value.isfinite().all() for value in adapted.state_dict().values()):
        raise InputError("the adapted weights are not finite; nothing was saved; lower lr")
    evidence = _judge(net, adapted, held_out, unit)
    tried = {**run.provenance(), "clips_per_epoch": len(clip_set.clips), "steps": len(log)}
    decision = _decision(description["provenance"], start, tried, evidence)
    provenance = {**decision, "run": run.digest}
    checkpoint = run.save(adapted if evidence.better else net, provenance, log)
    return AdaptResult(net, adapted, evidence, log, provenance, checkpoint, tried["skipped"])


def away_from_pulse(net: FcusNet, clip_set: ClipSet) -> float:
    """Return the share of in-band output power away from its lines, 0..1, mean over the clips."""
    config = net.config
    shares = []
    with torch.inference_mode():
        for first in range(0, len(clip_set.clips), CLIPS_AT_ONCE):
            part = range(first, min(first + CLIPS_AT_ONCE, len(clip_set.clips)))
            clips = torch.stack([clip_set.cut(index) for index in part])
            power, hz = padded_spectrum(net.fuse(net(clips)), config.fps)
            band = (hz >= config.low_hz) & (hz <= config.high_hz)
            shares.append(sparsity_term(power, hz, band))
    return float(torch.cat(shares).mean())


def gain_of(before: ArrayLike, after: ArrayLike) -> tuple[float, float]:
    """Return the mean of before - after, paired `(N,)`, and its one-sided lower bound.

    The bound is Student's t.
    """
    difference = np.asarray(before, dtype=np.float64) - np.asarray(after, dtype=np.float64)
    error = np.std(difference, ddof=1) / np.sqrt(len(difference))
    mean = float(np.mean(difference))
    return mean, mean - float(student.ppf(CONFIDENCE, len(difference) - 1) * error)


@dataclass(frozen=True)
class _Source:
    """A usable recording: its name, its subject, and its clips."""

    name: str
    subject: str
    clips: ClipSet


def _with_model_of(net: FcusNet, config: TrainConfig, start: Path | None) -> TrainConfig:
    """Return the configuration with the model of the start.

    Raises:
        InputError: the configuration names another model.
    """
    if "model" in config.model_fields_set and config.model != net.config:
        raise InputError(
            f"model: differs from that of {start or 'the shipped checkpoint'}, which can't change "
            "in an adaptation; leave it out, or train anew"
        )
    return config.model_copy(update={"model": net.config})


def _sources(run: TrainingRun, config: TrainConfig) -> list[_Source]:
    """Return the recordings that hold a clip; add the others to those that the run skips.

    Raises:
        InputError: crops with another number of channels than the start's.
    """
    sources = []
    for recording, crops in zip(run.usable, run.crops, strict=True):
        _check_channels(recording.name, crops, config)
        try:
            clips = cut_clips(
                [crops],
                config.model,
                clip_s=config.clip_s,
                stride_s=config.stride_s,
                held_bytes=HELD_BYTES // len(run.crops),
            )
        except InputError as error:
            run.skipped[recording.dataset, recording.name] = str(error)
            logger.warning("left out: %s: %s", recording.name, error)
        else:
            prefix = f"{recording.dataset}: "
            sources.append(_Source(prefix + recording.name, prefix + recording.subject, clips))
    return sources


def _check_channels(name: str, crops: FaceCrops, config: TrainConfig) -> None:
    """Raise an InputError if the network was made for other channels."""
    found, expected = crops.frames.shape[-1], config.model.spectral_channels
    if found != expected:
        raise InputError(
            f"{name}: {found} channels, but the network to adapt is made for {expected}; choose a "
            "start with as many spectral channels"
        )


def _split(sources: Sequence[_Source], seed: int) -> tuple[Unit, dict[str, list[_Source]], ClipSet]:
    """Return the unit, the held-out recordings by name, and the clips to train on.

    Raises:
        InputError: too few recordings.
    """
    least = LEAST_HELD_OUT + LEAST_TRAINED
    if len(sources) < least:
        raise InputError(
            f"{len(sources)} usable recordings; deciding whether adaptation helped needs {least}, "
            f"{LEAST_HELD_OUT} of them held out: record more, or train without --adapt"
        )
    people = len({source.subject for source in sources}) >= least
    groups: dict[str, list[_Source]] = {}
    for source in sources:
        groups.setdefault(source.subject if people else source.name, []).append(source)
    order = np.random.default_rng(seed).permutation(sorted(groups)).tolist()
    count = max(LEAST_HELD_OUT, round(HELD_OUT * len(groups)))
    held_out = {name: groups[name] for name in sorted(order[:count])}
    trained = [source.clips for name in sorted(order[count:]) for source in groups[name]]
    return "people" if people else "recordings", held_out, _concatenate(trained)


def _concatenate(parts: Sequence[ClipSet]) -> ClipSet:
    spans: list[torch.Tensor | StreamedSpan] = []
    clips: list[tuple[int, int]] = []
    for part in parts:
        clips += [(len(spans) + span, first) for span, first in part.clips]
        spans += part.spans
    return ClipSet(spans, clips, parts[0].frames)


def _judge(
    start: FcusNet, adapted: FcusNet, held_out: Mapping[str, Sequence[_Source]], unit: Unit
) -> Evidence:
    """Compare the networks on the held-out recordings; a person's recordings count as one."""
    before, after = (
        tuple(
            float(np.mean([away_from_pulse(net, source.clips) for source in sources]))
            for sources in held_out.values()
        )
        for net in (start, adapted)
    )
    return Evidence(unit, tuple(held_out), before, after, *gain_of(before, after))


def _decision(
    before: Mapping[str, Any], start: Path | None, tried: dict[str, Any], evidence: Evidence
) -> dict[str, Any]:
    """Return the provenance of the kept network, and why it was kept.

    Args:
        before: the provenance of the start.
        tried: the provenance of the adapted network.
    """
    decision = {
        "kept": "adapted" if evidence.better else "start",
        "why": evidence.summary(),
        "evidence": asdict(evidence),
        "start": {"checkpoint": str(start) if start else "shipped", "provenance": before},
        "tried": tried,
    }
    return {**(tried if evidence.better else before), "adaptation": decision}
