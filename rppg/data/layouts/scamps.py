"""SCAMPS: synthetic people, 600 frames at 30 Hz.

    ROOT/
        Train/
            P000001.mat    MATLAB 7.3, one subject per file
            P000002.mat
        Val/
        Test/

Variables of a file: `RawFrames` or `Xsub`, frames `(T, 72, 72, 3)`; `d_ppg`, one BVP value per
frame; `d_br`, breathing. The frames show little more than the face, so the whole frame is the
crop. They are read in blocks, in bounded memory.

McDuff, Wander, Liu, Hill, Hernandez, Lester and Baltrusaitis, SCAMPS: synthetics for camera
measurement of physiological signals, NeurIPS 2022.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py

from rppg.data.find_files import list_files, list_folders
from rppg.data.layouts.mmpd import matlab_blocks
from rppg.data.reading import (
    damage_as_input_error,
    find_variable,
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
FRAME_VARIABLES = ("RawFrames", "Xsub")
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `Train`, `Val` and `Test`."""
    return [
        _recording(file, SPLITS[split.name.lower()])
        for split, _ in list_folders(root, r"(?i:train|val|validation|test)")
        for file, _ in list_files(split, r"P\d+\.mat")
    ]


def _recording(file: Path, split: str) -> Recording:
    return video_recording(
        name=file.stem,
        subject=file.stem,
        video=ArrayVideo(file, FPS, _shape, _blocks),
        truth=partial(read_truth, file),
        metadata={"split": split},
        files=(file,),
        per_frame=True,
        face=FaceRegion(full_frame=True),
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a file."""
    bvp = find_variable(read_mat(path, ["d_ppg"]), ["d_ppg"], path)
    return Pulse(regular_times(len(bvp), FPS), bvp)


def _frame_variable(file: h5py.File, path: Path) -> str:
    name = next((name for name in FRAME_VARIABLES if name in file), None)
    if name is None:
        raise InputError(f"{path}: no frames; looked for {' and '.join(FRAME_VARIABLES)}")
    return name


def _shape(path: Path) -> tuple[int, ...]:
    with damage_as_input_error(path, "MATLAB 7.3 file"), open_hdf5(path) as file:
        return tuple(file[_frame_variable(file, path)].shape[::-1])


def _blocks(path: Path) -> Iterator[Block]:
    with damage_as_input_error(path, "MATLAB 7.3 file"), open_hdf5(path) as file:
        name = _frame_variable(file, path)
    yield from matlab_blocks(path, name)
