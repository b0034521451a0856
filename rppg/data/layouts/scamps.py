"""SCAMPS: `Train/P000001.mat` and on, `Val`, `Test`; synthetic people, 600 frames at 30 Hz.

McDuff, Wander, Liu, Hill, Hernandez, Lester and Baltrusaitis, SCAMPS: synthetics for camera
measurement of physiological signals, NeurIPS 2022. Pictures are of 72×72 pixels and show little but
the face: the whole picture is taken, no face is looked for. Read in blocks, in bounded memory.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py

from rppg.data.layouts.mmpd import matlab_blocks
from rppg.data.reading import files, folders, read_mat, readable, regular, variable
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Pulse, Recording
from rppg.video.crop import FaceRegion
from rppg.video.sources.array_file import ArrayVideo, Block

FPS = 30.0
PICTURES = ("RawFrames", "Xsub")
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `Train`, `Val` and `Test`."""
    return [
        _recording(file, SPLITS[split.name.lower()])
        for split, _ in folders(root, r"(?i:train|val|validation|test)")
        for file, _ in files(split, r"P\d+\.mat")
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
    """The BVP of a file."""
    bvp = variable(read_mat(path, ["d_ppg"]), ["d_ppg"], path)
    return Pulse(regular(len(bvp), FPS), bvp)


def _pictures(file: h5py.File, path: Path) -> str:
    name = next((name for name in PICTURES if name in file), None)
    if name is None:
        raise InputError(f"{path}: no pictures; looked for {' and '.join(PICTURES)}")
    return name


def _shape(path: Path) -> tuple[int, ...]:
    with readable(path, "MATLAB 7.3 file"), h5py.File(path, "r") as file:
        return tuple(file[_pictures(file, path)].shape[::-1])


def _blocks(path: Path) -> Iterator[Block]:
    with readable(path, "MATLAB 7.3 file"), h5py.File(path, "r") as file:
        name = _pictures(file, path)
    yield from matlab_blocks(path, name)
