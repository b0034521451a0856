"""The page in a real Chromium, with a rendered person in place of a camera.

`RPPG_LIVE_PICTURES=docs/assets` writes the pictures of the documentation.
"""

import csv
import logging
import os
import re
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from rppg.live import Monitor
from rppg.video import write_video
from tests.rppg.live import real_clip
from tests.rppg.live.chromium import opened, playwright, write_camera

log = logging.getLogger(__name__)

BPM = 93.0
FPS = 20  # less work than 30 for a computer that runs other tests, too
LOOP_S = 20  # 31 beats: the camera's loop has no seam
WIDTHS = {"desktop": (1280, 760), "phone": (390, 844)}
PICTURES = os.environ.get("RPPG_LIVE_PICTURES")


class CountingMonitor(Monitor):
    """A monitor that counts the time that its frames show, up to the first reliable reading."""

    seen_s = 0.0
    first_s = last_s = pulse_s = None

    def push(self, frame, time_s, *, is_key=False):
        """Count, and push."""
        reading = super().push(frame, time_s, is_key=is_key)
        if self.first_s is None:
            self.first_s = self.last_s = time_s
        if self.pulse_s is None:
            self.seen_s += min(time_s - self.last_s, 2 / FPS)
            self.last_s = time_s
            self.pulse_s = time_s if reading is not None and reading.reliable else None
        return reading


@pytest.fixture(scope="module")
def monitors():
    return []


@pytest.fixture(scope="module")
def url(monitors):
    from rppg.live.serving import bind_server  # where it is missing, this is no reason to skip
    from tests.rppg.live.sockets import running

    def new_monitor():
        monitors.append(CountingMonitor())
        return monitors[-1]

    with running(bind_server(new_monitor)) as live:
        yield live.url


@pytest.fixture(scope="module")
def camera(tmp_path_factory, person):
    frames = (frame for _, frame in person(LOOP_S, fps=FPS, amplitude=0.015))
    return write_camera(tmp_path_factory.mktemp("camera") / "person.y4m", frames, fps=FPS)


def watch(page, url, monitors, bpm):
    """Start the camera, and check the first rate and how long it took."""
    page.goto(url)
    started = time.monotonic()
    page.click("#start")
    playwright.expect(page.locator("#bpm")).not_to_have_text("--", timeout=240_000)
    wall_s = time.monotonic() - started
    monitor = monitors[-1]
    stream_s, frames_s = monitor.pulse_s - monitor.first_s, monitor.seen_s
    spent = (
        f"first rate after {wall_s:.1f} s, {stream_s:.1f} s of camera, {frames_s:.1f} s of frames"
    )
    log.info(spent)
    assert frames_s < 20, spent  # a computer that is too busy loses frames, and takes longer
    assert float(page.inner_text("#bpm")) == pytest.approx(bpm, abs=3)
    assert page.inner_text("#state") == "pulse"


def save_session(page, folder):
    """Save the rates, and return the rows of the file."""
    with page.expect_download() as first:
        page.click("#save")
    first.value.save_as(folder / first.value.suggested_filename)
    with (folder / "rates.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def take_pictures(page, folder):
    """Photograph the page in all sizes and schemes; none is wider than its screen."""
    for device, (width, height) in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=folder / f"live-{device}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        rate = page.locator("#rate").bounding_box()
        assert rate["y"] + rate["height"] < height  # on the first screen


@pytest.fixture(scope="module")
def short_video(tmp_path_factory, person):
    frames = np.stack([frame for _, frame in person(2, fps=FPS)])
    path = tmp_path_factory.mktemp("short") / "person.mp4"
    write_video(path, frames, fps=FPS)
    return path


def test_a_camera_shows_the_rate_and_nothing_leaves_the_page(
    url, camera, short_video, monitors, tmp_path
):
    with opened(camera, accept_downloads=True) as page:
        watch(page, url, monitors, BPM)
        if PICTURES is not None:
            time.sleep(30)  # for curves to look at
        take_pictures(page, Path(PICTURES or tmp_path))
        rows = save_session(page, tmp_path)
        assert rows[-1]["state"] == "pulse"
        assert float(rows[-1]["hr_bpm"]) == pytest.approx(BPM, abs=3)
        page.click("#stop")
        assert page.inner_text("#state") == "stopped" and page.inner_text("#bpm") == "--"
        assert page.locator("#start").is_enabled()
        page.set_input_files("#file", short_video)
        ended = playwright.expect(page.locator("#state"))
        ended.to_have_text("the video has ended", timeout=60_000)
        assert save_session(page, tmp_path)[-1]["state"] == "measuring"
        assert not page.complaints
        origin = url.partition("#")[0]
        assert all(sent.startswith((origin, "blob:" + origin)) for sent in page.requested)
        for wrong in ("#wrong", ""):  # a new page each, as a copied address opens
            page.goto("about:blank")
            page.goto(url.partition("#")[0] + wrong)
            advice = re.compile("open the address that the program printed")
            playwright.expect(page.locator("#connection")).to_have_text(advice, timeout=60_000)


@pytest.mark.slow
@real_clip.needs_clip
@real_clip.needs_rate
def test_a_real_clip_shows_its_rate(url, monitors, tmp_path):
    film = list(real_clip.there_and_back(real_clip.PATH, 40.0))
    fps = Fraction(1 / (film[1][0] - film[0][0])).limit_denominator(1001)
    camera = write_camera(tmp_path / "clip.y4m", (frame for _, frame in film), fps=fps)
    with opened(camera) as page:
        watch(page, url, monitors, float(real_clip.BPM))
        take_pictures(page, tmp_path)
