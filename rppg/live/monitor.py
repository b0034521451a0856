"""The pulse from frames as they come: `Monitor.push(frame, time_s)`."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.estimators.find import choose_estimator, with_reference
from rppg.estimators.last_window import LastWindow, measure_last_window
from rppg.estimators.streaming import SPLIT_S
from rppg.live.arrivals import Arrivals
from rppg.live.crop_buffer import CropBuffer
from rppg.live.reading import Reading, State
from rppg.live.reasons import FEW_FRAMES, UNEXPLAINED, find_reason
from rppg.signals import RELIABLE
from rppg.signals.face_time import LEAST_FACE_S, RELIABLE_FACE_S, SLACK_S, face_seconds
from rppg.signals.frame_rate import LEAST_FPS, frame_rate
from rppg.signals.reasons import NO_RATE
from rppg.types import FaceCrops, Frame, VideoInfo
from rppg.video.crop import CROP_SIZE, LEAST_S, fixed_crop, reduction
from rppg.video.crop_stream import CropStream
from rppg.video.resize import Box, reduce_image
from rppg.video.sources.pixels import as_rgb, check_frame
from rppg.video.track import LOOKAHEAD_S

MOST_FPS = 60.0
"""Frames that come faster are left out: they would need memory, and tell nothing new of a pulse."""
WINDOW_S = 10.0
NAME = "frames"

Image = NDArray[np.uint8]


class Monitor:
    """The pulse of the person in front of a camera, while frames are pushed.

    Face, crops, network and quality are those of `rppg.predict.predict`, for the last 30 s; a
    reading has the rate of the last 10 s that are final, about 3 s ago. Memory is bounded, however
    long it runs. Frames may come at any rate, and late: those whose time isn't after that of the
    frame before are left out, as are those beyond `MOST_FPS`. After a gap of more than 5 s between
    frames, a clock that jumps back by more than that, a cut to another person, or a change of the
    frames' size, the measurement begins anew. With several faces, the largest and most central is
    followed.

    A monitor is for one thread at a time. Several monitors don't disturb each other.

    Args:
        method: as for `predict`; by default the network that ships with the package.
        estimator: as for `predict`, in place of a method.
        box: x, y, width, height of the face in pixels; no face is then detected.
        full_frame: the face fills the whole frame; no face is then detected.
        every_s: time between two readings in seconds.

    Raises:
        InputError: no such method, both a box and the full frame, or no time between readings.

    Example:
        >>> monitor = Monitor()  # doctest: +SKIP
        >>> reading = monitor.push(frame, time_s)  # doctest: +SKIP
        >>> if reading is not None and reading.reliable:  # doctest: +SKIP
        ...     print(reading.hr_bpm)
        72.4
    """

    def __init__(
        self,
        *,
        method: str | None = None,
        estimator: Estimator | None = None,
        box: Box | None = None,
        full_frame: bool = False,
        every_s: float = 1.0,
    ) -> None:
        if box is not None and full_frame:
            raise InputError("both a box and the full frame are given; choose one")
        chosen = choose_estimator(method, estimator)
        self._estimator, self._reference = with_reference(chosen, full_frame=full_frame)
        self._box = box
        self._full_frame = full_frame
        self.every_s = every_s
        self._buffer = CropBuffer()
        self._arrivals = Arrivals()
        self.reset()

    @property
    def every_s(self) -> float:
        """Time between two readings in seconds; it may be changed at any time."""
        return self._every_s

    @every_s.setter
    def every_s(self, every_s: float) -> None:
        if not (math.isfinite(every_s) and every_s > 0):
            raise InputError(f"a reading every {every_s} s; give a positive number of seconds")
        self._every_s = every_s

    def reset(self) -> None:
        """Forget all frames, as for another person."""
        self._buffer.clear()
        self._arrivals.clear()
        self._stream: CropStream | None = None
        self._size = (0, 0)
        self._reduce = 1
        self._origin_s = self._last_s = self._next_s = -math.inf

    def push(self, frame: Image, time_s: float, *, is_key: bool = False) -> Reading | None:
        """Add a frame; return a reading about once a second.

        Args:
            frame: `(H, W, 3)` uint8 RGB, or grey `(H, W)`; it is copied. OpenCV's frames are BGR:
                turn them with `cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)`.
            time_s: its time in seconds, on any clock that goes steadily, such as
                `time.monotonic()`; best the camera's own.
            is_key: whether a codec stored the frame whole.

        Raises:
            InputError: no frame, or a time that is not a number.
        """
        time_s = _check_time(time_s)
        check_frame(frame, NAME)
        if time_s < self._last_s - SPLIT_S:  # another clock
            self.reset()
        if time_s < self._last_s + 0.75 / MOST_FPS:
            return None
        if self._last_s == -math.inf:
            self._origin_s, self._next_s = time_s, time_s + self._every_s
        self._last_s = time_s
        self._arrivals.add(time_s)
        stream = self._stream_for(frame.shape[1], frame.shape[0])
        rgb = reduce_image(as_rgb(frame), self._reduce)
        rgb = rgb.copy() if np.shares_memory(rgb, frame) else rgb
        self._buffer.add(stream.add(Frame(time_s - self._origin_s, rgb, is_key)))
        if time_s < self._next_s - 1e-6:
            return None
        late_s = max(0.0, time_s - self._next_s) % self._every_s
        self._next_s = time_s + self._every_s - late_s
        return self._read(stream)

    def _stream_for(self, width: int, height: int) -> CropStream:
        """Return the stream of crops for frames of a size; a new one if the size has changed."""
        if self._stream is None or self._size != (width, height):
            info = VideoInfo(width, height, MOST_FPS, 0.0, 0, rotation=0)
            crop = fixed_crop(NAME, info, self._box, full_frame=self._full_frame)
            self._stream = CropStream(NAME, info, CROP_SIZE, box=crop, keep_early=False)
            self._size = (width, height)
            self._reduce = reduction(info) if crop is None else 1
            self._buffer.clear()
        return self._stream

    def _read(self, stream: CropStream) -> Reading:
        box = self._face_box(stream)
        if len(self._buffer) < 2:
            if box is None:
                return Reading(self._last_s, State.LOOKING)
            missing_s = RELIABLE_FACE_S + LOOKAHEAD_S - stream.waiting_s
            state, reason, missing_s = self._judge_waiting(missing_s)
            return Reading(self._last_s, state, reason=reason, missing_s=missing_s, box=box)
        window = self._buffer.newest(WINDOW_S)
        fps = frame_rate(window.times_s)
        last = self._measure() if fps >= LEAST_FPS else None
        state, reason, missing_s = self._judge(last, window, box, stream)
        reading = Reading(self._last_s, state, reason=reason, missing_s=missing_s, box=box, fps=fps)
        if last is None:
            return reading
        start_s = self._origin_s + last.start_s
        return replace(
            reading,
            hr_bpm=last.hr_bpm,
            quality=last.quality,
            start_s=start_s,
            end_s=self._origin_s + last.end_s,
            wave_s=start_s + np.arange(len(last.wave)) / last.fps,
            wave=last.wave,
        )

    def _measure(self) -> LastWindow | None:
        """Measure the last window; None if there is less than `LEAST_S`.

        So that the window ends with the crops, they begin a whole number of seconds before.
        """
        length_s = self._buffer.length_s + 1e-6
        if length_s < LEAST_S:
            return None
        crops = self._buffer.newest(math.floor(length_s) if length_s >= WINDOW_S else length_s)
        return measure_last_window(crops, self._estimator, self._reference)

    def _judge(
        self, last: LastWindow | None, window: FaceCrops, box: Box | None, stream: CropStream
    ) -> tuple[State, str | None, float]:
        """Return the state, the reason for no reliable pulse, and the seconds that are missing."""
        if box is None:
            return State.LOOKING, None, 0.0
        if frame_rate(window.times_s) < LEAST_FPS:
            return State.UNRELIABLE, FEW_FRAMES, 0.0
        missing_s = max(
            RELIABLE_FACE_S - self._buffer.in_view_s,
            LEAST_FACE_S - face_seconds(window.times_s, window.valid),
        )
        if last is None or missing_s > SLACK_S:
            still_s = 0.0 if self._is_fixed else max(0.0, LOOKAHEAD_S - stream.waiting_s)
            return self._judge_waiting(max(missing_s, 0.0) + still_s)
        if last.quality >= RELIABLE:
            return State.PULSE, None, 0.0
        reason = find_reason(last.reason or NO_RATE, window, full_frame=self._full_frame)
        if reason in UNEXPLAINED:
            reason = self._arrivals.find_reason() or reason
        return State.UNRELIABLE, reason, 0.0

    def _judge_waiting(self, missing_s: float) -> tuple[State, str | None, float]:
        """Return what `_judge` does while seconds of the face are missing.

        Where frames keep being lost, waiting doesn't help.
        """
        reason = self._arrivals.find_reason()
        if reason is None:
            return State.MEASURING, None, missing_s
        return State.UNRELIABLE, reason, 0.0

    @property
    def _is_fixed(self) -> bool:
        """Whether no face is detected."""
        return self._full_frame or self._box is not None

    def _face_box(self, stream: CropStream) -> Box | None:
        if self._full_frame:
            return 0.0, 0.0, float(self._size[0]), float(self._size[1])
        return stream.newest_face if self._box is None else self._box


def _check_time(time_s: Any) -> float:
    try:
        seconds = float(time_s)
    except (TypeError, ValueError) as error:
        raise InputError(f"{NAME}: the time {time_s!r} is not a number; give seconds") from error
    if not math.isfinite(seconds):
        raise InputError(f"{NAME}: the time is {seconds}; give seconds")
    return seconds
