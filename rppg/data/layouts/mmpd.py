"""MMPD, full and mini release, 30 frames a second.

    ROOT/
        subject1/          1 to 33
            p1_0.mat       clip, 0 to 19
            p1_1.mat
        subject2/

Variables of a file: `video`, frames `(T, H, W, 3)` in 0..1; `GT_ppg`, one BVP value per frame;
`light`, `motion`, `exercise`, `skin_color`, `gender`, `glasser`, `hair_cover`, `makeup`.

SciPy can only read an array as a whole: a full recording of 1800 frames of 320×240 takes 1.7 GB
in single precision, 3.3 GB in double. Frames of the mini release have 80×60 pixels, too few for
face detection, so the whole frame is the crop.

Tang, Chen, Wang, Shi, Patel, McDuff and Liu, MMPD: multi-domain mobile video physiology dataset,
EMBC 2023.
"""

import functools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rppg.data import mat_files
from rppg.data.find_files import list_files, list_folders, unnested
from rppg.data.reading import (
    damage_as_input_error,
    find_variable,
    log,
    open_hdf5,
    read_mat,
    regular_times,
)
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Pulse, Recording
from rppg.video.crop import FaceRegion
from rppg.video.sources.array_file import ArrayVideo, Block

FPS = 30.0
MINI_PIXELS = 100
"""Frames with a side below this are of the mini release."""
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
"""From a file's variables to the keys of the metadata."""


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `subject1` to `subject33`."""
    return [
        _recording(file, subject.name)
        for subject, _ in list_folders(root, r"subject\d+")
        for file, _ in list_files(unnested(subject), r"p\d+_\d+\.mat")
    ]


def _recording(file: Path, subject: str) -> Recording:
    try:
        variables = read_mat(file, list(KEYS))
        small = min(_shape(file)[1:3]) < MINI_PIXELS
    except InputError as error:  # still listed; `rppg check` reports it
        log.warning("%s", error)
        variables, small = {}, False
    metadata = {key: _text(variables[name]) for name, key in KEYS.items() if name in variables}
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
    """Read the BVP from a file."""
    bvp = find_variable(read_mat(path, ["GT_ppg"]), ["GT_ppg"], path)
    return Pulse(regular_times(len(bvp), FPS), bvp)


def _text(value: Any) -> str:
    """Convert a variable to text: `array([[5]])`, `array(['Walking'])` → `5`, `Walking`."""
    array = np.asarray(value)
    item = array.reshape(-1)[0] if array.size else ""
    if isinstance(item, np.floating) and float(item).is_integer():
        item = int(item)
    return str(item).strip()


@functools.lru_cache(maxsize=1024)
def _stored_shape(path: Path, _modified_ns: int) -> tuple[int, ...]:
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            return tuple(file["video"].shape[::-1]) if "video" in file else ()
    return mat_files.read_shape(path, "video")


def _shape(path: Path) -> tuple[int, ...]:
    with damage_as_input_error(path, "MATLAB file"):
        shape = _stored_shape(path, path.stat().st_mtime_ns)
    if len(shape) != 4:
        raise InputError(
            f"{path}: a video of shape {shape}; expected a variable 'video' of (frames, height, "
            "width, 3)"
        )
    return shape


def _blocks(path: Path) -> Iterator[Block]:
    with damage_as_input_error(path, "MATLAB file"):
        hdf5 = h5py.is_hdf5(path)
    if hdf5:
        yield from matlab_blocks(path, "video")
        return
    with damage_as_input_error(path, "MATLAB file"):
        yield from mat_files.read_blocks(path, "video")


def matlab_blocks(path: Path, name: str, block_frames: int = 32) -> Iterator[Block]:
    """Yield the frames of a MATLAB 7.3 array `(T, H, W, 3)`, stored in HDF5 as `(3, W, H, T)`."""
    with damage_as_input_error(path, "MATLAB file"), open_hdf5(path) as file:
        stored = file[name]
        count = stored.shape[-1]
        if stored.chunks:  # whole chunks, so that each is unpacked once
            block_frames = -(-block_frames // stored.chunks[-1]) * stored.chunks[-1]
        for start in range(0, count, block_frames):
            yield np.asarray(stored[..., start : start + block_frames]).transpose()
