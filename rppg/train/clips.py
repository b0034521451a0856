"""Training clips: cut from face crops, pooled to patches, augmented.

The input is `FaceCrops` alone, which hold no label.
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
from rppg.signals.resample import resample_frames, uniform_grid
from rppg.signals.spans import visible_spans
from rppg.train.distributed import computed_share
from rppg.types import FaceCrops

HELD_BYTES = 2**29
SPEED = (0.75, 1.33)
"""Range of playback speeds: a pulse of 60 bpm becomes one of 45..80."""


@dataclass(frozen=True)
class StreamedSpan:
    """Patches `(T, C, G, G)` of a span of a recording, computed from its crops on access.

    The crops may be memory-mapped: nothing else of the recording is held in memory.
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
    """Recordings as patches, and the positions of the clips in them.

    Attributes:
        spans: for each span of a recording throughout which the face is visible, a float tensor
            `(T, C, G, G)` in 0–255 on a uniform time grid; streamed spans where all of them are too
            large for memory.
        clips: span and first frame of each clip; an epoch sees each once.
        frames: length of a clip.
    """

    spans: Sequence[Tensor | StreamedSpan]
    clips: Sequence[tuple[int, int]]
    frames: int

    def cut(self, index: int) -> Tensor:
        """Return a clip as it was recorded, `(frames, C, G, G)`."""
        span, start = self.clips[index]
        return self.spans[span][start : start + self.frames]


@dataclass(frozen=True)
class Batch:
    """A batch of B clips.

    Attributes:
        clips: `(N, T, C, H, W)`: the clips that this process computes. N is its share of B (see
            `distributed.computed_share`), and B in a single process.
        speed: `(B,)` playback speed of every clip.
        recordings: the index of every clip's recording (FCUS: of its span in the clip set), for a
            method that asks for it.
    """

    clips: Tensor
    speed: Tensor
    recordings: Sequence[int] = ()


def to_patches(crops: FaceCrops, config: ModelConfig) -> Tensor:
    """Return a recording as patches `(T, C, G, G)` at the network's frame rate."""
    return StreamedSpan(crops, uniform_grid(crops.times_s, config.fps), config)[:]


def cut_clips(
    recordings: Sequence[FaceCrops],
    config: ModelConfig,
    *,
    clip_s: float,
    stride_s: float,
    held_bytes: int = HELD_BYTES,
) -> ClipSet:
    """Cut recordings into clips, leaving out frames where the face was lost.

    Args:
        held_bytes: patches of up to this size together are held in memory, others streamed.

    Raises:
        InputError: no recording holds a whole valid clip.
    """
    frames = round(clip_s * config.fps)
    stride = max(1, round(stride_s * config.fps))
    spans: list[Tensor | StreamedSpan] = []
    clips: list[tuple[int, int]] = []
    streamed = _size_bytes(recordings, config) > held_bytes
    for crops in recordings:
        whole = StreamedSpan(crops, uniform_grid(crops.times_s, config.fps), config)
        patches = None if streamed else whole[:]
        for first, end in visible_spans(crops.valid, crops.times_s, whole.grid_s):
            if end - first < frames:
                continue
            offset = -first % stride  # clips start at multiples of the stride in the recording
            starts = range(offset, end - first - frames + 1, stride)
            clips += [(len(spans), start) for start in starts]
            spans.append(
                replace(whole, grid_s=whole.grid_s[first:end])
                if patches is None
                else patches[first:end]
            )
    if not clips:
        raise InputError(
            f"the training data ({len(recordings)} recordings) holds no clip of {clip_s:g} s "
            "with a face throughout; give longer recordings or a smaller clip_s"
        )
    return ClipSet(spans, clips, frames)


def _size_bytes(recordings: Sequence[FaceCrops], config: ModelConfig) -> int:
    """Return the size of all patches."""
    values = sum(
        (crops.duration_s * config.fps + 1) * crops.frames.shape[-1] for crops in recordings
    )
    return round(4 * config.grid**2 * values)


def batch_sizes(clips: int, size: int) -> list[int]:
    """Return the sizes of one epoch's batches.

    A last batch with a single clip is merged into the one before it: the variance term compares
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
    """Yield one epoch: every clip once, in random order, half of them mirrored, at random speeds.

    The random numbers of the first `skip` batches are drawn, but their clips are not made: a run
    that resumes within an epoch has seen them.
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
        spans = [clip_set.clips[int(i)][0] for i in part]
        yield Batch(torch.stack(clips), speed, spans)


def _play(clip_set: ClipSet, span: int, start: int, speed: float, mirror: bool) -> Tensor:
    """Return one clip of full length at `speed`, interpolated between frames.

    Where the span is too short for a faster clip, the clip starts earlier; where even that is too
    short, it is played forwards and then backwards.
    """
    source = clip_set.spans[span]
    last = len(source) - 1
    first = max(0.0, min(float(start), last - speed * (clip_set.frames - 1)))
    position = first + speed * torch.arange(clip_set.frames)
    position = last - (position - last).abs()
    left = position.floor().long().clamp(0, last - 1)
    weight = (position - left)[:, None, None, None]
    begin = int(left.min())
    frames, left = source[begin : int(left.max()) + 2], left - begin
    clip = torch.lerp(frames[left], frames[left + 1], weight)
    return clip.flip(-1) if mirror else clip
