"""One face through a video: looked for a few times a second, its box smoothed without delay.

A detector's box trembles from picture to picture, and a trembling crop modulates the skin it shows.
So the box is a line fitted to the sightings around each moment, with Gaussian weights in time: no
delay, no power of its own above some 0.6 Hz, and it follows a head that moves slower than that.
"""

import logging
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rppg.types import Frame
from rppg.video.blazeface import Face, View, detect, look, overlap, whole
from rppg.video.resize import Box

log = logging.getLogger(__name__)

EVERY_S = 0.19
"""Time between looks: every 6th frame at 30 Hz."""
BATCH = 4
"""Looks done together, half as fast again as one by one."""
SMOOTH_S = 0.6
"""Standard deviation of the Gaussian weights: 0.6 Hz comes down to 8 %, 1 Hz to 0.1 %."""
LOST_S = 1.0
"""Time without a sighting after which the face counts as lost."""
SUPPORT_S = 3 * SMOOTH_S
LOOKAHEAD_S = SUPPORT_S + (2 + BATCH) * EVERY_S
"""Frames are kept about this long until their box is known."""
SPIKE = 0.25
"""Sightings this far from their neighbours' median, in face sides, are replaced by it."""
FACE_SIDE, FACE_UP = 1.2, 0.12
"""From the detector's box, brows to chin, to the face box, forehead to chin."""

Array = NDArray[np.float64]


def face_box(face: Face) -> Box:
    """The square from forehead to chin, x, y, width, height, for a head in any position."""
    x, y, width, height = face.box
    side = float(np.sqrt(width * height))
    up = _up(face)
    centre = np.array([x + width / 2, y + height / 2]) + FACE_UP * side * up
    side *= FACE_SIDE
    return float(centre[0] - side / 2), float(centre[1] - side / 2), side, side


class FaceTrack:
    """The track of one face, fed frame by frame and asked for boxes some seconds later.

    The first face is the largest and most central; afterwards the one that overlaps it, so that a
    second person in the picture doesn't take over.

    Args:
        every_s: time between looks.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._due: list[Frame] = []
        self._looked = -np.inf  # when the last frame was put aside to be looked at
        self._known = -np.inf  # up to when all looks have been evaluated
        self._searched = -np.inf
        self._seen: Face | None = None
        self._seen_s = -np.inf
        self._times: list[float] = []
        self._boxes: list[Array] = []  # centre x, centre y, side
        self._calm: list[Array] = []  # the same without spikes
        self._several = False

    @property
    def found(self) -> bool:
        """Whether a face was seen at all."""
        return bool(self._times)

    @property
    def sightings(self) -> tuple[Array, Array]:
        """Times `(N,)` of all looks that found the face, and its boxes `(N, 4)` as the detector
        gave them, forehead to chin: x, y, width, height."""
        boxes = np.array(self._boxes).reshape(-1, 3)
        sides = boxes[:, [2, 2]]
        return np.array(self._times), np.hstack([boxes[:, :2] - sides / 2, sides])

    def see(self, frame: Frame) -> None:
        """Take the next frame; only some are looked at."""
        if frame.time_s - self._looked >= self._every_s:
            self._looked = frame.time_s
            self._due.append(frame)
            if len(self._due) == BATCH:
                self._evaluate()

    def finish(self) -> None:
        """No more frames: all boxes are known."""
        self._evaluate()
        self._known = np.inf

    def settled(self, time_s: float) -> bool:
        """Whether the box at this time is known for good."""
        return self._known >= time_s + SUPPORT_S + 2 * EVERY_S

    def at(self, time_s: float) -> tuple[Box, bool] | None:
        """The smoothed face box (x, y, side, side) and whether the face was there.

        While the face is lost, the box is the last one before. None where no face has been seen
        yet, from `LOST_S` before the first sighting.
        """
        after = bisect_right(self._times, time_s)
        if after == 0:
            if not self._times or self._times[0] - time_s > LOST_S:
                return None
            return self._fit(0, max(time_s, self._times[0] - EVERY_S)), True
        before = after - 1
        since = time_s - self._times[before]
        if after == len(self._times):
            return self._fit(before, self._times[before] + min(since, EVERY_S)), since <= LOST_S
        if since > 0 and self._times[after] - self._times[before] > LOST_S:
            return self._fit(before, self._times[before]), False
        return self._fit(before, time_s), True

    def _fit(self, index: int, time_s: float) -> Box:
        """Weighted straight line through the sightings around `index` that no gap separates."""
        low = high = index
        times = self._times
        while low > 0 and times[low] - times[low - 1] <= LOST_S and time_s - times[low] < SUPPORT_S:
            low -= 1
        last = len(times) - 1
        while (
            high < last
            and times[high + 1] - times[high] <= LOST_S
            and times[high] - time_s < SUPPORT_S
        ):
            high += 1
        u = (np.array(times[low : high + 1]) - time_s) / SMOOTH_S
        weights = np.exp(-(u**2) / 2)
        boxes = np.array(self._calm[low : high + 1])
        s0, s1, s2 = weights.sum(), weights @ u, weights @ u**2
        # The ridge keeps few sightings close together from being drawn out into a steep line.
        weights = weights * (s2 - s1 * u + 0.01 * s0) / (s0 * (s2 + 0.01 * s0) - s1**2)
        x, y, side = (float(v) for v in weights @ boxes)
        return x - side / 2, y - side / 2, side, side

    def _evaluate(self) -> None:
        frames, self._due = self._due, []
        if not frames:
            return
        self._known = frames[-1].time_s
        while self._seen is None:
            self._seen = self._search(frames[0])
            if self._seen is None:
                frames = frames[1:]
                if not frames:
                    return
        for frame, faces in zip(frames, _look_around(self._seen, frames), strict=True):
            face = self._same(faces)
            if face is None and (rough := self._search(frame)) is not None:
                # The box differs by some percent from view to view; keep to the one around it.
                face = max(_look_around(rough, [frame])[0], key=_score, default=rough)
            if face is not None:
                self._add(frame.time_s, face)

    def _same(self, faces: Sequence[Face]) -> Face | None:
        """Of these faces the one that overlaps the last sighting most, if any does."""
        if self._seen is None:
            return None
        box = self._seen.box
        best = max(faces, key=lambda face: overlap(face.box, box), default=None)
        return best if best is not None and overlap(best.box, box) > 0 else None

    def _search(self, frame: Frame) -> Face | None:
        """Look everywhere; thoroughly once in `LOST_S` while there is no face: it takes long."""
        lost = frame.time_s - self._seen_s > LOST_S
        if lost and frame.time_s - self._searched < LOST_S:
            (faces,) = look([frame.rgb], [whole(frame.rgb)])
        else:
            self._searched = frame.time_s
            (faces,) = detect([frame.rgb])
        if len(faces) > 1 and not self._several:
            self._several = True
            log.warning(
                "%d faces at %.1f s; the largest and most central is followed",
                len(faces),
                frame.time_s,
            )
        if not lost:  # whoever doesn't overlap is someone else
            return self._same(faces)
        return self._same(faces) or max(faces, key=lambda f: _prominence(f, frame), default=None)

    def _add(self, time_s: float, face: Face) -> None:
        x, y, side, _ = face_box(face)
        box = np.array([x + side / 2, y + side / 2, side])
        self._seen, self._seen_s = face, time_s
        self._times.append(time_s)
        self._boxes.append(box)
        self._calm.append(box)
        for k in range(max(0, len(self._boxes) - 3), len(self._boxes)):
            self._calm[k] = self._without_spike(k)

    def _without_spike(self, k: int) -> Array:
        """Sighting `k`, or the median of those around it where it lies far from that."""
        near = [
            box
            for time_s, box in zip(
                self._times[max(0, k - 2) : k + 3], self._boxes[max(0, k - 2) : k + 3], strict=True
            )
            if abs(time_s - self._times[k]) <= LOST_S
        ]
        middle = np.median(near, axis=0)
        far = np.abs(self._boxes[k] - middle).max() > SPIKE * middle[2]
        return np.asarray(middle if far else self._boxes[k])


def _up(face: Face) -> Array:
    """Unit vector from the mouth to the eyes, in pixels (y down)."""
    up = face.keypoints[:2].mean(axis=0) - face.keypoints[3]
    return np.asarray(up / max(float(np.hypot(*up)), 1e-9))


def _around(face: Face) -> View:
    """Where the face will be in a moment: three times its box, turned so that it's upright."""
    x, y, width, height = face.box
    side = round(3 * max(width, height))
    up = _up(face)
    turns = -round(np.arctan2(-up[0], -up[1]) / (np.pi / 2)) % 4
    return View(round(x + width / 2 - side / 2), round(y + height / 2 - side / 2), side, turns)


def _score(face: Face) -> float:
    return face.score


def _look_around(face: Face, frames: Sequence[Frame]) -> list[list[Face]]:
    return look([frame.rgb for frame in frames], [_around(face)] * len(frames))


def _prominence(face: Face, frame: Frame) -> float:
    """Size of a face, halved at the picture's edge."""
    x, y, width, height = face.box
    tall, wide = frame.rgb.shape[:2]
    off = max(abs((x + width / 2) / wide - 0.5), abs((y + height / 2) / tall - 0.5))
    return float(max(width, height) * (1 - off))
