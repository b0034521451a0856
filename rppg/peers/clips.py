"""A peer's training clips: cut from the crops at the network's size and rate.

Clips are cut when they are needed, so that only the crops, which may be memory-mapped, are held.
The input is `FaceCrops` alone, which hold no label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.models.patches import tile_background
from rppg.models.physnet import PhysNetConfig
from rppg.models.physnet_input import check_channels, cut_faces
from rppg.signals.resample import resample_frames, uniform_grid
from rppg.signals.spans import visible_spans
from rppg.types import FaceCrops


@dataclass(frozen=True)
class Span:
    """A span of a recording throughout which the face is visible.

    Attributes:
        crops: the recording.
        grid_s: `(N,)` the uniform time grid at the network's rate in this span.
        recording: index of the recording.
    """

    crops: FaceCrops
    grid_s: NDArray[np.float64]
    recording: int


def find_spans(recordings: Sequence[FaceCrops], config: PhysNetConfig, frames: int) -> list[Span]:
    """Return every span of at least `frames` frames at the network's rate.

    Raises:
        InputError: crops with another number of channels than the network's.
    """
    spans = []
    for index, crops in enumerate(recordings):
        check_channels(crops.frames.shape[-1], config)
        grid_s = uniform_grid(crops.times_s, config.fps)
        for first, end in visible_spans(crops.valid, crops.times_s, grid_s):
            if end - first >= frames:
                spans.append(Span(crops, grid_s[first:end], index))
    return spans


def cut_clip(
    span: Span, first: int, frames: int, config: PhysNetConfig, speed: float = 1.0
) -> Tensor:
    """Cut a clip `(T, C, S, S)` in 0–255 from frame `first` of a span on, played at `speed`."""
    return cut_faces(_play(span, first, frames, config.fps, speed), config)


def cut_background(span: Span, first: int, frames: int, config: PhysNetConfig) -> Tensor:
    """Cut a clip as `cut_clip` does, with the background beside the head in place of the head."""
    crops = torch.from_numpy(_play(span, first, frames, config.fps)).permute(0, 3, 1, 2)
    return cut_faces(tile_background(crops).permute(0, 2, 3, 1).numpy(), config)


def _play(
    span: Span, first: int, frames: int, fps: float, speed: float = 1.0
) -> NDArray[np.float32]:
    """Return crops `(T, H, H, C)` from frame `first` of a span on, played at `speed`."""
    at_s = span.grid_s[first] + speed * np.arange(frames) / fps
    times_s = span.crops.times_s
    start = max(0, int(np.searchsorted(times_s, at_s[0], side="right")) - 1)
    end = max(start + 2, int(np.searchsorted(times_s, at_s[-1])) + 1)
    start = min(start, max(0, len(times_s) - 2))
    return resample_frames(span.crops.frames[start:end], times_s[start:end], at_s)


def clip_starts(span: Span, frames: int, stride: int) -> range:
    """Return the first frames of the clips that begin every `stride` frames."""
    return range(0, len(span.grid_s) - frames + 1, stride)
