"""The page in a real Chromium, with a rendered person in place of a camera."""

import csv
import re
import shutil
import threading
import time

import av
import pytest

from rppg.live import Monitor

pytest.importorskip("uvicorn")
playwright = pytest.importorskip("playwright.sync_api")

from rppg.live.serving import bind_server  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BPM = 93.0
LOOP_S = 40  # 62 beats: the camera's loop has no seam

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def camera(tmp_path_factory, person):
    """The person as raw video: lossy compression would weaken the colours."""
    path = tmp_path_factory.mktemp("camera") / "person.y4m"
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _, frame in person(LOOP_S, fps=30, amplitude=0.015):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def url():
    live = bind_server(Monitor)
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    yield live.url
    live.server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def page(camera, request):
    """A page of Chromium, which has the person for its camera, and what it complained about."""
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}",
            ],
        )
        page = browser.new_context(permissions=["camera"], accept_downloads=True).new_page()
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.requested = []
        page.on("request", lambda sent: page.requested.append(sent.url))
        yield page
        browser.close()


def test_a_camera_shows_the_rate_and_nothing_leaves_the_page(page, url, tmp_path):
    page.goto(url)
    page.click("#start")
    playwright.expect(page.locator("#bpm")).not_to_have_text("--", timeout=120_000)
    assert float(page.inner_text("#bpm")) == pytest.approx(BPM, abs=3)
    assert page.inner_text("#state") == "pulse"
    time.sleep(2)
    with page.expect_download() as first:
        page.click("#save")
    first.value.save_as(tmp_path / first.value.suggested_filename)
    with (tmp_path / "rates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["state"] == "pulse"
    assert float(rows[-1]["hr_bpm"]) == pytest.approx(BPM, abs=3)
    page.click("#stop")
    assert not page.complaints
    origin = url.partition("#")[0]
    assert all(sent.startswith((origin, "blob:" + origin)) for sent in page.requested)


def test_another_token_says_what_to_do(page, url):
    page.goto(url.partition("#")[0] + "#wrong")
    advice = re.compile("open the address that the program printed")
    playwright.expect(page.locator("#connection")).to_have_text(advice, timeout=60_000)
