"""iBVP, 30 frames a second.

    ROOT/
        p01_a/                 subject and session
            p01_a_rgb/
                *.bmp          frames, numbered
            p01_a_bvp.csv      header, then one row per frame
        p01_b/
        p02_a/

The column named BVP of the CSV file is the BVP, the third after it its quality: values with a
quality of 0.3 or less are bad and become NaN. If no column has that name, the first is the BVP,
unless it is named as something else. If a column has `time` in its name, its times in seconds
replace the rate.

Joshi and Cho, iBVP dataset: RGB-thermal rPPG dataset with high resolution signal quality labels,
Electronics 2024.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.find_files import find_entry, list_folders, unnested
from rppg.data.image_folder import ImageFolder, missing_before
from rppg.data.reading import Array, from_first_time, parse_numbers, read_table, regular_times
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Pulse, Recording
from rppg.video.sources.image_sequence import number_clock

FPS = 30.0
WAVES = ("bvp", "ppg", "pulse", "wave")
"""Names of a column that holds the wave, in small letters."""
OTHERS = ("", "index", "id", "row", "frame", "time", "timestamp", "time_s")
"""Names of columns that spreadsheets and data frames put first, which hold no wave."""
QUALITY_COLUMN = 3
"""Columns from the wave to its quality."""
BAD_QUALITY = 0.3


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `p01_a` and so on."""
    return [_recording(folder, match[1]) for folder, match in list_folders(root, r"(p\d+)_\w+")]


def _recording(folder: Path, subject: str) -> Recording:
    inner = unnested(folder)
    frames = find_entry(inner, f"{folder.name}_rgb")
    truth = find_entry(inner, f"{folder.name}_bvp.csv")
    video = ImageFolder(frames, number_clock(FPS))
    return video_recording(
        name=folder.name,
        subject=subject,
        video=video,
        truth=partial(read_truth, truth, video),
        metadata={"session": folder.name.partition("_")[2]},
        files=(frames, truth),
        per_frame=True,
    )


def read_truth(path: Path, images: ImageFolder | None = None) -> Pulse:
    """Read the BVP from a `pNN_x_bvp.csv`, with times from the first frame.

    Args:
        path: the CSV file.
        images: the frames. If the first are missing, their rows have negative times.
    """
    table = read_table(path)
    names = list(table)
    wave = _wave_column(names, path)
    bvp = parse_numbers(table[names[wave]], f"{path}, column {names[wave]}")
    if len(names) > wave + QUALITY_COLUMN:
        label = names[wave + QUALITY_COLUMN]
        quality = parse_numbers(table[label], f"{path}, column {label}")
        bvp = np.where(quality <= BAD_QUALITY, np.nan, bvp)
    clock = next((name for name in names if name != names[wave] and "time" in name.lower()), None)
    times = regular_times(len(bvp), FPS)
    if clock is not None:
        times = from_first_time(parse_numbers(table[clock], f"{path}, column {clock}"), path)
    return Pulse(times - _first_frame_s(times, images), bvp)


def _first_frame_s(times: Array, images: ImageFolder | None) -> float:
    """Return the time of the first frame's row."""
    try:
        missing = 0 if images is None else missing_before(images.names, len(times), FPS)
    except InputError:  # reading the frames raises it, too
        return 0.0
    return float(times[missing]) if missing < len(times) else missing / FPS


def _wave_column(names: Sequence[str], path: Path) -> int:
    """Return the index of the column that holds the wave."""
    small = [name.lower() for name in names]
    found = next((small.index(name) for name in WAVES if name in small), 0)
    if small[found] in OTHERS:
        raise InputError(
            f"{path}: no column BVP; found {', '.join(map(repr, names))}; name the wave's column "
            "BVP"
        )
    return found
