"""`rppg live`: readings in a terminal, as lines and as JSON."""

import io
import json
import time

import numpy as np
import pytest
from rich.console import Console

from rppg.cli import main
from rppg.commands.readings import describe, panel, sparkline
from rppg.live import Reading, State
from rppg.video import write_video

BPM = 72.0
WALL = "color=gray:size=64x48:rate=20:duration=2.2"


@pytest.fixture
def run(capsys):
    """`run("--camera", ...)`: exit code, stdout and stderr of the command, in this process."""

    def run_live(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["live", *map(str, arguments)])
        return ended.value.code, *capsys.readouterr()

    return run_live


@pytest.fixture(scope="module")
def skin_video(tmp_path_factory):
    times = np.arange(20 * 13) / 20
    rng = np.random.default_rng(0)
    frames = np.tile([90.0, 110.0, 140.0], (len(times), 32, 32, 1))
    wave = 0.01 * np.sin(2 * np.pi * BPM / 60 * times)
    colour = [170, 120, 95] * (1 - wave[:, None] * [0.33, 0.77, 0.53])
    frames[:, 5:27, 5:27] = colour[:, None, None]
    frames = np.rint(frames + rng.standard_normal(frames.shape)).astype(np.uint8)
    path = tmp_path_factory.mktemp("live") / "skin.mkv"
    write_video(path, frames, fps=20, codec="ffv1")
    return path


def test_a_file_as_json(run, skin_video):
    code, out, err = run("--video", skin_video, "--full-frame", "--json", "--method", "pos")
    readings = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and err == "" and len(readings) == 12
    assert [r["state"] for r in readings[:3]] == ["measuring"] * 3
    assert readings[-1]["reliable"] and readings[-1]["hr_bpm"] == pytest.approx(BPM, abs=1)
    assert "wave" not in readings[-1]


def test_a_camera_as_lines(run):
    code, out, err = run("--camera", WALL, "--input-format", "lavfi")
    assert code == 0 and err == ""
    assert out.splitlines() == [
        "    1.0 s  looking for a face; look at the camera",
        "    2.0 s  looking for a face; look at the camera",
    ]


def test_duration_and_wave(run):
    endless = "color=gray:size=64x48:rate=20"
    wanted = ["--input-format", "lavfi", "--full-frame", "--json", "--wave"]
    code, out, _ = run("--camera", endless, *wanted, "--duration", "1.5")
    (reading,) = map(json.loads, out.splitlines())
    assert code == 0 and reading["wave"] == {"time_s": [], "value": []}


def test_realtime_takes_the_time_of_the_file(run, skin_video):
    started = time.monotonic()
    run("--video", skin_video, "--realtime", "--full-frame", "--duration", "1.2")
    assert time.monotonic() - started > 1.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "192.0.2.1"], "needs --certificate and --key"),
        (["--key", "k.pem"], "belong together"),
        (["--camera", "0", "--video", "a.mp4"], "one of them"),
        (["--camera", "0", "--realtime"], "--realtime is for --video"),
        (["--video", "a.mp4"], "a.mp4: no such file"),
        (["--camera", "0", "--input-format", "no-such"], "no input 'no-such'"),
        (["--camera", "0", "--box", "1,2"], "give four numbers"),
    ],
)
def test_refusals_in_one_line(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and message in err and err.count("\n") == 1


def test_a_reading_in_words():
    looking = Reading(1.0, State.LOOKING)
    assert describe(looking) == "    1.0 s  looking for a face; look at the camera"
    measuring = Reading(2.0, State.MEASURING, missing_s=8.2, box=(0, 0, 8, 8))
    assert describe(measuring) == "    2.0 s  measuring: 9 s to go"
    pulse = Reading(20.0, State.PULSE, hr_bpm=72.44, quality=0.981, wave=np.sin(np.arange(300) / 8))
    assert describe(pulse) == "   20.0 s   72.4 bpm  quality 0.98"
    moving = Reading(21.0, State.UNRELIABLE, hr_bpm=61.2, quality=0.2, reason="the head moves")
    assert describe(moving).endswith(
        "61.2 bpm  no reliable pulse (the head moves); rest your head, and keep still"
    )


def test_the_panel_shows_no_unreliable_rate():
    console = Console(width=80, record=True, file=io.StringIO())
    wave = 1.4 * np.sin(np.arange(300) / 8)
    console.print(panel(Reading(20.0, State.PULSE, hr_bpm=72.4, quality=0.98, wave=wave)))
    text = console.export_text()
    assert "72 bpm" in text and "▇" in text and "not a medical device" in text
    console.print(panel(Reading(21.0, State.UNRELIABLE, hr_bpm=61.2, reason="the head moves")))
    assert "-- bpm" in console.export_text()


def test_a_wave_as_bars():
    bars = sparkline(np.sin(np.linspace(0, 2 * np.pi, 300)) * 1.41)
    assert len(bars) == 60 and bars.index("▇") < 30 < bars.index("▂")
    assert sparkline(np.zeros(0)).strip() == ""
