"""iBVP: `pNN_x/pNN_x_rgb/*.bmp`, `pNN_x/pNN_x_bvp.csv`, 30 frames a second.

Joshi and Cho, iBVP dataset: RGB-thermal rPPG dataset with high resolution signal quality labels,
Electronics 2024. The CSV file has a header; column 0 is the BVP, one value a frame, and column 3
its quality: 0.3 and less is bad, and becomes NaN. A column with `time` in its name, in seconds,
takes the place of the rate.
"""

from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.reading import folders, from_first, parse_numbers, read_table, regular
from rppg.data.recording import video_recording
from rppg.types import Pulse, Recording
from rppg.video.sources.image_sequence import Pictures, number_clock

FPS = 30.0
QUALITY_COLUMN = 3
BAD = 0.3


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `p01_a` and so on."""
    return [_recording(folder, match[1]) for folder, match in folders(root, r"(p\d+)_\w+")]


def _recording(folder: Path, subject: str) -> Recording:
    pictures, truth = folder / f"{folder.name}_rgb", folder / f"{folder.name}_bvp.csv"
    return video_recording(
        name=folder.name,
        subject=subject,
        video=Pictures(pictures, number_clock(FPS)),
        truth=partial(read_truth, truth),
        metadata={"session": folder.name.partition("_")[2]},
        files=(pictures, truth),
        per_frame=True,
    )


def read_truth(path: Path) -> Pulse:
    """The BVP of a `pNN_x_bvp.csv`."""
    table = read_table(path)
    names = list(table)
    bvp = parse_numbers(table[names[0]], f"{path}, column {names[0]}")
    if len(names) > QUALITY_COLUMN:
        label = names[QUALITY_COLUMN]
        quality = parse_numbers(table[label], f"{path}, column {label}")
        bvp = np.where(quality <= BAD, np.nan, bvp)
    clock = next((name for name in names[1:] if "time" in name.lower()), None)
    if clock is None:
        return Pulse(regular(len(bvp), FPS), bvp)
    times = parse_numbers(table[clock], f"{path}, column {clock}")
    return Pulse(from_first(times, path), bvp)
