"""Frames in memory: from iterables, grey ones, and other types, which are refused with advice."""

import re

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.predict import Prediction, find_estimator, predict
from rppg.signals import RateSeries
from rppg.video import write_video
from rppg.video.sources.frame_stream import FrameStream
from rppg.video.sources.in_memory import in_memory_video
from rppg.video.sources.pixels import advice

FPS, BPM = 20.0, 72.0
TIMES = np.arange(240) / FPS


@pytest.fixture(scope="module")
def frames():
    """Skin that pulses before a still background."""
    wave = np.sin(2 * np.pi * BPM / 60 * TIMES)
    film = np.tile(np.array([90.0, 110.0, 140.0]), (len(TIMES), 48, 48, 1))
    pulse = np.array([150, 110, 90]) + 2 * wave[:, None] * np.array([0.4, 0.8, 0.5])
    film[:, 8:40, 8:40] = pulse[:, None, None]
    film += np.random.default_rng(0).standard_normal(film.shape)
    return np.rint(film).astype(np.uint8)


def test_an_iterable_of_frames_is_a_video(frames):
    whole = predict(frames, TIMES, method="pos", full_frame=True)
    assert whole.hr_bpm == pytest.approx(BPM, abs=1)

    def reused():
        """As cameras do: the same array again and again."""
        buffer = np.empty_like(frames[0])
        for time_s, frame in zip(TIMES, frames, strict=True):
            buffer[:] = frame
            yield time_s + 100, buffer

    for found in (
        predict((frame for frame in frames), method="pos", fps=FPS, full_frame=True),
        predict(list(frames), method="pos", fps=FPS, full_frame=True),
        predict(zip(TIMES, frames, strict=True), method="pos", full_frame=True),
        predict(reused(), method="pos", full_frame=True),
    ):
        assert found.hr_bpm == pytest.approx(whole.hr_bpm, abs=0.01)
        assert found.frames == len(frames)
    part = predict(iter(frames), method="pos", fps=FPS, full_frame=True, start_s=2, duration_s=7)
    assert part.frames == 140


def test_only_as_many_frames_are_read_as_are_needed(frames):
    read = []

    def film():
        for index in range(10_000):
            read.append(index)
            yield frames[index % len(frames)]

    predict(film(), method="pos", fps=FPS, full_frame=True, duration_s=6)
    assert len(read) < 6 * FPS + 20


@pytest.mark.parametrize(
    ("items", "fps", "match"),
    [
        (lambda f: [], 30, "0 frames.*new one"),
        (lambda f: iter(f[0]), 30, r"\(48, 3\)"),
        (list, None, "fps=30, or pairs"),
        (lambda f: [(0, f[0]), (1, f[1])], 30, "both times and fps"),
        (lambda f: [("a", f[0])], None, "not a number.*seconds"),
        (lambda f: [(1.0, f[0]), (1.0, f[1])], None, "frame 1 has 1.0 s after 1.0 s"),
        (lambda f: [(0, f[0]), (np.nan, f[1])], None, "finite"),
        (lambda f: f[:4].tolist(), 30, "type list; expected a NumPy array"),
        (lambda f: [f[0], None], 30, "type NoneType"),
        (lambda f: [f[0], f[1][:40]], 30, r"\(40, 48, 3\); those before \(48, 48, 3\)"),
        (lambda f: [f[0] / 255.0, f[1] / 255.0], 30, r"float64.*255 \* frames"),
        (lambda f: f[:3, ..., [0, 1, 2, 2]], 30, "shape .*expected"),
    ],
)
def test_items_that_are_no_frames_are_refused(frames, items, fps, match):
    with pytest.raises(InputError, match=match):
        list(FrameStream(items(frames), fps).frames())
        predict(items(frames), fps=fps, full_frame=True)


def test_arguments_that_do_not_fit_say_what_to_give(frames):
    pos = find_estimator("pos")
    for arguments, match in (
        ({"estimator": "pos"}, r"method='pos', or estimator=find_estimator\(checkpoint"),
        ({"estimator": pos, "method": "pos"}, "give one of them"),
        ({"estimator": 3}, "type int; give what find_estimator returns"),
        ({"method": "nope"}, "'nope'.*pos"),
    ):
        with pytest.raises(InputError, match=match):
            predict(frames, fps=FPS, full_frame=True, **arguments)
    with pytest.raises(InputError, match=r"zip\(timestamps, frames\)"):
        predict(iter(frames), TIMES)
    with pytest.raises(InputError, match=r"type int; give a path.*iterable"):
        predict(3, fps=FPS)


@pytest.mark.parametrize(
    "as_type",
    [
        lambda f: f / 255,
        lambda f: (f / 255).astype(np.float32),
        lambda f: f.astype(np.float64),
        lambda f: f.astype(np.uint16),
        lambda f: f.astype(np.uint16) << 2,
        lambda f: f.astype(np.uint16) << 4,
        lambda f: f.astype(np.uint16) * 257,
        lambda f: f.astype(np.int64),
    ],
)
def test_the_advice_gives_the_frames_back(as_type):
    """Every value of a byte: none wraps around."""
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    converted = as_type(frames)
    (expression,) = re.findall(r"convert with (.*?)(?:, if|$)", advice(converted))
    again = eval(expression, {"np": np, "frames": converted})
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, frames)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 4000.0], [0.0, np.nan], [-3, 3]])
def test_unclear_scales_are_not_guessed(values):
    assert "255 * frames" not in advice(np.array(values))


def test_grey_frames_are_read_as_grey_files_are(frames, tmp_path):
    grey = frames[..., 1]
    write_video(tmp_path / "a.mkv", np.repeat(grey[..., None], 3, -1), fps=FPS, codec="ffv1")
    file = predict(tmp_path / "a.mkv", method="green", full_frame=True)
    for found in (
        predict(grey, method="green", fps=FPS, full_frame=True),
        predict(grey[..., None], method="green", fps=FPS, full_frame=True),
        predict(iter(grey), method="green", fps=FPS, full_frame=True),
    ):
        assert found.hr_bpm == pytest.approx(file.hr_bpm, abs=0.5)
        assert found.reason == file.reason and found.quality == 0
        assert "no colour" in found.warnings[0]
    for shape in ((48, 48, 3), (200, 8, 8, 4), (200, 3, 8, 8)):
        wrong = np.zeros(shape, np.uint8)
        with pytest.raises(InputError, match="colours last, or grey"):
            in_memory_video(wrong, np.arange(len(wrong)) / 30)


def test_a_prediction_prints_in_two_lines():
    nothing = np.full(3, np.nan)
    rates = RateSeries(np.arange(3.0), np.arange(3.0), nothing, nothing)
    found = Prediction(
        72.44, 0.93, np.arange(9000.0), np.zeros(9000), np.zeros(9000), rates, 1.0, {}, 9000,
        reason="the frames have no colour: a pulse can't be told from light and motion",
        warnings=("a", "b"),
    )  # fmt: skip
    lines = repr(found).splitlines()
    assert len(lines) <= 2 and max(map(len, lines)) <= 100
    assert "hr_bpm=72.4" in lines[0] and "quality=0.93" in lines[0] and "warnings=2" in lines[0]
