"""Small recordings in the layouts of the public datasets, in real containers.

The images' green follows the same wave as the ground truth, each at its own times, so that a
loader that shifts or stretches one against the other is found out.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from rppg.data import writers
from rppg.types import Pulse
from rppg.video import write_video

Array = NDArray[np.float64]
SECONDS = 6.4


def wave(times_s: Array) -> Array:
    """The pulse at any time: 72 bpm with a harmonic."""
    return np.sin(2 * np.pi * 1.2 * times_s) + 0.4 * np.sin(2 * np.pi * 2.4 * times_s + 0.5)


def images(times_s: Array, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """`(T, height, width, 3)`: a texture, in which only the green beats."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 150, (-(-height // 8), -(-width // 8), 3))
    still = np.kron(coarse, np.ones((8, 8, 1)))[:height, :width]
    frames = np.tile(still, (len(times_s), 1, 1, 1))
    frames[..., 1] += 30 * wave(times_s)[:, None, None]
    return np.rint(frames).astype(np.uint8)


@dataclass(frozen=True)
class Written:
    """What a loader has to find again."""

    frame_times_s: Array
    truth_times_s: Array
    bvp: Array
    record: str
    subject: str
    metadata: Mapping[str, str]
    others: tuple[str, ...] = ()
    """Further records, of which only folders exist, in the order in which they are listed."""
    bpm: Array | None = None


def write_ubfc_rppg(root: Path) -> Written:
    for other in ("subject10", "subject1"):
        (root / other).mkdir(parents=True)
    times = np.arange(round(SECONDS * 30)) / 30
    jitter = np.sort(times + np.random.default_rng(1).uniform(0, 0.01, len(times)))
    bpm = 72 + np.sin(jitter)
    truth = Pulse(jitter, wave(jitter))
    writers.write_ubfc_rppg(root / "subject2", images(times), truth, bpm, fps=30)
    return Written(
        times, jitter, wave(jitter), "subject2", "subject2", {},
        others=("subject1", "subject2", "subject10"), bpm=bpm,
    )  # fmt: skip


def write_pure(root: Path) -> Written:
    for other in ("10-01", "02-01"):
        (root / other).mkdir(parents=True)
    start = 1392643993642815000
    rng = np.random.default_rng(2)
    frames = np.cumsum(rng.integers(31_000_000, 36_000_000, round(SECONDS * 30)))
    frames = [int(ns) for ns in frames - frames[0]]
    samples = list(range(-400_000_000, frames[-1] + 200_000_000, 16_700_000))
    times, at = np.array(frames) / 1e9, np.array(samples) / 1e9
    bpm = np.full(len(at), 72.0)
    writers.write_pure(
        root / "01-03", images(times), [start + ns for ns in frames],
        [start + ns for ns in samples], wave(at), bpm,
    )  # fmt: skip
    return Written(
        times, at, wave(at), "01-03", "01", {"motion": "slow translation"},
        others=("01-03", "02-01", "10-01"), bpm=bpm,
    )  # fmt: skip


def write_cohface(root: Path) -> Written:
    for other in ("10/0", "2/3"):
        (root / other).mkdir(parents=True)
    times = np.arange(round(SECONDS * 20)) / 20
    at = np.arange(round((SECONDS + 0.3) * 256)) / 256
    writers.write_cohface(
        root / "2" / "1", images(times), Pulse(at, wave(at)), fps=20, qscale=2
    )  # fmt: skip
    return Written(
        times, at, wave(at), "2/1", "2", {"light": "studio"}, others=("2/1", "2/3", "10/0")
    )


def write_mmpd(root: Path) -> Written:
    folder = root / "subject3"
    times = np.arange(round(SECONDS * 30)) / 30
    about = {
        "light": "LED-low",
        "motion": "Walking",
        "exercise": "False",
        "skin_color": np.array([[5]]),
        "gender": "female",
        "glasser": "True",
        "hair_cover": "False",
        "makeup": "False",
    }
    frames = images(times, 60, 80)
    writers.write_mmpd(folder / "p3_2.mat", frames, wave(times), about)
    other = {**about, "skin_color": 4, "motion": "Talking"}
    writers.write_mmpd(folder / "p3_10.mat", frames[:2], wave(times), other, compressed=True)
    metadata = {
        "light": "LED-low", "motion": "Walking", "exercise": "False", "skin_type": "5",
        "gender": "female", "glasses": "True", "hair_cover": "False", "makeup": "False",
    }  # fmt: skip
    return Written(
        times, times, wave(times), "p3_2", "subject3", metadata, others=("p3_2", "p3_10")
    )


def write_vipl_hr(root: Path) -> Written:
    for other in ("p10/v1/source3", "p2/v1-2/source4"):
        (root / "data" / other).mkdir(parents=True)
    rng = np.random.default_rng(3)
    ms = np.cumsum(rng.integers(28, 60, round(SECONDS * 25)))
    times = (ms - ms[0]) / 1000
    at = np.arange(round(times[-1] * 60)) / 60
    folder = root / "data" / "p2" / "v1-2" / "source1"
    writers.write_vipl_hr(folder, images(times), times, wave(at), np.full(6, 72.0), fps=25)
    return Written(
        times, at, wave(at), "p2/v1-2/source1", "p2", {"scenario": "stable", "camera": "webcam"},
        others=("p2/v1-2/source1", "p2/v1-2/source4", "p10/v1/source3"), bpm=np.full(6, 72.0),
    )  # fmt: skip


def write_ubfc_phys(root: Path) -> Written:
    folder = root / "s2"
    folder.mkdir(parents=True)
    (root / "s10").mkdir()
    times = np.arange(round(SECONDS * 35)) / 35
    write_video(folder / "vid_s2_T2.avi", images(times), fps=35, codec="mjpeg", qscale=1)
    at = np.arange(round(SECONDS * 64)) / 64
    (folder / "bvp_s2_T2.csv").write_text("".join(f"{v:.8f}\n" for v in wave(at)))
    (root / "s10" / "bvp_s10_T1.csv").write_text("1\n2\n")
    return Written(
        times, at, wave(at), "s2_T2", "s2", {"task": "speech"}, others=("s2_T2", "s10_T1")
    )


def matlab73(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """As MATLAB writes it: axes reversed, in chunks, after a header of 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            kept = file.create_dataset(name, data=values.T, compression="gzip")
            kept.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(124) + b"\x00\x02IM")


def write_scamps(root: Path) -> Written:
    for split in ("Train", "Val", "Test"):
        (root / split).mkdir(parents=True)
    times = np.arange(round(SECONDS * 30)) / 30
    arrays = {
        "RawFrames": images(times, 36, 36) / 255.0,
        "d_ppg": wave(times)[None],
        "d_br": np.sin(times)[None],
    }
    matlab73(root / "Val" / "P000012.mat", arrays)
    (root / "Test" / "P000020.mat").touch()
    (root / "Train" / "P000001.mat").touch()
    return Written(
        times, times, wave(times), "P000012", "P000012", {"split": "validation"},
        others=("P000020", "P000001", "P000012"),
    )  # fmt: skip


def write_ibvp(root: Path) -> Written:
    folder = root / "p02_b"
    (folder / "p02_b_rgb").mkdir(parents=True)
    (root / "p01_a").mkdir()
    times = np.arange(round(SECONDS * 30)) / 30
    for k, rgb in enumerate(images(times)):
        Image.fromarray(rgb).save(folder / "p02_b_rgb" / f"p02_b_rgb_{k + 1}.bmp")
    rows = [f"{v:.8f},0,0,{0.9 if k != 5 else 0.1}\n" for k, v in enumerate(wave(times))]
    (folder / "p02_b_bvp.csv").write_text("BVP,Resp,EDA,SQ\n" + "".join(rows))
    bvp = wave(times)
    bvp[5] = np.nan  # bad, as its quality says
    return Written(
        times, times, bvp, "p02_b", "p02", {"session": "b"}, others=("p01_a", "p02_b")
    )  # fmt: skip


def write_buaa_mihr(root: Path) -> Written:
    folder = root / "Sub 02" / "Lux 10.0"
    folder.mkdir(parents=True)
    (root / "Sub 02" / "Lux 1.6").mkdir()
    times = np.arange(round(SECONDS * 30)) / 30
    writers.write_raw_avi(folder / "Video 02.avi", images(times), 30)
    at = np.arange(round(SECONDS * 60)) / 60
    scipy.io.savemat(folder / "02 PPGData.mat", {"PPG": {"data": wave(at)[:, None], "fs": 60}})
    return Written(
        times, at, wave(at), "Sub 02/Lux 10.0", "Sub 02", {"light": "10.0 lux"},
        others=("Sub 02/Lux 1.6", "Sub 02/Lux 10.0"),
    )  # fmt: skip


def jpeg(rgb: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, "JPEG", quality=98, subsampling=0)
    return content.getvalue()


def write_bp4d(root: Path) -> Written:
    (root / "2D+3D").mkdir(parents=True)
    folder = root / "Physiology" / "F001" / "T2"
    folder.mkdir(parents=True)
    (root / "Physiology" / "F001" / "T10").mkdir()
    times = np.arange(round(SECONDS * 25)) / 25
    with zipfile.ZipFile(root / "2D+3D" / "F001.zip", "w") as archive:
        for k, rgb in enumerate(images(times)):
            archive.writestr(f"F001/T2/{k:03d}.jpg", jpeg(rgb))
    at = np.arange(round(SECONDS * 1000)) / 1000
    (folder / "BP_mmHg.txt").write_text("".join(f"{80 + 20 * v:.7f}\n" for v in wave(at)))
    (folder / "Pulse Rate_BPM.txt").write_text("72\n" * 6400)
    return Written(
        times, at, 80 + 20 * wave(at), "F001/T2", "F001", {"task": "T2", "gender": "female"},
        others=("F001/T2", "F001/T10"), bpm=np.full(6400, 72.0),
    )  # fmt: skip


def write_manifest(root: Path) -> Written:
    root.mkdir(parents=True, exist_ok=True)
    times = np.cumsum(np.random.default_rng(4).integers(30, 50, 170)) / 1000
    times -= times[0]
    write_video(root / "a.mkv", images(times), times_s=times, codec="ffv1")
    at = np.arange(-0.25, times[-1] + 0.2, 0.01)
    rows = "".join(f"{t:.6f},{v:.8f},72\n" for t, v in zip(at, wave(at), strict=True))
    (root / "a.csv").write_text("time_s,bvp,hr_bpm\n" + rows)
    (root / "list.csv").write_text("video,ground_truth,subject,light\na.mkv,a.csv,anna,sun\n")
    return Written(
        times, at, wave(at), "a.mkv", "anna", {"light": "sun"}, others=("a.mkv",),
        bpm=np.full(len(at), 72.0),
    )  # fmt: skip


WRITERS: dict[str, Callable[[Path], Written]] = {
    "ubfc-rppg": write_ubfc_rppg,
    "pure": write_pure,
    "cohface": write_cohface,
    "mmpd": write_mmpd,
    "vipl-hr": write_vipl_hr,
    "ubfc-phys": write_ubfc_phys,
    "scamps": write_scamps,
    "ibvp": write_ibvp,
    "buaa-mihr": write_buaa_mihr,
    "bp4d": write_bp4d,
    "manifest": write_manifest,
}


@pytest.fixture(scope="session")
def dataset(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Path, Written]]:
    """`dataset("pure")`: a folder with the dataset in it, written once, and what is in it."""
    root = tmp_path_factory.mktemp("datasets")
    ready: dict[str, Written] = {}

    def get(name: str) -> tuple[Path, Written]:
        if name not in ready:
            ready[name] = WRITERS[name](root / name)
        return root / name, ready[name]

    return get


@pytest.fixture(scope="session")
def write() -> SimpleNamespace:
    """The writers of the parts: `write.images(times)`, `write.wave(times)`, ..."""
    return SimpleNamespace(
        jpeg=jpeg, matlab73=matlab73, images=images, truth=truth, video=video, wave=wave
    )


def video(path: Path, seconds: float = SECONDS) -> None:
    """A beating texture at 20 Hz."""
    times = np.arange(round(seconds * 20)) / 20
    write_video(path, images(times), fps=20, codec="mpeg4", qscale=2)


def truth(path: Path, seconds: float = SECONDS) -> None:
    """Its ground truth at 60 Hz, as a manifest's own format."""
    at = np.arange(round(seconds * 60)) / 60
    rows = "".join(f"{t:.6f},{v:.8f}\n" for t, v in zip(at, wave(at), strict=True))
    path.write_text("time_s,bvp\n" + rows)
