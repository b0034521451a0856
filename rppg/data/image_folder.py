"""A folder of images in which some may be strays, and of which the first may be missing."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rppg.data.far_off import far_off
from rppg.video.sources.image_sequence import ImageSequence

log = logging.getLogger(__name__)

MOST_NAMES = 5
"""Names of strays in a warning."""
APART_S = 0.5
"""Images and ground truth that differ by less in length may belong together as a whole."""


@dataclass(frozen=True)
class ImageFolder(ImageSequence):
    """An image sequence without the images whose names don't fit those of the others.

    Left out, with a warning that names them, are images named differently, such as a file
    manager's copy `Image1392643993642815000 (1).png` or a `thumb1.png`, and images whose time is
    far off. Either would begin or end the sequence days away from the rest.
    """

    @cached_property
    def names(self) -> list[str]:
        """Names of the images that fit, in the order of their numbers."""
        names = super().names
        patterns = Counter(map(_pattern, names))
        pattern, count = patterns.most_common(1)[0]
        kept = [name for name in names if _pattern(name) == pattern]
        if 2 * count <= len(names):
            kept = names
        off = far_off(self.clock(self.name, kept))
        kept = [name for name, is_off in zip(kept, off, strict=True) if not is_off]
        if len(kept) < len(names):
            strays = [Path(name).name for name in names if name not in set(kept)]
            shown = ", ".join(strays[:MOST_NAMES]) + (", ..." if len(strays) > MOST_NAMES else "")
            log.warning(
                "%s: %d images don't fit the names and times of the others and are left out: %s",
                self.name, len(strays), shown,
            )  # fmt: skip
        return kept

    @property
    def first_number(self) -> int:
        """The last number in the name of the first image."""
        return last_number(self.names[0])


def last_number(name: str) -> int:
    """Return the last number in an image's name."""
    return int(re.findall(r"\d+", Path(name).stem)[-1])


def missing_before(names: Sequence[str], count: float, fps: float) -> int:
    """Return how many images are missing before the first one.

    Numbers begin at 0 or 1, unless the images are as many as expected from the first number on.

    Args:
        names: names of the images, in order.
        count: number of frames that the ground truth covers.
        fps: frame rate in Hz.
    """
    first, last = last_number(names[0]), last_number(names[-1])
    if first <= 1:
        return 0
    begin = last + 1 - count  # if the last image is there
    tolerance = APART_S * fps
    if begin > tolerance and abs(begin - first) <= tolerance:
        return 0
    return first - (1 if np.isclose(begin, 1) else 0)


def _pattern(name: str) -> str:
    """Return a name with its numbers taken out: `image#.png`."""
    return re.sub(r"\d+", "#", Path(name).name.lower())
