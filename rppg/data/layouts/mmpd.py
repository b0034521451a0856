"""MMPD, full and mini: `subjectN/pN_K.mat`, subjects 1 to 33, clips 0 to 19, 30 frames a second.

Tang, Chen, Wang, Shi, Patel, McDuff and Liu, MMPD: multi-domain mobile video physiology dataset,
EMBC 2023. A file holds the video as an array `(frames, height, width, 3)` in 0..1, one BVP value a
frame, and what is known about the recording.

SciPy reads an array whole or not at all: a full recording of 1800 frames of 320×240 takes 1.7 GB
in single precision, 3.3 GB in double. In the mini release a picture has 80×60 pixels, too few to
look for a face in; there the whole picture is taken.
"""

import functools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from rppg.data.matlab5 import check_structure
from rppg.data.reading import files, folders, log, read_mat, readable, regular, variable
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Pulse, Recording
from rppg.video.crop import FaceRegion
from rppg.video.sources.array_file import ArrayVideo, Block

FPS = 30.0
MINI_PIXELS = 100
"""Pictures with a side below this are of the mini release."""
KEYS = {
    "light": "light",
    "motion": "motion",
    "exercise": "exercise",
    "skin_color": "skin_type",
    "gender": "gender",
    "glasser": "glasses",
    "hair_cover": "hair_cover",
    "makeup": "makeup",
}
"""From the variables of a file to keys of the metadata."""


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `subject1` to `subject33`."""
    return [
        _recording(file, subject.name)
        for subject, _ in folders(root, r"subject\d+")
        for file, _ in files(subject, r"p\d+_\d+\.mat")
    ]


def _recording(file: Path, subject: str) -> Recording:
    try:
        known = read_mat(file, list(KEYS))
        small = min(_shape(file)[1:3]) < MINI_PIXELS
    except InputError as error:  # listed all the same: it is for the check to tell
        log.warning("%s", error)
        known, small = {}, False
    metadata = {key: _text(known[name]) for name, key in KEYS.items() if name in known}
    return video_recording(
        name=file.stem,
        subject=subject,
        video=ArrayVideo(file, FPS, _shape, _blocks),
        truth=partial(read_truth, file),
        metadata=metadata,
        files=(file,),
        per_frame=True,
        face=FaceRegion(full_frame=True) if small else None,
    )


def read_truth(path: Path) -> Pulse:
    """The BVP of a file."""
    bvp = variable(read_mat(path, ["GT_ppg"]), ["GT_ppg"], path)
    return Pulse(regular(len(bvp), FPS), bvp)


def _text(value: Any) -> str:
    """`array([[5]])`, `array(['Walking'])`, `'Walking'` → `5`, `Walking`, `Walking`."""
    found = np.asarray(value)
    while found.dtype == object and found.size == 1:
        found = np.asarray(found.item())
    item = found.reshape(-1)[0] if found.size else ""
    if isinstance(item, np.floating) and float(item).is_integer():
        item = int(item)
    return str(item).strip()


@functools.lru_cache(maxsize=1024)
def _stored_shape(path: Path, _changed_ns: int) -> tuple[int, ...]:
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return tuple(file["video"].shape[::-1]) if "video" in file else ()
    check_structure(path)
    return next((tuple(shape) for name, shape, _ in scipy.io.whosmat(path) if name == "video"), ())


def _shape(path: Path) -> tuple[int, ...]:
    with readable(path, "MATLAB file"):
        shape = _stored_shape(path, path.stat().st_mtime_ns)
    if len(shape) != 4:
        raise InputError(
            f"{path}: a video of shape {shape}; expected a variable 'video' of (frames, height, "
            "width, 3)"
        )
    return shape


def _blocks(path: Path) -> Iterator[Block]:
    with readable(path, "MATLAB file"):
        if not h5py.is_hdf5(path):
            check_structure(path)
            video = scipy.io.loadmat(path, variable_names=["video"])["video"]
    if not h5py.is_hdf5(path):
        yield video
        return
    yield from matlab_blocks(path, "video")


def matlab_blocks(path: Path, name: str, at_once: int = 32) -> Iterator[Block]:
    """Frames of a MATLAB 7.3 array `(T, H, W, 3)`, which HDF5 holds as `(3, W, H, T)`."""
    with readable(path, "MATLAB file"), h5py.File(path, "r") as file:
        stored = file[name]
        count = stored.shape[-1]
        if stored.chunks:  # whole chunks, each unpacked once
            at_once = -(-at_once // stored.chunks[-1]) * stored.chunks[-1]
        for start in range(0, count, at_once):
            yield np.asarray(stored[..., start : start + at_once]).transpose()
