"""UBFC-rPPG, its second part (`DATASET_2`), about 30 frames a second.

    ROOT/
        subject1/               42 subjects, numbered to 49
            vid.avi             uncompressed RGB, 640×480
            ground_truth.txt    three lines: BVP, heart rate in bpm, time in seconds
        subject3/

Each line of the ground truth has one value per frame.

Bobbia, Macwan, Benezeth, Mansouri and Dubois, Unsupervised skin tissue segmentation for remote
photoplethysmography, Pattern Recognition Letters 2019.
"""

from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.find_files import find_entry, find_video, list_folders, unnested
from rppg.data.reading import RATES_BPM, Array, cut_to_shortest, parse_numbers, read_text
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.video_file import VideoFile


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder `DATASET_2`."""
    return [_recording(folder) for folder, _ in list_folders(root, r"subject\d+")]


def _recording(folder: Path) -> Recording:
    inner = unnested(folder)
    video, truth = find_video(inner, "vid"), find_entry(inner, "ground_truth.txt")
    return video_recording(
        name=folder.name,
        subject=folder.name,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        rate=partial(read_rate, truth),
        files=(video, truth),
        per_frame=True,
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a `ground_truth.txt`."""
    bvp, _, times = _lines(path)
    bvp, times = cut_to_shortest(path, values=bvp, times=times)
    return Pulse(times, bvp)


def read_rate(path: Path) -> HeartRate:
    """Read the heart rate from a `ground_truth.txt`."""
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


def _all_rates(values: Array) -> bool:
    """Return whether all values could be heart rates in bpm."""
    finite = values[np.isfinite(values)]
    low, high = RATES_BPM
    return len(finite) > 0 and bool(np.all((finite >= low) & (finite <= high)))
