"""COHFACE: `S/K/data.avi`, `S/K/data.hdf5`, subjects 1 to 40, clips 0 to 3.

Heusch, Anjos and Marcel, A reproducible study on remote heart rate measurement, arXiv 1709.00962.
"""

from functools import partial
from pathlib import Path

import h5py

from rppg.data.reading import (
    as_row,
    folders,
    from_first,
    log,
    readable,
    regular,
    stored_values,
)
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Pulse, Recording
from rppg.video.sources.source import VideoFile

RATE_HZ = 256.0
"""Of the pulse, where the file has neither times nor a rate."""


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds the subjects' folders `1` to `40`."""
    return [
        _recording(clip, subject.name)
        for subject, _ in folders(root, r"\d+")
        for clip, _ in folders(subject, r"\d+")
    ]


def _recording(clip: Path, subject: str) -> Recording:
    video, truth = clip / "data.avi", clip / "data.hdf5"
    return video_recording(
        name=f"{subject}/{clip.name}",
        subject=subject,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        metadata={"light": "studio" if int(clip.name) < 2 else "natural"},
        files=(video, truth),
    )


def read_truth(path: Path) -> Pulse:
    """The pulse of a `data.hdf5`, on its own times, or at its own rate."""
    with readable(path, "HDF5 file"), h5py.File(path, "r") as file:
        if "pulse" not in file:
            raise InputError(f"{path}: no dataset 'pulse'; found {', '.join(file) or 'none'}")
        bvp = as_row(stored_values(file["pulse"]), f"{path}, pulse")
        hz = float(file.attrs.get("sample-rate-hz", RATE_HZ))
        if not 0 < hz < 1e6:
            raise InputError(f"{path}: sample-rate-hz is {hz}; expected a positive rate")
        if "time" not in file:
            return Pulse(regular(len(bvp), hz), bvp)
        times = as_row(stored_values(file["time"]), f"{path}, time")
        if len(times) != len(bvp):
            log.warning(
                "%s: %d values of pulse and %d of time; the rate of %g Hz is used",
                path, len(bvp), len(times), hz, extra={"kind": "lengths"},
            )  # fmt: skip
            return Pulse(regular(len(bvp), hz), bvp)
        return Pulse(from_first(times, path), bvp)
