"""Criteria on held-out recordings, without labels, by which the epoch is chosen; lower is better.

`criterion` is the method's own. It rewards any clean wave, that of a flickering lamp included.
`criterion_by_reference` asks whether the wave is at the pulse that a reference estimator finds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.models.physnet import PhysNet
from rppg.peers.clips import Span, clip_starts, cut_clip
from rppg.peers.config import PeerConfig
from rppg.peers.contrast_phys import irrelevant_power
from rppg.peers.sinc import sinc_criterion
from rppg.signals.heart_rate import heart_rate_bpm
from rppg.signals.protocol import Protocol
from rppg.signals.quality import pulse_power_share
from rppg.signals.resample import uniform_grid
from rppg.signals.spectrum import power_spectrum

VALIDATION_BATCH = 4

Clip = tuple[Span, int]
"""A span, and the first frame of a clip in it."""


def held_out_clips(held_out: Sequence[Span], config: PeerConfig) -> list[Clip]:
    """Return the consecutive clips of the recordings."""
    frames = config.clip_frames
    return [(span, first) for span in held_out for first in clip_starts(span, frames, frames)]


def criterion(net: PhysNet, held_out: Sequence[Span], config: PeerConfig) -> float:
    """Return the method's label-free criterion of a network in evaluation mode.

    The mean over consecutive clips of the recordings.
    """
    fps = config.model.fps
    with torch.inference_mode():
        wave = torch.cat(list(_waves(net, held_out_clips(held_out, config), config)))
        if config.method == "sinc":
            return float(sinc_criterion(wave, fps, config.sinc))
        return float(irrelevant_power(wave, fps, config.contrast))


def _waves(net: PhysNet, clips: Sequence[Clip], config: PeerConfig) -> Iterator[Tensor]:
    """Yield the waves `(B, T)` of clips, a few at a time."""
    frames, device = config.clip_frames, next(net.parameters()).device
    for n in range(0, len(clips), VALIDATION_BATCH):
        part = clips[n : n + VALIDATION_BATCH]
        cut = [cut_clip(span, first, frames, config.model) for span, first in part]
        yield net(torch.stack(cut).to(device))[:, -1]


@dataclass(frozen=True)
class Target:
    """A held-out clip, and the frequency of its pulse by the reference estimator.

    Attributes:
        clip: the clip.
        pulse_hz: the highest peak of the reference's wave in the band of the pulse.
    """

    clip: Clip
    pulse_hz: float


def find_targets(
    held_out: Sequence[Span], waves: Mapping[int, NDArray[np.float64]], config: PeerConfig
) -> list[Target]:
    """Return the held-out clips in which the reference's wave has a peak.

    Args:
        waves: the reference's wave `(T,)` by the index of the recording, on the recording's
            uniform grid at the protocol's rate. Recordings without one are left out.

    Raises:
        ValueError: a wave of another length than its grid's.
    """
    targets = []
    frames, fps = config.clip_frames, config.model.fps
    for span, first in held_out_clips(held_out, config):
        if span.recording not in waves:
            continue
        wave, grid_s = waves[span.recording], uniform_grid(span.crops.times_s, Protocol().fps)
        if wave.shape != grid_s.shape:
            raise ValueError(
                f"expected a reference wave {grid_s.shape} at {Protocol().fps:g} Hz, found "
                f"{wave.shape}"
            )
        clip = np.interp(span.grid_s[first : first + frames], grid_s, wave)
        pulse_hz = float(heart_rate_bpm(clip, fps)) / 60
        if np.isfinite(pulse_hz):
            targets.append(Target((span, first), pulse_hz))
    return targets


def criterion_by_reference(net: PhysNet, targets: Sequence[Target], config: PeerConfig) -> float:
    """Return the mean share of the waves' in-band power away from the reference's pulse, 0–1.

    Away from it is what is more than 0.1 Hz from its frequency and from the double of that. A
    constant wave counts 1, so that it can't win.
    """
    with torch.inference_mode():
        parts = list(_waves(net, [target.clip for target in targets], config))
    waves = torch.cat(parts).double().cpu().numpy()
    hz, power = power_spectrum(waves, config.model.fps)
    pulse_hz = [target.pulse_hz for target in targets]
    share = np.where(np.ptp(waves, axis=-1) == 0, 0.0, pulse_power_share(hz, power, pulse_hz))
    return float(np.mean(1 - share))
