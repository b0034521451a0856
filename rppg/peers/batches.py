"""The batches of an epoch, as each recipe draws them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rppg.errors import InputError
from rppg.peers.clips import Run, clip_starts, cut_clip
from rppg.peers.config import PeerConfig
from rppg.peers.sinc import augment, draw_speed


@dataclass(frozen=True)
class Batch:
    """`clips` `(B, T, C, S, S)`, and the `speed` `(B,)` at which they are played."""

    clips: Tensor
    speed: Tensor


def batch_sizes(runs: Sequence[Run], config: PeerConfig) -> list[int]:
    """Clips in each batch of an epoch.

    Raises:
        InputError: Contrast-Phys with fewer recordings than a batch compares.
    """
    if config.recipe == "sinc":
        full, rest = divmod(len(_sinc_clips(runs, config)), config.batch_size)
        return [config.batch_size] * full + [rest] * (rest > 0)
    videos = len({run.recording for run in runs})
    if videos < config.batch_size:
        raise InputError(
            f"{videos} recordings to train on, but a batch compares {config.batch_size}; "
            "give more recordings or a smaller batch_size"
        )
    return [config.batch_size] * (_passes(runs, config) * (videos // config.batch_size))


def batches(runs: Sequence[Run], config: PeerConfig, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch. SiNC: every clip once, augmented. Contrast-Phys: random clips of all videos."""
    draw = _sinc_batches if config.recipe == "sinc" else _contrast_batches
    return draw(runs, config, generator)


def _sinc_clips(runs: Sequence[Run], config: PeerConfig) -> list[tuple[Run, int]]:
    return [
        (run, start)
        for run in runs
        for start in clip_starts(run, config.clip_frames, config.stride_frames)
    ]


def _sinc_batches(
    runs: Sequence[Run], config: PeerConfig, generator: torch.Generator
) -> Iterator[Batch]:
    chosen = _sinc_clips(runs, config)
    frames = config.clip_frames
    for part in torch.randperm(len(chosen), generator=generator).split(config.batch_size):
        clips, speeds = [], []
        for index in part.tolist():
            run, start = chosen[index]
            fastest = (len(run.grid_s) - 1 - start) / (frames - 1)
            speed = draw_speed(config.sinc, fastest, generator)
            clip = cut_clip(run, start, frames, config.model, speed)
            clips.append(augment(clip, config.sinc, generator))
            speeds.append(speed)
        yield Batch(torch.stack(clips), torch.tensor(speeds))


def _passes(runs: Sequence[Run], config: PeerConfig) -> int:
    """Clips that an epoch takes of each video: as many as strides fit into one, on average."""
    videos = len({run.recording for run in runs})
    frames = sum(len(run.grid_s) for run in runs) / videos
    return max(1, round(frames / config.stride_frames))


def _contrast_batches(
    runs: Sequence[Run], config: PeerConfig, generator: torch.Generator
) -> Iterator[Batch]:
    """Each pass sees a random clip of every video, but for those left over from whole batches."""
    frames = config.clip_frames
    starts: dict[int, list[tuple[Run, int]]] = {}
    for run in runs:
        places = starts.setdefault(run.recording, [])
        places += [(run, first) for first in clip_starts(run, frames, 1)]
    videos = list(starts.values())
    for _ in range(_passes(runs, config)):
        order = torch.randperm(len(videos), generator=generator)
        for part in order.split(config.batch_size):
            if len(part) < config.batch_size:
                continue
            clips = []
            for index in part.tolist():
                places = videos[index]
                at = int(torch.randint(len(places), (), generator=generator))
                run, start = places[at]
                clips.append(cut_clip(run, start, frames, config.model))
            yield Batch(torch.stack(clips), torch.ones(len(clips)))
