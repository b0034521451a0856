"""PhysNet, the peers' network, as an estimator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.estimators.overlapping_clips import add_waves
from rppg.models.physnet import PhysNet
from rppg.models.physnet_input import check_channels, cut_faces


@dataclass(frozen=True)
class PeerEstimator:
    """An estimator that applies the network to overlapping clips of a recording.

    The clips are as long as those of the training and overlap by half. The scale of the output is
    arbitrary, so each clip's wave is standardised before the waves are added with Hann weights. The
    sign is arbitrary, too: the training has no labels, so a network's waves are either all up at
    systole or all inverted. Heart rates don't depend on the sign; compare waveform correlations by
    magnitude.

    Attributes:
        net: the network.
        clip_frames: length of a clip.
        batch: number of clips that are computed together.
        precision: of the convolutions; bfloat16 is three times as fast on processors that have it.
        provenance: how the network was trained, as in its checkpoint; empty if that isn't known.
    """

    net: PhysNet
    clip_frames: int
    batch: int = 4
    precision: Literal["float32", "bfloat16"] = "float32"
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """Return the BVP `(T,)`, in arbitrary units, of frames `(T, S, S, C)`, 0–255.

        Raises:
            InputError: frames with another number of channels than the network's.
        """
        config = self.net.config
        if fps != config.fps:
            raise ValueError(f"frames at {fps} Hz; this network needs {config.fps} Hz: resample")
        check_channels(frames.shape[-1], config)
        images = cut_faces(np.ascontiguousarray(frames, dtype=np.float32), config)
        device = next(self.net.parameters()).device

        def waves_of(clips: Tensor) -> NDArray[np.float64]:
            waves = self.net(clips.to(device))[:, -1].double().cpu().numpy()
            return np.stack([_standardise(wave) for wave in waves])

        fast = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), fast:
            return add_waves(images, self.clip_frames, self.batch, waves_of)


def _standardise(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = wave - wave.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-12))
