"""FCUS-rPPG's network as an estimator."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.errors import InputError
from rppg.estimators.classical import classical
from rppg.estimators.estimator import Estimator
from rppg.estimators.overlapping_clips import clip_batches, clip_starts, overlap_add
from rppg.estimators.reference_traces import ReferenceTraces, count_lights, stack_traces
from rppg.models.fcus import FcusNet, FcusOutput, ModelConfig
from rppg.models.patches import pool_patches
from rppg.verification import Evidence, apply_gain, average_evidence, join_evidence

POS = classical("pos")


@dataclass(frozen=True)
class FcusEstimator:
    """An estimator that applies the network to overlapping clips of a recording.

    The clips are as long as those of the training and overlap by half. The evidence that filters a
    clip's wave is averaged over the clips that begin at most a clip's length before or after it.
    The outputs, in AC/DC units, are added with Hann weights.

    Attributes:
        net: the network.
        clip_s: length of a clip in seconds.
        batch: number of clips that are computed together.
        provenance: how the network was trained, as in its checkpoint; empty if that isn't known.
    """

    net: FcusNet
    clip_s: float = 10.0
    batch: int = 4
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """Return the BVP `(T,)`, in AC/DC units, of frames `(T, S, S, C)`, 0–255, at `net`'s rate.

        Raises:
            InputError: frames with another number of channels than the network's.
        """
        return self._estimate(self.patches(frames, fps), fps)[0]

    def with_references(
        self, frames: NDArray[np.float32], fps: float
    ) -> tuple[NDArray[np.float64], ReferenceTraces]:
        """Return the BVP `(T,)` and the traces that any wave is verified by, in one pass.

        The second method of the traces is this network, beside any other.

        Raises:
            InputError: as a call.
        """
        return self.references_of_patches(self.patches(frames, fps), fps)

    def references_of_patches(
        self, patches: Tensor, fps: float
    ) -> tuple[NDArray[np.float64], ReferenceTraces]:
        """Return what `with_references` does, of the frames' patches."""
        rows = self._estimate(patches, fps, stack_traces)
        return rows[0], ReferenceTraces(rows.astype(np.float32), count_lights(self.net.config))

    def of_skin(self) -> "FcusEstimator":
        """Return the same network for frames that skin fills: it takes no skin for a wall.

        A wall beside the face is a reference for the light; skin would cancel its own pulse.
        """
        net = copy.copy(self.net)
        net.walls = False
        return replace(self, net=net)

    def at_rate(self, fps: float) -> "FcusEstimator":
        """Return the same network at another frame rate: it has no learned kernel over time."""
        net = copy.copy(self.net)
        net.config = self.net.config.model_copy(update={"fps": fps})
        return replace(self, net=net)

    def _estimate(
        self,
        patches: Tensor,
        fps: float,
        traces_of: Callable[[FcusOutput, Tensor], Tensor] | None = None,
    ) -> NDArray[np.float64]:
        """Return rows `(1 + N, T)`: the BVP, and the N traces of the network's outputs."""
        length = min(round(self.clip_s * fps), len(patches))
        starts = clip_starts(len(patches), length)
        device = self.net.fusion_power.device
        waves: list[Tensor] = []
        evidence: list[Evidence] = []
        traces: list[Tensor] = []
        with torch.inference_mode():
            for clips in clip_batches(patches, starts, length, self.batch):
                output = self.net(clips.to(device))
                waves.append(self.net.fuse(output))
                evidence.append(self.net.verify(output, waves[-1]))
                if traces_of is not None:
                    traces.append(traces_of(output, self.net.line(output)).cpu())
            near = torch.from_numpy(np.abs(starts[:, None] - starts) <= length).to(waves[0])
            averaged = average_evidence(join_evidence(evidence), near)
            rows = apply_gain(torch.cat(waves), averaged, fps)[:, None].cpu()
            if traces:
                rows = torch.cat([rows, torch.cat(traces)], 1)
        return overlap_add(rows.double().numpy(), starts, len(patches))

    def patches(self, frames: NDArray[np.float32], fps: float) -> Tensor:
        """Check frames `(T, S, S, C)` and pool them to patches `(T, C, G, G)`.

        Raises:
            InputError: as a call.
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
        return pool_patches(pixels.permute(0, 3, 1, 2)[None], config.grid)[0]


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

    FCUS's network gives both in one pass, and its second method is POS; beside any other method,
    `reference` gives the traces. None if there is no reference.
    """
    if isinstance(estimator, FcusEstimator):
        patches = estimator.patches(frames, fps)
        second = POS(frames, fps) if frames.shape[-1] == 3 else np.nan
        del frames  # as much memory as the network needs, if the caller has no use for them either
        wave, traces = estimator.references_of_patches(patches, fps)
        return wave, traces.with_second(second)
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
