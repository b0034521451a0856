"""Training clips: cut from face crops, pooled to patches, augmented.

Only `FaceCrops` come in: there is no label to be seen from here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.errors import InputError
from rppg.models.fcus import ModelConfig
from rppg.models.patches import pool_patches
from rppg.signals.resample import resample, resample_frames, uniform_grid
from rppg.train.distributed import computed_share
from rppg.types import FaceCrops

HELD_BYTES = 2**29
SPEED = (0.75, 1.33)
"""Range of playback speeds: a pulse of 60 bpm becomes one of 45..80."""


@dataclass(frozen=True)
class StreamedRun:
    """Patches `(T, C, G, G)` of a stretch of a recording, made of its crops when asked for.

    The crops may be memory-mapped: nothing else of the recording is held.
    """

    crops: FaceCrops
    grid_s: NDArray[np.float64]
    config: ModelConfig

    def __len__(self) -> int:
        return len(self.grid_s)

    def __getitem__(self, part: slice) -> Tensor:
        times_s = self.crops.times_s
        frames = torch.from_numpy(resample_frames(self.crops.frames, times_s, self.grid_s[part]))
        return pool_patches(frames.permute(0, 3, 1, 2)[None], self.config.grid)[0]


@dataclass(frozen=True)
class ClipSet:
    """Recordings as patches, and the clips in them.

    Attributes:
        runs: one `(T, C, G, G)` uint8-scaled float tensor, on a uniform clock, for each stretch of
            a recording throughout which the face is in view; where all would be too large for
            memory, one that is streamed.
        clips: run and first frame of each clip; an epoch sees each once.
        frames: length of a clip.
    """

    runs: Sequence[Tensor | StreamedRun]
    clips: Sequence[tuple[int, int]]
    frames: int


@dataclass(frozen=True)
class Batch:
    """`clips` `(N, T, C, G, G)`, and the `speed` `(B,)` at which those of all ranks are played.

    N is this rank's share of B (see `ranks.computed_share`); without other ranks, B.
    """

    clips: Tensor
    speed: Tensor


def to_patches(crops: FaceCrops, config: ModelConfig) -> Tensor:
    """One recording as patches `(T, C, G, G)` at the network's frame rate."""
    return StreamedRun(crops, uniform_grid(crops.times_s, config.fps), config)[:]


def cut_clips(
    recordings: Sequence[FaceCrops],
    config: ModelConfig,
    *,
    clip_s: float,
    stride_s: float,
    held_bytes: int = HELD_BYTES,
) -> ClipSet:
    """Cut recordings into clips, leaving out spans where the face was lost.

    Args:
        held_bytes: patches of up to this size together are held in memory, others streamed.

    Raises:
        InputError: when no recording holds a whole valid clip.
    """
    frames = round(clip_s * config.fps)
    stride = max(1, round(stride_s * config.fps))
    runs: list[Tensor | StreamedRun] = []
    clips: list[tuple[int, int]] = []
    streamed = _size_of(recordings, config) > held_bytes
    for crops in recordings:
        whole = StreamedRun(crops, uniform_grid(crops.times_s, config.fps), config)
        patches = None if streamed else whole[:]
        for first, end in _seen_throughout(crops, config.fps):
            if end - first < frames:
                continue
            offset = -first % stride  # starts are multiples of the stride from the recording's own
            clips += [
                (len(runs), start) for start in range(offset, end - first - frames + 1, stride)
            ]
            runs.append(
                replace(whole, grid_s=whole.grid_s[first:end])
                if patches is None
                else patches[first:end]
            )
    if not clips:
        raise InputError(
            f"the training data ({len(recordings)} recordings) holds no clip of {clip_s:g} s "
            "with a face throughout; give longer recordings or a smaller clip_s"
        )
    return ClipSet(runs, clips, frames)


def _size_of(recordings: Sequence[FaceCrops], config: ModelConfig) -> int:
    """Bytes of all patches."""
    values = sum(
        (crops.duration_s * config.fps + 1) * crops.frames.shape[-1] for crops in recordings
    )
    return round(4 * config.grid**2 * values)


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
        own = computed_share(len(part))
        clips = [
            _play(clip_set, *clip_set.clips[int(i)], float(s), bool(m))
            for i, s, m in zip(part[own], speed[own], mirror[own], strict=True)
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
    begin = int(left.min())
    frames, left = recording[begin : int(left.max()) + 2], left - begin
    clip = torch.lerp(frames[left], frames[left + 1], weight)
    return clip.flip(-1) if mirror else clip
