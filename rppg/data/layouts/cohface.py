"""COHFACE, 20 frames a second.

    ROOT/
        1/                 subject, 1 to 40
            0/             clip: 0 and 1 in studio light, 2 and 3 in natural light
                data.avi
                data.hdf5  pulse (256 Hz), time, respiration; attribute sample-rate-hz
            1/
        2/

Heusch, Anjos and Marcel, A reproducible study on remote heart rate measurement, arXiv 1709.00962.
"""

from functools import partial
from pathlib import Path

from rppg.data.find_files import find_entry, find_video, list_folders
from rppg.data.reading import (
    as_row,
    damage_as_input_error,
    from_first_time,
    log,
    open_hdf5,
    regular_times,
    stored_values,
)
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Pulse, Recording
from rppg.video.sources.video_file import VideoFile

RATE_HZ = 256.0
"""Rate of the pulse if the file has neither times nor a rate."""


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains the subjects' folders `1` to `40`."""
    return [
        _recording(clip, subject.name)
        for subject, _ in list_folders(root, r"\d+")
        for clip, _ in list_folders(subject, r"\d+")
    ]


def _recording(clip: Path, subject: str) -> Recording:
    video, truth = find_video(clip, "data"), find_entry(clip, "data.hdf5")
    return video_recording(
        name=f"{subject}/{clip.name}",
        subject=subject,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        metadata={"light": "studio" if int(clip.name) < 2 else "natural"},
        files=(video, truth),
    )


def read_truth(path: Path) -> Pulse:
    """Read the pulse from a `data.hdf5`, with the times or the rate given in it."""
    with damage_as_input_error(path, "HDF5 file"), open_hdf5(path) as file:
        if "pulse" not in file:
            raise InputError(f"{path}: no dataset 'pulse'; found {', '.join(file) or 'none'}")
        bvp = as_row(stored_values(file["pulse"]), f"{path}, pulse")
        hz = float(file.attrs.get("sample-rate-hz", RATE_HZ))
        if not 0 < hz < 1e6:
            raise InputError(f"{path}: sample-rate-hz is {hz}; expected a positive rate")
        if "time" not in file:
            return Pulse(regular_times(len(bvp), hz), bvp)
        times = as_row(stored_values(file["time"]), f"{path}, time")
        if len(times) != len(bvp):
            log.warning(
                "%s: %d values of pulse and %d of time; the rate of %g Hz is used",
                path, len(bvp), len(times), hz, extra={"kind": "lengths"},
            )  # fmt: skip
            return Pulse(regular_times(len(bvp), hz), bvp)
        return Pulse(from_first_time(times, path), bvp)
