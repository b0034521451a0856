"""What a person can do: the reasons that the frames show."""

import numpy as np
import pytest

from rppg.live.reasons import ADVICE, CLIPPED, DARK, FEW_FRAMES, LOST_FRAMES, MOVING, find_reason
from rppg.signals import reasons
from rppg.signals.face_time import TOO_SHORT
from rppg.types import FaceCrops


def window(level=120.0, fps=30.0, sway=0.0, face_level=None, lost_s=0.0):
    times_s = np.arange(round(10 * fps)) / fps
    times_s = times_s[times_s % 1 >= lost_s]
    frames = np.full((len(times_s), 48, 48, 3), level, np.uint8)
    if face_level is not None:
        frames[:, 8:40, 8:40] = face_level
    x = 100 + sway * 100 * np.sin(times_s)  # in sides of the face
    boxes = np.stack([x, *np.broadcast_to([[50.0], [150], [150]], (3, len(x)))], axis=-1)
    return FaceCrops(frames, times_s, np.ones(len(x), np.bool_), boxes)


@pytest.mark.parametrize(
    ("crops", "expected"),
    [
        (window(), reasons.NO_RATE),
        (window(20), DARK),
        (window(200, face_level=20), DARK),
        (window(255), CLIPPED),
        (window(255, face_level=150), reasons.NO_RATE),  # a lamp behind the head
        (window(fps=8), FEW_FRAMES),
        (window(lost_s=0.4), LOST_FRAMES),
        (window(lost_s=0.2), reasons.NO_RATE),
        (window(sway=0.2), MOVING),
        (window(sway=0.02), reasons.NO_RATE),
    ],
)
def test_what_the_frames_show(crops, expected):
    assert find_reason(reasons.NO_RATE, crops) == expected
    assert find_reason(reasons.LIGHT, crops) == reasons.LIGHT  # the evidence says more


def test_every_reason_but_a_cut_has_advice():
    """A cut begins the measurement anew, so it is never the reason of a reading."""
    texts = {value for name, value in vars(reasons).items() if name.isupper()}
    texts = {text for text in texts if isinstance(text, str)} | {
        TOO_SHORT,
        DARK,
        MOVING,
        FEW_FRAMES,
        LOST_FRAMES,
    }
    assert texts - {reasons.CUT} <= set(ADVICE)
