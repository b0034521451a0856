"""Training clips: cut from face crops, pooled to patches, augmented.

Only `FaceCrops` come in: there is no label to be seen from here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rppg.errors import InputError
from rppg.models.fcus import ModelConfig
from rppg.models.patches import pool_patches
from rppg.records import FaceCrops
from rppg.signals.resample import resample, resample_frames, uniform_grid

SPEED = (0.75, 1.33)
"""Range of playback speeds: a pulse of 60 bpm becomes one of 45..80."""


@dataclass(frozen=True)
class ClipSet:
    """Recordings as patches, and the clips in them.

    Attributes:
        runs: one `(T, C, G, G)` uint8-scaled float tensor, on a uniform clock, for each stretch of
            a recording throughout which the face is in view.
        clips: run and first frame of each clip; an epoch sees each once.
        frames: length of a clip.
    """

    runs: Sequence[Tensor]
    clips: Sequence[tuple[int, int]]
    frames: int


@dataclass(frozen=True)
class Batch:
    """`clips` `(B, T, C, G, G)`, and the `speed` `(B,)` at which they are played."""

    clips: Tensor
    speed: Tensor


def to_patches(crops: FaceCrops, config: ModelConfig) -> Tensor:
    """One recording as patches `(T, C, G, G)` at the network's frame rate."""
    grid_s = uniform_grid(crops.times_s, config.fps)
    frames = torch.from_numpy(resample_frames(crops.frames, crops.times_s, grid_s))
    return pool_patches(frames.permute(0, 3, 1, 2)[None], config.grid)[0]


def cut_clips(
    recordings: Sequence[FaceCrops], config: ModelConfig, *, clip_s: float, stride_s: float
) -> ClipSet:
    """Cut recordings into clips, leaving out spans where the face was lost.

    Raises:
        InputError: when no recording holds a whole valid clip.
    """
    frames = round(clip_s * config.fps)
    stride = max(1, round(stride_s * config.fps))
    runs: list[Tensor] = []
    clips: list[tuple[int, int]] = []
    for crops in recordings:
        patches = to_patches(crops, config)
        for first, end in _seen_throughout(crops, config.fps):
            if end - first < frames:
                continue
            offset = -first % stride  # starts are multiples of the stride from the recording's own
            clips += [
                (len(runs), start) for start in range(offset, end - first - frames + 1, stride)
            ]
            runs.append(patches[first:end])
    if not clips:
        raise InputError(
            f"the training data ({len(recordings)} recordings) holds no clip of {clip_s:g} s "
            "with a face throughout; give longer recordings or a smaller clip_s"
        )
    return ClipSet(runs, clips, frames)


def _seen_throughout(crops: FaceCrops, fps: float) -> list[tuple[int, int]]:
    """First frame and end of each stretch in which no frame was interpolated from a lost one."""
    grid_s = uniform_grid(crops.times_s, fps)
    seen = resample(crops.valid, crops.times_s, grid_s) > 1 - 1e-6
    edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.astype(np.int8), [0]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def batch_sizes(clips: int, size: int) -> list[int]:
    """Sizes of one epoch's batches.

    A last batch with a single clip is joined to the one before it: the variance term compares
    clips with each other.
    """
    full, rest = divmod(clips, size)
    sizes = [size] * full + [rest] * (rest > 0)
    if rest == 1 and full:
        sizes[-2:] = [size + 1]
    return sizes


def batches(
    clip_set: ClipSet, size: int, generator: torch.Generator, skip: int = 0
) -> Iterator[Batch]:
    """One epoch: every clip once, in random order, half of them mirrored, at random speeds.

    The first `skip` batches are drawn, but not given: those of a run that goes on in mid-epoch.
    """
    order = torch.randperm(len(clip_set.clips), generator=generator)
    for number, part in enumerate(order.split(batch_sizes(len(order), size))):
        low, high = SPEED
        speed = low + (high - low) * torch.rand(len(part), generator=generator)
        mirror = torch.rand(len(part), generator=generator) < 0.5
        if number < skip:
            continue
        clips = [
            _play(clip_set, *clip_set.clips[int(i)], float(s), bool(m))
            for i, s, m in zip(part, speed, mirror, strict=True)
        ]
        yield Batch(torch.stack(clips), speed)


def _play(clip_set: ClipSet, run: int, start: int, speed: float, mirror: bool) -> Tensor:
    """One clip of full length at `speed`: frames between frames are interpolated.

    Where the run is too short for a faster clip, it is played faster from further back, and where
    even that is too short, backwards and forwards.
    """
    recording = clip_set.runs[run]
    last = len(recording) - 1
    first = max(0.0, min(float(start), last - speed * (clip_set.frames - 1)))
    position = first + speed * torch.arange(clip_set.frames)
    position = last - (position - last).abs()
    left = position.floor().long().clamp(0, last - 1)
    weight = (position - left)[:, None, None, None]
    clip = torch.lerp(recording[left], recording[left + 1], weight)
    return clip.flip(-1) if mirror else clip
