"""FCUS-rPPG's network as an estimator."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.estimators.overlapping_clips import add_waves
from rppg.estimators.reference_traces import ReferenceTraces, count_lights, stack_traces
from rppg.models.fcus import FcusNet, FcusOutput, ModelConfig
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
        return self._add(frames, fps, self.net.wave)

    def with_references(
        self, frames: NDArray[np.float32], fps: float
    ) -> tuple[NDArray[np.float64], ReferenceTraces]:
        """Return the BVP `(T,)` and the traces that any wave is verified by, in one pass.

        Raises:
            InputError: as a call.
        """

        def stack(output: FcusOutput) -> Tensor:
            return torch.cat([self.net.wave(output)[:, None], stack_traces(output)], 1)

        rows = self._add(frames, fps, stack)
        return rows[0], ReferenceTraces(rows[1:].astype(np.float32), count_lights(self.net.config))

    def at_rate(self, fps: float) -> "FcusEstimator":
        """Return the same network at another frame rate: it has no learned kernel over time."""
        net = copy.copy(self.net)
        net.config = self.net.config.model_copy(update={"fps": fps})
        return replace(self, net=net)

    def _add(
        self, frames: NDArray[np.float32], fps: float, rows_of: Callable[[FcusOutput], Tensor]
    ) -> NDArray[np.float64]:
        """Overlap-add what `rows_of` makes of the network's output, `(B, ..., T)`."""
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
            return np.asarray(rows_of(self.net(clips.to(device))).double().cpu().numpy())

        with torch.inference_mode():
            return add_waves(patches, round(self.clip_s * fps), self.batch, waves_of)


def untrained(config: ModelConfig | None = None, seed: int = 0) -> FcusEstimator:
    """Return the estimator of a network with its initial weights: a baseline of every table."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FcusEstimator(FcusNet(config or ModelConfig()).eval())


def wave_and_traces(
    estimator: Estimator,
    frames: NDArray[np.float32],
    fps: float,
    reference: FcusEstimator | None = None,
) -> tuple[NDArray[np.float64], ReferenceTraces | None]:
    """Return an estimator's BVP `(T,)`, and the traces by which it is verified.

    FCUS's network gives both in one pass; beside any other method, `reference` gives the traces.
    None if there is no reference.
    """
    if isinstance(estimator, FcusEstimator):
        return estimator.with_references(frames, fps)
    wave = np.asarray(estimator(frames, fps), dtype=np.float64)
    return wave, None if reference is None else find_traces(reference, frames, fps)


def find_traces(
    reference: FcusEstimator, frames: NDArray[np.float32], fps: float
) -> ReferenceTraces | None:
    """Return the traces of frames at any rate; None if the network can't read them."""
    config = reference.net.config
    if frames.shape[-1] != config.spectral_channels or fps <= 2 * config.high_hz:
        return None
    return reference.at_rate(fps).with_references(frames, fps)[1]
