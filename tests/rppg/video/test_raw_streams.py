"""Raw streams, which have no timestamps: their own rate, a stated one, or none."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from rppg.data.stated_rate import StatedRateVideo
from rppg.errors import InputError
from rppg.predict import predict
from rppg.video import probe, read_frames
from rppg.video.sources.timestamped_file import TimestampedVideo
from tests.rppg.video.test_decode import images, write_raw

COUNT = 45


def write_stream(path, **options):
    """Write a stream of `COUNT` frames at 15 Hz, with reordered frames where the codec has them."""
    codec = {"h264": "libx264", "hevc": "libx265"}[path.suffix[1:]]
    return write_raw(path, images(COUNT), rate=15, codec=codec, **options)


def write_mjpeg(path, count=COUNT, kind="JPEG"):
    content = io.BytesIO()
    for rgb in images(count):
        Image.fromarray(rgb).save(content, kind)
    path.write_bytes(content.getvalue())
    return path


def times_s(frames):
    return [frame.time_s for frame in frames]


@pytest.mark.parametrize("suffix", ["h264", "hevc"])
def test_a_stream_is_timed_by_the_rate_that_it_states(tmp_path, caplog, suffix):
    path = write_stream(tmp_path / f"a.{suffix}")
    assert probe(path).fps == 15
    np.testing.assert_allclose(times_s(read_frames(path)), np.arange(COUNT) / 15, atol=1e-9)
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(path) in line and "15 frames a second" in line and "--fps" in line
    part = list(read_frames(path, start_s=1.0, duration_s=1.0))
    assert len(part) == 15
    assert abs(int(part[0].rgb[-1, -1, 0]) - int(images(COUNT)[15, -1, -1, 0])) < 8


def test_a_rate_that_is_stated_by_the_user_comes_first(tmp_path, caplog):
    for path in (write_stream(tmp_path / "a.h264"), write_mjpeg(tmp_path / "a.bin")):
        video = StatedRateVideo(path, 20.0)
        np.testing.assert_allclose(times_s(video.frames()), np.arange(COUNT) / 20, atol=1e-9)
    assert not caplog.records


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_without_a_rate_there_are_no_times(tmp_path, kind):
    path = write_mjpeg(tmp_path / "a.mjpeg", kind=kind)
    assert probe(path).fps == 0
    match = re.escape(str(path)) + ".*no frame rate.*--fps"
    with pytest.raises(InputError, match=match):
        list(read_frames(path))
    with pytest.raises(InputError, match=match):
        predict(path, full_frame=True)
    with pytest.raises(InputError, match=r"0\.0 s of video"):  # a single image lacks more
        predict(write_mjpeg(tmp_path / "one.jpg", 1), full_frame=True)


def test_times_in_a_second_file_need_no_rate(tmp_path):
    path = write_mjpeg(tmp_path / "a.mjpeg")
    times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, COUNT))
    video = TimestampedVideo(path, path, lambda _: times)
    np.testing.assert_allclose(times_s(video.frames()), times - times[0])
