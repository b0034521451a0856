"""A portrait, still and in motion."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from rppg.video.resize import resample_box
from rppg.video.threads import one_thread

Picture = NDArray[np.uint8]
Motion = Callable[[float], tuple[float, float]]


@pytest.fixture(scope="session")
def portrait() -> Picture:
    """`(320, 320, 3)`: one face of some 95 pixels, at (224, 128) in the original."""
    return np.ascontiguousarray(data.astronaut()[:320, 70:390])


@pytest.fixture(scope="session")
def film() -> Callable[..., Iterator[Picture]]:
    """`film(image, seconds, motion=..., fps=..., size=..., noise=...)`: a moving window on it."""

    def play(
        image: Picture,
        seconds: float,
        *,
        motion: Motion = lambda t: (40.0, 20.0),
        fps: float = 15.0,
        size: int = 240,
        noise: float = 0.0,
    ) -> Iterator[Picture]:
        rng = np.random.default_rng(0)
        for n in range(round(seconds * fps)):
            x, y = motion(n / fps)
            with one_thread():
                seen = resample_box(image, (x, y, size, size), size)
            seen = seen + noise * rng.standard_normal(seen.shape)
            yield np.clip(np.rint(seen), 0, 255).astype(np.uint8)

    return play
