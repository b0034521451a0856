"""`rppg live`."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rppg.commands.box import Box, parse_box
from rppg.commands.options import Checkpoint, FullFrame, Method
from rppg.commands.readings import show_readings
from rppg.commands.terminal import print_json, print_line
from rppg.errors import InputError

if TYPE_CHECKING:
    from rppg.live import Monitor, Reading
    from rppg.types import Frame

PORT = 8740
AHEAD = 60
"""Frames that are read while a reading is computed."""


def live(
    camera: Annotated[
        str | None,
        typer.Option(
            help="The camera, as FFmpeg names it: /dev/video0; 0 or video=NAME elsewhere."
        ),
    ] = None,
    video: Annotated[Path | None, typer.Option(help="A video file in place of a camera.")] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Read the file no faster than it plays.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document per line, nothing else.")
    ] = False,
    wave: Annotated[bool, typer.Option("--wave", help="Include the wave in the JSON.")] = False,
    method: Method = "fcus",
    checkpoint: Checkpoint = None,
    box: Box = None,
    full_frame: FullFrame = False,
    duration: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many seconds; by default never.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any.")
    ] = PORT,
    host: Annotated[
        str,
        typer.Option(help="Address of the page; others than this machine's need a certificate."),
    ] = "127.0.0.1",
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate of TLS, a PEM file, for --host.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, a PEM file.")] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    input_format: Annotated[
        str | None,
        typer.Option(
            help="FFmpeg's input of the camera; by default v4l2, avfoundation, dshow by platform."
        ),
    ] = None,
) -> None:
    """Measure the pulse as it happens: on a page for the browser's camera, or in the terminal
    with --camera or --video. A heart rate every second, and what to do if it is not reliable.
    """
    if camera is not None and video is not None:
        raise InputError("both a --camera and a --video; give one of them, or none for the page")
    if realtime and video is None:
        raise InputError("--realtime is for --video: a camera is never faster")
    from rppg.live import Monitor
    from rppg.predict import find_estimator

    estimator, face = find_estimator(method, checkpoint), parse_box(box)

    def new_monitor() -> Monitor:
        return Monitor(estimator=estimator, box=face, full_frame=full_frame)

    if camera is None and video is None:
        _serve_page(new_monitor, host, port, certificate, key, open_browser=browser)
        return
    monitor = new_monitor()
    frames = _frames(camera, input_format, video, duration, realtime=realtime)
    readings = _readings(monitor, frames)
    if as_json:
        for reading in readings:
            print_json(reading.to_json(wave=wave))
            sys.stdout.flush()  # each as it comes, also through a pipe
    else:
        show_readings(readings)


def _serve_page(
    new_monitor: "Callable[[], Monitor]",
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    *,
    open_browser: bool,
) -> None:
    """Serve the page until the process is interrupted."""
    try:
        from rppg.live.serving import bind_server
    except ModuleNotFoundError as error:
        raise InputError(
            f"the page needs {error.name}; install it with pip install 'gradreg[rppg,live]', or "
            "give --camera or --video for the terminal"
        ) from error
    live_server = bind_server(new_monitor, host=host, port=port, certificate=certificate, key=key)
    print_line(f"{live_server.url}\nCtrl+C ends it; the address is for you alone.")
    sys.stdout.flush()
    if open_browser:
        import webbrowser

        webbrowser.open(live_server.url)
    live_server.run()


def _frames(
    camera: str | None,
    input_format: str | None,
    video: Path | None,
    duration_s: float | None,
    *,
    realtime: bool,
) -> "Iterator[Frame]":
    """Yield the frames, which are read in another thread."""
    from rppg.video.prefetch import prefetch
    from rppg.video.sources.camera import camera_frames

    if video is not None:
        from rppg.video import read_frames

        frames = prefetch(read_frames(video, duration_s=duration_s))
        return _paced(frames) if realtime else frames
    assert camera is not None
    return _until(prefetch(camera_frames(camera, input_format), AHEAD), duration_s)


def _until(frames: "Iterator[Frame]", duration_s: float | None) -> "Iterator[Frame]":
    """Yield the frames of the first seconds."""
    first_s = None
    for frame in frames:
        first_s = frame.time_s if first_s is None else first_s
        if duration_s is not None and frame.time_s - first_s >= duration_s:
            break
        yield frame


def _paced(frames: "Iterator[Frame]") -> "Iterator[Frame]":
    """Yield frames at their times."""
    started = time.monotonic()
    for frame in frames:
        time.sleep(max(0.0, frame.time_s - (time.monotonic() - started)))
        yield frame


def _readings(monitor: "Monitor", frames: "Iterator[Frame]") -> "Iterator[Reading]":
    for frame in frames:
        reading = monitor.push(frame.rgb, frame.time_s, is_key=frame.is_key)
        if reading is not None:
            yield reading
