"""Another person without a cut: one leaves, or is hidden for a while, and another comes.

Where the face was lost and one is found again, the colours of the faces some seconds before and
after are compared, and only there: a person who stays in view is never in doubt. Colour apart from
brightness hardly depends on pose, distance and place. Another lamp changes it, but also that of the
surroundings: a change counts only if it is there with and without theirs taken off. People of
like colour pass for one: it is no face recognition. The shade of the face's pixels doesn't help:
one person who comes back turned differs by more than two people do (docs/research-log.md).
"""

import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rppg.types import CROP_TO_FACE
from rppg.video.scene_cuts import name_times
from rppg.video.track import LOST_S
from rppg.video.tracked_crop import Crop

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

LOOK_S = 1.0
"""Length over which crops are averaged before a face's colour is measured."""
BEFORE, AFTER = 8, 3
"""Number of such measurements of a person that are compared, before and after a loss."""
MARGIN_S = 1.0
"""Time after a loss that is left out: someone comes, and the smoothed box is not yet there."""
OPEN_S = 15.0
"""A comparison that isn't possible after so long, as the face is lost again, is left out."""
OTHER_COLOUR = 0.08
"""Distance of two people's colours. Rendered people who came back turned, or in brighter or dimmer
light, were up to 0.06 from themselves."""
BESIDE = 0.85
"""Distance from the crop's centre, in half sides, from which it shows the surroundings."""
DARK = 4.0
"""Darker pixels, in 8-bit levels, count as this dark."""


class Look(NamedTuple):
    """Colours in a crop: medians of the logarithms of R / G and B / G, each `(2,)`."""

    face: Array
    surroundings: Array


class PersonChanges:
    """The people of a video, as its crops pass.

    Crops pass in their order, and at once, but for those after a loss: they are held until the face
    is compared, some seconds.

    Args:
        name: of the video, for the warning.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed_s: list[float] = []
        self._scene = 0  # of the cuts
        self._seen_s = np.inf  # time of the last crop that shows a face
        self._settled_s = -np.inf  # time from which the face is there after a loss
        self._second: list[Crop] = []  # the crops that are being averaged
        self._known: deque[Look] = deque(maxlen=BEFORE)  # of the person
        self._found: list[Look] = []  # after a loss, to be compared
        self._held: list[Crop] = []
        self._in_doubt = False

    def add(self, crop: Crop) -> list[Crop]:
        """Add the next crop; return those that pass, each with the scenes before it."""
        passed: list[Crop] = []
        if crop.scene != self._scene:  # after a cut it is another person anyway
            self._scene = crop.scene
            passed = self._release()
            self._known.clear()
            self._second.clear()
            self._seen_s = np.inf
        if crop.is_valid:
            self._look_at(crop)
        self._held.append(crop)
        if len(self._found) == AFTER:
            self._decide()
        elif self._held[0].time_s < crop.time_s - OPEN_S:
            self._in_doubt = False
        return passed if self._in_doubt else passed + self._release()

    def finish(self) -> list[Crop]:
        """Return the crops that are left, and warn of other people."""
        left = self._release()
        if self._changed_s:
            log.warning(
                "%s: another person's face after one was lost, from %s s on; the parts are not "
                "joined",
                self._name,
                name_times(self._changed_s, len(self._changed_s)),
            )
        return left

    def _look_at(self, crop: Crop) -> None:
        """Measure a face's colour, once in `LOOK_S`."""
        if crop.time_s - self._seen_s > LOST_S:
            self._in_doubt = bool(self._known)
            self._settled_s = crop.time_s + MARGIN_S
            self._second.clear()
        self._seen_s = crop.time_s
        if crop.time_s < self._settled_s:
            return
        self._second.append(crop)
        if crop.time_s - self._second[0].time_s >= LOOK_S:
            look = look_of(np.mean([one.pixels for one in self._second], axis=0))
            (self._found if self._in_doubt else self._known).append(look)
            self._second.clear()

    def _decide(self) -> None:
        """Compare the face after a loss with that before."""
        if colour_distance(self._known, self._found) > OTHER_COLOUR:
            self._changed_s.append(self._held[0].time_s)
            self._known.clear()
        self._known.extend(self._found)
        self._in_doubt = False

    def _release(self) -> list[Crop]:
        """Return the crops held, with the changes so far."""
        self._found.clear()
        self._in_doubt = False
        held, self._held = self._held, []
        return [crop._replace(scene=crop.scene + len(self._changed_s)) for crop in held]


def look_of(crop: Array) -> Look:
    """Return the colours of the face in a crop `(S, S, 3)`, and of what is on both sides of it."""
    axis = (np.arange(len(crop)) + 0.5) / len(crop) * 2 - 1
    x, y = axis * CROP_TO_FACE, axis[:, None] * CROP_TO_FACE
    face = (x / 0.75) ** 2 + (y / 0.9) ** 2 < 1
    beside = (np.abs(axis) > BESIDE) & (axis[:, None] < 0.5)  # above the shoulders
    levels = np.log(np.maximum(crop, DARK))
    ratios = levels[..., [0, 2]] - levels[..., [1]]
    return Look(np.median(ratios[face], axis=0), np.median(ratios[beside], axis=0))


def colour_distance(before: Sequence[Look], after: Sequence[Look]) -> float:
    """Return how far apart the colours of two faces are, whatever the lamp.

    It is the distance of the medians, with that of the surroundings taken off if it is less then.
    """
    face, surroundings = (
        np.median([look[part] for look in after], axis=0)
        - np.median([look[part] for look in before], axis=0)
        for part in range(2)
    )
    return float(min(np.linalg.norm(face), np.linalg.norm(face - surroundings)))
