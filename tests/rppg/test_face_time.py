"""Enough face is a time: what is measured, and called reliable, by how long the face is in view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rppg.commands.predict import _print_prediction
from rppg.predict import find_estimator, predict_crops
from rppg.signals.face_time import TOO_SHORT, face_seconds, seen_spans
from rppg.signals.reasons import NO_FACE
from rppg.synthetic.cache import find_domain
from rppg.synthetic.subjects import draw_subject, render_crops

FPS = 30.0


@pytest.fixture(scope="module")
def long():
    return render_crops(draw_subject(find_domain("lab"), 0, 28.0))


def test_a_good_face_is_measured_however_long_the_rest_lasts(long):
    whole = predict_crops(long, find_estimator("pos"))
    noise = np.random.default_rng(0).integers(0, 255, long.frames.shape, dtype=np.uint8)
    seen = long.times_s < 12
    frames = np.where(seen[:, None, None, None], long.frames, noise)
    found = predict_crops(replace(long, frames=frames, valid=seen), find_estimator("pos"))
    assert found.hr_bpm == pytest.approx(whole.hr_bpm, abs=3)
    assert found.reliable and found.reason is None
    assert np.isnan(found.rates.hr_bpm[-1]) and found.reasons[-1] == NO_FACE


@pytest.mark.parametrize(
    ("length_s", "face_s", "measured", "reliable"),
    [
        (6.4, 3.6, False, False),
        (6.4, 5.5, True, False),
        (8.0, 8.0, True, False),
        (28.0, 4.0, False, False),
        (28.0, 8.0, True, False),
        (28.0, 10.0, True, True),
        (10.0, 10.0, True, True),
    ],
)
def test_how_much_face_a_rate_needs(long, length_s, face_s, measured, reliable):
    end = round(length_s * FPS)
    crops = replace(
        long,
        frames=long.frames[:end],
        times_s=long.times_s[:end],
        valid=long.times_s[:end] < face_s - 1e-6,
        boxes=None,
    )
    found = predict_crops(crops, find_estimator("pos"))
    assert np.isfinite(found.hr_bpm) == measured
    assert found.reliable == reliable
    assert found.reason == (None if reliable else TOO_SHORT if measured else NO_FACE)
    assert (None in found.reasons) == reliable


def test_without_a_rate_the_terminal_says_so(long, capsys):
    crops = replace(long, valid=long.times_s < 4)
    _print_prediction(Path("a.mp4"), predict_crops(crops, find_estimator("pos")))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("a.mp4: no rate, quality 0.00  (no reliable pulse: ")
    assert lines and all("no rate" in line for line in lines)


def test_the_time_of_a_face_is_that_of_its_frames():
    for fps, count in ((25, 250), (29.97, 300), (10, 100)):
        times = np.arange(count) / fps
        assert face_seconds(times, np.ones(count, bool)) == pytest.approx(count / fps)
    times = np.concatenate([np.arange(30), 3000 + np.arange(30)]) / 30  # a hole of 99 s
    assert face_seconds(times, np.ones(60, bool)) == pytest.approx(2.5, abs=0.05)


def test_spans_are_those_of_windows_with_enough_face():
    valid = np.ones(60 * 30, bool)
    assert seen_spans(valid, FPS, 10.0) == [(0, 1800)]
    valid[600:640] = False  # a short loss separates nothing
    assert seen_spans(valid, FPS, 10.0) == [(0, 1800)]
    valid[300:1200] = False
    assert seen_spans(valid, FPS, 10.0) == [(0, 300), (1200, 1800)]
    valid[1300:] = False  # 3 s of a face
    assert seen_spans(valid, FPS, 10.0) == [(0, 300)]


def test_parts_with_a_face_are_measured_together(long):
    valid = (long.times_s < 11) | (long.times_s > 18)
    whole = predict_crops(long, find_estimator("pos"))
    found = predict_crops(replace(long, valid=valid), find_estimator("pos"))
    assert found.hr_bpm == pytest.approx(whole.hr_bpm, abs=2) and found.reliable
