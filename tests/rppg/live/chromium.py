"""Debian's Chromium, with a video in place of its camera."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:  # where it is, what else is missing is an error: the test must not be skipped
    pytest.skip("no Chromium: apt-get install chromium", allow_module_level=True)

from playwright import sync_api as playwright  # noqa: E402

OPTIONS = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
ROOT_OPTIONS = ("--no-sandbox",) if os.geteuid() == 0 else ()


def write_camera(path: Path, frames: Iterable[NDArray[np.uint8]], *, fps: Fraction | int) -> Path:
    """Write RGB frames as raw video: compression would weaken the colours."""
    frames = iter(frames)
    first = next(frames)
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("rawvideo", rate=fps)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for rgb in chain([first], frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@contextmanager
def opened(camera: Path, **options) -> Iterator:
    """Yield a page whose camera shows a video; `complaints` and `requested` are what happened."""
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=CHROMIUM,
            args=[*OPTIONS, *ROOT_OPTIONS, f"--use-file-for-fake-video-capture={camera}"],
        )
        page = browser.new_context(permissions=["camera"], **options).new_page()
        page.complaints, page.requested = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda sent: page.requested.append(sent.url))
        yield page
        browser.close()
