"""The track of one face through a video: detected a few times a second, and smoothed without delay.

A detector's box jitters from frame to frame, and a jittering crop modulates the skin that it shows.
So the box at each time is a line fitted to the detections around it, with Gaussian weights in time.
This has no delay and adds no power above about 0.6 Hz. It follows head motion slower than that.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rppg.types import Frame
from rppg.video.blazeface import Face, SearchSquare, detect, detect_in, overlap, whole_image
from rppg.video.resize import Box

log = logging.getLogger(__name__)

EVERY_S = 0.19
"""Time between detections: every 6th frame at 30 Hz."""
BATCH = 4
"""Frames in which faces are detected together, 1.5 times as fast as one by one."""
SMOOTH_S = 0.6
"""Standard deviation of the Gaussian weights: 0.6 Hz is reduced to 8 %, 1 Hz to 0.1 %."""
LOST_S = 1.0
"""Time without a detection after which the face counts as lost."""
SUPPORT_S = 3 * SMOOTH_S
LOOKAHEAD_S = SUPPORT_S + (2 + BATCH) * EVERY_S
"""Frames wait about this long until their box is final."""
SPIKE = 0.25
"""Detections further than this from their neighbours' median, in face sides, are replaced by it."""
FACE_SIDE, FACE_UP = 1.2, 0.12
"""Scale and shift from the detector's box, brows to chin, to the face box, forehead to chin."""

Array = NDArray[np.float64]


def face_box(face: Face) -> Box:
    """Return the square from forehead to chin, x, y, width, height, for any orientation."""
    x, y, width, height = face.box
    side = float(np.sqrt(width * height))
    up = _up(face)
    centre = np.array([x + width / 2, y + height / 2]) + FACE_UP * side * up
    side *= FACE_SIDE
    return float(centre[0] - side / 2), float(centre[1] - side / 2), side, side


class FaceTrack:
    """The track of one face. Add frames one by one; their boxes are final some seconds later.

    The track starts with the largest and most central face and continues with the face that
    overlaps it, so that it doesn't switch to a second person.

    Args:
        every_s: time between detections.
        name: of the video, for warnings.
        lead_s: time before the first detection in which the face counts as visible.
    """

    def __init__(
        self, every_s: float = EVERY_S, *, name: str = "video", lead_s: float = LOST_S
    ) -> None:
        self._every_s = every_s
        self._name = name
        self._lead_s = lead_s
        self._batch: list[Frame] = []  # frames that wait for detection
        self._batched_s = -np.inf  # time of the last frame added to the batch
        self._detected_until_s = -np.inf  # time up to which detection is complete
        self._searched_s = -np.inf  # time of the last search of a whole frame
        self._last_face: Face | None = None
        self._last_face_s = -np.inf
        self._times: list[float] = []
        self._boxes: list[Array] = []  # centre x, centre y, side
        self._despiked: list[Array] = []  # the same without spikes
        self._warned = False  # about several faces

    @property
    def detections(self) -> tuple[Array, Array]:
        """Times `(N,)` of the face's detections, and its boxes `(N, 4)` before smoothing.

        Those that were forgotten are left out. A box is x, y, width, height, forehead to chin.
        """
        boxes = np.array(self._boxes).reshape(-1, 3)
        sides = boxes[:, [2, 2]]
        return np.array(self._times), np.hstack([boxes[:, :2] - sides / 2, sides])

    def add_frame(self, frame: Frame) -> None:
        """Add the next frame. The face is detected in some of them only."""
        if frame.time_s - self._batched_s >= self._every_s:
            self._batched_s = frame.time_s
            self._batch.append(frame)
            if len(self._batch) == BATCH:
                self._detect_batch()

    def finish(self) -> None:
        """Detect the face in the remaining frames. All boxes are final then."""
        self._detect_batch()
        self._detected_until_s = np.inf

    def is_final(self, time_s: float) -> bool:
        """Return whether the box at this time won't change any more."""
        return self._detected_until_s >= time_s + SUPPORT_S + 2 * EVERY_S

    @property
    def newest_box(self) -> Box | None:
        """The face box where detection has got to; it may still change. None without a face."""
        found = self.box_at(self._detected_until_s)
        return found[0] if found is not None and found[1] else None

    def forget_before(self, time_s: float) -> None:
        """Forget the detections that no box from this time on depends on."""
        before = bisect_right(self._times, time_s) - 1
        if before < 0:
            return
        # A fit reaches one detection beyond its support, which is replaced by its neighbours'
        # median if it is a spike.
        first = bisect_left(self._times, self._times[before] - SUPPORT_S - 2 * LOST_S)
        del self._times[:first], self._boxes[:first], self._despiked[:first]

    def box_at(self, time_s: float) -> tuple[Box, bool] | None:
        """Return the smoothed face box (x, y, side, side) and whether the face was visible.

        While the face is lost, this is its last box. None earlier than `lead_s` before the first
        detection.
        """
        after = bisect_right(self._times, time_s)
        if after == 0:
            if not self._times or self._times[0] - time_s > self._lead_s:
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
        """Fit a weighted line to the detections around `index` that no gap separates from it."""
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
        boxes = np.array(self._despiked[low : high + 1])
        s0, s1, s2 = weights.sum(), weights @ u, weights @ u**2
        # The ridge avoids a steep line through few detections that are close together in time.
        weights = weights * (s2 - s1 * u + 0.01 * s0) / (s0 * (s2 + 0.01 * s0) - s1**2)
        x, y, side = (float(v) for v in weights @ boxes)
        return x - side / 2, y - side / 2, side, side

    def _detect_batch(self) -> None:
        frames, self._batch = self._batch, []
        if not frames:
            return
        self._detected_until_s = frames[-1].time_s
        while self._last_face is None:
            self._last_face = self._search(frames[0])
            if self._last_face is None:
                frames = frames[1:]
                if not frames:
                    return
        for frame, faces in zip(frames, _detect_near(self._last_face, frames), strict=True):
            face = self._same_face(faces)
            if face is None and (rough := self._search(frame)) is not None:
                # The box depends on the searched square by some percent, so detect it again in
                # the square around the face, as everywhere else.
                face = max(_detect_near(rough, [frame])[0], key=_score, default=rough)
            if face is not None:
                self._add(frame.time_s, face)

    def _same_face(self, faces: Sequence[Face]) -> Face | None:
        """Return the face that overlaps the last detection most, if any does."""
        if self._last_face is None:
            return None
        box = self._last_face.box
        best = max(faces, key=lambda face: overlap(face.box, box), default=None)
        return best if best is not None and overlap(best.box, box) > 0 else None

    def _search(self, frame: Frame) -> Face | None:
        """Search the whole frame. While the face is lost, only once in `LOST_S` thoroughly."""
        lost = frame.time_s - self._last_face_s > LOST_S
        if lost and frame.time_s - self._searched_s < LOST_S:
            (faces,) = detect_in([frame.rgb], [whole_image(frame.rgb)])
        else:
            self._searched_s = frame.time_s
            (faces,) = detect([frame.rgb])
        if len(faces) > 1 and not self._warned:
            self._warned = True
            log.warning(
                "%s: %d faces at %.1f s; the largest and most central is followed",
                self._name,
                len(faces),
                frame.time_s,
            )
        if not lost:  # a face that doesn't overlap is another person's
            return self._same_face(faces)
        return self._same_face(faces) or max(
            faces, key=lambda f: _prominence(f, frame), default=None
        )

    def _add(self, time_s: float, face: Face) -> None:
        x, y, side, _ = face_box(face)
        box = np.array([x + side / 2, y + side / 2, side])
        self._last_face, self._last_face_s = face, time_s
        self._times.append(time_s)
        self._boxes.append(box)
        self._despiked.append(box)
        for index in range(max(0, len(self._boxes) - 3), len(self._boxes)):
            self._despiked[index] = self._without_spike(index)

    def _without_spike(self, index: int) -> Array:
        """Return a detection, or the median of its neighbours if it is far from that."""
        around = slice(max(0, index - 2), index + 3)
        neighbours = [
            box
            for time_s, box in zip(self._times[around], self._boxes[around], strict=True)
            if abs(time_s - self._times[index]) <= LOST_S
        ]
        median = np.median(neighbours, axis=0)
        is_spike = np.abs(self._boxes[index] - median).max() > SPIKE * median[2]
        return np.asarray(median if is_spike else self._boxes[index])


def _up(face: Face) -> Array:
    """Return the unit vector from the mouth to the eyes, in pixels (y down)."""
    up = face.keypoints[:2].mean(axis=0) - face.keypoints[3]
    return np.asarray(up / max(float(np.hypot(*up)), 1e-9))


def _square_around(face: Face) -> SearchSquare:
    """Return the square to search next: three times the face's box, rotated to be upright."""
    x, y, width, height = face.box
    side = round(3 * max(width, height))
    up = _up(face)
    turns = -round(np.arctan2(-up[0], -up[1]) / (np.pi / 2)) % 4
    return SearchSquare(
        round(x + width / 2 - side / 2), round(y + height / 2 - side / 2), side, turns
    )


def _score(face: Face) -> float:
    return face.score


def _detect_near(face: Face, frames: Sequence[Frame]) -> list[list[Face]]:
    return detect_in([frame.rgb for frame in frames], [_square_around(face)] * len(frames))


def _prominence(face: Face, frame: Frame) -> float:
    """Return the size of a face, reduced to half at the frame's edge."""
    x, y, width, height = face.box
    frame_height, frame_width = frame.rgb.shape[:2]
    offset_x = abs((x + width / 2) / frame_width - 0.5)
    offset_y = abs((y + height / 2) / frame_height - 0.5)
    return float(max(width, height) * (1 - max(offset_x, offset_y)))
