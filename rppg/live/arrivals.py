"""Whether the frames of the last seconds arrive as they should: fast enough, and all of them."""

from collections import deque
from itertools import pairwise

import numpy as np

from rppg.live.crop_buffer import BUFFER_S
from rppg.live.reasons import FEW_FRAMES, LOST_FRAMES
from rppg.signals.frame_rate import LEAST_FPS, frame_rate
from rppg.video.crop_stream import HOLE_S

JUDGED_S = 10.0
"""Time after which arrivals are judged: a camera may stutter as it starts."""
MOST_LOST = 0.2
"""Share of the time that may be in gaps of more than `HOLE_S`."""
MOST_GAPS = 2
"""Such gaps that are no reason, however long: a page in the background, a computer that slept."""


class Arrivals:
    """The times of the frames of the last `BUFFER_S`, with a face or without."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque()

    def add(self, time_s: float) -> None:
        """Add the time of a frame, in seconds; later than those before."""
        self._times_s.append(time_s)
        while self._times_s[0] < time_s - BUFFER_S:
            self._times_s.popleft()

    def clear(self) -> None:
        """Forget all times."""
        self._times_s.clear()

    def find_reason(self) -> str | None:
        """Return why no pulse can be measured, however long it is tried; None if it can be."""
        times_s = self._times_s
        if not times_s or times_s[-1] - times_s[0] < JUDGED_S:
            return None
        if frame_rate(np.array(times_s)) < LEAST_FPS:
            return FEW_FRAMES
        gaps_s = [after - before for before, after in pairwise(times_s) if after - before > HOLE_S]
        lost = sum(gaps_s) > MOST_LOST * (times_s[-1] - times_s[0])
        return LOST_FRAMES if lost and len(gaps_s) > MOST_GAPS else None
