"""Frames through an encoder and a decoder in one pass: all of them, in order, with their times."""

import itertools

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.video import Encoding, read_frames, transcode, write_video

TIMES_S = np.cumsum([0, 0.04, 0.05, 0.1, 0.03, 0.04, 0.041, 0.2, 0.04, 0.04, 0.05, 0.033])


@pytest.fixture
def frames(portrait):
    return [np.roll(portrait, 2 * n, 1)[:96, 64:192] for n in range(len(TIMES_S))]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_every_frame_comes_back_at_its_time(frames, codec, b_frames):
    encoding = Encoding(codec, crf=12, b_frames=b_frames, keyframe_interval=5)
    decoded = list(transcode(iter(frames), TIMES_S + 7.0, encoding))
    np.testing.assert_allclose([frame.time_s for frame in decoded], TIMES_S + 7.0, atol=1 / 60_000)
    for rgb, frame in zip([frame.rgb for frame in decoded], frames, strict=True):
        assert rgb.shape == frame.shape and rgb.dtype == np.uint8
        assert np.abs(rgb.astype(float) - frame).mean() < 6
        others = [np.abs(rgb.astype(float) - other).mean() for other in frames]
        assert np.abs(rgb.astype(float) - frame).mean() == min(others)  # in order


def test_frames_are_taken_and_given_one_by_one(frames):
    taken = []

    def source():
        for n in itertools.count():
            taken.append(n)
            yield frames[n % len(frames)]

    encoding = Encoding("libx264", b_frames=0, preset="ultrafast", bit_rate=200_000)
    given = transcode(source(), np.arange(1000) / 25, encoding)
    for _ in range(5):
        next(given)
    assert len(taken) < 60


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_file_holds_the_same_stream(tmp_path, frames, codec):
    encoding = Encoding(codec, bit_rate=150_000, b_frames=2, keyframe_interval=6, buffer_s=1.0)
    path = tmp_path / "a.mp4"
    write_video(path, frames, times_s=TIMES_S, encoding=encoding)
    for frame, stored in zip(transcode(frames, TIMES_S, encoding), read_frames(path), strict=True):
        np.testing.assert_array_equal(frame.rgb, stored.rgb)
        assert frame.is_key == stored.is_key


def test_fewer_bits_lose_more(frames):
    def loss(kbps):
        encoding = Encoding("libx264", bit_rate=1000 * kbps, buffer_s=1.0, preset="ultrafast")
        decoded = transcode(frames * 4, np.arange(4 * len(frames)) / 25, encoding)
        return np.mean([
            np.abs(frame.rgb.astype(float) - original).mean()
            for frame, original in zip(decoded, frames * 4, strict=True)
        ])  # fmt: skip

    assert loss(50) > 1.2 * loss(400)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "mpeg4", "b_frames": 2}, "b_frames, preset or buffer_s with mpeg4"),
        ({"codec": "libx264", "buffer_s": 1.0}, "give more than 0, and a bit_rate"),
        ({"codec": "libx265", "b_frames": 40}, "b_frames 40"),
        ({"codec": "libx265", "keyframe_quantiser": 2.0}, "give more than 0, and libx264"),
        ({"codec": "libx266"}, "libx264, libx265, mpeg4"),
    ],
)
def test_an_encoder_is_asked_for_nothing_that_it_lacks(options, message):
    with pytest.raises(InputError, match=message):
        Encoding(**options)


def test_bad_streams(frames):
    with pytest.raises(InputError, match="no frames"):
        list(transcode([], np.zeros(0), Encoding()))
    with pytest.raises(InputError, match="libx264, libx265"):
        list(transcode(frames, TIMES_S, Encoding("mjpeg")))
    with pytest.raises(InputError, match="12 times but 11 frames"):
        list(transcode(frames[:-1], TIMES_S, Encoding()))
    with pytest.raises(InputError, match="more frames than the 11 times"):
        list(transcode(frames, TIMES_S[:-1], Encoding()))
