"""The score of a recording: how sure it is that there is a pulse in it."""

import functools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.models.patches import pool_patches
from rppg.signals.resample import resample_frames, uniform_grid
from rppg.signals.spans import visible_spans
from rppg.types import FaceCrops
from rppg.video.threads import one_thread

PULSE_SCORE = 0.04
"""Score from which a recording counts as one with a pulse."""
CLIP_S = 10.0
BATCH = 4


@functools.cache
def scoring_estimator() -> FcusEstimator:
    """Return the reference estimator of scores: the network as it is before any training."""
    return untrained()


def recording_score(crops: FaceCrops) -> float:
    """Return the mean of `FcusNet.line` over a recording's clips, in 0..1.

    The clips are of 10 s, overlap by half, and show the face throughout. NaN if there is none, or
    if the crops have other than three channels.
    """
    net = scoring_estimator().net
    if crops.frames.shape[-1] != net.config.spectral_channels:
        return float("nan")
    with torch.inference_mode(), one_thread():
        scores = [net.line(net(clips)).double().numpy() for clips in scored_clips(crops)]
    return float(np.mean(np.concatenate(scores))) if scores else float("nan")


def describe_no_pulse(score: float) -> str | None:
    """Return in a line why a recording with this score counts as one without a pulse, if it does.

    None for a score of `PULSE_SCORE` or more. NaN counts as one without: no pulse was found.
    """
    if score >= PULSE_SCORE:
        return None
    if np.isnan(score):
        return f"no pulse found: no {CLIP_S:g} s in colour with a face throughout to judge"
    return f"no pulse found: score {score:.4f}, below {PULSE_SCORE:g}"


def scored_clips(crops: FaceCrops) -> Iterator[Tensor]:
    """Yield the clips that a recording is scored by, as patches `(B, T, C, G, G)`."""
    config = scoring_estimator().net.config
    fps, length = config.fps, round(CLIP_S * config.fps)
    grid_s = uniform_grid(crops.times_s, fps)
    starts = [
        start
        for first, end in visible_spans(crops.valid, crops.times_s, grid_s)
        for start in range(first, end - length + 1, length // 2)
    ]
    for n in range(0, len(starts), BATCH):
        grids_s = [grid_s[i : i + length] for i in starts[n : n + BATCH]]
        frames = [resample_frames(crops.frames, crops.times_s, part_s) for part_s in grids_s]
        clips = torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3)
        yield torch.cat([pool_patches(clip[None], config.grid) for clip in clips])


def reference_wave(crops: FaceCrops) -> NDArray[np.float64]:
    """Return the reference estimator's wave `(T,)`, on the recording's grid at its rate."""
    estimator = scoring_estimator()
    fps = estimator.net.config.fps
    frames = resample_frames(crops.frames, crops.times_s, uniform_grid(crops.times_s, fps))
    return estimator(frames, fps)
