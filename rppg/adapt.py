"""Adapt a network to recordings without labels, and tell without labels whether that helped.

    d_i = S_i(start) - S_i(adapted),    adapted is kept if mean(d) - t_0.9,n-1 sd(d) / sqrt(n) > 0

S_i: share of the output's power away from its strongest line and that line's second harmonic, mean
over the clips of person i, whom the adaptation has not seen. In doubt the start is kept.
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

from rppg.devices import find_device
from rppg.errors import InputError
from rppg.models.checkpoint import SHIPPED, load_checkpoint
from rppg.models.fcus import FcusNet
from rppg.train.clips import HELD_BYTES, ClipSet, StreamedRun, batch_sizes, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.loop import LogRow, fit
from rppg.train.objective import power_spectrum, sparsity_term
from rppg.train.resume import SAVE_EVERY_S
from rppg.train.run import (
    TrainProgress,
    digest_of_run,
    each_step,
    how_made,
    open_state,
    readable_crops,
    save_run,
    settings_of,
    training_recordings,
)
from rppg.types import Recording

logger = logging.getLogger(__name__)

Unit = Literal["people", "recordings"]

HELD_OUT = 1 / 3
LEAST_HELD_OUT, LEAST_LEARNED = 4, 2
CONFIDENCE = 0.9
CLIPS_AT_ONCE = 4


@dataclass(frozen=True)
class Evidence:
    """What the decision rests on.

    Attributes:
        unit: what was held out whole: people, or recordings where there are too few people.
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

    def told(self) -> str:
        """The decision and its numbers in one line."""
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


@dataclass(frozen=True)
class AdaptResult:
    """What an adaptation leaves.

    Attributes:
        start: the network that it started from.
        adapted: what became of it.
        evidence: which of them is better, and by how much.
        log: one row a step of the adaptation.
        made: how the kept network was made, as the checkpoint tells it.
        checkpoint: where the kept network was saved, if it was.
        skipped: why, by name, for recordings that could not be used.
    """

    start: FcusNet
    adapted: FcusNet
    evidence: Evidence
    log: list[LogRow]
    made: dict[str, Any]
    checkpoint: Path | None
    skipped: Mapping[str, str]

    @property
    def net(self) -> FcusNet:
        """The network that was kept."""
        return self.adapted if self.evidence.better else self.start


def adapt(
    config: TrainConfig,
    *,
    start: Path | None = None,
    out: Path | None = None,
    recordings: list[Recording] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    loading: Callable[[int, int], None] | None = None,
    cache: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
    device: str = "cpu",
) -> AdaptResult:
    """Train on from `start` with two thirds of the recordings; judge by the rest; keep one.

    Args:
        config: the run, one epoch by default. Its `model` is the start's.
        start: a checkpoint of FCUS-rPPG; the shipped one if None.
        out: folder for `checkpoint.safetensors` (of the network kept), `checkpoint.json`,
            `log.jsonl`.
        records: recordings, in place of `config.data`. Their ground truth is not read.
        progress: called after each step.
        loading: called with the recordings made ready, and their total.
        cache, workers, resume, save_every_s, device: as for `rppg.train.train`.

    Raises:
        InputError: too few recordings to hold any out, none that can be used, recordings that don't
            fit the start, a loss or weights that are not finite, a start that can't be read.
    """
    net, about = load_checkpoint(start)
    if "model" in config.model_fields_set and config.model != net.config:
        raise InputError(
            f"model: differs from that of {start or 'the shipped checkpoint'}, which can't change "
            "in an adaptation; leave it out, or train anew"
        )
    config = config.model_copy(update={"model": net.config})
    if recordings is None:
        recordings = training_recordings(
            config.data, config.subjects, cache=cache, workers=workers, loading=loading
        )
    sources, reasons = _sources(recordings, config)
    unit, held_out, clip_set = _split(sources, config.seed)
    adapted = copy.deepcopy(net).to(find_device(device))
    settings = settings_of("adapt", config, start or SHIPPED)
    state = open_state(
        out, settings, clip_set.clips, recordings, reasons, resume=resume, save_every_s=save_every_s
    )
    steps = len(batch_sizes(len(clip_set.clips), config.batch_size)) * config.epochs
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        log = fit(adapted, clip_set, config, each_step(progress, steps), state)
    adapted.cpu()
    if not all(value.isfinite().all() for value in adapted.state_dict().values()):
        raise InputError("the adapted weights are not finite; nothing was saved; lower lr")
    evidence = _judge(net, adapted, held_out, unit)
    tried = how_made(config, recordings, reasons)
    tried |= {"clips_per_epoch": len(clip_set.clips), "steps": len(log)}
    made = _made(about, start, tried, evidence) | {"run": digest_of_run(settings)}
    kept = adapted if evidence.better else net
    checkpoint = save_run(out, kept, made, log, state)
    return AdaptResult(net, adapted, evidence, log, made, checkpoint, tried["skipped"])


def away_from_pulse(net: FcusNet, clip_set: ClipSet) -> float:
    """Share of the output's power in the band away from its lines, 0..1, mean over the clips."""
    config = net.config
    shares = []
    with torch.inference_mode():
        for first in range(0, len(clip_set.clips), CLIPS_AT_ONCE):
            part = clip_set.clips[first : first + CLIPS_AT_ONCE]
            clips = torch.stack([clip_set.runs[r][s : s + clip_set.frames] for r, s in part])
            power, hz = power_spectrum(net.fuse(net(clips)), config.fps)
            band = (hz >= config.low_hz) & (hz <= config.high_hz)
            shares.append(sparsity_term(power, hz, band))
    return float(torch.cat(shares).mean())


def gain_of(before: ArrayLike, after: ArrayLike) -> tuple[float, float]:
    """Mean of before - after, paired `(N,)`, and its one-sided lower bound by Student's t."""
    difference = np.asarray(before, dtype=np.float64) - np.asarray(after, dtype=np.float64)
    error = np.std(difference, ddof=1) / np.sqrt(len(difference))
    mean = float(np.mean(difference))
    return mean, mean - float(student.ppf(CONFIDENCE, len(difference) - 1) * error)


@dataclass(frozen=True)
class _Source:
    """A usable recording: what it is called, whose it is, and its clips."""

    name: str
    subject: str
    clips: ClipSet


def _sources(
    recordings: Sequence[Recording], config: TrainConfig
) -> tuple[list[_Source], dict[tuple[str, str], str]]:
    """Recordings that hold a clip; why not, by dataset and name, of the others."""
    channels = config.model.spectral_channels
    crops, reasons = readable_crops(recordings, config.clip_s)
    usable = [r for r in recordings if (r.dataset, r.name) not in reasons]
    found = []
    for recording, crop in zip(usable, crops, strict=True):
        if crop.frames.shape[-1] != channels:
            raise InputError(
                f"{recording.name}: {crop.frames.shape[-1]} channels, but the network to adapt is "
                f"made for {channels}; choose a start with as many spectral channels"
            )
        try:
            clips = cut_clips(
                [crop],
                config.model,
                clip_s=config.clip_s,
                stride_s=config.stride_s,
                held_bytes=HELD_BYTES // len(crops),
            )
        except InputError as error:
            reasons[recording.dataset, recording.name] = str(error)
            logger.warning("left out: %s: %s", recording.name, error)
        else:
            prefix = f"{recording.dataset}: "
            found.append(_Source(prefix + recording.name, prefix + recording.subject, clips))
    return found, reasons


def _split(sources: Sequence[_Source], seed: int) -> tuple[Unit, dict[str, list[_Source]], ClipSet]:
    """By what is held out, those held out by name, and the clips of the others.

    Raises:
        InputError: too few recordings.
    """
    least = LEAST_HELD_OUT + LEAST_LEARNED
    if len(sources) < least:
        raise InputError(
            f"{len(sources)} usable recordings; telling whether adaptation helped needs {least}, "
            f"{LEAST_HELD_OUT} of them held out: record more, or train without --adapt"
        )
    people = len({source.subject for source in sources}) >= least
    groups: dict[str, list[_Source]] = {}
    for source in sources:
        groups.setdefault(source.subject if people else source.name, []).append(source)
    order = np.random.default_rng(seed).permutation(sorted(groups)).tolist()
    count = max(LEAST_HELD_OUT, round(HELD_OUT * len(groups)))
    held_out = {name: groups[name] for name in sorted(order[:count])}
    learned = [source.clips for name in sorted(order[count:]) for source in groups[name]]
    return "people" if people else "recordings", held_out, _joined(learned)


def _joined(parts: Sequence[ClipSet]) -> ClipSet:
    runs: list[torch.Tensor | StreamedRun] = []
    clips: list[tuple[int, int]] = []
    for part in parts:
        clips += [(len(runs) + run, first) for run, first in part.clips]
        runs += part.runs
    return ClipSet(runs, clips, parts[0].frames)


def _judge(
    start: FcusNet, adapted: FcusNet, held_out: Mapping[str, Sequence[_Source]], unit: Unit
) -> Evidence:
    """Both networks on what was held out; one person's recordings are one piece of evidence."""
    before, after = (
        tuple(
            float(np.mean([away_from_pulse(net, source.clips) for source in sources]))
            for sources in held_out.values()
        )
        for net in (start, adapted)
    )
    return Evidence(unit, tuple(held_out), before, after, *gain_of(before, after))


def _made(
    about: Mapping[str, Any], start: Path | None, tried: dict[str, Any], evidence: Evidence
) -> dict[str, Any]:
    """What the checkpoint tells: how the kept network was made, and why it was kept."""
    kept = tried if evidence.better else about["made"]
    decision = {
        "kept": "adapted" if evidence.better else "start",
        "why": evidence.told(),
        "evidence": asdict(evidence),
        "start": {"checkpoint": str(start) if start else "shipped", "made": about["made"]},
        "tried": tried,
    }
    return {**kept, "adaptation": decision}
