"""PURE, about 30 frames a second.

    ROOT/
        01-01/                                      subject and setup, to 10-06
            01-01/
                Image1392643993642815000.png        frames, named by their time in nanoseconds
            01-01.json                              /FullPackage: samples of the oximeter, 60 Hz
        01-02/                                      /Image: times of the frames

The frames may also be directly in the outer folder, and the JSON file beside it: `ROOT/01-01.json`.
Camera and oximeter share the clock of the images' names: ground truth keeps its place if the first
images are missing, or if the list under /Image begins later.

Stricker, Müller and Gross, Non-contact video-based pulse rate measurement on a mobile service
robot, RO-MAN 2014.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rppg.data.find_files import find_entry, list_folders, unnested
from rppg.data.image_folder import ImageFolder
from rppg.data.reading import damage_as_input_error, read_text
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.image_sequence import SUFFIXES, nanosecond_clock

SETUPS = {
    "01": "steady",
    "02": "talking",
    "03": "slow translation",
    "04": "fast translation",
    "05": "small rotation",
    "06": "medium rotation",
}


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `01-01` and so on."""
    return [
        _recording(folder, *match.groups()) for folder, match in list_folders(root, r"(\d+)-(\d+)")
    ]


def _recording(outer: Path, subject: str, setup: str) -> Recording:
    name = outer.name
    folder = unnested(outer)
    inner = folder / name
    if not inner.is_dir() and any(p.suffix.lower() in SUFFIXES for p in folder.iterdir()):
        inner = folder
    truth = find_entry(folder, f"{name}.json")
    if not truth.exists() and (beside := find_entry(outer.parent, truth.name)).exists():
        truth = beside
    video = ImageFolder(inner, nanosecond_clock)
    return video_recording(
        name=name,
        subject=subject,
        video=video,
        truth=partial(read_truth, truth, video),
        rate=partial(read_rate, truth, video),
        metadata={"motion": SETUPS.get(setup, f"setup {setup}")},
        files=(inner, truth),
    )


def read_truth(path: Path, images: ImageFolder | None = None) -> Pulse:
    """Read the BVP from a recording's JSON file, with times from the first frame.

    Args:
        path: the JSON file.
        images: the frames, whose first is time 0; without them, the first that the file lists.
    """
    stamps, waves = _samples(path, "waveform", images)
    return Pulse(stamps, waves)


def read_rate(path: Path, images: ImageFolder | None = None) -> HeartRate:
    """Read the pulse rate that the oximeter showed, with the arguments of `read_truth`."""
    stamps, rates = _samples(path, "pulseRate", images)
    return HeartRate(stamps, rates)


def _first_frame(images: ImageFolder | None, listed: int) -> int:
    """Return the time of the first frame in nanoseconds."""
    try:
        return listed if images is None else images.first_number
    except InputError:  # reading the frames raises it, too
        return listed


def _samples(path: Path, key: str, images: ImageFolder | None) -> tuple[Any, Any]:
    text = read_text(path)
    with damage_as_input_error(path, "PURE ground truth"):
        try:
            content = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(
                f"{path}: not a readable JSON file ({error}); copy it again"
            ) from error
        for part in ("/FullPackage", "/Image"):
            if not isinstance(content, dict) or not content.get(part):
                raise InputError(f"{path}: nothing under {part!r}; copy the file again")
        origin = _first_frame(images, int(content["/Image"][0]["Timestamp"]))
        package = content["/FullPackage"]
        stamps = [(int(sample["Timestamp"]) - origin) * 1e-9 for sample in package]
        values = [
            np.nan if sample["Value"][key] is None else float(sample["Value"][key])
            for sample in package
        ]
        return np.array(stamps), np.array(values)
