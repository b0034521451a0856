"""VIPL-HR: `pN/vM/sourceK/{video.avi, gt_HR.csv, wave.csv, time.txt}`; `data` above them or not.

Niu, Han, Shan and Chen, VIPL-HR: a multi-modal database for pulse estimation from less-constrained
face video, ACCV 2018. `wave.csv` has no times: 60 values a second from the first frame on, as the
oximeter records; `gt_HR.csv` has one value a second. `time.txt` tells the milliseconds of each
frame, where it is there; else the file's own clock holds. Lengths often disagree: what lies outside
of the span that all share is told by the check, and not used.
"""

from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.reading import Array, column, folders, read_column, read_table, regular
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording, Video
from rppg.video.sources.source import VideoFile
from rppg.video.sources.timestamped_file import TimedVideo

WAVE_HZ = 60.0
SCENARIOS = {
    "1": "stable", "2": "motion", "3": "talking", "4": "dark", "5": "bright", "6": "long distance",
    "7": "exercise", "8": "phone stable", "9": "phone motion",
}  # fmt: skip
CAMERAS = {"1": "webcam", "2": "phone", "3": "RealSense", "4": "near infrared"}


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `p1` to `p107`, or in its folder `data`."""
    if not folders(root, r"p\d+") and (root / "data").is_dir():
        root = root / "data"
    return [
        _recording(source, subject.name, version[1], version[2], camera[1])
        for subject, _ in folders(root, r"p\d+")
        for scene, version in folders(subject, r"v(\d+)(-\d+)?")
        for source, camera in folders(scene, r"source(\d)")
    ]


def _recording(
    folder: Path, subject: str, scenario: str, part: str | None, camera: str
) -> Recording:
    path, wave, rate = folder / "video.avi", folder / "wave.csv", folder / "gt_HR.csv"
    clock = folder / "time.txt"
    video: Video = VideoFile(path)
    if clock.exists():
        video = TimedVideo(path, clock, read_times)
    return video_recording(
        name=f"{subject}/v{scenario}{part or ''}/source{camera}",
        subject=subject,
        video=video,
        truth=partial(read_truth, wave),
        rate=partial(read_rate, rate) if rate.exists() else None,
        metadata={
            "scenario": SCENARIOS.get(scenario, f"v{scenario}"),
            "camera": CAMERAS.get(camera, f"source{camera}"),
        },
        files=(path, wave),
    )


def read_truth(path: Path) -> Pulse:
    """The BVP of a `wave.csv`."""
    bvp = column(read_table(path), "Wave", path)
    return Pulse(regular(len(bvp), WAVE_HZ), bvp)


def read_rate(path: Path) -> HeartRate:
    """The heart rate of a `gt_HR.csv`."""
    bpm = column(read_table(path), "HR", path)
    return HeartRate(regular(len(bpm), 1.0), bpm)


def read_times(path: Path) -> Array:
    """The frames' times of a `time.txt`, in seconds."""
    times = read_column(path) / 1000
    if not np.all(np.isfinite(times)):
        raise InputError(f"{path}: times that are not finite; copy it again")
    return times
