"""The command line, run as a command: exit codes, one line for each error, whole outputs."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rppg.cli import main
from rppg.estimators.find import load_estimator
from rppg.train.config import TrainConfig
from rppg.train.run import train
from rppg.video import write_video

SMALL = "subjects = 4\nclip_s = 5.0\nbatch_size = 4\nseed = 5\n"
SUBJECT = 0  # of the scene
REAL_BPM = 75.7  # of the real clip, by its finger sensor


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Rendered subjects, shared by the tests of this session."""
    return tmp_path_factory.getbasetemp() / "rppg-cache"


@pytest.fixture(scope="module")
def environment(cache):
    return {**os.environ, "RPPG_CACHE": str(cache), "COLUMNS": "400"}


@pytest.fixture(scope="module")
def rppg(environment):
    """`rppg("predict", ...)` runs the command to its end."""

    def run(*arguments, module="rppg.cli", cwd=None, options=()):
        return subprocess.run(
            [sys.executable, *options, "-m", module, *map(str, arguments)],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture
def refused(monkeypatch, capsys, cache):
    """`refused("train", ...)`: the one line of a command that must exit with 2.

    In this process, which spares the start; `main` is all that the command does.
    """

    def run(*arguments):
        monkeypatch.setenv("RPPG_CACHE", str(cache))
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert ended.value.code == 2, err
        assert out == ""
        return one_line(err)

    return run


@pytest.fixture
def ended_here(monkeypatch, capsys, cache):
    """`ended_here("predict", ...)`: as `rppg`, in this process, which spares the start."""

    def run(*arguments):
        monkeypatch.setenv("RPPG_CACHE", str(cache))
        monkeypatch.setenv("COLUMNS", "400")
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, out, err)

    return run


def one_line(stderr):
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("rppg: ")
    return lines[0].removeprefix("rppg: ")


def left_overs(folder):
    """Temporary files that a writer forgot."""
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.fixture(scope="module")
def scene(tmp_path_factory, rppg):
    """A rendered person: video, box as the command prints it, true heart rate."""
    video = tmp_path_factory.mktemp("scene") / "scene.mp4"
    ended = rppg(
        "synthesize", "--domain", "lab", "--subject", SUBJECT, "--out", video, "--duration", 12
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    times, bvp = np.loadtxt(video.with_suffix(".csv"), delimiter=",", skiprows=1).T
    power = np.abs(np.fft.rfft((bvp - bvp.mean()) * np.hanning(len(bvp)), n=1 << 17)) ** 2
    bpm = 60 * np.fft.rfftfreq(1 << 17, (times[-1] - times[0]) / (len(times) - 1))
    band = (bpm > 40) & (bpm < 200)
    box = ended.stdout.split("--box ")[1].split(")")[0].strip()
    assert not left_overs(video.parent)
    return video, box, bpm[band][np.argmax(power[band])]


def texture(rng, seconds, fps=10):
    """Coarse noise that drifts: no face in it."""
    coarse = np.kron(rng.integers(60, 200, (15, 20, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [np.roll(coarse, n, axis=1) for n in range(round(seconds * fps))]


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Inputs that can't be measured, with the words that each error line must have."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "empty.mp4").touch()
    rng = np.random.default_rng(0)
    write_video(folder / "faceless.mp4", texture(rng, 6), fps=10)
    write_video(folder / "short.mp4", texture(rng, 2), fps=10)
    return {
        folder / "text.mp4": ("not a video", "name a video file"),
        folder / "empty.mp4": ("empty", "copy or record it again"),
        folder / "faceless.mp4": ("no face", "--box x,y,w,h"),
        folder / "missing.mp4": ("no such file", "check the path"),
        folder: ("folder", "name a video file"),
    }


# --- predict ---------------------------------------------------------------------------------


def test_each_bad_video_gets_one_line(ended_here, bad):
    ended = ended_here("predict", "--method", "pos", *bad)
    assert ended.returncode == 2
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == len(bad), ended.stderr
    for line, (path, (cause, fix)) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"rppg: {path}") and cause in line and fix in line


def test_two_seconds_are_too_short(refused, bad):
    path = next(iter(bad)).parent / "short.mp4"
    line = refused("predict", "--full-frame", path)
    assert line.startswith(f"{path}: 2.0 s of video") and "at least 5 s" in line


@pytest.fixture(scope="module")
def good_among_bad(rppg, scene, bad):
    """`rppg predict` of a good video between two bad ones; stderr names what was imported."""
    faceless = next(path for path in bad if path.name == "faceless.mp4")
    videos = faceless.with_name("missing.mp4"), scene[0], faceless
    return *videos, rppg("predict", *videos, "--json", options=("-X", "importtime"))


def test_the_good_among_the_bad(good_among_bad, scene):
    """All are looked at; no box is given: the rendered face is found."""
    bpm = scene[2]
    missing, video, faceless, ended = good_among_bad
    assert ended.returncode == 2
    first, good, last = json.loads(ended.stdout)["videos"]
    assert set(first) == set(last) == {"path", "error"}
    assert first["path"] == str(missing) and "no such file" in first["error"]
    assert last["path"] == str(faceless) and "no face" in last["error"]
    assert good["path"] == str(video) and good["method"] == "fcus"
    assert good["hr_bpm"] == pytest.approx(bpm, abs=3)
    assert good["reliable"] is True and good["face_share"] > 0.95
    assert "Traceback" not in ended.stderr


def test_predict_imports_only_what_it_uses(good_among_bad):
    lines = good_among_bad[-1].stderr.splitlines()
    imported = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert {"torch", "av", "scipy.linalg"} <= imported
    unused = {
        "scipy.signal", "scipy.stats", "scipy.interpolate", "scipy.ndimage", "scipy.fft",
        "scipy.optimize", "scipy.io", "h5py",
        "torch._dynamo", "sympy", "matplotlib", "PIL", "onnxruntime", "starlette",
        "gradreg", "rppg.evaluation", "rppg.synthetic", "rppg.train",
    }  # fmt: skip
    assert not imported & unused


def test_predict_with_a_box_writes_csv_and_plot(ended_here, scene, tmp_path):
    video, box, bpm = scene
    rates, plot = tmp_path / "new" / "rates.csv", tmp_path / "plot.png"
    ended = ended_here("predict", video, "--box", box, "--csv", rates, "--plot", plot)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    head, *windows = ended.stdout.splitlines()
    printed_bpm = float(head.split(": ")[-1].split(" bpm")[0])
    assert printed_bpm == pytest.approx(bpm, abs=3) and "quality" in head
    with rates.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(windows) == 3
    assert [float(row["start_s"]) for row in rows] == pytest.approx([0, 1, 2])
    assert [float(row["hr_bpm"]) for row in rows] == pytest.approx([bpm] * 3, abs=4)
    assert all(0 <= float(row["quality"]) <= 1 for row in rows)
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert not left_overs(tmp_path)


def test_an_error_leaves_older_outputs_alone(refused, bad, tmp_path):
    rates, plot = tmp_path / "rates.csv", tmp_path / "plot.png"
    rates.write_text("old")
    plot.write_text("old")
    refused("predict", next(iter(bad)), "--csv", rates, "--plot", plot)
    assert rates.read_text() == plot.read_text() == "old"
    assert set(tmp_path.iterdir()) == {rates, plot}


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "1,2,3,4,5", ""])
def test_a_malformed_box(refused, box):
    line = refused("predict", "film.mp4", "--box", box)
    assert line.startswith("--box") and "x,y,w,h" in line


@pytest.mark.parametrize(
    "box", ["0,0,0,10", "900,0,10,10", "nan,0,10,10", "0,0,inf,10", "-1e15,0,2e15,1e15"]
)
def test_a_box_outside_of_the_picture(refused, bad, box):
    path = next(path for path in bad if path.name == "faceless.mp4")
    line = refused("predict", path, f"--box={box}")
    assert str(path) in line and "160x120" in line and "x,y,w,h" in line


def test_options_that_do_not_go_together(refused, bad, tmp_path):
    path = next(path for path in bad if path.name == "faceless.mp4")
    assert "--csv" in refused("predict", path, path, "--csv", tmp_path / "a.csv")
    assert "choose one" in refused("predict", path, "--full-frame", "--box", "0,0,9,9")
    line = refused("predict", path, "--method", "nope")
    assert "'nope'" in line and "fcus" in line and "pos" in line
    assert "checkpoint" in refused("predict", path, "--method", "pos", "--checkpoint", path)
    line = refused("predict", path, "--checkpoint", tmp_path / "a.safetensors")
    assert str(tmp_path / "a.safetensors") in line
    assert not list(tmp_path.iterdir())


@pytest.fixture
def flicker(tmp_path):
    """`flicker(name)`: a plain video of 6 s that pulses, to be read with --full-frame."""

    def write(name):
        video = tmp_path / "films" / name
        video.parent.mkdir(exist_ok=True)
        wave = np.rint(3 * np.sin(2 * np.pi * 1.2 * np.arange(60) / 10))
        frames = (np.array([140, 110, 90]) + wave[:, None] * [1, 2, 1]).astype(np.uint8)
        write_video(video, [np.tile(rgb, (32, 32, 1)) for rgb in frames], fps=10, crf=1)
        return video

    return write


def test_any_path_is_printed_as_it_is(flicker, capsys):
    video = flicker("a [red] :x: film" + 40 * "o" + ".mp4")
    with pytest.raises(SystemExit):
        main(["predict", str(video), "--full-frame", "--method", "green"])
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"{video}: 72.")


def test_any_path_is_in_the_error_as_it_is(refused):
    assert refused("predict", "a:x:b [red].mp4").startswith("a:x:b [red].mp4: ")


def test_a_plot_of_another_kind_is_refused_first(refused, flicker, tmp_path):
    video, rates = flicker("a.mp4"), tmp_path / "rates.csv"
    options = ["--full-frame", "--method", "green", "--csv", rates, "--plot", tmp_path / "a.jpg"]
    line = refused("predict", video, *options)
    assert "a.jpg" in line and ".png" in line
    assert not rates.exists()


def test_only_the_skin(refused, capsys, tmp_path):
    """Beside skin at 72 bpm something blue beats more strongly, at 108."""
    times = np.arange(120) / 20
    skin, blue = (np.sin(2 * np.pi * hz * times)[:, None, None, None] for hz in (1.2, 1.8))
    frames = np.random.default_rng(0).normal(0, 1.5, (120, 64, 64, 3))
    frames[:, :, :40] += np.array([150, 112, 92]) + skin * [1, 2, 1.2]
    frames[:, :, 40:] += np.array([70, 90, 150]) + blue * [3, 10, 5]
    video = tmp_path / "a.mp4"
    write_video(video, np.rint(frames).clip(0, 255).astype(np.uint8), fps=20, crf=1)
    for options, bpm in (([], 108), (["--skin"], 72)):
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(video), "--full-frame", "--method", "green", "--json", *options])
        assert not ended.value.code
        (found,) = json.loads(capsys.readouterr().out)["videos"]
        assert found["hr_bpm"] == pytest.approx(bpm, abs=1)
    assert "fcus finds the skin itself" in refused("predict", video, "--full-frame", "--skin")


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_an_output_that_cannot_be_written(flicker, capsys, option):
    video = flicker("a.mp4")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(video), "--full-frame", "--method", "green", "--json",
              option, str(video / "a.png")])  # fmt: skip
    assert ended.value.code == 2
    assert str(video / "a.png") in one_line(capsys.readouterr().err)


def test_a_closed_pipe_costs_no_file(flicker, environment, tmp_path):
    """As with `rppg predict ... | head -1`."""
    video, rates, plot = flicker("a.mp4"), tmp_path / "rates.csv", tmp_path / "plot.png"
    command = [sys.executable, "-m", "rppg.cli", "predict", "--full-frame", "--method", "green",
               "--csv", rates, "--plot", plot, video]  # fmt: skip
    started = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    started.stdout.close()
    stderr = started.stderr.read()
    started.wait(timeout=600)
    assert "Traceback" not in stderr
    assert rates.read_text().startswith("start_s,")
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_any_name_can_be_a_title(flicker, tmp_path):
    video = flicker("$a_{$.mp4")
    plot = tmp_path / "plot.svg"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(video), "--full-frame", "--method", "green", "--plot", str(plot)])
    assert not ended.value.code
    assert plot.exists()


@pytest.mark.parametrize("method", ["fcus", pytest.param("pos", marks=pytest.mark.slow)])
def test_the_real_clip(ended_here, real_face, method):
    ended = ended_here("predict", "--json", "--bvp", "--method", method, real_face / "video.mp4")
    assert ended.returncode == 0, ended.stderr
    (found,) = json.loads(ended.stdout)["videos"]
    assert found["method"] == method
    assert found["hr_bpm"] == pytest.approx(REAL_BPM, abs=2)
    assert 0 < found["quality"] <= 1 and found["face_share"] > 0.9
    assert found["windows"]
    for window in found["windows"]:
        assert set(window) == {
            "start_s", "end_s", "hr_bpm", "continuous_bpm", "quality", "reason", "box"
        }  # fmt: skip
    assert set(found["ms_per_frame"]) == {"video", "pulse"}
    assert all(ms > 0 for ms in found["ms_per_frame"].values())
    assert len(found["bvp"]["time_s"]) == len(found["bvp"]["value"]) > 300


# --- train and evaluate ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def run_of_train(rppg, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "new" / "run"
    ended = rppg("train", "--data", "synthetic:wild", "--config", small, "--out", out)
    assert ended.returncode == 0, ended.stderr
    return out, ended


def test_train_leaves_a_checkpoint_and_a_log(run_of_train):
    out, ended = run_of_train
    assert "Traceback" not in ended.stderr
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.safetensors",
        "checkpoint.json",
        "log.jsonl",
    }
    made = json.loads((out / "checkpoint.json").read_text())["provenance"]
    config = made["config"]
    assert (config["seed"], config["subjects"], config["clip_s"]) == (5, 4, 5.0)
    assert config["data"] == ["synthetic:wild"] and made["recordings"] == 4
    assert [(d["spec"], d["split"], d["subjects"]) for d in made["data"]] == [
        ("synthetic:wild", "train", ["0-3"])
    ]
    assert config["mask"] and config["smooth"] and config["project"]
    rows = [json.loads(row) for row in (out / "log.jsonl").read_text().splitlines()]
    assert len(rows) == made["steps"] and str(made["steps"]) in ended.stdout
    assert load_estimator(out / "checkpoint.safetensors").clip_s == 5.0


def test_the_function_and_the_command_train_the_same(run_of_train, cache, monkeypatch):
    """Same configuration, same data: the same weights but for the order of sums."""
    out, _ = run_of_train
    monkeypatch.setenv("RPPG_CACHE", str(cache))
    config = TrainConfig(data=("synthetic:wild",), subjects=4, clip_s=5.0, batch_size=4, seed=5)
    mine = train(config).net.state_dict()
    theirs = load_estimator(out / "checkpoint.safetensors").net.state_dict()
    assert set(mine) == set(theirs)
    for name, value in mine.items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "level", ["mask", *(pytest.param(n, marks=pytest.mark.slow) for n in ("smooth", "project"))]
)
def test_each_level_can_be_left_out(run_of_train, cache, monkeypatch, tmp_path, small, level):
    monkeypatch.setenv("RPPG_CACHE", str(cache))
    arguments = ["--data", "synthetic:wild", "--config", small, "--out", tmp_path / "run"]
    with pytest.raises(SystemExit) as ended:
        main(["train", *map(str, arguments), f"--no-{level}"])
    assert not ended.value.code
    made = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["provenance"]
    off = {name for name in ("mask", "smooth", "project") if made["config"][name] is None}
    assert off == {level}
    other = load_estimator(run_of_train[0] / "checkpoint.safetensors").net.state_dict()
    mine = load_estimator(tmp_path / "run" / "checkpoint.safetensors").net.state_dict()
    assert any(not np.array_equal(mine[name], other[name]) for name in mine)


def test_the_module_trains_without_any_level(run_of_train, rppg, small, tmp_path):
    """`python -m rppg.train`; options win over the file."""
    arguments = ["--config", small, "--out", "run", "--seed", 9, "--epochs", 2]
    off = ["--no-mask", "--no-smooth", "--no-project"]
    ended = rppg("--data", "synthetic:wild", *arguments, *off, module="rppg.train", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    made = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["provenance"]
    assert [made["config"][name] for name in ("mask", "smooth", "project")] == [None] * 3
    assert made["config"]["seed"] == 9 and made["config"]["epochs"] == 2


@pytest.mark.slow
def test_an_evaluation_with_continuity_names_it_everywhere(rppg, tmp_path):
    ended = rppg(
        "evaluate", "--data", "synthetic:lab", "--subjects", 2, "--method", "pos",
        "--continuity", "--out", tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "windows of 10.0 s, with continuity" in ended.stdout
    assert "Windows of 10.0 s, with continuity" in (tmp_path / "report.html").read_text()
    results = json.loads((tmp_path / "metrics.json").read_text())
    assert results["settings"]["continuity"] is True
    assert {row["method"] for row in results["windows"]} == {"pos, continuity"}
    assert '"pos, continuity"' in (tmp_path / "scores.csv").read_text()
    ended = rppg(
        "evaluate", "--data", "synthetic:lab", "--continuity", "--protocol", "toolbox",
        "--out", tmp_path / "toolbox",
    )  # fmt: skip
    assert ended.returncode == 2 and "leave continuity out" in ended.stderr
    assert not (tmp_path / "toolbox").exists()


def test_evaluate_a_checkpoint(ended_here, run_of_train, tmp_path):
    checkpoint = run_of_train[0] / "checkpoint.safetensors"
    ended = ended_here(
        "evaluate", "--data", "synthetic:lab", "--subjects", 2, "--checkpoint", checkpoint,
        "--method", "pos", "--json", "--out", tmp_path / "out",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout)
    rows = {(row["dataset"], row["method"], row["subject"]) for row in results["windows"]}
    assert len(rows) == 2 * 2
    assert {method for _, method, _ in rows} == {str(checkpoint), "pos"}
    assert {dataset for dataset, _, _ in rows} == {"synthetic:lab@1"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "metrics.json",
        "scores.csv",
        "scores.tex",
    }
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == results
    (data,) = results["data"]
    assert data == {
        "dataset": "synthetic:lab@1", "spec": "synthetic:lab", "split": "test", "n_subjects": 2,
        "subjects": ["200000-200001"], "recordings": 2, "left_out": [],
    }  # fmt: skip
    assert "split test, 2 subjects, 2 recordings" in (tmp_path / "out" / "report.html").read_text()


def test_bad_configurations(refused, tmp_path):
    file = tmp_path / "bad.toml"
    for text, named in (
        ("epochs = [", "TOML"),
        ("learning_speed = 3\n", "learning_speed"),
        ("epochs = 0\n", "epochs"),
        ("[mask]\nhi = 1\n", "mask.hi"),
        ("subjects = 'many'\n", "subjects"),
    ):
        file.write_text(text)
        line = refused("train", "--config", file, "--out", tmp_path / "run")
        assert str(file) in line and named in line
    line = refused("train", "--config", tmp_path / "missing.toml")
    assert str(tmp_path / "missing.toml") in line
    file.write_bytes(b"\xff\xfe\x00")
    assert str(file) in refused("train", "--config", file)
    assert set(tmp_path.iterdir()) == {file}


def test_unknown_names(refused, tmp_path):
    out = ("--out", tmp_path / "run")
    for command in ("train", "evaluate"):
        line = refused(command, "--data", "synthetic:nowhere", *out)
        assert "'nowhere'" in line and "webcam" in line
        line = refused(command, "--data", tmp_path / "nowhere", *out)
        assert str(tmp_path / "nowhere") in line and "synthetic:" in line
    line = refused("evaluate", "--data", "synthetic:lab", "--method", "nope", *out)
    assert "'nope'" in line and "chrom" in line
    line = refused("evaluate", "--data", "synthetic:lab", "--protocol", "nope", *out)
    assert "'nope'" in line and "toolbox" in line
    missing = tmp_path / "missing.safetensors"
    assert str(missing) in refused("evaluate", "--data", "synthetic:lab", "--checkpoint", missing)
    line = refused("synthesize", "--domain", "nope", "--out", tmp_path / "a.mp4")
    assert "'nope'" in line and "wild" in line
    (tmp_path / "films").mkdir()
    assert "no video" in refused("train", "--data", tmp_path / "films", *out)
    assert {path.name for path in tmp_path.iterdir()} == {"films"}


def interrupted(environment, folder, config, ready):
    """`rppg train` with an empty cache in `folder`, interrupted as soon as `ready()`."""
    (folder / "config.toml").write_text(config)
    command = ["train", "--data", "synthetic:lab", "--config", folder / "config.toml"]
    started = subprocess.Popen(
        [sys.executable, "-m", "rppg.cli", *map(str, command), "--out", str(folder / "run")],
        env={**environment, "RPPG_CACHE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 600
        while not ready():
            assert started.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        output = "".join(started.communicate(timeout=600))
    finally:
        started.kill()
    assert started.returncode == 130
    assert "Traceback" not in output
    assert not (folder / "run").exists()
    assert not left_overs(folder)


def rendered(folder):
    return [path for path in folder.rglob("0*.npz") if not path.name.endswith(".truth.npz")]


def test_an_interrupt_of_the_training_is_130(environment, tmp_path):
    def ready():
        if len(rendered(tmp_path)) < 2:
            return False
        time.sleep(1)
        return True

    config = SMALL.replace("subjects = 4", "subjects = 2") + "epochs = 1000000\n"
    interrupted(environment, tmp_path, config, ready)


def test_an_interrupt_in_generated_code_is_130(tmp_path):
    (tmp_path / "program.py").write_text(
        "from rppg.cli import app, main\n"
        "@app.command()\n"
        "def stop():\n"
        "    exec('raise KeyboardInterrupt')\n"
        "main(['stop'])\n"
    )
    ended = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, check=False)
    assert ended.returncode == 130


def test_an_interrupt_of_the_rendering_is_130_and_soon(environment, tmp_path):
    config = SMALL.replace("subjects = 4", "subjects = 16")
    interrupted(environment, tmp_path, config, lambda: rendered(tmp_path))
    assert len(rendered(tmp_path)) < 16


# --- the rest --------------------------------------------------------------------------------


def test_help_and_lists(rppg, capsys):
    ended = rppg("--help")
    assert ended.returncode == 0
    commands = (
        "demo", "train", "evaluate", "predict", "synthesize", "check", "cache", "datasets",
        "methods", "export",
    )  # fmt: skip
    for command in commands:
        assert command in ended.stdout
        with pytest.raises(SystemExit) as exited:
            main([command, "--help"])
        assert not exited.value.code
    capsys.readouterr()
    for command, names in (
        ("datasets", ("synthetic:lab", "synthetic:webcam", "synthetic:wild")),
        ("methods", ("fcus", "pos", "chrom", "green")),
    ):
        with pytest.raises(SystemExit) as exited:
            main([command])
        assert not exited.value.code
        out, err = capsys.readouterr()
        assert err == ""
        for name in names:
            assert any(line.startswith(f"{name}  ") for line in out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'; see rppg --help"),
        (["predict"], "Missing argument 'VIDEO...'; see rppg predict --help"),
        (["train", "--epochs", "x"], "'--epochs': .* a valid integer.*; see rppg train --help"),
        (["train", "--nope"], "No such option: --nope.*; see rppg train --help"),
    ],
)
def test_bad_usage_is_one_line_and_2(arguments, message, refused):
    assert re.search(message, refused(*arguments))


def test_no_command_shows_the_help_and_is_2(rppg):
    ended = rppg()
    assert ended.returncode == 2
    assert "predict" in ended.stdout and ended.stderr == ""


def test_version(rppg):
    ended = rppg("--version")
    assert ended.returncode == 0
    assert re.fullmatch(r"rppg \d+\.\d+\.\d+\n", ended.stdout)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("clip_s = inf", "clip_s = inf: Input should be a finite number"),
        ("[model]\nfps = nan", "model.fps = nan"),
        ("epochs = 0\nnope = 1", "epochs = 0: .*greater than or equal to 1.*nope = 1"),
    ],
)
def test_a_wrong_configuration_names_field_and_value(toml, message, refused, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(toml)
    line = refused("train", "--config", config)
    assert line.startswith(f"{config}: ")
    assert re.search(message, line)


@pytest.mark.parametrize("option", ["--duration", "--start"])
def test_a_time_that_is_no_number_is_refused(option, refused, scene):
    message = "give a start|greater than or equal to 0"
    assert re.search(message, refused("predict", scene[0], option, "nan"))


def test_synthesize_replaces_only_with_force(refused, tmp_path):
    truth = tmp_path / "a.csv"
    truth.write_text("mine")
    line = refused("synthesize", "--domain", "lab", "--out", tmp_path / "a.mp4")
    assert f"{truth}: exists already" in line and "--force" in line
    assert truth.read_text() == "mine"


def test_synthesize_writes_a_dataset_only_where_nothing_is(refused, tmp_path):
    several = ("synthesize", "--domain", "lab", "--subjects", 2, "--out", tmp_path)
    assert f"{tmp_path}: exists already" in refused(*several)
    assert "--force" in refused(*several, "--force")
    assert "'nope'" in refused(*several, "--layout", "nope")
    for duration in ("nan", "inf", "4"):
        assert "'--duration'" in refused(*several, "--duration", duration)
    assert list(tmp_path.iterdir()) == []


def imported(statement):
    """Top-level modules in a fresh interpreter after `statement`."""
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=600, check=True
    )
    return set(ended.stdout.split())


def test_the_command_line_starts_without_what_is_slow():
    slow = {"torch", "numpy", "scipy", "av", "matplotlib", "pydantic", "einops", "safetensors"}
    assert not imported("import rppg.cli") & slow


def test_gradreg_stands_alone():
    extras = {
        "rppg", "scipy", "av", "typer", "rich", "einops", "safetensors", "pydantic", "matplotlib",
    }  # fmt: skip
    assert not imported("import gradreg") & extras
