"""Why there is no reliable pulse, and what a person can do about it."""

import numpy as np
from numpy.typing import NDArray

from rppg.signals.face_time import TOO_SHORT
from rppg.signals.frame_rate import frame_rate
from rppg.signals.reasons import (
    FOLDED,
    FROZEN,
    GREY,
    KEYFRAMES,
    LIGHT,
    MOTION,
    NO_FACE,
    NO_RATE,
    ONE_SIDE,
    REGIONS,
)
from rppg.types import CROP_TO_FACE, FaceCrops

DARK = "the face is too dark"
CLIPPED = "the face is too bright: its colours are clipped"
MOVING = "the head moves"
FEW_FRAMES = "too few frames a second"
LOST_FRAMES = "many frames are lost"

ADVICE = {
    DARK: "turn on a light in front of you, or let the camera expose for longer",
    CLIPPED: "turn away from the light, or lower the camera's exposure",
    MOVING: "rest your head, and keep still",
    FEW_FRAMES: "give the camera more light, and close what else uses it: 20 a second are needed",
    LOST_FRAMES: "close what else uses this computer, or its camera: either is too busy",
    FOLDED: "give the camera more light, and close what else uses it: 20 a second are needed",
    LIGHT: "use daylight or another lamp, and turn off screens",
    MOTION: "rest your head, and keep still",
    ONE_SIDE: "use even light from the front, and rest your head",
    REGIONS: "get more light on the whole face, and keep still",
    NO_RATE: "get more light on the whole face, and keep still",
    GREY: "use a camera with colours",
    FROZEN: "start the camera again: it repeats its frames",
    KEYFRAMES: "use frames that were not compressed",
    NO_FACE: "look at the camera",
    TOO_SHORT: "stay in view",
}
"""What to do, by reason."""

UNEXPLAINED = (NO_RATE, REGIONS)
"""Reasons that say only what is missing: what the frames show says more."""
LEAST_LEVEL = 30.0
"""Mean of a face's strongest channel in 0–255 below which it is dark: its pulse is then less than a
tenth of a level."""
CLIPPED_LEVEL, MOST_CLIPPED = 252, 0.2
"""Level from which a pixel counts as clipped, and the share of the face that may be."""
MOST_MOTION = 0.05
"""Standard deviation of the face's place, in its sides, from which the head moves."""
LEAST_FPS = 15.0
"""Frames a second from which their number is no reason."""
LEAST_SHARE = 0.7
"""Share of the frames that have to arrive; gaps don't change the usual rate."""
LOOKED_AT = 8
"""Frames of the window whose pixels are looked at."""


def find_reason(reason: str, window: FaceCrops, *, full_frame: bool = False) -> str:
    """Return why a heart rate is unreliable.

    Args:
        reason: as `predict` has it.
        window: the crops of the window.
        full_frame: the face fills the crops.
    """
    if reason not in UNEXPLAINED:
        return reason
    share = 1.0 if full_frame else 1 / CROP_TO_FACE
    every, times_s = max(1, len(window.frames) // LOOKED_AT), window.times_s
    strongest = _middle(window.frames[::every], share).max(axis=-1)
    conditions = (
        (np.mean(strongest) < LEAST_LEVEL, DARK),
        (np.mean(strongest >= CLIPPED_LEVEL) > MOST_CLIPPED, CLIPPED),
        (frame_rate(times_s) < LEAST_FPS, FEW_FRAMES),
        (
            len(times_s) < LEAST_SHARE * frame_rate(times_s) * (times_s[-1] - times_s[0]),
            LOST_FRAMES,
        ),
        (_motion(window) > MOST_MOTION, MOVING),
    )
    return next((known for holds, known in conditions if holds), reason)


def _middle(frames: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Return the middle of frames `(T, S, S, C)` that has this share of their side."""
    edge = round(frames.shape[1] * (1 - share) / 2)
    inside = slice(edge, frames.shape[1] - edge)
    return frames[:, inside, inside]


def _motion(window: FaceCrops) -> float:
    """Return the standard deviation of the place of the face where it is in view, in its sides."""
    if window.boxes is None or not window.valid.any():
        return 0.0
    boxes = window.boxes[window.valid]
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    return float(CROP_TO_FACE * np.hypot(*np.std(centres, axis=0)) / np.median(boxes[:, 2]))
