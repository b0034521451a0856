"""Cameras, through FFmpeg's lavfi in their place."""

import av
import numpy as np
import pytest

from rppg.errors import InputError
from rppg.video.sources import camera
from rppg.video.sources.camera import camera_frames


def test_frames_with_their_times():
    frames = list(camera_frames("color=red:size=64x48:rate=25:duration=1", "lavfi"))
    assert len(frames) == 25
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(25) / 25, atol=1e-6)
    assert frames[0].rgb.shape == (48, 64, 3) and frames[0].rgb.dtype == np.uint8
    assert frames[0].rgb[24, 32, 0] > 250 and frames[0].rgb[24, 32, 1:].max() < 5


def test_an_endless_camera_is_closed():
    frames = camera_frames("testsrc=size=64x48:rate=30", "lavfi")
    assert [next(frames).time_s for _ in range(3)] == pytest.approx([0, 1 / 30, 2 / 30], abs=1e-3)
    frames.close()


def test_what_can_not_be_opened(monkeypatch):
    with pytest.raises(InputError, match=r"no input 'no-such' for cameras.*rppg.live.Monitor"):
        next(camera_frames("0", "no-such"))
    with pytest.raises(InputError, match="x: the camera can't be opened"):
        next(camera_frames("x", "lavfi"))
    monkeypatch.setattr(camera.sys, "platform", "linux")
    if "video4linux2,v4l2" in av.formats_available:
        with pytest.raises(InputError, match="/dev/video987: no such camera"):
            next(camera_frames("/dev/video987"))
    with pytest.raises(InputError, match="no video comes from it"):
        next(camera_frames("sine=duration=1", "lavfi"))
