"""Hard cuts: where a video goes on with another picture, and with another face or none.

A few times a second, the picture is compared with that before. If it has changed far more than is
usual, and stays so, the frames between are searched for the one in which it changed at once. A cut
it is only if the face changes with it: it is in another place, or looks otherwise, or is gone. A
lamp that is turned on, a passing hand or a background that is replaced is none.

Frames before and after a cut belong to different scenes. They pass in their order, unchanged, up to
two comparisons late.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rppg.types import Frame
from rppg.video.blazeface import Face, detect, overlap
from rppg.video.resize import Box, resample_box
from rppg.video.threads import one_thread

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

EVERY_S = 0.19
"""Time between comparisons."""
POINTS, SIDE = 64, 16
"""Points of a frame in each direction that its picture is computed from, and side of that."""
SUDDEN = 0.08
"""Distance of the pictures of two neighbouring frames from which the picture changes suddenly."""
FLOOR = 4.0
"""Contrast, in 8-bit levels, below which a picture is flat: sensors' noise must not count."""
TIMES_USUAL = 10.0
"""The same, in multiples of the usual distance between comparisons."""
TIMES_AROUND = 3.0
"""The same, in multiples of the changes around it: noise changes at every frame."""
MEMORY = 0.9
"""Share of the past in the running mean that is the usual distance."""
SAME_PLACE = 0.3
"""Overlap of two boxes that may be of one face."""
OTHER_LOOK = 0.05
"""Distance of the pictures of two faces from which they are different."""
MOST_NAMED = 5
"""Changes of the picture that are named in a warning."""

IsSameFace = Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool]
"""A function of the frames `(H, W, 3)` before and after a change of the picture."""


class SceneCuts:
    """The scenes of a video, as its frames pass.

    Args:
        name: of the video, for the warning.
        is_same_face: compares the faces of two frames.
    """

    def __init__(self, name: str, is_same_face: IsSameFace) -> None:
        self._name = name
        self._is_same_face = is_same_face
        self._count = 0
        self._cut_s = -np.inf  # time of the first frame after the last cut
        self._named: list[float] = []  # the first of these times
        self._reference: Array | None = None  # picture of the last comparison
        self._usual = 0.0
        self._next_s = -np.inf
        self._last: Frame | None = None  # frame before those that are held
        self._held: list[Frame] = []
        self._suspect = False

    def add(self, frame: Frame) -> list[tuple[int, Frame]]:
        """Add the next frame; return those that can pass, each with the number of its scene."""
        self._held.append(frame)
        if frame.time_s < self._next_s:
            return []
        self._next_s = frame.time_s + EVERY_S
        return self._release() if self._is_settled(picture(frame.rgb)) else []

    def finish(self) -> list[tuple[int, Frame]]:
        """Return the frames that are left, and warn of the cuts."""
        left = self._release()
        self._warn()
        return left

    def _is_settled(self, current: Array) -> bool:
        """Compare with the picture before; return whether the frames held can pass."""
        if self._reference is None:
            self._reference = current
            return True
        distance = picture_distance(self._reference, current)
        far = distance > max(SUDDEN, TIMES_USUAL * self._usual)
        if far and not self._suspect:
            self._suspect = True  # a single damaged frame, or a flash, is over at the next
            return False
        if far:
            self._find_cut()
        else:
            self._usual = MEMORY * self._usual + (1 - MEMORY) * distance
        self._suspect = False
        self._reference = current
        return True

    def _find_cut(self) -> None:
        """Look for a cut among the frames held."""
        if self._last is None:
            return
        frames = [self._last, *self._held]
        pictures = [picture(frame.rgb) for frame in frames]
        steps = [picture_distance(a, b) for a, b in pairwise(pictures)]
        index = int(np.argmax(steps))
        around = float(np.median(np.delete(steps, index))) if len(steps) > 1 else 0.0
        if steps[index] < max(SUDDEN, TIMES_USUAL * self._usual, TIMES_AROUND * around):
            return
        if not self._is_same_face(frames[index].rgb, frames[index + 1].rgb):
            self._count += 1
            self._cut_s = frames[index + 1].time_s
            if len(self._named) < MOST_NAMED:
                self._named.append(self._cut_s)

    def _release(self) -> list[tuple[int, Frame]]:
        held, self._held = self._held, []
        self._last = held[-1] if held else self._last
        return [(self._count - (frame.time_s < self._cut_s), frame) for frame in held]

    def _warn(self) -> None:
        if not self._count:
            return
        log.warning(
            "%s: %d cuts to another picture or person, at %s s; the parts are not joined",
            self._name,
            self._count,
            name_times(self._named, self._count),
        )


def name_times(times_s: Sequence[float], count: int) -> str:
    """Return the first times of `count` changes of the picture, for a warning: `3.0, 7.5, ...`."""
    named = ", ".join(f"{time_s:.1f}" for time_s in times_s[:MOST_NAMED])
    return named + (", ..." if count > MOST_NAMED else "")


def picture(rgb: NDArray[np.uint8]) -> Array:
    """Return a small picture of a frame, `(SIDE, SIDE, 3)`, from some of its points."""
    height, width = rgb.shape[:2]
    rows, columns = (
        ((np.arange(POINTS) + 0.5) * length / POINTS).astype(np.intp) for length in (height, width)
    )
    points = rgb[rows[:, None], columns].astype(np.float32)
    part = POINTS // SIDE
    return points.reshape(SIDE, part, SIDE, part, 3).mean(axis=(1, 3))


def picture_distance(a: Array, b: Array) -> float:
    """Return how different two pictures `(S, S, 3)` are: 0 for the same, 1 for unrelated ones.

    It is 1 - r, the correlation of their pixels over space, so that brighter light, another
    exposure or another white balance counts little. A picture without contrast is close to all.
    """
    a, b = (x - x.mean(axis=(0, 1)) for x in (a, b))
    floor = FLOOR**2 * a.size
    scale = np.sqrt((np.sum(a * a) + floor) * (np.sum(b * b) + floor))
    return 1 - float((np.sum(a * b) + floor) / scale)


def is_same_face(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    """Return whether a face of one frame is in the other: in about its place, with its look.

    If there was no face before, there is none that could have changed.
    """
    with one_thread():
        (faces,), (candidates,) = detect([before]), detect([after])
    return not faces or any(
        overlap(face.box, other.box) >= SAME_PLACE and _look_alike(before, after, face, other)
        for face in faces
        for other in candidates
    )


def _look_alike(
    before: NDArray[np.uint8], after: NDArray[np.uint8], face: Face, other: Face
) -> bool:
    return look_distance(before, after, face.box, other.box) < OTHER_LOOK


def same_look_in(box: Box) -> IsSameFace:
    """Return the comparison of what is in a box, for a face whose box was given."""

    def compare(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
        return look_distance(before, after, box, box) < OTHER_LOOK

    return compare


def look_distance(
    before: NDArray[np.uint8], after: NDArray[np.uint8], box: Box, other: Box
) -> float:
    """Return the distance of the pictures of two boxes."""
    with one_thread():
        return picture_distance(resample_box(before, box, SIDE), resample_box(after, other, SIDE))
