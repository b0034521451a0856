"""A person in front of a camera, a photograph whose skin pulses; and the page's server."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

Frames = Iterator[tuple[float, NDArray[np.uint8]]]
BPM = 93.0


@pytest.fixture(scope="session")
def person() -> Callable[..., Frames]:
    """`person(seconds, fps=..., start_s=..., scale=..., amplitude=...)`: times and RGB frames.

    They are `(240, 320, 3)`, multiplied by `scale`. The pulse has `BPM`.
    """
    scene = data.astronaut()[:240, 70:390].astype(np.float32)
    rows, columns = slice(40, 220), slice(74, 234)
    ys, xs = np.mgrid[rows, columns]
    skin = np.exp(-((((xs - 154) / 48) ** 2 + ((ys - 135) / 60) ** 2) ** 3))[..., None]
    signature = np.array([0.35, 0.78, 0.50])

    def play(
        seconds: float,
        *,
        fps: float = 15.0,
        start_s: float = 0.0,
        scale: float = 1.0,
        amplitude: float = 0.01,
    ) -> Frames:
        rng = np.random.default_rng(0)
        for index in range(round(seconds * fps)):
            time_s = start_s + index / fps
            frame = (scale * scene).astype(np.uint8)
            wave = amplitude * np.sin(2 * np.pi * BPM / 60 * time_s)
            face = scale * scene[rows, columns] * (1 - wave * signature * skin)
            noisy = face + rng.standard_normal(face.shape)  # a sensor's, which dithers the steps
            frame[rows, columns] = np.clip(np.rint(noisy), 0, 255)
            yield time_s, frame

    return play


@pytest.fixture(scope="session")
def server():
    """The page's server, whose monitors take the whole frame for the face."""
    from rppg.estimators.find import load_estimator
    from rppg.live import Monitor
    from rppg.live.serving import bind_server
    from tests.rppg.live.sockets import running

    estimator = load_estimator()
    with running(bind_server(lambda: Monitor(estimator=estimator, full_frame=True))) as live:
        yield live
