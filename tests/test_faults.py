"""What goes wrong around the program, by real processes: disks, signals, pipes, clocks, videos.

`docs/reliability.md` lists all faults with the test that shows each; this file has those that are
tested nowhere else, and holds the list to what is there.
"""

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import call
from pathlib import Path

import numpy as np
import pytest

from rppg.models.checkpoint import save_checkpoint
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.processes import work_through
from rppg.video import write_video

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs" / "reliability.md"
HANG_S = 600.0
"""Nothing takes so long, even on a machine under load."""
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")


def beating(times_s: np.ndarray) -> list[np.ndarray]:
    """A plain image at 72 bpm."""
    wave = 3 * np.sin(2 * np.pi * 1.2 * times_s)
    images = np.rint(np.array([140, 110, 90]) + wave[:, None] * [1, 2, 1]).astype(np.uint8)
    return [np.tile(rgb, (32, 32, 1)) for rgb in images]


def film(path: Path, seconds: float = 6, fps: float = 10) -> Path:
    write_video(path, beating(np.arange(round(seconds * fps)) / fps), fps=fps, crf=1)
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 6 s."""
    return film(tmp_path_factory.mktemp("short") / "a.mp4")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes seconds to read."""
    path = tmp_path_factory.mktemp("long") / "long.avi"
    times = np.arange(20_000) / 50
    write_video(path, iter(beating(times)), fps=50, codec="mpeg4", qscale=3)
    os.utime(path, (1e9, 1e9))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rppg", *map(str, arguments)]


def around(tmp_path: Path, **more: str) -> dict[str, str]:
    result = {"RPPG_CACHE": str(tmp_path / "cache"), "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **result, **more}


@pytest.fixture
def ended(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`ended("predict", ...)` runs a command to its end."""

    def run(*arguments: object, env: dict[str, str] | None = None, **how: object):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.run(
            command(*arguments), env=around(tmp_path, **(env or {})), text=True, timeout=600,
            errors="surrogateescape", check=False, **how,
        )  # fmt: skip

    return run


def measured(short: Path) -> tuple[str, ...]:
    return ("predict", str(short), "--full-frame", "--method", "green")


def one_line(result: "subprocess.CompletedProcess[str]", code: int = 2) -> str:
    assert result.returncode == code, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("rppg: ")
    return result.stderr


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def wait_until(condition: Callable[[], object], seconds: float = HANG_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def holds(process: int, path: Path) -> bool:
    """Whether a process has a file open."""
    try:
        links = list(Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False
    for link in links:
        try:
            if link.readlink() == path:
                return True
        except OSError:
            continue
    return False


@contextmanager
def started(tmp_path: Path, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A command in a process group of its own, of which nothing is left in the end."""
    process = subprocess.Popen(
        command(*arguments), env=around(tmp_path), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def members(group: int) -> list[int]:
    """The processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


# --- disks -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 kB that is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk may be mounted here")
    (disk / "filling").write_bytes(bytes(16_384))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


OUTPUTS = {
    "csv": ("--csv", "a.csv"),
    "plot": ("--plot", "a.png"),
}


@pytest.mark.parametrize(
    "kind", [pytest.param("csv"), pytest.param("plot", marks=pytest.mark.slow)]
)
def test_a_full_disk_is_told_of_the_output(kind, ended, short, small_disk) -> None:
    option, name = OUTPUTS[kind]
    result = ended(*measured(short), option, small_disk / name)
    assert f"{small_disk / name}: can't be written (No space left" in one_line(result)
    assert [path.name for path in small_disk.iterdir()] == ["filling"]


@pytest.mark.slow
@pytest.mark.parametrize("what", [["s.mp4"], ["pure", "--layout", "pure"]])
def test_a_full_disk_while_people_are_rendered(what, ended, small_disk) -> None:
    out = small_disk / what[0]
    result = ended(
        "synthesize", "--domain", "lab", "--duration", 5, "--out", out, *what[1:]
    )  # fmt: skip
    assert f"{out}: can't be written (No space left" in one_line(result)
    assert [path.name for path in small_disk.iterdir()] == ["filling"]


@pytest.mark.slow
def test_a_limit_on_the_size_of_files(ended, short, tmp_path) -> None:
    """As a quota does it."""

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    plot = tmp_path / "a.png"
    result = ended(*measured(short), "--plot", plot, preexec_fn=small_files_only)
    assert f"{plot}: can't be written (File too large)" in result.stderr.splitlines()[-1]
    assert result.returncode == 2 and not plot.exists() and not hidden(tmp_path)


@pytest.mark.slow
def test_a_disk_that_can_only_be_read(ended, short, small_disk) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = ended(*measured(short), "--csv", small_disk / "a.csv")
    assert f"{small_disk / 'a.csv'}: can't be written (Read-only" in one_line(result)
    result = ended("cache", f"{short}?face=full", env={"RPPG_CACHE": str(small_disk)})
    assert "crops can't be stored there (Read-only" in one_line(result)
    assert "--no-cache" in result.stderr


@pytest.mark.slow
def test_an_output_where_no_folder_can_be(ended, short) -> None:
    result = ended(*measured(short), "--csv", "/proc/nowhere/a.csv")
    assert "/proc/nowhere/a.csv: can't be written (No such file" in one_line(result)
    assert " bpm" in result.stdout  # what was found is not lost


# --- checkpoints -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_for_other_channels_or_another_rate(ended, short, tmp_path) -> None:
    four = ModelConfig(signatures=((0.4, 0.8, 0.4, 0.2), (0.1, 0.9, 0.3, 0.1)))
    for name, config, result in (
        ("four", four, f"{short}: frames of 3 channels, but this network is made for 4"),
        ("slow", ModelConfig(fps=20), "slow.json: a network for 20 frames a second"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, FcusNet(config), {})
        line = one_line(ended("predict", short, "--full-frame", "--checkpoint", path))
        assert result in line


# --- processes -------------------------------------------------------------------------------


@linux
@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_decodes(long, tmp_path, ended) -> None:
    """As the kernel does it for want of memory: its video is read again, and nothing is lost."""
    (tmp_path / "films").mkdir()
    slow = tmp_path / "films" / "0.avi"
    slow.write_bytes(long.read_bytes())
    for number in (1, 2):
        film(tmp_path / "films" / f"{number}.mp4")
    spec = f"{tmp_path / 'films'}?face=full"
    with started(tmp_path, "cache", spec, "--workers", 2, "--json") as process:
        decoding: list[int] = []

        def found() -> bool:
            others = [member for member in members(process.pid) if member != process.pid]
            decoding[:] = [member for member in others if holds(member, slow)]
            return bool(decoding)

        wait_until(found)
        time.sleep(0.3)
        os.kill(decoding[0], signal.SIGKILL)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["ready"] + result["built"] == 3 and not result["failed"]
    assert not hidden(tmp_path / "cache")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_job_without_memory_is_given_up_alone(workers) -> None:
    jobs = [partial(abs, -1), partial(bytes, 1 << 60), partial(abs, -3)]
    done: dict[int, object] = {}
    work_through(call, jobs, workers, done.__setitem__)
    assert done == {0: 1, 1: None, 2: 3}


@linux
@pytest.mark.slow
def test_two_processes_build_the_same_cache(tmp_path) -> None:
    (tmp_path / "films").mkdir()
    for number in range(4):
        film(tmp_path / "films" / f"{number}.mp4", 20 + number)
    spec = f"{tmp_path / 'films'}?face=full"
    with (
        started(tmp_path, "cache", spec, "--json") as one,
        started(tmp_path, "cache", spec, "--json") as other,
    ):
        result = [json.loads(process.communicate(timeout=600)[0]) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    assert all(part["ready"] + part["built"] == 4 and not part["failed"] for part in result)
    files = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert len(files) == 4 and not hidden(tmp_path / "cache")
    with started(tmp_path, "cache", spec, "--json") as third:
        assert json.loads(third.communicate(timeout=600)[0])["ready"] == 4  # each is whole


# --- clocks ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_clock_that_goes_backwards(ended, tmp_path) -> None:
    """Videos and leftovers from the future: crops are found again, and nothing is swept early."""
    video = film(tmp_path / "a.mp4")
    future = time.time() + 1e8
    os.utime(video, (future, future))
    first = json.loads(ended("cache", f"{video}?face=full", "--json").stdout)
    assert (first["ready"], first["built"]) == (0, 1)
    (crops,) = (tmp_path / "cache").rglob("*.safetensors")
    new, old = crops.with_name(".new.safetensors"), crops.with_name(".old.safetensors")
    for path, age in ((new, future), (old, 0.0), (crops, future)):
        path.touch()
        os.utime(path, (age, age))
    second = ended("cache", f"{video}?face=full", "--json")
    assert second.stderr == ""
    result = json.loads(second.stdout)
    assert (result["ready"], result["built"]) == (1, 0)
    assert new.exists() and not old.exists()


# --- videos ----------------------------------------------------------------------------------


def with_rate(whole: bytes, scale: int, rate: int) -> bytes:
    """An AVI file whose header claims `rate / scale` frames a second."""
    changed, stream = bytearray(whole), whole.index(b"strh") + 8
    changed[stream + 20 : stream + 28] = struct.pack("<II", scale, rate)
    main = whole.index(b"avih") + 8
    changed[main : main + 4] = bytes(4)
    return bytes(changed)


@pytest.mark.slow
def test_absurd_frame_rates(ended, tmp_path) -> None:
    images = beating(np.arange(60) / 10)
    write_video(tmp_path / "a.avi", images, fps=10, codec="mjpeg", qscale=2)
    whole = (tmp_path / "a.avi").read_bytes()
    for name, scale, rate in (("zero", 1, 0), ("none", 0, 0), ("huge", 1, 4_000_000_000)):
        (tmp_path / f"{name}.avi").write_bytes(with_rate(whole, scale, rate))
    slow = film(tmp_path / "slow.mp4", 20, 1)
    fast = tmp_path / "fast.mkv"
    write_video(fast, beating(np.arange(6500) / 1000), fps=1000, codec="ffv1")
    names = [tmp_path / f"{name}.avi" for name in ("zero", "none", "huge")]
    result = ended("predict", "--full-frame", "--method", "green", "--json", *names, slow, fast)
    *errors, repeated = result.stderr.splitlines()
    assert result.returncode == 2 and len(errors) == 4
    assert "96 % of the frames repeat the one before" in repeated
    *bad, good = json.loads(result.stdout)["videos"]
    assert all("a pulse needs at least 5 s" in video["error"] for video in bad[:3])
    assert "a frame every 1.0 s, too slow for a pulse" in bad[3]["error"]
    assert good["hr_bpm"] == pytest.approx(72, abs=1)


@linux
@pytest.mark.slow
def test_a_video_that_is_removed_while_it_is_read(long, tmp_path) -> None:
    """It is read to its end, or refused; what was read of it is never taken for the whole."""
    video = tmp_path / "a.avi"
    video.write_bytes(long.read_bytes())
    with started(tmp_path, *measured(video), "--json") as process:
        wait_until(lambda: holds(process.pid, video))
        video.unlink()
        out, err = process.communicate(timeout=600)
    (found,) = json.loads(out)["videos"]
    if process.returncode == 0:
        assert err == ""
        assert found["frames"] == 20_000 and found["hr_bpm"] == pytest.approx(72, abs=1)
    else:
        assert process.returncode == 2
        assert f"{video}: no such file" in found["error"] and len(err.splitlines()) == 1


@linux
@pytest.mark.slow
def test_a_video_that_shrinks_while_it_is_read(long, tmp_path) -> None:
    video = tmp_path / "a.avi"
    video.write_bytes(long.read_bytes())
    with started(tmp_path, *measured(video)) as process:
        wait_until(lambda: holds(process.pid, video))
        os.truncate(video, video.stat().st_size // 50)
        _, err = process.communicate(timeout=600)
    assert process.returncode == 2
    assert len(err.splitlines()) == 1 and f"{video}: the video breaks" in err


# --- pipes and terminals ---------------------------------------------------------------------


@pytest.mark.parametrize("option", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_a_reader_that_goes_away(option, short, tmp_path) -> None:
    """`rppg predict ... | head -0`"""
    process = subprocess.Popen(
        command(*measured(short), *option, "--csv", tmp_path / "a.csv"), env=around(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    result = process.stderr.read()
    assert process.wait(timeout=600) == 1
    assert result == ""
    assert not hidden(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_full_disk_behind_stdout(option, ended, short) -> None:
    with Path("/dev/full").open("w") as full:
        result = ended(*measured(short), *option, stdout=full)
    assert "No space left" in one_line(result)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_a_terminal_that_lacks_letters(encoding, ended, short, tmp_path) -> None:
    video = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.mp4"))
    video.write_bytes(short.read_bytes())
    result = ended(*measured(video), env={"PYTHONIOENCODING": encoding})
    assert (result.returncode, result.stderr) == (0, "")
    assert " bpm" in result.stdout


@pytest.mark.slow
def test_file_names_that_are_not_utf_8(ended, short, tmp_path) -> None:
    video = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.mp4"))
    video.write_bytes(short.read_bytes())
    outputs = [Path(f"{video}.csv"), Path(f"{video}.png")]
    result = ended(*measured(video), "--json", "--csv", outputs[0], "--plot", outputs[1])
    assert (result.returncode, result.stderr) == (0, "")
    (found,) = json.loads(result.stdout)["videos"]
    assert os.fsencode(found["path"]) == os.fsencode(video)
    assert all(path.stat().st_size > 0 for path in outputs)
    result = ended("cache", f"{tmp_path}?face=full", "--json")
    assert (result.returncode, json.loads(result.stdout)["built"]) == (0, 1)
    video.write_bytes(b"")
    assert "the file is empty" in one_line(ended(*measured(video)))


@pytest.mark.slow
def test_no_terminal_at_all(ended, short) -> None:
    """Neither keyboard nor screen: no colour, no bar, no question."""
    for arguments in (measured(short), ("cache", f"{short}?face=full"), ("predict", "nope.mp4")):
        result = ended(*arguments, stdin=subprocess.DEVNULL, start_new_session=True,
                     env={"TERM": "xterm-256color"})  # fmt: skip
        assert result.returncode == (2 if "nope.mp4" in arguments else 0)
        assert (
            "\x1b" not in result.stdout + result.stderr
            and "\r" not in result.stdout + result.stderr
        )


@pytest.mark.slow
def test_no_home_and_no_cache(ended, short, tmp_path) -> None:
    """A prediction needs neither; what needs a cache says how to go without."""
    nowhere = {"HOME": "/proc/nowhere", "RPPG_CACHE": "/proc/nowhere/cache"}
    result = ended(*measured(short), "--csv", tmp_path / "a.csv", env=nowhere)
    assert (result.returncode, result.stderr) == (0, "")
    result = ended("cache", f"{short}?face=full", env=nowhere)
    assert "RPPG_CACHE" in one_line(result) and "--no-cache" in result.stderr
    result = ended("train", "--data", f"{short}?face=full", "--out", tmp_path / "out", env=nowhere)
    assert "RPPG_CACHE" in result.stderr.splitlines()[-1] and result.returncode == 2
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


# --- signals ---------------------------------------------------------------------------------


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "codes"),
    [(signal.SIGINT, {130}), (signal.SIGTERM, {143, -signal.SIGTERM})],
)
def test_a_prediction_that_is_stopped(number, codes, long, tmp_path) -> None:
    csv = tmp_path / "out" / "a.csv"
    with started(tmp_path, *measured(long), "--csv", csv) as process:
        wait_until(lambda: holds(process.pid, long))
        time.sleep(0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=HANG_S)
    assert process.returncode in codes
    assert "Traceback" not in err and out == ""
    assert not csv.exists() and not hidden(tmp_path)


@linux
@pytest.mark.slow
def test_a_cache_whose_building_is_terminated(long, tmp_path, ended) -> None:
    """SIGTERM, as schedulers send it: workers end too, and what is there is whole."""
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "1.avi").write_bytes(long.read_bytes())
    for number in (0, 2):
        film(tmp_path / "films" / f"{number}.mp4")
    spec = f"{tmp_path / 'films'}?face=full"
    with started(tmp_path, "cache", spec, "--workers", 2) as process:
        wait_until(lambda: list((tmp_path / "cache").rglob("[!.]*.safetensors")))
        process.terminate()
        process.communicate(timeout=HANG_S)
        wait_until(lambda: not members(process.pid))
    assert process.returncode in (143, -signal.SIGTERM)
    assert not hidden(tmp_path / "cache")
    result = json.loads(ended("cache", spec, "--json").stdout)
    assert result["ready"] >= 1 and result["ready"] + result["built"] == 3


# --- outputs that exist ----------------------------------------------------------------------


@pytest.mark.slow
def test_results_that_exist_are_replaced_whole(ended, short, tmp_path) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text("old")
    csv.chmod(0o600)
    assert ended(*measured(short), "--csv", csv).returncode == 0
    assert csv.read_text().startswith("start_s,end_s,hr_bpm,quality,reason\n")
    assert "is a folder" in one_line(ended(*measured(short), "--csv", tmp_path))


# --- the list --------------------------------------------------------------------------------


def listed() -> Sequence[tuple[str, str]]:
    """Files and names of the tests in the list."""
    text = LIST.read_text(encoding="utf-8")
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


def test_each_fault_has_a_test_that_is_there() -> None:
    rows = [line for line in LIST.read_text(encoding="utf-8").splitlines() if "`tests/" in line]
    assert len(rows) >= 25
    found = listed()
    assert len(found) >= len(rows)
    for file, name in found:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"


def test_each_test_of_this_file_is_listed() -> None:
    names = re.findall(r"^def (test_\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.M)
    mine = {name for file, name in listed() if file == "tests/test_faults.py"}
    assert set(names) - {"test_each_fault_has_a_test_that_is_there",
                         "test_each_test_of_this_file_is_listed"} == mine  # fmt: skip
