"""What PhysNet is shown: the face, cut from the crops, at the network's size and rate.

Clips are cut when they are needed, so that only the crops, which may be memory-mapped, are held.
Only `FaceCrops` come in: there is no label to be seen from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rppg.errors import InputError
from rppg.models.physnet import PhysNetConfig
from rppg.signals.resample import resample, resample_frames, uniform_grid
from rppg.types import CROP_TO_FACE, FaceCrops


@dataclass(frozen=True)
class Run:
    """A stretch of a recording throughout which the face is in view.

    Attributes:
        crops: the recording.
        grid_s: `(N,)` the network's clock in this stretch.
        recording: its number.
    """

    crops: FaceCrops
    grid_s: NDArray[np.float64]
    recording: int


def find_runs(recordings: Sequence[FaceCrops], config: PhysNetConfig, frames: int) -> list[Run]:
    """Every run of at least `frames` frames at the network's rate.

    Raises:
        InputError: crops with another number of channels than the network's.
    """
    runs = []
    for number, crops in enumerate(recordings):
        check_channels(crops.frames.shape[-1], config)
        grid_s = uniform_grid(crops.times_s, config.fps)
        seen = resample(crops.valid, crops.times_s, grid_s) > 1 - 1e-6
        edges = np.flatnonzero(np.diff(np.concatenate([[0], seen.astype(np.int8), [0]])))
        for first, end in edges.reshape(-1, 2):
            if end - first >= frames:
                runs.append(Run(crops, grid_s[first:end], number))
    return runs


def check_channels(found: int, config: PhysNetConfig) -> None:
    """Raises InputError where pictures have other channels than the network takes."""
    if found != config.channels:
        raise InputError(
            f"pictures of {found} channels, but this network is made for {config.channels}; "
            "choose a network with as many (model.channels)"
        )


def cut_clip(
    run: Run, first: int, frames: int, config: PhysNetConfig, speed: float = 1.0
) -> Tensor:
    """A clip `(T, C, S, S)` in 0–255 from frame `first` of a run on, played at `speed`."""
    at = run.grid_s[first] + speed * np.arange(frames) / config.fps
    times_s = run.crops.times_s
    start = max(0, int(np.searchsorted(times_s, at[0], side="right")) - 1)
    end = max(start + 2, int(np.searchsorted(times_s, at[-1])) + 1)
    start = min(start, max(0, len(times_s) - 2))
    pixels = resample_frames(run.crops.frames[start:end], times_s[start:end], at)
    return to_pictures(pixels, config)


def to_pictures(pixels: NDArray[np.float32], config: PhysNetConfig) -> Tensor:
    """Crops `(T, H, H, C)` to pictures `(T, C, S, S)`: the face, with what the scale asks for.

    Area averages where the crop is larger than the picture, else interpolated.
    """
    whole = pixels.shape[1]
    margin = round(whole * (1 - config.face_scale / CROP_TO_FACE) / 2)
    size = whole - 2 * margin
    face = pixels[:, margin : margin + size, margin : margin + size]
    pictures = torch.from_numpy(face).permute(0, 3, 1, 2)
    if size == config.side:
        return pictures
    if size > config.side:
        return F.adaptive_avg_pool2d(pictures, config.side)
    return F.interpolate(pictures, (config.side, config.side), mode="bilinear", antialias=False)


def clip_starts(run: Run, frames: int, stride: int) -> range:
    """First frames of the clips that begin every `stride` frames."""
    return range(0, len(run.grid_s) - frames + 1, stride)
