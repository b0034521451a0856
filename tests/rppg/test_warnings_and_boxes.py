"""Warnings and the measured face's box come with the result, and in the JSON."""

import json
import logging
import threading

import numpy as np
import pytest

from rppg.captured_warnings import collect_warnings
from rppg.cli import main
from rppg.predict import predict
from rppg.types import FaceCrops
from rppg.video import write_video
from rppg.video.face_boxes import FaceBoxes
from rppg.video.prefetch import prefetch

BOX = (10.0, 12.0, 20.0, 16.0)
log = logging.getLogger("rppg.video.crop")


def skin(seconds=11, fps=20, grey=False):
    """Return a film of 64 × 48 whose skin pulses."""
    wave = np.sin(2 * np.pi * 1.2 * np.arange(seconds * fps) / fps)
    colour = np.array([150, 110, 90]) + 3 * wave[:, None] * np.array([0.4, 0.8, 0.5])
    frames = np.tile(colour[:, None, None], (1, 48, 64, 1))
    frames += np.random.default_rng(0).standard_normal(frames.shape)
    frames = np.rint(frames).astype(np.uint8)
    return np.repeat(frames[..., 1:2], 3, axis=-1) if grey else frames


def test_warnings_of_a_file_are_in_the_result_with_its_name(tmp_path, capsys, caplog):
    path = tmp_path / "grey.mkv"
    frames = skin(grey=True)
    times = np.arange(len(frames)) / 20
    times[100:] += 0.9  # a hole
    write_video(path, frames, times_s=times)
    found = predict(path, method="pos", full_frame=True)
    hole, grey = found.warnings
    assert "no frames from" in hole and "no colour" in grey
    assert all(warning.startswith(f"{path}: ") for warning in found.warnings)
    caplog.clear()
    with pytest.raises(SystemExit, match="0"):
        main(["predict", str(path), "--method", "pos", "--full-frame", "--json"])
    (video,) = json.loads(capsys.readouterr().out)["videos"]
    assert video["warnings"] == list(found.warnings)
    assert [record.getMessage() for record in caplog.records] == video["warnings"]


def test_a_clean_recording_has_no_warnings():
    found = predict(skin(), method="pos", fps=20, full_frame=True)
    assert found.warnings == () and found.to_json()["warnings"] == []


def test_the_box_that_was_measured():
    frames = skin()
    given = predict(frames, method="pos", fps=20, box=BOX)
    assert given.box == BOX and given.to_json()["box"] == list(BOX)
    assert given.to_json()["windows"][0]["box"] == list(BOX)
    whole = predict(frames, method="pos", fps=20, full_frame=True)
    assert whole.box == (0, 0, 64, 48)


def test_the_box_is_the_median_of_the_frames_with_a_face():
    """The face is the middle two thirds of the crop, and moves from window to window."""
    times = 5 + np.arange(40.0)
    crops = np.zeros((40, 4))
    crops[:, 2:] = 30
    crops[20:, 0] = 90
    valid = np.arange(40) < 30
    pieces = [
        FaceCrops(np.zeros((20, 2, 2, 3), np.uint8), times[k], valid[k], crops[k])
        for k in (slice(20), slice(20, 40))
    ]
    boxes = FaceBoxes()
    assert boxes.median() is None
    assert list(boxes.collect(iter(pieces))) == pieces
    assert boxes.median() == (5, 5, 20, 20)
    windows = boxes.of_windows(np.array([0.0, 20.0, 35.0]), np.array([10.0, 30.0, 40.0]))
    np.testing.assert_array_equal(windows[:2], [[5, 5, 20, 20], [95, 5, 20, 20]])
    assert np.isnan(windows[2]).all()


def test_only_warnings_of_the_same_context_are_collected():
    def noted(name):
        log.warning("%s: one", name)
        yield 1

    def elsewhere():
        log.warning("b: one")

    with collect_warnings() as collected:
        list(prefetch(noted("a")))  # a thread that works for this one
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        log.warning("a: two")
        log.warning("a: two")
        log.info("a: three")
    assert collected == ["a: one", "a: two"]


def test_collected_warnings_are_still_printed(monkeypatch):
    """As logging does by default: on stderr, if nobody has set it up."""
    printed = []
    monkeypatch.setattr(logging.getLogger("rppg"), "propagate", False)
    monkeypatch.setattr(logging.lastResort, "emit", lambda record: printed.append(record.msg))
    with collect_warnings():
        log.warning("a: one")
    assert printed == ["a: one"]
