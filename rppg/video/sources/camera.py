"""Frames of a camera, through FFmpeg's device inputs. Untested with real hardware."""

import logging
import sys
from collections.abc import Iterator

import av
import av.error
from av.format import ContainerFormat
from av.video.reformatter import VideoReformatter

from rppg.errors import InputError, one_line
from rppg.types import Frame
from rppg.video.decode_video import rgb_of

log = logging.getLogger(__name__)

INPUTS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's input of cameras, by platform."""
ASKED = {"video_size": "640x480", "framerate": "30"}
"""What is asked of a camera; another one is taken as it is."""


def camera_frames(device: str, input_format: str | None = None) -> Iterator[Frame]:
    """Yield the frames of a camera as they come, with the device's times in seconds.

    Frames without a time, or that are damaged, are left out.

    Args:
        device: as FFmpeg names it: `/dev/video0`, `0` (macOS) or `video=Name` (Windows).
        input_format: FFmpeg's input; None for the platform's cameras (`INPUTS`).

    Raises:
        InputError: this FFmpeg has no such input, the device can't be opened, or it breaks off.
    """
    name = input_format or INPUTS.get(sys.platform, "v4l2")
    with _open(device, name) as container:
        if not container.streams.video:
            raise InputError(f"{device}: no video comes from it; name a camera")
        stream = container.streams.video[0]
        reformatter = VideoReformatter()
        try:
            for frame in container.decode(stream):
                if frame.time is not None and not frame.is_corrupt:
                    yield Frame(float(frame.time), rgb_of(frame, 1, reformatter))
        except av.error.FFmpegError as error:
            raise InputError(
                f"{device}: the camera breaks off ({one_line(error)}); connect it again"
            ) from error


def _open(device: str, name: str) -> "av.container.InputContainer":
    try:
        ContainerFormat(name, "r")
    except ValueError as error:
        raise InputError(
            f"{device}: this FFmpeg (PyAV {av.__version__}) has no input {name!r} for cameras; "
            "install a PyAV that has it, or push the frames of another library to rppg.live.Monitor"
        ) from error
    failure: av.error.FFmpegError | None = None
    for options in (ASKED, {}) if name in INPUTS.values() else ({},):
        try:
            return av.open(device, format=name, options=dict(options))
        except av.error.FileNotFoundError as error:
            raise InputError(f"{device}: no such camera; check the name") from error
        except av.error.PermissionError as error:
            raise InputError(f"{device}: no permission to read it; change its rights") from error
        except av.error.FFmpegError as error:
            failure = error
    assert failure is not None
    raise InputError(
        f"{device}: the camera can't be opened ({one_line(failure)}); close what else uses it, or "
        "name another"
    ) from failure
