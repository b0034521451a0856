"""UBFC-rPPG, about 30 frames a second. Its second part:

    ROOT/                       DATASET_2
        subject1/               42 subjects, numbered to 49
            vid.avi             uncompressed RGB, 640×480
            ground_truth.txt    three lines: BVP, heart rate in bpm, time in seconds
        subject3/

Each line of the ground truth has one value per frame, and line 3 the times of the frames. If the
video's header has another rate, an evaluation uses these times (`rppg.data.frame_clock`). Its first
part:

    ROOT/                       DATASET_1
        5-gt/                   8 recordings, each counts as a subject
            vid.avi             in some folders vid-007.avi or the like
            gtdump.xmp          CSV without a header: time in ms, heart rate, SpO2, BVP; about 62 Hz
        after-exercise/

The clock of `gtdump.xmp` begins with the video, as public readers assume. If a folder contains both
parts, the second is read, with a warning; give the path of the first to read that.

Bobbia, Macwan, Benezeth, Mansouri and Dubois, Unsupervised skin tissue segmentation for remote
photoplethysmography, Pattern Recognition Letters 2019.
"""

import os
import re
from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.find_files import (
    VIDEO_SUFFIXES,
    find_entry,
    find_video,
    is_mac_twin,
    list_files,
    list_folders,
    natural_key,
    unnested,
)
from rppg.data.reading import RATES_BPM, Array, cut_to_shortest, log, parse_numbers, read_text
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.video_file import VideoFile

DUMP = "gtdump.xmp"
DUMP_COLUMNS = ("time in ms", "heart rate", "SpO2", "BVP")


def recordings(root: Path) -> list[Recording]:
    """List the recordings in `DATASET_2` or `DATASET_1`; in a folder of both, the second's."""
    second = [(root, _second_part(root))]
    if not second[0][1]:
        second = [(folder, listed) for folder in _folders(root) if (listed := _second_part(folder))]
    if len(second) != 1:
        return [_recording_with_dump(folder) for folder in _folders(root) if _is_first_part(folder)]
    part, listed = second[0]
    for folder in dict.fromkeys([root, part, *_folders(root)]):
        if any(map(_is_first_part, _folders(folder))):
            log.warning(
                "%s: of the first part, passed over beside the second; give its path to read it",
                folder,
            )
    return listed


def _second_part(root: Path) -> list[Recording]:
    return [_recording(folder) for folder, _ in list_folders(root, r"subject\d+")]


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder in natural order, without those that may not be read."""
    paths = sorted(root.iterdir(), key=lambda path: natural_key(path.name))
    return [
        path
        for path in paths
        if path.is_dir() and not is_mac_twin(path) and os.access(path, os.R_OK | os.X_OK)
    ]


def _is_first_part(folder: Path) -> bool:
    named = re.fullmatch(r"\d+-gt|after-exercise", folder.name, re.IGNORECASE)
    return named is not None or find_entry(unnested(folder), DUMP).exists()


def _recording(folder: Path) -> Recording:
    inner = unnested(folder)
    files = find_video(inner, "vid"), find_entry(inner, "ground_truth.txt")
    return _recording_of(folder, *files, per_frame=True)


def _recording_with_dump(folder: Path) -> Recording:
    inner = unnested(folder)
    video = find_video(inner, "vid")
    if not video.exists():
        suffixes = "|".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
        video = next((path for path, _ in list_files(inner, rf"vid.*\.(?:{suffixes})")), video)
    return _recording_of(folder, video, find_entry(inner, DUMP), per_frame=False)


def _recording_of(folder: Path, video: Path, truth: Path, *, per_frame: bool) -> Recording:
    return video_recording(
        name=folder.name,
        subject=folder.name,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        rate=partial(read_rate, truth),
        files=(video, truth),
        per_frame=per_frame,
    )


def has_value_per_frame(truth: Path) -> bool:
    """Return whether a ground truth has one value per frame: of the second part, by its suffix."""
    return truth.suffix.lower() != Path(DUMP).suffix


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a `ground_truth.txt` or a `gtdump.xmp`."""
    if not has_value_per_frame(path):
        times_ms, _, _, bvp = _columns(path)
        return Pulse(times_ms / 1000, bvp)
    bvp, _, times = _lines(path)
    bvp, times = cut_to_shortest(path, values=bvp, times=times)
    return Pulse(times, bvp)


def read_rate(path: Path) -> HeartRate:
    """Read the heart rate from a `ground_truth.txt` or a `gtdump.xmp`."""
    if not has_value_per_frame(path):
        times_ms, bpm, _, _ = _columns(path)
        return HeartRate(times_ms / 1000, bpm)
    _, bpm, times = _lines(path)
    bpm, times = cut_to_shortest(path, rates=bpm, times=times)
    return HeartRate(times, bpm)


def _lines(path: Path) -> list[Array]:
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if len(lines) != 3:
        raise InputError(
            f"{path}: {len(lines)} lines; expected 3: BVP, heart rate, time in seconds"
        )
    values = [parse_numbers(line.split(), f"{path}, line {k}") for k, line in enumerate(lines, 1)]
    if _all_rates(values[0]) and np.any(values[1] < 0):
        raise InputError(
            f"{path}: line 1 has heart rates and line 2 negative values; are they swapped? "
            "Expected BVP, heart rate, time in seconds"
        )
    return values


def _columns(path: Path) -> Array:
    """Read the columns of a `gtdump.xmp`, `(4, N)`. Commas or spaces separate them."""
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = re.split(r"[,;\s]+", line.strip())
        if words == [""]:
            continue
        if len(words) < len(DUMP_COLUMNS):
            raise InputError(
                f"{path}: line {number} has {len(words)} values; expected {len(DUMP_COLUMNS)}: "
                f"{', '.join(DUMP_COLUMNS)}"
            )
        rows.append(parse_numbers(words[: len(DUMP_COLUMNS)], f"{path}, line {number}"))
    if not rows:
        raise InputError(f"{path}: no value in it; copy it again")
    return np.array(rows).T


def _all_rates(values: Array) -> bool:
    """Return whether all values could be heart rates in bpm."""
    finite = values[np.isfinite(values)]
    low, high = RATES_BPM
    return len(finite) > 0 and bool(np.all((finite >= low) & (finite <= high)))
