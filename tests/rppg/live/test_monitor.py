"""Frames as a camera gives them: readings as of `predict`, states, and bounded memory."""

import threading
import tracemalloc

import numpy as np
import pytest

from benchmarks.throughput.videos import long_video
from rppg.errors import InputError
from rppg.live import Monitor, State
from rppg.live.reasons import LOST_FRAMES
from rppg.predict import predict
from rppg.signals.frame_rate import LEAST_FPS
from rppg.signals.reasons import GREY
from rppg.video import read_frames
from rppg.video.track import LOOKAHEAD_S
from tests.rppg.live import real_clip

BPM = 93.0
SKIN_BPM = 72.0


def skin(seconds, fps=20.0, start_s=0.0, size=32, seed=0):
    """Yield times and frames that show a wall around skin, which pulses at `SKIN_BPM`."""
    rng = np.random.default_rng(seed)
    inner = slice(size // 6, size - size // 6)
    for index in range(round(seconds * fps)):
        time_s = start_s + index / fps
        wave = 0.01 * np.sin(2 * np.pi * SKIN_BPM / 60 * time_s)
        frame = np.tile([90.0, 110.0, 140.0], (size, size, 1))
        frame[inner, inner] = np.array([170, 120, 95]) * (1 - wave * np.array([0.33, 0.77, 0.53]))
        yield time_s, np.rint(frame + rng.standard_normal(frame.shape)).astype(np.uint8)


def push_all(monitor, frames):
    """Return the readings."""
    readings = [monitor.push(frame, time_s) for time_s, frame in frames]
    return [reading for reading in readings if reading is not None]


@pytest.fixture(scope="module")
def film(person):
    return list(person(16.0))


@pytest.fixture(scope="module")
def readings(film):
    return push_all(Monitor(), film)


def test_readings_are_those_of_predict(film, readings):
    assert_as_predicted(film, readings)


@pytest.mark.slow
def test_readings_of_a_rendered_video_are_those_of_predict():
    film = [(frame.time_s, frame.rgb) for frame in read_frames(long_video(320, 240, 0.5))]
    assert_as_predicted(film, push_all(Monitor(), film))


@pytest.mark.slow
@real_clip.needs_clip
def test_readings_of_a_real_clip_are_those_of_predict():
    film = list(real_clip.there_and_back(real_clip.PATH, 24.0))
    assert_as_predicted(film, push_all(Monitor(), film), box_px=15)  # a person moves


def assert_as_predicted(film, readings, *, box_px=3):
    """Check the first and the last pulse against `predict` on the same span.

    The tracker of the whole doesn't end where the span does, and a reading has the newest box,
    `predict` the median of the span.
    """
    pulses = [reading for reading in readings if reading.state is State.PULSE]
    assert len(pulses) >= 3
    for reading in (pulses[0], pulses[-1]):
        first_s = reading.end_s - np.floor(reading.end_s)
        span = [item for item in film if first_s - 1e-6 <= item[0] <= reading.end_s + 1e-6]
        found = predict(iter(span))
        assert found.rates.end_s[-1] + span[0][0] == pytest.approx(reading.end_s, abs=0.1)
        assert reading.hr_bpm == pytest.approx(found.rates.hr_bpm[-1], abs=0.5)
        assert reading.quality == pytest.approx(found.rates.quality[-1], abs=0.1)
        assert reading.reliable == (found.reasons[-1] is None)
        np.testing.assert_allclose(reading.box, found.box, atol=box_px)
        wave = np.interp(reading.wave_s - span[0][0], found.times_s, found.bvp)
        assert np.corrcoef(wave, reading.wave)[0, 1] > 0.95


def test_the_way_to_a_pulse(readings):
    np.testing.assert_allclose([r.time_s for r in readings], np.arange(1, len(readings) + 1))
    states = [reading.state for reading in readings]
    assert states[0] is State.MEASURING and states[-1] is State.PULSE
    missing_s = np.array([r.missing_s for r in readings if r.state is State.MEASURING])
    np.testing.assert_allclose(missing_s, missing_s[0] - np.arange(len(missing_s)), atol=0.2)
    assert missing_s[0] == pytest.approx(10 + LOOKAHEAD_S - 1, abs=0.2)
    last = readings[-1]
    assert last.hr_bpm == pytest.approx(BPM, abs=1) and last.advice is None
    assert 0 < last.time_s - last.end_s < LOOKAHEAD_S + 1
    assert last.end_s - last.start_s == pytest.approx(10)
    assert len(last.wave) == len(last.wave_s) == 300
    json = last.to_json()
    assert json["state"] == "pulse" and json["reliable"] and len(json["wave"]["value"]) == 300
    assert readings[0].to_json(wave=False)["hr_bpm"] is None


def test_late_dropped_repeated_and_reordered_frames():
    rng = np.random.default_rng(1)
    frames = [item for item in skin(13, fps=30) if rng.random() > 0.1]
    pushed = []
    for index, (time_s, frame) in enumerate(frames):
        late = [frames[index - 3]] if index > 3 and index % 7 == 0 else []
        again = [(time_s, frame)] if index % 5 == 0 else []
        pushed += [(time_s, frame), *again, *late]
    expected = push_all(Monitor(full_frame=True, every_s=12), frames)
    found = push_all(Monitor(full_frame=True, every_s=12), pushed)
    assert [r.hr_bpm for r in found] == [r.hr_bpm for r in expected]
    assert found[-1].reliable and found[-1].hr_bpm == pytest.approx(SKIN_BPM, abs=1)


def test_frames_that_come_too_fast_are_left_out():
    reading = push_all(Monitor(full_frame=True, every_s=4), skin(4.1, fps=500))[-1]
    assert 40 < reading.fps <= 80


def test_a_frame_may_be_used_again_by_the_caller():
    frame = np.zeros((32, 32, 3), np.uint8)
    monitor = Monitor(full_frame=True, every_s=12)
    readings = []
    for time_s, shown in skin(12.5):
        frame[:] = shown
        readings.append(monitor.push(frame, time_s))
    (reading,) = filter(None, readings)
    assert reading.hr_bpm == pytest.approx(SKIN_BPM, abs=1)


def test_another_size_or_clock_and_a_reset_begin_anew():
    monitor = Monitor(full_frame=True, every_s=11)
    for start_s, size, reset in ((0, 32, False), (12, 48, False), (-500, 48, False), (5, 48, True)):
        if reset:
            monitor.reset()
        (reading,) = push_all(monitor, skin(11.2, start_s=start_s, size=size))[-1:]
        assert reading.start_s >= start_s - 1e-6
        assert reading.hr_bpm == pytest.approx(SKIN_BPM, abs=1)
        assert reading.box == (0, 0, size, size)


def test_a_gap_begins_anew_and_short_ones_do_not():
    # Only 9 s are left after the gap: a larger scene averages out more of its noise.
    long = [item for item in skin(20, size=64) if not 3 < item[0] < 9]
    short = [item for item in skin(12.2) if not 3 < item[0] < 4]
    readings = push_all(Monitor(full_frame=True, every_s=2), long)
    assert not {reading.reason for reading in readings} - {None}
    reading = readings[-1]
    assert reading.start_s >= 9 and reading.hr_bpm == pytest.approx(SKIN_BPM, abs=1)
    reading = push_all(Monitor(full_frame=True, every_s=12), short)[-1]
    assert reading.start_s < 3 and reading.hr_bpm == pytest.approx(SKIN_BPM, abs=1)


def test_too_few_frames_a_second():
    reading = push_all(Monitor(full_frame=True, every_s=11), skin(12, fps=3))[-1]
    assert reading.state is State.UNRELIABLE and reading.fps < LEAST_FPS
    assert reading.reason == "too few frames a second" and "20 a second" in reading.advice


@pytest.mark.parametrize(("kept_s", "of_s"), [(0.4, 1.0), (2.0, 8.0)])
def test_bursts_of_lost_frames_are_the_reason(kept_s, of_s):
    """As of a computer that is too busy: waiting would not help."""
    frames = [item for item in skin(27) if item[0] % of_s < kept_s]
    first, *_, last = push_all(Monitor(full_frame=True, every_s=8), frames)
    assert first.state is State.MEASURING and first.reason is None
    assert last.state is State.UNRELIABLE and last.reason == LOST_FRAMES
    assert "too busy" in last.advice


def test_grey_frames_have_no_reliable_pulse():
    grey = ((time_s, frame[..., 1]) for time_s, frame in skin(11.2))
    reading = push_all(Monitor(full_frame=True, every_s=11), grey)[-1]
    assert reading.state is State.UNRELIABLE and reading.reason == GREY and reading.quality == 0


def test_nobody_is_there():
    monitor = Monitor()
    wall = np.full((120, 160, 3), 100, np.uint8)
    readings = push_all(monitor, ((index / 5, wall) for index in range(21)))
    assert {reading.state for reading in readings} == {State.LOOKING}
    assert readings[-1].advice == "look at the camera" and readings[-1].box is None


@pytest.mark.parametrize(
    ("frame", "time_s", "message"),
    [
        (np.zeros((8, 8, 3)), 0.0, "float64; expected uint8"),
        (np.zeros((8, 8, 4), np.uint8), 0.0, r"shape \(8, 8, 4\)"),
        ([[0]], 0.0, "of type list"),
        (np.zeros((8, 8, 3), np.uint8), float("nan"), "give seconds"),
        (np.zeros((8, 8, 3), np.uint8), None, "not a number"),
    ],
)
def test_wrong_frames_name_what_is_expected(frame, time_s, message):
    with pytest.raises(InputError, match=message):
        Monitor(full_frame=True).push(frame, time_s)


def test_wrong_options():
    with pytest.raises(InputError, match="choose one"):
        Monitor(box=(0, 0, 8, 8), full_frame=True)
    with pytest.raises(InputError, match="positive number"):
        Monitor(every_s=0)
    with pytest.raises(InputError, match="is not in the frame"):
        Monitor(box=(50, 50, 8, 8)).push(np.zeros((8, 8, 3), np.uint8), 0.0)


@pytest.mark.slow
def test_a_face_that_leaves_and_comes_back(person):
    wall = np.full((240, 320, 3), 110, np.uint8)
    monitor = Monitor(every_s=2)
    frames = list(person(34, fps=10))
    gone = [(t, wall if 15 <= t < 19 else frame) for t, frame in frames]
    states = {r.time_s: r for r in push_all(monitor, gone)}
    assert states[14].state is State.PULSE and states[14].box is not None
    assert states[18].state is State.LOOKING and states[18].box is None
    assert states[26].state is State.MEASURING
    assert states[32].state is State.PULSE
    assert states[32].hr_bpm == pytest.approx(BPM, abs=1)


@pytest.mark.slow
def test_two_monitors_in_two_threads(film, readings):
    found = {}

    def watch(name):
        found[name] = push_all(Monitor(), film)

    threads = [threading.Thread(target=watch, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found.values():
        np.testing.assert_allclose(
            [r.hr_bpm for r in each], [r.hr_bpm for r in readings], atol=1e-3
        )


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [5, 60])
def test_memory_is_flat(person, minutes):
    """The same minute again and again: what is held after it is held at the end."""
    minute = list(person(60, fps=6))
    monitor = Monitor(every_s=20)
    tracemalloc.start()
    held = []
    for number in range(minutes):
        reading = push_all(monitor, ((60 * number + t, frame) for t, frame in minute))[-1]
        assert reading.reliable and reading.hr_bpm == pytest.approx(BPM, abs=1)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(held[1:]) < held[0] + 2e6
