"""Known defects of real copies, one by one: each is reported in one line that names the file."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from rppg.data.check import check_recording
from rppg.data.specs import open_dataset
from rppg.errors import InputError
from rppg.evaluation import evaluate
from rppg.predict import find_estimator
from rppg.types import Pulse

Break = Callable[[Path], None]
UBFC, PURE, COHFACE = "subject2/", "01-03/", "2/1/"
TRUTH = UBFC + "ground_truth.txt"
VIPL = "data/p2/v1-2/source1/"
PHYS, IBVP, BUAA = "s2/", "p02_b/", "Sub 02/Lux 10.0/"
PRESSURE = "Physiology/F001/T2/BP_mmHg.txt"
PULSE_RATE = "Physiology/F001/T2/Pulse Rate_BPM.txt"


def gone(name: str) -> Break:
    def do(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def empty(name: str) -> Break:
    return lambda root: (root / name).write_bytes(b"") and None


def content(name: str, text: str | bytes) -> Break:
    data = text.encode() if isinstance(text, str) else text
    return lambda root: (root / name).write_bytes(data) and None


def cut(name: str, share: float = 0.5) -> Break:
    def do(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(len(data) * share)])

    return do


def garbage(name: str, start: float = 0.3, size: int = 200) -> Break:
    """Bytes in the middle overwritten."""

    def do(root: Path) -> None:
        data = bytearray((root / name).read_bytes())
        at = int(len(data) * start)
        data[at : at + size] = np.random.default_rng(0).bytes(min(size, len(data) - at))
        (root / name).write_bytes(bytes(data))

    return do


def ubfc(change: Callable[[np.ndarray], np.ndarray | list[np.ndarray]]) -> Break:
    """The three lines of the ground truth, `(3, T)`: BVP, heart rate, time."""

    def do(root: Path) -> None:
        lines = change(np.loadtxt(root / TRUTH))
        text = "\n".join(" ".join(f"{value:.7e}" for value in line) for line in lines)
        (root / TRUTH).write_text(text + "\n")

    return do


def setting(line: int, part: slice, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(lines: np.ndarray) -> np.ndarray:
        lines[line, part] = value
        return lines

    return change


def pure(change: Callable[[dict], object]) -> Break:
    def do(root: Path) -> None:
        path = root / "01-03" / "01-03.json"
        reported = json.loads(path.read_text())
        path.write_text(json.dumps(change(reported) or reported))

    return do


def hdf5(name: str, change: Callable[[h5py.File], object]) -> Break:
    def do(root: Path) -> None:
        with h5py.File(root / name, "r+") as file:
            change(file)

    return do


def replaced(key: str, values: object) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        del file[key]
        if values is not None:
            file[key] = values

    return change


def mat(change: Callable[[dict], object], name: str = "subject3/p3_2.mat") -> Break:
    def do(root: Path) -> None:
        held = {k: v for k, v in scipy.io.loadmat(root / name).items() if k[:2] != "__"}
        change(held)
        scipy.io.savemat(root / name, held)

    return do


def nan_pictures(held: dict) -> None:
    held["video"][100, 3, 4, 1] = np.nan


def image(number: int, do: Callable[[Path], object], folder: str = PURE + "01-03") -> Break:
    return lambda root: do(sorted((root / folder).iterdir())[number]) and None


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


def missing_second(root: Path) -> None:
    for path in sorted((root / PURE / "01-03").iterdir())[60:90]:
        path.unlink()


def damaged_jpeg(root: Path) -> None:
    path = root / "2D+3D" / "F001.zip"
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["F001/T2/050.jpg"] = held["F001/T2/050.jpg"][:300]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data)


def lines(name: str, change: Callable[[list[str]], list[str]]) -> Break:
    def do(root: Path) -> None:
        path = root / name
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return do


def with_line(at: int, text: str) -> Callable[[list[str]], list[str]]:
    return lambda old: [*old[:at], text, *old[at + 1 :]]


F, N = True, False  # fatal or not
CASES: list[tuple[str, Break, str, bool, str]] = [
    # UBFC-rPPG
    ("ubfc-rppg", gone(UBFC + "vid.avi"), "missing", F, "vid.avi: no such file"),
    ("ubfc-rppg", gone(TRUTH), "missing", F, "ground_truth.txt: no such file"),
    ("ubfc-rppg", empty(UBFC + "vid.avi"), "empty", F, "vid.avi: the file is empty"),
    ("ubfc-rppg", empty(TRUTH), "empty", F, "ground_truth.txt: the file is empty"),
    ("ubfc-rppg", cut(UBFC + "vid.avi"), "truncated", F, r"vid.avi: the video breaks.* frame \d+"),
    ("ubfc-rppg", content(UBFC + "vid.avi", "no video " * 99), "unreadable", F, "vid.avi: not a v"),
    ("ubfc-rppg", ubfc(lambda x: x[:2]), "unreadable", F, "truth.txt: 2 lines; expected 3"),
    ("ubfc-rppg", content(TRUTH, "1 2\n70 x7\n0 1\n"), "unreadable", F, "line 2: value 2 is 'x7'"),
    ("ubfc-rppg", content(TRUTH, b"\x00\xff\x00" * 99), "unreadable", F, "not a.*text file"),
    ("ubfc-rppg", ubfc(lambda x: x[:, :-4]), "lengths", N, "188 values for 192 frames"),
    ("ubfc-rppg", ubfc(lambda x: [x[0], x[1], x[2, :-1]]), "lengths", N, "192 of values, 191 of"),
    ("ubfc-rppg", ubfc(setting(0, slice(9, 12), np.nan)), "nan", N, "3 of 192 values"),
    ("ubfc-rppg", ubfc(setting(0, slice(9, 150), np.nan)), "nan", F, "141 of 192 values"),
    ("ubfc-rppg", ubfc(setting(0, slice(None), 7)), "flat", F, "flat, all of its values are 7"),
    ("ubfc-rppg", ubfc(setting(0, slice(30, 120), 0)), "flat", N, r"flat for 3\.0 s from 1\.0"),
    ("ubfc-rppg", ubfc(setting(2, slice(50, 53), 0.1)), "clock", N, "backwards 3 times"),
    ("ubfc-rppg", ubfc(setting(2, slice(50, 53), np.nan)), "clock", N, "3 of 192 times"),
    ("ubfc-rppg", ubfc(lambda x: [x[0], x[1], 1.05 * x[2]]), "clock", N, r"drift by 4\.\d%"),
    ("ubfc-rppg", ubfc(lambda x: [x[0], x[1], 1e3 * x[2]]), "clock", F, "are the times in seconds"),
    ("ubfc-rppg", ubfc(lambda x: np.delete(x, slice(60, 90), 1)), "clock", N,
     r"no values from 1\.9\d s to 3\.0\d s"),
    ("ubfc-rppg", ubfc(setting(1, slice(3, 8), 0)), "rate", N, "5 of 192 heart rates"),
    ("ubfc-rppg", ubfc(lambda x: x[:, :60]), "short", F, r"they share 2\.0 s, 5 s are needed"),
    # PURE
    ("pure", gone(PURE + "01-03.json"), "missing", F, "01-03.json: no such file"),
    ("pure", gone(PURE + "01-03"), "missing", F, "01-03/01-03: no such f"),
    ("pure", cut(PURE + "01-03.json"), "unreadable", F, "01-03.json: not a readable JSON"),
    ("pure", pure(lambda x: x.pop("/FullPackage") and None), "unreadable", F, "'/FullPackage'"),
    ("pure", pure(lambda x: x["/FullPackage"][9]["Value"].update(waveform=None)), "nan", N, "1 of"),
    ("pure", pure(lambda x: x["/FullPackage"][9]["Value"].pop("waveform") and None), "unreadable",
     F, "01-03.json: not a readable PURE ground truth"),
    ("pure", pure(lambda x: x["/FullPackage"][9].update(Timestamp=0)), "clock", N, "backwards 1"),
    ("pure", pure(lambda x: [1, 2]), "unreadable", F, "nothing under '/FullPackage'"),
    ("pure", image(40, shorten), "truncated", F, r"Image\d+\.png: the image is cut off"),
    ("pure", image(40, flip), "unreadable", F, r"Image\d+\.png: the image is damaged"),
    ("pure", image(40, lambda p: p.write_bytes(b"")), "unreadable", F, r"Image.* is empty"),
    ("pure", image(40, lambda p: p.write_text("hello")), "unreadable", F, r"not a PNG, BMP or"),
    ("pure", image(40, lambda p: Image.new("RGB", (8, 9)).save(p)), "unreadable", F, "8x9 pix"),
    ("pure", image(40, lambda p: p.rename(p.with_name("Image.png"))), "unreadable", F,
     "no number in the name of Image.png"),
    ("pure", missing_second, "clock", N, r"no frames from \S+ s to \S+ s"),
    ("pure", lambda root: [p.unlink() for p in (root / PURE / "01-03").iterdir()] and None,
     "unreadable", F, "01-03: no image in it"),
    # COHFACE
    ("cohface", cut(COHFACE + "data.avi", 0.6), "truncated", F, "data.avi: the video breaks off"),
    ("cohface", cut(COHFACE + "data.hdf5"), "unreadable", F, "data.hdf5: not a readable HDF5"),
    ("cohface", content(COHFACE + "data.hdf5", "text"), "unreadable", F, "not a readable HDF5"),
    ("cohface", hdf5(COHFACE + "data.hdf5", replaced("pulse", None)), "unreadable", F,
     "no dataset 'pulse'; found respiration, time"),
    ("cohface", hdf5(COHFACE + "data.hdf5", replaced("pulse", np.ones((3, 4)))), "unreadable", F,
     "expected one row"),
    ("cohface", hdf5(COHFACE + "data.hdf5", replaced("time", np.arange(9.0))), "lengths", N,
     "9 of time; the rate of 256 Hz is used"),
    ("cohface", hdf5(COHFACE + "data.hdf5", lambda f: f.attrs.modify("sample-rate-hz", -1)),
     "unreadable", F, "sample-rate-hz is -1"),
    # MMPD
    ("mmpd", cut("subject3/p3_2.mat"), "unreadable", F, "p3_2.mat: not a readable MATLAB"),
    ("mmpd", content("subject3/p3_2.mat", b"x" * 999), "unreadable", F, "not a readable MATLAB"),
    ("mmpd", mat(lambda x: x.pop("video")), "unreadable", F, "expected a variable 'video'"),
    ("mmpd", mat(lambda x: x.update(video=x["video"][..., 0])), "unreadable", F, "video of shape"),
    ("mmpd", mat(lambda x: x.pop("GT_ppg")), "unreadable", F, "no variable GT_ppg"),
    ("mmpd", mat(nan_pictures), "unreadable", F, "p3_2.mat, frame 100: values that are not finite"),
    ("mmpd", mat(lambda x: x.update(GT_ppg=x["GT_ppg"][:, :-2])), "lengths", N, "190 values for"),
    ("mmpd", mat(lambda x: x.update(video=1e6 * x["video"])), "unreadable", F, "expected 0 to 1"),
    # VIPL-HR
    ("vipl-hr", lines(VIPL + "time.txt", lambda x: x[:-9]), "lengths", N, "160 frames, but 151"),
    ("vipl-hr", lines(VIPL + "time.txt", with_line(7, "abc")), "unreadable", F, "value 8 is 'abc'"),
    ("vipl-hr", lines(VIPL + "time.txt", with_line(7, "nan")), "unreadable", F, "not finite"),
    ("vipl-hr", lines(VIPL + "time.txt", with_line(7, "1")), "damaged", N, "1 frames have a time"),
    ("vipl-hr", gone(VIPL + "wave.csv"), "missing", F, "wave.csv: no such file"),
    ("vipl-hr", lines(VIPL + "wave.csv", with_line(0, "BVP")), "unreadable", F, "no column 'Wave'"),
    ("vipl-hr", lines(VIPL + "wave.csv", lambda x: x[:-60]), "lengths", N, "ground truth 5"),
    ("vipl-hr", lines(VIPL + "wave.csv", with_line(5, "1,2")), "unreadable", F, "row 6 has 2 val"),
    ("vipl-hr", content(VIPL + "wave.csv", "Wave\n"), "unreadable", F, "wave.csv: 1 lines"),
    ("vipl-hr", lines(VIPL + "gt_HR.csv", with_line(2, "0")), "rate", N,
     r"gt_HR\.csv: 1 of 6 heart rates"),
    # UBFC-Phys
    ("ubfc-phys", gone(PHYS + "vid_s2_T2.avi"), "missing", F, "vid_s2_T2.avi: no such file"),
    ("ubfc-phys", lines(PHYS + "bvp_s2_T2.csv", with_line(3, "?")), "unreadable", F, "value 4 is"),
    ("ubfc-phys", lines(PHYS + "bvp_s2_T2.csv", lambda x: x[::2]), "short", F, r"share 3\.\d s"),
    ("ubfc-phys", content(PHYS + "bvp_s2_T2.csv", "\n\n"), "unreadable", F, "no value in it"),
    # SCAMPS
    ("scamps", cut("Val/P000012.mat"), "unreadable", F, "P000012.mat: not a readable MATLAB 7"),
    ("scamps", hdf5("Val/P000012.mat", replaced("RawFrames", None)), "unreadable", F, "no frame"),
    ("scamps", hdf5("Val/P000012.mat", replaced("d_ppg", None)), "unreadable", F, "no variable d_"),
    ("scamps", hdf5("Val/P000012.mat", replaced("RawFrames", np.ones((6, 9, 9, 99)))),
     "unreadable", F, "expected .frames, height, width, 3"),
    ("scamps", hdf5("Val/P000012.mat", replaced("RawFrames", np.full((3, 9, 9, 192), 0.5))),
     "flat", F, "all 192 frames are the same"),
    # iBVP
    ("ibvp", cut(IBVP + "p02_b_rgb/p02_b_rgb_50.bmp"), "truncated", F, "_50.bmp: the image is c"),
    ("ibvp", content(IBVP + "p02_b_bvp.csv", "BVP,a,b,SQ\n"), "unreadable", F, "1 lines; expected"),
    ("ibvp", lines(IBVP + "p02_b_bvp.csv", with_line(0, "BVP,BVP,b,SQ")), "unreadable", F, "twice"),
    ("ibvp", lines(IBVP + "p02_b_bvp.csv", lambda x: [x[0], *(row[:-3] + "0.3" for row in x[1:])]),
     "nan", F, "192 of 192 values of the wave are missing"),
    # BUAA-MIHR
    ("buaa-mihr", gone(BUAA + "02 PPGData.mat"), "missing", F, r"\*PPGData\.mat: no such file"),
    ("buaa-mihr", gone(BUAA + "Video 02.avi"), "missing", F, r"\*\.avi: no such file"),
    ("buaa-mihr", mat(lambda x: x.update(PPG={"fs": 60}), BUAA + "02 PPGData.mat"), "unreadable",
     F, "PPGData.mat, PPG: a structure of fs; no data"),
    ("buaa-mihr", mat(lambda x: x.update(PPG="text"), BUAA + "02 PPGData.mat"), "unreadable", F,
     "expected one row of numbers"),
    # BP4D+
    ("bp4d", cut("2D+3D/F001.zip"), "unreadable", F, "F001.zip: not a readable ZIP file"),
    ("bp4d", damaged_jpeg, "truncated", F, r"F001\.zip/F001/T2/050\.jpg: the image is cut off"),
    ("bp4d", garbage("2D+3D/F001.zip", 0.2), "truncated", F, r"\.jpg: can't be unpacked"),
    ("bp4d", gone(PRESSURE), "missing", F, "BP_mmHg.txt: no such file"),
    ("bp4d", lines(PULSE_RATE, with_line(2, "0")), "rate", N, r"Rate_BPM\.txt: 1 of 6400 heart"),
    ("bp4d", lines(PRESSURE, lambda x: x[:5500]), "lengths", N, r"the ground truth 5\.50 s"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "do", "kind", "fatal", "message"),
    CASES,
    ids=[f"{name}-{kind}-{n}" for n, (name, _, kind, _, _) in enumerate(CASES)],
)
def test_each_defect_is_told_in_one_line(dataset, tmp_path, caplog, name, do, kind, fatal, message):
    whole, written = dataset(name)
    root = tmp_path / name
    shutil.copytree(whole, root)
    do(root)
    recordings = open_dataset(f"{name}:{root}", split="train", subjects=1)
    (recording,) = [recording for recording in recordings if recording.name == written.record]
    defects = check_recording(recording)
    reported = [d for d in defects if d.kind == kind and re.search(message, d.message)]
    assert len(reported) == 1, defects
    assert reported[0].fatal is fatal
    for defect in defects:
        assert str(root) in defect.message and "\n" not in defect.message
        assert (defect.dataset, defect.record) == (name, written.record)
    if not fatal:
        assert not any(defect.fatal for defect in defects)


def test_there_are_at_least_forty():
    assert len(CASES) >= 40


def test_what_is_not_fatal_is_used(dataset, tmp_path):
    """A clock that jumps back, NaN and a length that differs: evaluation leaves those out."""
    root, written = dataset("ubfc-rppg")
    (recording,) = [
        r for r in open_dataset(f"ubfc-rppg:{root}?face=full", split="test", subjects=1)
        if r.name == written.record
    ]  # fmt: skip
    times, bvp = written.truth_times_s.copy(), written.bvp.copy()
    times[50:53], bvp[80:83] = 0.1, np.nan
    damaged = replace(recording, load_truth=lambda: Pulse(times[:-4], bvp[:-4]))
    assert {d.kind for d in check_recording(damaged)} == {"clock", "nan", "lengths"}
    result = evaluate([damaged], {"green": find_estimator("green")})
    assert not result.failures
    (row,) = result.clips
    assert row.hr_true_bpm == pytest.approx(72, abs=0.5)
    assert row.hr_pred_bpm == pytest.approx(72, abs=0.5)


def test_crops_without_pictures_are_checked_too(monkeypatch, tmp_path):
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    (recording,) = open_dataset("synthetic:lab", split="train", subjects=1)
    assert check_recording(recording) == []

    def fail():
        raise InputError("x.npz: damaged; render it again")

    (defect,) = check_recording(replace(recording, load_truth=fail))
    assert (defect.kind, defect.fatal) == ("unreadable", True)
