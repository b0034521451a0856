"""A video of a real face, where the environment names one.

    RPPG_LIVE_CLIP=video.mp4 RPPG_LIVE_BPM=72 python -m pytest -m "" -k real_clip tests/rppg/live

`RPPG_LIVE_BPM` is its true heart rate. It is shown forwards and backwards, so that it may be short,
and be repeated without a seam.
"""

import math
import os
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from rppg.video import read_frames
from rppg.video.resize import reduce_image

PATH = os.environ.get("RPPG_LIVE_CLIP")
BPM = os.environ.get("RPPG_LIVE_BPM")
WIDEST = 640

needs_clip = pytest.mark.skipif(PATH is None, reason="RPPG_LIVE_CLIP names no video of a face")
needs_rate = pytest.mark.skipif(BPM is None, reason="RPPG_LIVE_BPM has no true heart rate for it")


def there_and_back(path: str, seconds: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield times and frames of a video, then of its reverse, and so on."""
    frames = list(read_frames(path))
    factor = math.ceil(frames[0].rgb.shape[1] / WIDEST)
    shown = [reduce_image(frame.rgb, factor) for frame in frames]
    step_s = (frames[-1].time_s - frames[0].time_s) / (len(frames) - 1)
    for index in range(round(seconds / step_s)):
        turn, place = divmod(index, len(shown) - 1)
        yield index * step_s, shown[-1 - place if turn % 2 else place]
