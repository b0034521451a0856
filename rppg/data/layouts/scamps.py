"""SCAMPS: synthetic people, 600 frames at 30 Hz.

    ROOT/
        P000001.mat                  MATLAB 7.3, one subject per file, as the archive unpacks
        P000002.mat
        ScampsTrainTestSplit.csv     the official splits, also read from beside ROOT; optional

    ROOT/                            or sorted into folders
        Train/
            P000001.mat
        Val/
        Test/

Variables of a file: `Xsub`, frames `(T, 240, 240, 3)` around the face; `RawFrames`, frames
`(T, 240, 320, 3)`, read if there is no `Xsub`; `d_ppg`, one BVP value per frame; `d_br`, breathing.
They are read in blocks, in bounded memory.

The face is detected, except in small frames such as the processed ones of 72×72 pixels that
circulate: those show little more than the face, so the whole frame is the crop.

McDuff, Wander, Liu, Hill, Hernandez, Lester and Baltrusaitis, SCAMPS: synthetics for camera
measurement of physiological signals, NeurIPS 2022.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py

from rppg.data.find_files import list_files, list_folders
from rppg.data.layouts.mmpd import MINI_PIXELS, matlab_blocks
from rppg.data.layouts.scamps_splits import SPLITS, find_splits
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
FRAME_VARIABLES = ("Xsub", "RawFrames")
FILE = r"P(\d+)\.mat"
NO_SPLIT = "none"
"""Split of recordings that the file with the splits doesn't name."""


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `P000001.mat`, or `Train`, `Val`, `Test`."""
    sorted_into_folders = [
        _recording(file, SPLITS[split.name.lower()])
        for split, _ in list_folders(root, r"train|val|validation|test")
        for file, _ in list_files(split, FILE)
    ]
    return sorted_into_folders or _in_one_folder(root)


def _in_one_folder(root: Path) -> list[Recording]:
    files = list_files(root, FILE)
    splits = find_splits(root) if files else {}
    if not splits:
        split = SPLITS.get(root.absolute().name.lower())
        return [_recording(file, split) for file, _ in files]
    unnamed = [file.name for file, match in files if int(match[1]) not in splits]
    if unnamed:
        log.warning(
            "%s: %d of %d recordings are in no split, first %s; they are read without split=",
            root, len(unnamed), len(files), unnamed[0],
        )  # fmt: skip
    return [_recording(file, splits.get(int(match[1]), NO_SPLIT)) for file, match in files]


def _recording(file: Path, split: str | None) -> Recording:
    return video_recording(
        name=file.stem,
        subject=file.stem,
        video=ArrayVideo(file, FPS, _shape, _blocks),
        truth=partial(read_truth, file),
        metadata={"split": split} if split else {},
        files=(file,),
        per_frame=True,
        face=FaceRegion(full_frame=_has_small_frames(file)),
    )


def _has_small_frames(file: Path) -> bool:
    try:
        return min(_shape(file)[1:3], default=0) < MINI_PIXELS
    except InputError:  # reading the frames raises it, too
        return True


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
