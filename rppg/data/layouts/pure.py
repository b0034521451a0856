"""PURE, about 30 frames a second.

    ROOT/
        01-01/                                      subject and setup, to 10-06
            01-01/
                Image1392643993642815000.png        frames, named by their time in nanoseconds
            01-01.json                              /FullPackage: samples of the oximeter, 60 Hz
        01-02/                                      /Image: times of the frames

The frames may also be directly in the outer folder. Camera and oximeter share a clock.

Stricker, Müller and Gross, Non-contact video-based pulse rate measurement on a mobile service
robot, RO-MAN 2014.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rppg.data.reading import damage_as_input_error, list_folders, read_text
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.image_sequence import SUFFIXES, ImageSequence, nanosecond_clock

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


def _recording(folder: Path, subject: str, setup: str) -> Recording:
    name = folder.name
    inner = folder / name
    if not inner.is_dir() and any(p.suffix.lower() in SUFFIXES for p in folder.iterdir()):
        inner = folder
    truth = folder / f"{name}.json"
    return video_recording(
        name=name,
        subject=subject,
        video=ImageSequence(inner, nanosecond_clock),
        truth=partial(read_truth, truth),
        rate=partial(read_rate, truth),
        metadata={"motion": SETUPS.get(setup, f"setup {setup}")},
        files=(inner, truth),
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a recording's JSON file, with times from the first frame."""
    stamps, waves = _samples(path, "waveform")
    return Pulse(stamps, waves)


def read_rate(path: Path) -> HeartRate:
    """Read the pulse rate that the oximeter showed."""
    stamps, rates = _samples(path, "pulseRate")
    return HeartRate(stamps, rates)


def _samples(path: Path, key: str) -> tuple[Any, Any]:
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
        origin = int(content["/Image"][0]["Timestamp"])
        package = content["/FullPackage"]
        stamps = [(int(sample["Timestamp"]) - origin) * 1e-9 for sample in package]
        values = [
            np.nan if sample["Value"][key] is None else float(sample["Value"][key])
            for sample in package
        ]
        return np.array(stamps), np.array(values)
