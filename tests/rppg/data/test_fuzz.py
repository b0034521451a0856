"""Any damage, through the commands: exit code 2 with one clear line, or a result; nothing half.

Each case is a command on a damaged file. They run in processes of their own, many to each, so that
a crash of a decoder or a hang counts as what it is: a failure of that case.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
import scipy.io

from rppg.data.datasets import DATASETS
from rppg.data.writers import write_raw_avi
from rppg.video import write_video

PROGRAM = Path(__file__).with_name("fuzz_program.py")
CASE_S, HANG_S = 20.0, 600.0
"""No case may take more time of a processor, or last longer: a machine under load is slow."""
BPM = 72.0
QUICK = 10
"""By default one case in so many is run; all by the slow tests."""
LAYOUTS = [name for name in DATASETS if name != "folder"]

SEED = int(os.environ.get("RPPG_FUZZ_SEED", "0"))
"""Another seed damages other bytes."""

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A command on a damaged file; `out` is what it may write, whole or not at all."""

    name: str
    arguments: tuple[str, ...]
    folder: Path
    out: Path | None = None


# --- damage to bytes -----------------------------------------------------------------------------


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(1, len(data))]


def cut_head(data: bytes, rng: Rng) -> bytes:
    return data[rng.integers(1, len(data)) :]


def flip(data: bytes, rng: Rng, reach: int | None = None) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(min(len(data), reach or len(data)), size=rng.integers(1, 20)):
        changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def flip_head(data: bytes, rng: Rng) -> bytes:
    return flip(data, rng, 400)


def huge(data: bytes, rng: Rng) -> bytes:
    """A number in the header is absurd."""
    at = int(rng.integers(min(len(data), 600)))
    value = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0")
    return data[:at] + value[rng.integers(4)] + data[at + 4 :]


def zeros(data: bytes, rng: Rng) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, len(data) // 2))
    return data[:at] + bytes(length) + data[at + length :]


def noise(data: bytes, rng: Rng) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 5000))
    return data[:at] + rng.bytes(length) + data[at + length :]


def inserted(data: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 50))) + data[at:]


def twice(data: bytes, rng: Rng) -> bytes:
    return data + data


def empty(data: bytes, rng: Rng) -> bytes:
    return b""


def text(data: bytes, rng: Rng) -> bytes:
    return b"this is something else\n" * int(rng.integers(1, 300))


def as_it_is(data: bytes, rng: Rng) -> bytes:
    return data


BYTES = (cut, cut, cut_head, flip, flip, flip_head, huge, huge, zeros, noise, inserted, twice,
         empty, text)  # fmt: skip


# --- damage to meaning ---------------------------------------------------------------------------


def words(line: str) -> list[str]:
    return line.split(",") if "," in line else line.split()


def changed_words(data: bytes, rng: Rng, change: Callable[[str], str], share: float) -> bytes:
    """Numbers of a text changed, `share` of them."""
    lines = data.decode().splitlines()
    out = []
    for line in lines:
        mark = "," if "," in line else " "
        parts = [
            change(word) if word[-1:].isdigit() and rng.random() < share else word
            for word in words(line)
        ]
        out.append(mark.join(parts))
    return "\n".join(out).encode() + b"\n"


def nan_all(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda _: "nan", 1.0)


def nan_some(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda _: "NaN", 0.2)


def infinite(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda _: "-inf", 0.05)


def enormous(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda _: "1e308", 0.3)


def negative(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda word: "-" + word.lstrip("-"), 1.0)


def still(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda _: "7", 1.0)


def a_word(data: bytes, rng: Rng) -> bytes:
    return changed_words(data, rng, lambda _: "abc", 0.01)


def no_column(data: bytes, rng: Rng) -> bytes:
    return "\n".join(",".join(words(line)[:-1]) for line in data.decode().splitlines()).encode()


def no_header(data: bytes, rng: Rng) -> bytes:
    return b"\n".join(data.splitlines()[1:])


def one_line(data: bytes, rng: Rng) -> bytes:
    return data.splitlines()[0]


def backwards(data: bytes, rng: Rng) -> bytes:
    return b"\n".join(data.splitlines()[::-1])


def windows(data: bytes, rng: Rng) -> bytes:
    return b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")


def utf16(data: bytes, rng: Rng) -> bytes:
    return data.decode().encode("utf-16")


def semicolons(data: bytes, rng: Rng) -> bytes:
    return data.replace(b",", b";").replace(b".", b",")


TEXTS = (nan_all, nan_some, infinite, enormous, negative, still, a_word, no_column, no_header,
         one_line, backwards, windows, utf16, semicolons)  # fmt: skip

NUMBERS = {"cohface": "pulse", "scamps": "d_ppg", "mmpd": "GT_ppg", "buaa-mihr": "PPG"}
"""Where the wave is, in layouts that hold it in HDF5 or MATLAB files."""

VALUES: dict[str, Callable[[np.ndarray], object]] = {
    "nan": lambda x: np.full_like(x, np.nan, dtype=float),
    "inf": lambda x: np.where(np.arange(x.size).reshape(x.shape) % 9 == 0, np.inf, x),
    "constant": lambda x: np.zeros_like(x, dtype=float),
    "square": lambda x: np.resize(x, (7, 11)),
    "none": lambda x: np.zeros(0),
    "one": lambda x: np.array([1.0]),
    "text": lambda x: "pulse",
    "enormous": lambda x: 1e300 * np.asarray(x, dtype=float),
    "doubled": lambda x: np.concatenate([x.ravel(), x.ravel()]),
}


def change_hdf5(path: Path, name: str, kind: str) -> None:
    with h5py.File(path, "r+") as file:
        was = file[name][()]
        del file[name]
        if kind == "absurd":  # says that it is eight terabytes; holds nothing
            file.create_dataset(name, shape=(10**12,), dtype="f8", chunks=(1000,))
        elif kind == "large":
            file.create_dataset(name, shape=(3 * 10**9,), dtype="f8", chunks=(1000,))
        elif kind != "missing":
            file[name] = VALUES[kind](was)


def change_mat(path: Path, name: str, kind: str) -> None:
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    was = content.pop(name)
    if kind != "missing":
        content[name] = VALUES[kind](np.asarray(was))
    scipy.io.savemat(path, content)


# --- cases ---------------------------------------------------------------------------------------


def copied(whole: Path, root: Path) -> Path:
    """The same tree with links instead of files."""
    shutil.copytree(whole, root, copy_function=lambda a, b: Path(b).symlink_to(a))
    return root


def own(path: Path) -> Path:
    """The link made a file of its own."""
    target = path.resolve()
    path.unlink()
    shutil.copyfile(target, path)
    return path


def truth_cases(name: str, whole: Path, root: Path) -> Iterator[Case]:
    """Damage to each file of a dataset that isn't images."""
    rng = np.random.default_rng([SEED, LAYOUTS.index(name)])
    skipped = (".png", ".bmp", ".avi", ".mkv")
    files = [
        path.relative_to(whole)
        for path in sorted(whole.rglob("*"))
        if path.is_file() and path.stat().st_size and path.suffix not in skipped
        and path.name not in ("p3_10.mat", "bvp_s10_T1.csv", "gt_SpO2.csv")
    ]  # fmt: skip

    def case(file: Path, kind: str, change: Callable[[Path], object]) -> Case:
        case_folder = root / f"{file.name}-{kind}-{len(list(root.iterdir()))}"
        copied(whole, case_folder / "data")
        change(own(case_folder / "data" / file))
        spec = (
            f"{name}:{case_folder / 'data' / ('list.csv' if name == 'manifest' else '')}?face=full"
        )
        if rng.random() < 0.5:
            return Case(f"{name} {file} {kind} check", ("check", spec), case_folder)
        out = case_folder / "out"
        return Case(
            f"{name} {file} {kind} evaluate",
            ("evaluate", "--data", spec, "--method", "green", "--json", "--out", str(out)),
            case_folder, out,
        )  # fmt: skip

    for file in files:
        changes: list[tuple[str, Callable[[Path], object]]] = []
        damages = BYTES if file.suffix in (".mat", ".zip", ".hdf5") else (*BYTES[::3], *TEXTS)
        for damage in damages:
            if file.suffix == ".json" and damage in (no_column, semicolons):
                continue

            def change(path: Path, damage: Callable[[bytes, Rng], bytes] = damage) -> None:
                path.write_bytes(damage(path.read_bytes(), rng))

            changes.append((damage.__name__, change))
        if name in NUMBERS:
            hdf5 = name in ("cohface", "scamps")
            kinds = [*VALUES, "missing", *(["absurd", "large"] if hdf5 else [])]
            for kind in kinds:
                if name == "buaa-mihr" and kind in ("inf", "square", "doubled", "enormous"):
                    continue  # a structure has no such values

                def set_to(path: Path, kind: str = kind, hdf5: bool = hdf5) -> None:
                    (change_hdf5 if hdf5 else change_mat)(path, NUMBERS[name], kind)

                changes.append((kind, set_to))
        changes.append(("gone", Path.unlink))
        changes.append(("folder", lambda path: (path.unlink(), path.mkdir())))
        for kind, change in changes:
            yield case(file, kind, change)


def frameless(path: Path, frames: list[np.ndarray]) -> None:
    """A header, and no image."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.start_encoding()


def raw(path: Path, frames: list[np.ndarray]) -> None:
    write_raw_avi(path, np.stack(frames), 15)


def beating(times_s: np.ndarray) -> list[np.ndarray]:
    """A texture whose green beats at `BPM`."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(60, 150, (4, 6, 3)), np.ones((8, 8, 1)))
    beats = 12 * np.sin(2 * np.pi * BPM / 60 * times_s)
    return [np.rint(texture + np.array([0, beat, 0])).astype(np.uint8) for beat in beats]


UNEVEN_S = np.cumsum(0.05 + 0.03 * np.arange(90) % 0.04)

VIDEOS: dict[str, Callable[[Path, list[np.ndarray]], None]] = {
    "h264.mp4": lambda p, f: write_video(p, f, fps=15),
    "uneven.mp4": lambda p, f: write_video(p, beating(UNEVEN_S), times_s=UNEVEN_S),
    "h264.mkv": lambda p, f: write_video(p, f, fps=15),
    "h264.avi": lambda p, f: write_video(p, f, fps=15),
    "ffv1.mkv": lambda p, f: write_video(p, f, fps=15, codec="ffv1"),
    "mpeg4.avi": lambda p, f: write_video(p, f, fps=15, codec="mpeg4", qscale=3),
    "mpeg4.mp4": lambda p, f: write_video(p, f, fps=15, codec="mpeg4", qscale=3),
    "mjpeg.avi": lambda p, f: write_video(p, f, fps=15, codec="mjpeg", qscale=3),
    "mjpeg.mov": lambda p, f: write_video(p, f, fps=15, codec="mjpeg", qscale=3),
    "raw.avi": raw,
    "frameless.mkv": frameless,
    "frameless.avi": frameless,
    "frameless.mp4": frameless,
}  # fmt: skip


def sized(data: bytes, rng: Rng) -> bytes:
    """Pictures of absurd sizes: wherever the header has 48 × 32, it has other numbers."""
    sizes = (0, 1, 30_000, 65_500)
    width, height = int(sizes[rng.integers(4)]), int(sizes[rng.integers(1, 4)])
    for order in ("little", "big"):
        for size in (2, 4):
            for was, now in ((48, width), (32, height)):
                data = data.replace(was.to_bytes(size, order), now.to_bytes(size, order), 3)
    return data


def video_cases(name: str, whole: Path, root: Path) -> Iterator[Case]:
    rng = np.random.default_rng([SEED, 1000, list(VIDEOS).index(name)])
    data = whole.read_bytes()
    damages = (*BYTES, sized, sized, flip_head) if len(data) > 3000 else (as_it_is, cut, huge)
    for number, damage in enumerate(damages):
        case_folder = root / f"{number}-{damage.__name__}"
        case_folder.mkdir()
        video = case_folder / name
        if number % 5 == 4:  # a wrong extension, too
            video = video.with_suffix((".mp4", ".avi", ".mkv", ".jpg", ".csv", "")[number % 6])
        video.write_bytes(damage(data, rng))
        yield Case(
            f"{name} {damage.__name__} {number}",
            ("predict", str(video), "--full-frame", "--method", "green", "--json", "--csv",
             str(case_folder / "out.csv")),
            case_folder, case_folder / "out.csv",
        )  # fmt: skip


# --- running -------------------------------------------------------------------------------------


def run_all(cases: list[Case], folder: Path) -> dict[str, str]:
    """What is wrong, by name of the case."""
    reported = folder / "cases.json"
    reported.write_text(json.dumps([case.arguments for case in cases]))
    before = [contents(case) for case in cases]
    wrong: dict[str, str] = {}
    done = 0
    while done < len(cases):
        ended = subprocess.run(
            [sys.executable, str(PROGRAM), str(reported), str(done), str(CASE_S), str(HANG_S)],
            capture_output=True, text=True, check=False,
            env={**os.environ, "COLUMNS": "400", "OMP_NUM_THREADS": "1",
                 "RPPG_CACHE": str(folder / "cache")},
        )  # fmt: skip
        for line in ended.stdout.splitlines():
            code, out, err = json.loads(line)
            if complaint := judged(cases[done], before[done], code, out, err):
                wrong[cases[done].name] = complaint
            done += 1
        if ended.returncode:
            kind = f"crash or hang, {ended.returncode}"
            wrong[cases[done].name] = f"{kind}\n{ended.stderr[-1500:]}"
            done += 1
    return wrong


def contents(case: Case) -> set[Path]:
    return set(case.folder.rglob("*"))


def judged(case: Case, before: set[Path], code: int | None, out: str, err: str) -> str:
    """What is wrong with how a command ended; nothing if nothing is."""
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("rppg: ")]
    command = case.arguments[0]
    new = contents(case) - before
    written = {path for path in new if case.out and case.out in (path, *path.parents)}
    wrong = {
        f"code {code}": code not in (0, 2),
        "a traceback": "Traceback" in err,
        "not one clear line": any(len(line) > 700 for line in lines),
        "no reason": code == 2 and not errors and not (command == "check" and out),
        f"left behind: {new - written}": new != written,
    }
    if command == "predict" and code in (0, 2):
        (found,) = json.loads(out)["videos"]
        wrong |= {
            "code and document disagree": ("error" in found) != (code == 2),
            "not one line": code == 2 and len(lines) != 1,
            "half an output": code == 2 and bool(written),
            "no output": code == 0 and not written,
            "a result of nothing": code == 0 and not found.get("duration_s", 0) > 0,
            "a wrong result": found.get("reliable", False) and abs(found["hr_bpm"] - BPM) > 4,
        }
    reported = "; ".join(what for what, is_so in wrong.items() if is_so)
    return f"{reported}\n{out[-500:]}\n{err[-1500:]}" if reported else ""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety images of 48 × 32 that beat, in each container and codec."""
    folder = tmp_path_factory.mktemp("films")
    for name, write_one in VIDEOS.items():
        write_one(folder / name, beating(np.arange(90) / 15))
    return folder


@pytest.fixture
def fuzz(films: Path, dataset: Callable[[str], tuple[Path, object]]) -> Iterator[Callable]:
    """`fuzz(videos, every)` runs one case in so many, of videos or else of ground truth, and gives
    their number."""
    with tempfile.TemporaryDirectory() as case_folder:
        root = Path(case_folder)

        def run(videos: bool, every: int) -> int:
            cases: list[Case] = []
            for name in VIDEOS if videos else LAYOUTS:
                (root / name).mkdir()
                made = video_cases if videos else truth_cases
                whole = films / name if videos else dataset(name)[0]
                cases += made(name, whole, root / name)
            cases = cases[::every]
            wrong = run_all(cases, root)
            reported = "\n\n".join(f"{name}: {complaint}" for name, complaint in wrong.items())
            assert not wrong, f"{len(wrong)} of {len(cases)} cases\n{reported}"
            return len(cases)

        yield run


def test_some_damaged_videos(fuzz):
    assert fuzz(True, QUICK) >= 160 // QUICK


def test_some_damaged_ground_truth(fuzz):
    assert fuzz(False, QUICK) >= 250 // QUICK


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "frameless.mkv", "ffv1.mkv"])
def test_the_command_itself_says_the_same(films, tmp_path, name):
    """As a process of its own, and with what decoders write past Python."""
    whole = (films / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) // 2])
    ended = subprocess.run(
        [sys.executable, "-m", "rppg", "predict", path, "--full-frame", "--method", "green"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"rppg: {path}: ") and len(ended.stderr.splitlines()) == 1


def test_a_result_comes_with_its_warnings_an_error_alone(films, tmp_path):
    whole = (films / "mpeg4.avi").read_bytes()
    middle = 6000 + (len(whole) - 6000) // 2
    damaged = {"blank": whole[:middle] + bytes(300) + whole[middle + 300 :]}
    damaged |= {f"cut-{k}": whole[: middle + 50 * k] for k in range(4)}  # within a image
    cases = []
    for name, data in damaged.items():
        path = tmp_path / f"{name}.avi"
        path.write_bytes(data)
        cases.append(Case(name, ("predict", str(path), "--full-frame", "--method", "green"), path))
    (tmp_path / "cases.json").write_text(json.dumps([case.arguments for case in cases]))
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path / "cases.json"), "0", str(CASE_S),
         str(HANG_S)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (code, out, err), *refused = map(json.loads, ended.stdout.splitlines())
    assert code == 0 and " bpm" in out and "left out" in err
    for bad_code, bad_out, bad_err in refused:
        assert (bad_code, bad_out) == (2, "")
        assert len(bad_err.splitlines()) == 1 and "the video breaks" in bad_err


@pytest.mark.slow
def test_all_damaged_videos(fuzz):
    assert fuzz(True, 1) >= 160


@pytest.mark.slow
def test_all_damaged_ground_truth(fuzz):
    assert fuzz(False, 1) >= 250
