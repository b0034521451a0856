"""One crop of a frame, as it passes from stage to stage."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rppg.video.resize import Box


class Crop(NamedTuple):
    """A crop of a frame; `box` is that of the crop in pixels of the file.

    `scene` is the number of cuts (`rppg.video.scene_cuts`) and of other people
    (`rppg.video.person_changes`) before it.
    """

    time_s: float
    pixels: NDArray[np.uint8]
    box: Box
    is_valid: bool
    is_key: bool
    repeats: bool
    scene: int
