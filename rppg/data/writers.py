"""Writers of single recordings in the layouts of public datasets.

Each writer takes what its layout stores, at the layout's own rates, and writes real containers:
AVI, PNG, HDF5, MATLAB. The caller chooses folders, splits and people. `rppg.data.layouts` draws the
trees and reads them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from rppg.types import Pulse
from rppg.video.encode import write_video

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]
"""`(T, H, W, 3)` RGB."""

SATURATION = 98
"""Oxygen saturation in percent, for layouts that store it. This package doesn't read it."""


def write_ubfc_rppg(folder: Path, frames: Frames, truth: Pulse, bpm: Array, *, fps: float) -> None:
    """Write `vid.avi`, uncompressed, and `ground_truth.txt` to a folder `subjectN`.

    Args:
        truth: one value per frame, at the sensor's own times.
        bpm: heart rate, one per frame.
    """
    folder.mkdir(parents=True)
    write_raw_avi(folder / "vid.avi", frames, fps)
    lines = [truth.bvp, bpm, truth.times_s]
    text = "\n".join("   ".join(f"{value:.7e}" for value in line) for line in lines)
    (folder / "ground_truth.txt").write_text(text + "\n")


def write_pure(
    folder: Path, frames: Frames, frame_ns: Sequence[int], truth_ns: Sequence[int], bvp: Array,
    bpm: Array,
) -> None:  # fmt: skip
    """Write `01-01/Image<ns>.png` and `01-01.json` to a folder `01-01`.

    Args:
        frame_ns: time of each frame, in nanoseconds of the clock that both share.
        truth_ns: time of each value of `bvp` and `bpm`.
    """
    inner = folder / folder.name
    inner.mkdir(parents=True)
    for ns, rgb in zip(frame_ns, frames, strict=True):
        (inner / f"Image{ns}.png").write_bytes(_png(rgb))
    package = [
        {
            "Timestamp": ns,
            "Value": {
                "waveform": float(wave), "pulseRate": round(float(rate)),
                "o2saturation": SATURATION, "signalStrength": 5,
            },
        }
        for ns, wave, rate in zip(truth_ns, bvp, bpm, strict=True)
    ]  # fmt: skip
    images = [{"Timestamp": ns, "Value": {}} for ns in frame_ns]
    text = json.dumps({"/FullPackage": package, "/Image": images})
    (folder / f"{folder.name}.json").write_text(text)


def write_cohface(
    folder: Path, frames: Frames, truth: Pulse, *, fps: float, qscale: int | None = None,
    bit_rate: int | None = None,
) -> None:  # fmt: skip
    """Write `data.avi`, in MPEG-4, and `data.hdf5` to a folder `S/K`.

    Args:
        truth: at a constant rate, in the dataset 256 Hz.
        qscale, bit_rate: strength of the compression, see `rppg.video.write_video`.
    """
    folder.mkdir(parents=True)
    write_video(
        folder / "data.avi", frames, fps=fps, codec="mpeg4", qscale=qscale, bit_rate=bit_rate
    )
    with h5py.File(folder / "data.hdf5", "w") as file:
        file["pulse"], file["time"] = truth.bvp, truth.times_s
        file["respiration"] = np.sin(2 * np.pi * 0.25 * truth.times_s)
        file.attrs["sample-rate-hz"] = round((len(truth.bvp) - 1) / float(np.ptp(truth.times_s)))


def write_mmpd(
    path: Path, frames: Frames, bvp: Array, others: Mapping[str, Any], *, compressed: bool = False
) -> None:
    """Write a file `pN_K.mat` to a folder `subjectN`.

    Args:
        bvp: one value per frame.
        others: the file's other variables, `light`, `motion` and so on.
        compressed: whether to compress the variables.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    video = np.empty(frames.shape, dtype=np.float32)
    np.divide(frames, 255, out=video, casting="same_kind")
    variables = {"video": video, "GT_ppg": bvp[None], **others}
    scipy.io.savemat(path, variables, do_compression=compressed)


def write_vipl_hr(
    folder: Path, frames: Frames, times_s: Array | None, bvp: Array, bpm: Array, *, fps: float,
    qscale: int = 1,
) -> None:  # fmt: skip
    """Write `video.avi`, `wave.csv`, `gt_HR.csv`, `gt_SpO2.csv` and `time.txt` to `pN/vM/sourceK`.

    Args:
        times_s: time of each frame, written in milliseconds; None writes no `time.txt`.
        bvp: 60 values a second.
        bpm: one value a second.
        fps: frame rate in the video's header.
    """
    folder.mkdir(parents=True)
    write_video(folder / "video.avi", frames, fps=fps, codec="mjpeg", qscale=qscale)
    if times_s is not None:
        (folder / "time.txt").write_text(_column(f"{1000 * t:.0f}" for t in times_s))
    (folder / "wave.csv").write_text("Wave\n" + _column(f"{value:.8f}" for value in bvp))
    (folder / "gt_HR.csv").write_text("HR\n" + _column(f"{rate:.0f}" for rate in bpm))
    (folder / "gt_SpO2.csv").write_text("SpO2\n" + f"{SATURATION}\n" * len(bpm))


def _column(words: Iterable[str]) -> str:
    return "".join(word + "\n" for word in words)


def write_raw_avi(path: Path, frames: Frames, fps: float) -> None:
    """Write an uncompressed AVI file, as UBFC-rPPG and BUAA-MIHR contain."""
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast("av.VideoStream", container.add_stream("rawvideo", rate=rate))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr24"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode())


def _png(rgb: Frames) -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = rgb.shape[:2]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
    encoder.options = {"compression_level": "1"}
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode()])
