"""From the frames of a whole recording to its BVP, with a network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.estimators.physnet import PeerEstimator
from rppg.models.checkpoint import load_network
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.patches import pool_patches

LEAST_CLIP_S = 3.0


@dataclass(frozen=True)
class FcusEstimator:
    """The network as a function of a recording.

    The network sees clips as long as those it was trained on; they overlap by half and their
    outputs, which are all in AC/DC units, are added with Hann weights.

    Attributes:
        net: the network.
        clip_s: length of a clip in seconds.
        batch: clips at a time.
    """

    net: FcusNet
    clip_s: float = 10.0
    batch: int = 4

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """BVP `(T,)` in AC/DC units of frames `(T, S, S, C)`, 0–255, at the network's rate."""
        config = self.net.config
        if fps != config.fps:
            raise ValueError(f"frames at {fps} Hz; this network runs at {config.fps} Hz: resample")
        if frames.shape[-1] != config.spectral_channels:
            raise InputError(
                f"pictures of {frames.shape[-1]} channels, but this network is made for "
                f"{config.spectral_channels}; choose a network with as many spectral channels"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32))
        patches = pool_patches(pixels.permute(0, 3, 1, 2)[None], config.grid)[0]
        total = len(patches)
        length = min(round(self.clip_s * fps), total)
        count = max(1, int(np.ceil((total - length) / (length / 2))) + 1)
        starts = np.linspace(0, total - length, count).round().astype(int)
        weight = np.hanning(length + 2)[1:-1]
        bvp, gain = np.zeros(total), np.zeros(total)
        device = self.net.fusion_power.device
        with torch.inference_mode():
            for first in range(0, count, self.batch):
                part = starts[first : first + self.batch]
                clips = torch.stack([patches[i : i + length] for i in part]).to(device)
                waves = self.net.fuse(self.net(clips)).double().cpu().numpy()
                for start, wave in zip(part, waves, strict=True):
                    bvp[start : start + length] += weight * wave
                    gain[start : start + length] += weight
        return bvp / gain


def trained(checkpoint: Path | None = None) -> FcusEstimator | PeerEstimator:
    """The estimator of a checkpoint, of whichever network; None is the one that ships.

    Raises:
        InputError: as `load_network` does, or a description without the length of a clip.
    """
    net, about = load_network(checkpoint)
    config = about["made"].get("config", {})
    config = config if isinstance(config, dict) else {"clip_s": None}
    if isinstance(net, FcusNet):
        clip_s = config.get("clip_s", 10.0)
    else:
        frames = config.get("clip_frames")
        clip_s = frames / net.config.fps if isinstance(frames, int) else None
    if not isinstance(clip_s, int | float) or not LEAST_CLIP_S <= clip_s < np.inf:
        where = checkpoint.with_suffix(".json") if checkpoint else "the shipped checkpoint"
        key = "clip_s in seconds" if isinstance(net, FcusNet) else "clip_frames"
        raise InputError(
            f"{where}: made.config tells clips of {clip_s!r} s; expected {key}, for "
            f"{LEAST_CLIP_S:g} s or more; copy the file again"
        )
    if isinstance(net, FcusNet):
        return FcusEstimator(net, clip_s=float(clip_s))
    return PeerEstimator(net, round(clip_s * net.config.fps))


def untrained(config: ModelConfig | None = None, seed: int = 0) -> FcusEstimator:
    """The network as it is before training: a row in every table."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FcusEstimator(FcusNet(config or ModelConfig()).eval())
