"""From the frames of a whole recording to its BVP, with PhysNet."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rppg.models.physnet import PhysNet
from rppg.peers.clips import check_channels, to_pictures


@dataclass(frozen=True)
class PeerEstimator:
    """The network as a function of a recording.

    The network sees clips as long as those it was trained on, which overlap by half. The scale of
    its output is arbitrary, so each clip's wave is brought to mean 0 and deviation 1, before they
    are added with Hann weights. Its sign is arbitrary, too: learned without labels, it is up at
    systole or upside down, one or the other throughout a network. Heart rates don't depend on it;
    waveform correlations do, and are to be read by their magnitude.

    Attributes:
        net: the network.
        clip_frames: length of a clip.
        batch: clips at a time.
        precision: of the convolutions; bfloat16 is three times as fast where the processor has it.
    """

    net: PhysNet
    clip_frames: int
    batch: int = 4
    precision: Literal["float32", "bfloat16"] = "float32"

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """BVP `(T,)` in arbitrary units of frames `(T, S, S, C)`, 0–255, at the network's rate."""
        config = self.net.config
        if fps != config.fps:
            raise ValueError(f"frames at {fps} Hz; this network runs at {config.fps} Hz: resample")
        check_channels(frames.shape[-1], config)
        pictures = to_pictures(np.ascontiguousarray(frames, dtype=np.float32), config)
        total = len(pictures)
        length = min(self.clip_frames, total)
        count = max(1, int(np.ceil((total - length) / (length / 2))) + 1)
        starts = np.linspace(0, total - length, count).round().astype(int)
        weight = np.hanning(length + 2)[1:-1]
        bvp, gain = np.zeros(total), np.zeros(total)
        device = next(self.net.parameters()).device
        fast = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), fast:
            for first in range(0, count, self.batch):
                part = starts[first : first + self.batch]
                clips = torch.stack([pictures[i : i + length] for i in part]).to(device)
                waves = self.net(clips)[:, -1].double().cpu().numpy()
                for start, wave in zip(part, waves, strict=True):
                    centred = wave - wave.mean()
                    unit = centred / max(float(centred.std()), 1e-12)
                    bvp[start : start + length] += weight * unit
                    gain[start : start + length] += weight
        return bvp / gain
