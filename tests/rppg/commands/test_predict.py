"""Warnings and errors of `rppg predict`."""

import json

import numpy as np
import pytest

from rppg.cli import main
from rppg.predict import find_estimator
from rppg.predict import predict as run
from rppg.video import write_video


def write_grey(path, duration_s):
    """A grey video that pulses; half a second of it is missing."""
    times = np.arange(0, duration_s, 0.1)
    times = times[(times < 2) | (times > 2.5)]
    levels = np.rint(120 + 3 * np.sin(2 * np.pi * 1.2 * times)).astype(np.uint8)
    frames = (np.full((32, 32, 3), level) for level in levels)
    write_video(path, frames, times_s=times, crf=1)
    return path


def predict(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--full-frame", *map(str, arguments)])
    return ended.value.code


def test_warnings_are_printed_when_the_work_is_done(tmp_path, caplog, capsys):
    video = write_grey(tmp_path / "a.mp4", 7)
    assert predict(video) == 0
    warned = [record.getMessage() for record in caplog.records]
    assert "no frames from" in warned[0] and "no colour" in warned[-1]
    assert "quality 0.00" in capsys.readouterr().out


def test_an_error_is_one_line_without_the_warnings_before_it(tmp_path, caplog, capsys):
    video = write_grey(tmp_path / "short.mp4", 4)
    assert predict(video) == 2
    assert not caplog.records
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(video) in lines[0]


def test_a_stated_rate_replaces_a_wrong_one(tmp_path, capsys):
    """Skin at 66 bpm, recorded at 15 fps and stored as 30."""
    times = np.arange(300) / 15
    pulse = np.sin(2 * np.pi * 1.1 * times)
    noise = np.random.default_rng(0).normal(0, 1, (300, 32, 32, 3))
    skin = np.array([170, 120, 100]) - pulse[:, None, None, None] * np.array([0.6, 1.5, 0.9])
    frames = np.rint(skin + noise).astype(np.uint8)
    video = tmp_path / "a.avi"
    write_video(video, frames, fps=30, codec="mjpeg", qscale=1)
    rates = {}
    for fps in ((), ("--fps", "15")):
        assert predict(video, "--method", "green", "--json", *fps) == 0
        (entry,) = json.loads(capsys.readouterr().out)["videos"]
        rates[fps] = entry["hr_bpm"]
    assert rates[()] == pytest.approx(132, abs=1)
    assert rates["--fps", "15"] == pytest.approx(66, abs=0.5)
    found = run(frames, estimator=find_estimator("green"), full_frame=True, fps=15)
    assert found.hr_bpm == pytest.approx(66, abs=0.5)
    assert predict(video, "--fps", "0") == 2
    assert "fps is 0; expected 1 to 1000" in capsys.readouterr().err
