"""VIPL-HR: several cameras, 15 to 30 frames a second, variable.

    ROOT/                          or ROOT/data/
        p1/                        subject, p1 to p107
            v1/                    scenario, v1 to v9; v1-2 is a second part of v1
                source1/           camera: webcam, phone, RealSense, near infrared
                    video.avi
                    time.txt       time of each frame in ms; missing for some cameras
                    wave.csv       column Wave: BVP, 60 Hz, no times
                    gt_HR.csv      column HR: heart rate, 1 Hz; optional
                    gt_SpO2.csv    not read
                source2/

A folder in the layout of VIPL-HR-V2 is read by `rppg.data.layouts.vipl_hr_v2`.

Without `time.txt` the video file's own timestamps are used. Lengths often disagree: only the time
that all files cover is used, and `rppg check` reports the rest.

Niu, Han, Shan and Chen, VIPL-HR: a multi-modal database for pulse estimation from less-constrained
face video, ACCV 2018.
"""

from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.find_files import find_entry, find_video, list_folders
from rppg.data.layouts import vipl_hr_v2
from rppg.data.reading import Array, column, read_column, read_table, regular_times, replace_far_off
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording, Video
from rppg.video.sources.timestamped_file import TimestampedVideo
from rppg.video.sources.video_file import VideoFile

WAVE_HZ = 60.0
SCENARIOS = {
    "1": "stable", "2": "motion", "3": "talking", "4": "dark", "5": "bright", "6": "long distance",
    "7": "exercise", "8": "phone stable", "9": "phone motion",
}  # fmt: skip
CAMERAS = {"1": "webcam", "2": "phone", "3": "RealSense", "4": "near infrared"}


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `p1` to `p107`, or in its folder `data`."""
    subjects = list_folders(root, r"p\d+")
    if not subjects and (root / "data").is_dir():
        subjects = list_folders(root / "data", r"p\d+")
    if not subjects:
        return vipl_hr_v2.recordings(root)
    return [
        _recording(source, subject.name, version[1], version[2], camera[1])
        for subject, _ in subjects
        for scene, version in list_folders(subject, r"v(\d+)(-\d+)?")
        for source, camera in list_folders(scene, r"source(\d)")
    ]


def _recording(
    folder: Path, subject: str, scenario: str, part: str | None, camera: str
) -> Recording:
    path, wave = find_video(folder, "video"), find_entry(folder, "wave.csv")
    rate, clock = find_entry(folder, "gt_HR.csv"), find_entry(folder, "time.txt")
    video: Video = VideoFile(path)
    if clock.exists():
        video = TimestampedVideo(path, clock, read_times)
    return video_recording(
        name=f"{subject}/v{scenario}{part or ''}/source{camera}",
        subject=subject,
        video=video,
        truth=partial(read_truth, wave),
        rate=partial(read_rate, rate) if rate.exists() else None,
        rate_file=rate,
        metadata={
            "scenario": SCENARIOS.get(scenario, f"v{scenario}"),
            "camera": CAMERAS.get(camera, f"source{camera}"),
        },
        files=(path, wave),
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a `wave.csv`."""
    bvp = column(read_table(path), "Wave", path)
    return Pulse(regular_times(len(bvp), WAVE_HZ), bvp)


def read_rate(path: Path) -> HeartRate:
    """Read the heart rate from a `gt_HR.csv`."""
    bpm = column(read_table(path), "HR", path)
    return HeartRate(regular_times(len(bpm), 1.0), bpm)


def read_times(path: Path) -> Array:
    """Read the frames' times from a `time.txt`, in seconds.

    A time that is far off the others, such as 0 before times since 1970, is left out with a
    warning: its frame gets the time that its neighbours imply.
    """
    times = read_column(path) / 1000
    if not np.all(np.isfinite(times)):
        raise InputError(f"{path}: times that are not finite; copy it again")
    return replace_far_off(times, path)
