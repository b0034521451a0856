"""Face crops of frames that arrive one by one: tracked, cut out, marked, in bounded memory."""

import logging
from collections import deque

import numpy as np
from numpy.typing import NDArray

from rppg.types import CROP_TO_FACE, Frame, VideoInfo
from rppg.video.person_changes import PersonChanges
from rppg.video.resize import Box, resample_box_uint8
from rppg.video.scene_cuts import SceneCuts, is_same_face, same_look_in
from rppg.video.threads import one_thread
from rppg.video.track import FaceTrack
from rppg.video.tracked_crop import Crop

log = logging.getLogger(__name__)

HOLE_S = 0.5
"""Frames on both sides of a longer gap between timestamps are invalid."""


class CropStream:
    """The crops of a video's face, as its frames are added.

    The face is tracked, anew after each hard cut to another face, and a crop follows some seconds
    after its frame, when its box is final (`rppg.video.track.LOOKAHEAD_S`). Frames after the first
    detection all have a crop, in their order; where the face is lost, it repeats the last one and
    is invalid. After a loss, crops follow some seconds later still, as they may be of another
    person (`rppg.video.person_changes`). A fixed crop follows after at most two comparisons with
    the picture before (`rppg.video.scene_cuts`).

    Args:
        name: of the video, for warnings.
        info: its size, in whose pixels boxes are; the frames may be reduced.
        size: side of the crops in pixels.
        box: the crop's fixed x, y, width, height; None to track the face.
        keep_early: whether frames before the first detection have invalid crops, which repeat the
            first one; else they have none.
    """

    def __init__(
        self,
        name: str,
        info: VideoInfo,
        size: int,
        *,
        box: Box | None = None,
        keep_early: bool = True,
    ) -> None:
        self._name = name
        self._info = info
        self._size = size
        self._box = box
        self._keep_early = keep_early
        self._cuts = SceneCuts(name, is_same_face if box is None else same_look_in(box))
        self._track = FaceTrack(name=name)
        self._scene = 0
        self._waiting: deque[Frame] = deque()  # for their boxes
        self._early: list[tuple[float, bool, bool, int]] = []  # before the first detection
        self._last: Crop | None = None
        self._repeats = _Repeats()
        self._holes = _Holes()
        self._people = PersonChanges(name)
        self._count = self._lost = 0

    def add(self, frame: Frame) -> list[Crop]:
        """Add the next frame; return the crops that are final now."""
        return self._mark([crop for item in self._cuts.add(frame) for crop in self._cut_out(*item)])

    def finish(self) -> list[Crop]:
        """Return the crops of the remaining frames, and warn of what was noticed in all."""
        crops = [crop for item in self._cuts.finish() for crop in self._cut_out(*item)]
        marked = self._mark(crops + self._finish_scene()) + self._by_person(self._holes.finish())
        marked += self._people.finish()
        self._holes.warn(self._name)
        if self._lost:
            share = 100 * self._lost / self._count
            log.warning("%s: the face is lost in %.0f %% of the frames", self._name, share)
        return marked

    @property
    def waiting_s(self) -> float:
        """Length of the frames whose boxes aren't final, in seconds."""
        waiting = self._waiting
        return waiting[-1].time_s - waiting[0].time_s if waiting else 0.0

    @property
    def newest_face(self) -> Box | None:
        """The tracked face's newest box, forehead to chin, in pixels of the video.

        None if it is lost, or was not found yet.
        """
        face = self._track.newest_box
        if face is None or not self._waiting:
            return None
        scale_x, scale_y = self._scale(self._waiting[-1].rgb)
        x, y, width, height = face
        return x * scale_x, y * scale_y, width * scale_x, height * scale_y

    def _cut_out(self, scene: int, frame: Frame) -> list[Crop]:
        if self._box is not None:
            rgb = frame.rgb
            pixels = _resample(rgb, self._box, self._size)
            flags = frame.is_key, self._repeats(rgb), scene
            return [Crop(frame.time_s, pixels, self._box, True, *flags)]
        before: list[Crop] = []
        if scene != self._scene:
            before = self._finish_scene()
            self._scene = scene
            # After a cut the face is there at once, or comes later.
            self._track = FaceTrack(name=self._name, lead_s=0.0)
        self._track.add_frame(frame)
        self._waiting.append(frame)
        return before + self._final_crops()

    def _finish_scene(self) -> list[Crop]:
        self._track.finish()
        return self._final_crops()

    def _final_crops(self) -> list[Crop]:
        crops: list[Crop] = []
        while self._waiting and self._track.is_final(self._waiting[0].time_s):
            frame = self._waiting.popleft()
            crops += self._tracked(frame)
            self._track.forget_before(frame.time_s)
        return crops

    def _tracked(self, frame: Frame) -> list[Crop]:
        """Return the crop of a frame whose box is final, after those that waited for the first."""
        rgb = frame.rgb
        flags = frame.is_key, self._repeats(rgb), self._scene
        tracked = self._track.box_at(frame.time_s)
        if tracked is None:
            if self._last is not None:
                last = self._last
                return [Crop(frame.time_s, last.pixels, last.box, False, *flags)]
            if self._keep_early:
                self._early.append((frame.time_s, *flags))
            return []
        face, is_valid = tracked
        x, y, width, height = box_around(face)
        scale_x, scale_y = self._scale(rgb)
        pixels = _resample(rgb, (x, y, width, height), self._size)
        box = (x * scale_x, y * scale_y, width * scale_x, height * scale_y)
        self._last = last = Crop(frame.time_s, pixels, box, is_valid, *flags)
        early, self._early = self._early, []
        return [
            Crop(time_s, pixels, box, False, is_key, repeats, scene)
            for time_s, is_key, repeats, scene in early
        ] + [last]

    def _scale(self, rgb: NDArray[np.uint8]) -> tuple[float, float]:
        """Return the factors from pixels of a frame to those of the video."""
        return self._info.width / rgb.shape[1], self._info.height / rgb.shape[0]

    def _mark(self, crops: list[Crop]) -> list[Crop]:
        """Count the crops without a face, mark those beside a hole, and those of other people."""
        self._count += len(crops)
        self._lost += sum(not crop.is_valid for crop in crops)
        return self._by_person([marked for crop in crops for marked in self._holes.add(crop)])

    def _by_person(self, crops: list[Crop]) -> list[Crop]:
        if self._box is not None:  # a fixed crop is never lost
            return crops
        return [passed for crop in crops for passed in self._people.add(crop)]


class _Repeats:
    """The frames that repeat the one before, pixel by pixel. Remembers one frame."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def __call__(self, rgb: NDArray[np.uint8]) -> bool:
        """Return whether a frame equals that of the last call."""
        last, self._last = self._last, rgb
        if last is None or last.shape != rgb.shape:
            return False
        row = len(rgb) // 2  # nearly always enough to see a difference
        return np.array_equal(last[row], rgb[row]) and np.array_equal(last, rgb)


class _Holes:
    """The gaps between timestamps; the crops on both sides of one are invalid."""

    def __init__(self) -> None:
        self._last: Crop | None = None
        self._count, self._total_s, self._longest = 0, 0.0, (0.0, 0.0)

    def add(self, crop: Crop) -> list[Crop]:
        """Add the next crop; return the one before it, which is known now."""
        last, self._last = self._last, crop
        if last is None:
            return []
        hole_s = crop.time_s - last.time_s
        if hole_s > HOLE_S:
            self._count, self._total_s = self._count + 1, self._total_s + hole_s
            if hole_s > self._longest[1] - self._longest[0]:
                self._longest = (last.time_s, crop.time_s)
            last, self._last = last._replace(is_valid=False), crop._replace(is_valid=False)
        return [last]

    def finish(self) -> list[Crop]:
        """Return the last crop, if there is one."""
        last, self._last = self._last, None
        return [] if last is None else [last]

    def warn(self, name: str) -> None:
        """Warn of the gaps, if there were any."""
        if self._count:
            more = f", the longest of {self._count} gaps, {self._total_s:.1f} s together"
            more = more if self._count > 1 else ""
            log.warning("%s: no frames from %.1f s to %.1f s%s", name, *self._longest, more)


def box_around(face: Box) -> Box:
    """Return the crop around a face box: the same centre, `CROP_TO_FACE` times the longer side."""
    x, y, width, height = face
    side = CROP_TO_FACE * max(width, height)
    return x + (width - side) / 2, y + (height - side) / 2, side, side


def _resample(rgb: NDArray[np.uint8], crop: Box, size: int) -> NDArray[np.uint8]:
    with one_thread():
        return resample_box_uint8(rgb, crop, size)
