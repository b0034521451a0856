"""FCUS-rPPG's network as an estimator."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.errors import InputError
from rppg.estimators.overlapping_clips import add_waves
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.patches import pool_patches


@dataclass(frozen=True)
class FcusEstimator:
    """An estimator that applies the network to overlapping clips of a recording.

    The clips are as long as those of the training and overlap by half. Their outputs, in AC/DC
    units, are added with Hann weights.

    Attributes:
        net: the network.
        clip_s: length of a clip in seconds.
        batch: number of clips that are computed together.
    """

    net: FcusNet
    clip_s: float = 10.0
    batch: int = 4

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """Return the BVP `(T,)`, in AC/DC units, of frames `(T, S, S, C)`, 0–255, at `net`'s rate.

        Raises:
            InputError: frames with another number of channels than the network's.
        """
        config = self.net.config
        if fps != config.fps:
            raise ValueError(f"frames at {fps} Hz; this network needs {config.fps} Hz: resample")
        if frames.shape[-1] != config.spectral_channels:
            raise InputError(
                f"frames of {frames.shape[-1]} channels, but this network is made for "
                f"{config.spectral_channels}; choose a network with as many spectral channels"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32))
        patches = pool_patches(pixels.permute(0, 3, 1, 2)[None], config.grid)[0]
        device = self.net.fusion_power.device

        def waves_of(clips: Tensor) -> NDArray[np.float64]:
            wave = self.net.wave(self.net(clips.to(device)))
            return np.asarray(wave.double().cpu().numpy())

        with torch.inference_mode():
            return add_waves(patches, round(self.clip_s * fps), self.batch, waves_of)


def untrained(config: ModelConfig | None = None, seed: int = 0) -> FcusEstimator:
    """Return the estimator of a network with its initial weights: a baseline of every table."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FcusEstimator(FcusNet(config or ModelConfig()).eval())
