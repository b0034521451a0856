"""Crops in the cache: the same bits as from the video, built once, never half-written or stale."""

import json
import logging
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

import rppg
from rppg.cli import main
from rppg.crops import cache, crop_file, crop_key
from rppg.crops.cache import CachedCrops, cached, checked_elsewhere, store
from rppg.crops.crop_file import UnusableError, open_crops, write_crops
from rppg.data.datasets import DATASETS
from rppg.data.specs import open_dataset, open_shard
from rppg.data.synthetic_dataset import write_dataset
from rppg.errors import InputError
from rppg.train.config import TrainConfig
from rppg.train.run import train
from rppg.types import FaceCrops
from rppg.video import write_video
from rppg.video.crop import FaceRegion, VideoCrops
from rppg.video.sources.video_file import VideoFile

NAMES = [name for name in DATASETS if name != "folder"]
LONG_S = 400
HANG_S = 600.0
"""Nothing takes so long, even on a machine under load."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache, empty."""
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crops"


@pytest.fixture
def films(tmp_path, write):
    """`films(5)`: a folder of so many videos, none like another, and settled for long."""

    def make(count, seconds=6.4):
        root = tmp_path / "films"
        for number in range(count):
            write.video(root / f"{number}.avi", seconds + 0.2 * number)
            os.utime(root / f"{number}.avi", (1e9, 1e9))
        return root

    (tmp_path / "films").mkdir()
    return make


def opened(spec, query="?face=full"):
    return open_dataset(f"{spec}{query}", split="train", subjects=1)


def same(one: FaceCrops, other: FaceCrops) -> bool:
    return all(
        np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype
        for a, b in ((getattr(one, n), getattr(other, n)) for n in vars(one))
    )


def counts(stored):
    return stored.ready, stored.built, len(stored.failed)


def contents(root: Path) -> dict[str, bytes]:
    """Of all files with crops."""
    files = (path for path in root.rglob("*.safetensors") if not path.name.startswith("."))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def the_file(root: Path) -> Path:
    (file,) = root.rglob("*.safetensors")
    return file


def hidden(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(".")]


# --- the same, and once ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_of_every_dataset_the_crops_are_the_same_bits(dataset, name):
    root, written = dataset(name)
    recordings = opened(f"{name}:{root / 'list.csv' if name == 'manifest' else root}")
    (recording,) = [recording for recording in recordings if recording.name == written.record]
    direct = recording.load_crops()
    assert same(pickle.loads(pickle.dumps(recording.load_crops))(), direct)
    first, second = store([recording]), store([recording])
    assert counts(first) == (0, 1, 0) and counts(second) == (1, 0, 0)
    for stored in (first, second):
        assert isinstance(stored.recordings[0].load_crops, CachedCrops)
        assert same(stored.recordings[0].load_crops(), direct)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Two people whose faces have to be found."""
    root = tmp_path_factory.mktemp("people") / "COHFACE"
    return write_dataset("lab", root, layout="cohface", subjects=2, duration_s=6)


def test_parallel_is_serial_is_direct(people, folder, tmp_path, monkeypatch):
    recordings = opened(people, "")
    reported = []
    stored = store(
        recordings, workers=2, progress=lambda done, total: reported.append((done, total))
    )
    assert counts(stored) == (0, 2, 0)
    assert reported == [(1, 2), (2, 2)]
    assert all(
        same(a.load_crops(), b.load_crops())
        for a, b in zip(stored.recordings, recordings, strict=True)
    )
    parallel = contents(folder)
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "other"))
    assert counts(store(recordings)) == (0, 2, 0)
    assert contents(tmp_path / "other" / "crops") == parallel and len(parallel) == 2


def test_what_reading_warned_of_is_told_again(films, tmp_path, write, caplog):
    times = np.arange(200) / 20 + 1.5 * (np.arange(200) >= 100)
    write_video(films(0) / "a.mkv", write.images(times), times_s=times, codec="mjpeg", qscale=2)

    def reported(recordings):
        caplog.clear()
        recordings[0].load_crops()
        return [entry.getMessage() for entry in caplog.records]

    recordings = opened(tmp_path / "films")
    direct = reported(recordings)
    assert any("no frames from" in line for line in direct)
    assert reported(cached(recordings)) == direct == reported(cached(recordings))
    shutil.move(tmp_path / "films", tmp_path / "moved")
    assert reported(cached(opened(tmp_path / "moved"))) == [
        line.replace("/films/", "/moved/") for line in direct
    ]


def test_records_that_are_crops_already_are_left_alone(folder):
    crops = FaceCrops(np.zeros((2, 4, 4, 3), np.uint8), np.arange(2.0), np.ones(2, bool))
    (recording,) = opened("synthetic:lab", "")
    recording = replace(recording, load_crops=lambda: crops)
    stored = store([recording])
    assert counts(stored) == (1, 0, 0) and stored.recordings == [recording]
    assert not contents(folder)


def test_many_recordings_take_neither_memory_nor_handles(tmp_path):
    def anonymous_mb():
        text = Path("/proc/self/status").read_text()
        return int(text.split("RssAnon:")[1].split()[0]) / 1024

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system doesn't tell")
    frames = np.random.default_rng(0).integers(0, 256, (2000, 48, 48, 3), dtype=np.uint8)
    crops = FaceCrops(frames, np.arange(2000.0), np.ones(2000, bool), np.zeros((2000, 4)))
    write_crops(tmp_path / "a", "key", crops)
    open_crops(tmp_path / "a", "key")
    memory, handles = anonymous_mb(), len(list(Path("/proc/self/fd").iterdir()))
    held = [open_crops(tmp_path / "a", "key")[0] for _ in range(40)]  # 550 MB
    assert anonymous_mb() - memory < 30
    assert len(list(Path("/proc/self/fd").iterdir())) == handles
    held[0].frames[:] = 0  # whoever writes to it doesn't write to the file
    assert same(held[1], crops)


# --- stale, or of something else -------------------------------------------------------------


def test_another_content_is_read_again(films, write):
    root = films(2)
    before = [recording.load_crops() for recording in cached(opened(root))]
    write.video(root / "0.avi", 7.5)
    os.utime(root / "0.avi", (2e9, 2e9))
    recordings = opened(root)
    stored = store(recordings)
    assert counts(stored) == (1, 1, 0)
    after = [recording.load_crops() for recording in stored.recordings]
    assert not same(after[0], before[0]) and same(after[0], recordings[0].load_crops())
    assert same(after[1], before[1])


def test_a_change_too_fast_for_the_clock_is_seen(films, write):
    """A file that was new when it was read is read anew: size and time may not tell of a change."""
    path = films(1) / "0.avi"
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    assert counts(store(opened(path.parent))) == (0, 1, 0)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(now, now))
    assert counts(store(opened(path.parent))) == (0, 1, 0)


def test_files_alike_but_for_their_folder(films, tmp_path):
    """As UBFC-rPPG's are: of one name, size and time."""
    data = (films(1) / "0.avi").read_bytes()
    for number in range(2):
        path = tmp_path / str(number) / "vid.avi"
        path.parent.mkdir()
        path.write_bytes(data[:-1] + bytes([number]))
        os.utime(path, (1e9, 1e9))
        assert counts(store(opened(path.parent))) == (0, 1, 0)


def test_a_file_that_changes_while_it_is_read_is_not_kept(films, folder):
    class Fickle(VideoFile):
        def frames(self, *args, **kwargs):
            os.utime(self.path)
            return super().frames(*args, **kwargs)

    (recording,) = opened(films(1))
    video = Fickle(recording.load_crops.video.path)
    stored = store([replace(recording, load_crops=VideoCrops(video, FaceRegion(full_frame=True)))])
    assert list(stored.failed.values()) == [f"{video.path}: changed while it was read; try again"]
    assert not contents(folder)


def test_the_ground_truth_does_not_count(dataset, tmp_path):
    shutil.copytree(dataset("ubfc-rppg")[0], tmp_path / "UBFC")
    (recording,) = (r for r in opened(f"ubfc-rppg:{tmp_path / 'UBFC'}") if r.name == "subject2")
    assert counts(store([recording])) == (0, 1, 0)
    (tmp_path / "UBFC" / "subject2" / "ground_truth.txt").write_text("another\n")
    assert counts(store([recording])) == (1, 0, 0)


def test_times_count_where_they_lie_apart(dataset, tmp_path):
    """The times of VIPL-HR's frames, and the names of PURE's images."""
    root, _ = dataset("vipl-hr")
    shutil.copytree(root, tmp_path / "VIPL")
    name = "p2/v1-2/source1"
    clock = tmp_path / "VIPL" / "data" / name / "time.txt"
    for count, change in enumerate((None, clock.read_text().replace("\n", ".5\n", 3))):
        if change:
            clock.write_text(change)
        (recording,) = (r for r in opened(f"vipl-hr:{tmp_path / 'VIPL'}") if r.name == name)
        stored = store([recording])
        assert counts(stored) == (0, 1, 0), count
        assert same(stored.recordings[0].load_crops(), recording.load_crops())

    root, written = dataset("pure")
    shutil.copytree(root, tmp_path / "PURE")
    last = max((tmp_path / "PURE" / "01-03" / "01-03").iterdir())
    for count in range(2):
        if count:
            last.rename(last.with_name(f"Image{int(last.stem[5:]) + 5_000_000}.png"))
        (recording,) = (r for r in opened(f"pure:{tmp_path / 'PURE'}") if r.name == written.record)
        assert counts(store([recording])) == (0, 1, 0), count


def test_other_settings_are_other_crops(films):
    root = films(1)
    for query in ("?face=full", "?face=8,4,16,16", "?face=8,4,16,15"):
        stored = store(opened(root, query))
        assert counts(stored) == (0, 1, 0)
        assert counts(store(opened(root, query))) == (1, 0, 0)
        assert same(stored.recordings[0].load_crops(), opened(root, query)[0].load_crops())
    (recording,) = opened(root)
    small = replace(recording, load_crops=replace(recording.load_crops, size=24))
    stored = store([small])
    assert counts(stored) == (0, 1, 0)
    assert stored.recordings[0].load_crops().frames.shape[1:] == (24, 24, 3)


def test_a_dataset_that_was_moved_finds_its_crops(films, tmp_path, folder):
    direct = [recording.load_crops() for recording in cached(opened(films(2)))]
    files = contents(folder)
    shutil.move(tmp_path / "films", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "0.avi").rename(tmp_path / "elsewhere" / "5.avi")
    stored = store(opened(tmp_path / "elsewhere"))
    assert counts(stored) == (2, 0, 0) and contents(folder) == files
    moved = {recording.name: recording.load_crops() for recording in stored.recordings}
    assert same(moved["5.avi"], direct[0]) and same(moved["1.avi"], direct[1])


def command(*arguments, path=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "rppg", *map(str, arguments)],
        env={**os.environ, **({"PYTHONPATH": str(path)} if path else {})},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


@pytest.mark.slow
def test_other_code_makes_them_again(films, tmp_path):
    """A copy of the package, of which modules are changed."""
    copy, root = tmp_path / "code" / "rppg", films(1)
    shutil.copytree(
        Path(rppg.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )  # fmt: skip

    def built():
        ended = command("cache", f"{root}?face=full", "--json", path=copy.parent)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)["built"]

    assert built() == 1
    for module, text, expected in (
        ("data/check", "CHANGED = True", 0),
        ("video/resize", "# changed", 0),
        ("video/resize", '"""Changed."""', 0),
        ("video/resize", "CHANGED = True", 1),
    ):
        with (copy / f"{module}.py").open("a") as file:
            file.write(f"\n{text}\n")
        assert built() == expected, (module, text)
    digest = crop_key.code_digest(copy)
    weights = next((copy / "video" / "weights").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    crop_key.code_digest.cache_clear()
    assert crop_key.code_digest(copy) != digest


def test_the_code_that_crops_depend_on_is_there():
    package = Path(rppg.__file__).parent
    for part in crop_key.CODE:
        assert (package / part).exists()


def test_crops_of_other_versions_are_listed_and_kept(films, folder, said, caplog):
    spec = f"{films(1)}?face=full"
    said("cache", spec)
    assert said("cache", spec)[2] == ""
    old = folder / "0123456789ab"
    old.mkdir()
    (old / "a.safetensors").write_bytes(bytes(2_500_000))
    (folder / "fedcba987654").symlink_to(old)
    (folder / "mine").mkdir()
    code, out, err = said("cache", spec)
    assert (code, out) == (0, f"1 ready, 0 built, 0 failed: {folder}\n")
    (line,) = err.splitlines()
    assert line.startswith(f"{old}: 2.5 MB from another version of rppg")
    assert "delete the folder" in line
    assert said("cache", spec, "--json")[2] == ""
    caplog.set_level(logging.INFO, "rppg")
    for _ in range(2):
        store(opened(films(0)))
    assert caplog.messages == [line] and (old / "a.safetensors").exists()


# --- damage ----------------------------------------------------------------------------------


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_end(file):
    file.write_bytes(file.read_bytes()[:-1])


def flipped(file):
    data, middle = file.read_bytes(), file.stat().st_size // 2
    file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def older(file):
    """Whole in itself."""
    crops, warnings = open_crops(file, file.stem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crop_file, "FORMAT", "0")
        write_crops(file, file.stem, crops, warnings)


def foreign(file):
    """Another's, whole in itself."""
    crops, warnings = open_crops(file, file.stem)
    write_crops(file, file.stem[::-1], crops, warnings)


def without_frames(file):
    """A safetensors file of another kind, with the metadata of ours."""
    with safe_open(file, "np") as ours:
        save_file({"weights": np.zeros(3)}, file, ours.metadata())


def text(file):
    file.write_bytes(b"this is no file with crops\n")


def nothing(file):
    file.write_bytes(b"")


@pytest.mark.default_cases(4)
@pytest.mark.parametrize(
    "damage", [cut, without_end, flipped, older, foreign, without_frames, text, nothing]
)
def test_a_file_that_cannot_be_used_is_told_and_made_again(films, folder, caplog, damage):
    recordings = opened(films(1))
    name = recordings[0].load_crops.video.name
    (good,) = cached(recordings)
    file, data = the_file(folder), the_file(folder).read_bytes()

    def reported():
        lines = [entry.getMessage() for entry in caplog.records]
        caplog.clear()
        return [line for line in lines if name in line and str(file) in line]

    damage(file)
    assert same(good.load_crops(), recordings[0].load_crops())  # found damaged when opened
    assert len(reported()) == 1 and file.read_bytes() == data
    damage(file)
    assert counts(store(recordings, verify=True)) == (0, 1, 0)  # found damaged when looked for
    assert len(reported()) == 1 and file.read_bytes() == data
    file.unlink()
    assert same(good.load_crops(), recordings[0].load_crops())
    assert "it is missing" in reported()[0] and file.read_bytes() == data
    assert counts(store(recordings, verify=True)) == (1, 0, 0) and reported() == []


def test_what_another_process_has_checked_is_not_read_again(films, folder, caplog):
    (recording,) = cached(opened(films(1)))
    whole = recording.load_crops()
    (path,) = folder.rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of the validity of the last frame
    path.unlink()  # what is mapped stays what it was
    path.write_bytes(data)
    (trusting,) = checked_elsewhere([recording])
    assert not same(trusting.load_crops(), whole)
    assert not caplog.records
    assert same(recording.load_crops(), whole)
    assert "the video is read again" in caplog.text


def test_any_byte_counts(tmp_path):
    """Whichever is changed, the file is refused, or gives the same all the same."""
    crops = FaceCrops(
        np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3), np.arange(2.0), np.array([True, False]),
        np.arange(8.0).reshape(2, 4),
    )  # fmt: skip
    file = tmp_path / "a.safetensors"
    write_crops(file, "key", crops, ["one", "two"])
    data = file.read_bytes()
    assert open_crops(file, "key")[1] == ["one", "two"]
    refused = 0
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        try:
            found, warnings = open_crops(file, "key")
        except UnusableError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert same(found, crops) and warnings == ["one", "two"], at
    assert refused > 0.95 * len(data)
    for length in range(0, len(data), 7):
        file.write_bytes(data[:length])
        with pytest.raises(UnusableError):
            open_crops(file, "key")


def test_what_is_remembered_of_contents_may_be_damaged(films, folder):
    root = films(1)
    store(opened(root))
    (memory,) = (folder / "contents").iterdir()
    for damaged in (b"", b"\xff\xfe", b"0" * 63):
        memory.write_bytes(damaged)
        assert counts(store(opened(root))) == (1, 0, 0)
        assert len(memory.read_bytes()) == 64


# --- ends of all kinds -----------------------------------------------------------------------


def started(spec):
    """`rppg cache` with two workers, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rppg", "cache", str(spec), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def alive(group: int) -> list[str]:
    """The processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, of = rest.split()[:3]
        if int(of) == group and state != "Z":
            found.append(name)
    return found


def wait_until(condition, seconds=HANG_S):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize(
    "end",
    [
        "kill all",
        pytest.param("kill the first", marks=pytest.mark.slow),
        pytest.param("interrupt", marks=pytest.mark.slow),
        pytest.param("interrupt all", marks=pytest.mark.slow),
    ],
)
def test_however_it_ends_it_goes_on_from_there(films, folder, tmp_path, monkeypatch, write, end):
    root = films(6, 20)
    if "interrupt" in end:  # one that takes seconds, which nobody waits for
        write.video(root / "0.avi", LONG_S)
    process = started(f"{root}?face=full")
    try:
        wait_until(lambda: contents(folder) or process.poll() is not None)
        assert process.poll() is None
        number = signal.SIGKILL if "kill" in end else signal.SIGINT
        (os.killpg if "all" in end else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=HANG_S)
        wait_until(lambda: not alive(process.pid))  # nobody is left to work on
    finally:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    if "interrupt" in end:
        assert process.returncode == 130 and "Traceback" not in said
        assert not hidden(folder)
        assert max(map(len, contents(folder).values())) < 20 * LONG_S * 48 * 48 * 3
    some = contents(folder)
    for path in hidden(folder):  # an hour passes
        os.utime(path, (1e9, 1e9))
    stored = store(opened(root), verify=True)
    assert len(some) <= stored.ready < 6 and sum(counts(stored)) == 6
    assert not hidden(folder)
    after = contents(folder)
    assert some.items() <= after.items()
    if "interrupt" in end:
        return
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "whole"))
    store(opened(root))
    assert contents(tmp_path / "whole" / "crops") == after


def test_only_old_temporary_files_are_swept(films, folder):
    root = films(1)
    store(opened(root))
    kept, left = (the_file(folder).with_name(name) for name in (".new.safetensors", ".old"))
    kept.touch()
    left.touch()
    os.utime(left, (time.time() - 2 * cache.ABANDONED_S,) * 2)
    store(opened(root))
    assert hidden(folder) == [kept]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_is_one_line_and_leaves_nothing(films, folder, workers):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    arguments = ("cache", f"{films(4)}?face=full", "--workers", workers)
    ended = command(*arguments, preexec_fn=small_files_only)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"rppg: {folder}: crops can't be stored there (File too large)")
    assert "RPPG_CACHE" in ended.stderr and ended.stderr.count("\n") == 1
    assert not hidden(folder) and not contents(folder)


def test_a_cache_in_the_way_of_a_file(films, tmp_path, monkeypatch):
    root = films(1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path / "file"))
    with pytest.raises(cache.CacheError, match=r"crops can't be stored there .*is a file"):
        store(opened(root))


# --- the commands ----------------------------------------------------------------------------


@pytest.fixture
def said(capsys):
    """`said("cache", ...)`: exit code, stdout, stderr of the command, in this process."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_shards_are_disjoint_and_complete(films, people, folder, said):
    specs = [f"{films(5)}?face=full", people]
    every = [(r.dataset, r.name) for s in specs for r in opened(s, "")]
    for count in (1, 2, 3, 12):
        shards = [
            open_shard(specs, f"{k}/{count}", split="train", subjects=1)
            for k in range(1, count + 1)
        ]
        found = [(r.dataset, r.name) for shard in shards for r in shard]
        assert sorted(found) == sorted(every)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
    for bad in ("0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"):
        with pytest.raises(InputError, match=f"--shard {bad}: give I/N"):
            open_shard(specs, bad, split="train", subjects=1)
    for shard, expected in (("1/2", [0, 3, 0]), ("2/2", [0, 2, 0]), ("1/1", [5, 0, 0])):
        reported = json.loads(said("cache", specs[0], "--shard", shard, "--json")[1])
        assert [reported["ready"], reported["built"], len(reported["failed"])] == expected
    assert reported["folder"] == str(folder)


def test_synthetic_people_belong_to_the_first_shard(tmp_path, said):
    for shard, count in (("1/2", 1), ("2/2", 0)):
        _, out, _ = said("cache", "synthetic:lab", "--subjects", 1, "--shard", shard)
        assert out.startswith(f"{count} ready, 0 built, 0 failed: {tmp_path}")
        assert len(list((tmp_path / "cache").rglob("*.truth.npz"))) == 1


def test_what_cannot_be_read_is_told_by_name_and_the_rest_goes_on(films, folder, said):
    root = films(3)
    whole = (root / "1.avi").read_bytes()
    (root / "1.avi").write_bytes(whole[: len(whole) // 2])
    (root / "2.avi").unlink()
    (root / "2.avi").symlink_to("nowhere")
    code, out, err = said("cache", f"{root}?face=full", "--json", "--workers", 2)
    assert (code, err) == (2, "")
    reported = json.loads(out)
    assert (reported["ready"], reported["built"]) == (0, 1)
    first, second = reported["failed"]
    assert first["record"] == "1.avi" and "breaks off" in first["reason"]
    assert second["record"] == "2.avi" and "2.avi: no such file" in second["reason"]
    code, out, err = said("cache", f"{root}?face=full")
    assert (code, out) == (2, f"1 ready, 0 built, 2 failed: {folder}\n")
    assert [line.split(":")[0] for line in err.splitlines()] == ["1.avi", "2.avi"]
    stored = store(opened(root))
    (root / "1.avi").write_bytes(whole)
    with pytest.raises(InputError, match="breaks off"):  # it is not read again
        stored.recordings[1].load_crops()


def test_evaluate_uses_the_cache_unless_told_not_to(films, write, folder, said):
    root = films(2, 10.2)
    for number in range(2):
        write.truth(root / f"{number}.csv", 11)
    rows = [f"{n}.avi,{n}.csv,s{n}\n" for n in range(2)]
    (root / "all.csv").write_text("video,ground_truth,subject\n" + "".join(rows))

    def scores(*options):
        spec = f"{root / 'all.csv'}?face=full"
        code, out, err = said("evaluate", "--data", spec, "--method", "green", "--json", *options)
        assert code == 0, err
        return json.loads(out)

    direct = scores("--no-cache")
    assert len(direct["windows"]) == 2 and not folder.exists()
    (part,) = direct["data"]
    assert (part["split"], part["subjects"], part["recordings"]) == ("all", ["s0", "s1"], 2)
    assert scores() == direct == scores()
    assert len(contents(folder)) == 2
    said("predict", root / "1.avi", "--full-frame", "--method", "pos")
    assert len(contents(folder)) == 2


def test_training_is_the_same_from_the_cache(films, folder, caplog):
    config = TrainConfig(data=(f"{films(3)}?face=full",), clip_s=5, stride_s=5, batch_size=2)
    caplog.set_level(logging.WARNING)
    direct = train(config, cache=False)
    assert not folder.exists()
    for _ in range(2):
        again = train(config)
        assert len(contents(folder)) == 3
        for name, value in direct.net.state_dict().items():
            assert torch.equal(value, again.net.state_dict()[name]), name
    (part,) = again.provenance["data"]
    assert part == {
        "dataset": config.data[0], "spec": config.data[0], "split": "all", "n_subjects": 3,
        "subjects": ["0.avi", "1.avi", "2.avi"], "recordings": 3, "left_out": [],
    }  # fmt: skip
