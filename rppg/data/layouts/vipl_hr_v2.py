"""VIPL-HR-V2, of the first RePSS challenge: five videos per subject, a mean heart rate for each.

    ROOT/                     or ROOT/train/
        7/                    subject
            video1.avi        to video5.avi
            gt.csv            columns video1 to video5; rows Heart rate, fps_mean
        80/

There is no wave: the ground truth is one heart rate for the whole of a video. `fps_mean` replaces
the frame rate of the video's header. Subjects without a `gt.csv`, as in the challenge's test part,
have no ground truth, and the header's rate.

Li, Han, Lu, Niu, Yu, Dantcheva, Zhao and Shan, The 1st challenge on remote physiological signal
sensing (RePSS), CVPR workshops 2020.
"""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np

from rppg.data.find_files import (
    VIDEO_SUFFIXES,
    find_entry,
    find_video,
    list_files,
    list_folders,
    natural_key,
    unnested,
)
from rppg.data.rate_truth import wave_of_rates
from rppg.data.reading import log, parse_numbers, read_table
from rppg.data.recording import video_recording
from rppg.data.stated_rate import StatedRateVideo, check_rate
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording, Video
from rppg.video.sources.video_file import VideoFile

VIDEO = rf"(video\d+)\.(?:{'|'.join(suffix[1:] for suffix in VIDEO_SUFFIXES)})"
TRUTH = "gt.csv"
RATE_ROW, FPS_ROW = "heart rate", "fps_mean"
"""Names of the rows of a `gt.csv`, in small letters."""
LONGEST_S = 3600.0
"""A video that claims to be longer is damaged: those of the dataset last some ten seconds."""


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains the subjects' folders, or in `train`."""
    for place in (root, find_entry(root, "train")):
        folders = list_folders(place, r"\d+") if place.is_dir() else []
        if listed := [r for folder, _ in folders for r in _subject_recordings(folder)]:
            return listed
    return []


def _subject_recordings(folder: Path) -> list[Recording]:
    inner = unnested(folder)
    truth = find_entry(inner, TRUTH)
    stems = {match[1] for _, match in list_files(inner, VIDEO)}
    rates = _stated_rates(truth) if truth.exists() else {}
    return [
        _recording(inner, folder.name, stem, truth, rates.get(stem.lower()))
        for stem in sorted(stems | (rates.keys() - set(map(str.lower, stems))), key=natural_key)
    ]


def _recording(folder: Path, subject: str, stem: str, truth: Path, fps: float | None) -> Recording:
    path = find_video(folder, stem)
    video: Video = VideoFile(path) if fps is None else StatedRateVideo(path, fps)
    known = truth.exists()
    return video_recording(
        name=f"{subject}/{stem}",
        subject=subject,
        video=video,
        truth=partial(read_truth, truth, stem, video) if known else None,
        rate=partial(read_rate, truth, stem, video) if known else None,
        files=(path, truth) if known else (path,),
        rate_only=known,
    )


def read_truth(path: Path, stem: str, video: Video) -> Pulse:
    """Return a sine with a video's mean heart rate."""
    return wave_of_rates(read_rate(path, stem, video), path)


def read_rate(path: Path, stem: str, video: Video) -> HeartRate:
    """Read a video's mean heart rate, and repeat it about once a second for its length."""
    bpm = _row(path, RATE_ROW).get(stem.lower(), math.nan)
    duration_s = video.probe().duration_s
    if not duration_s > 0:  # the header has none
        duration_s = max((frame.time_s for frame in video.frames()), default=0.0)
    if duration_s > LONGEST_S:
        raise InputError(
            f"{video.name}: {duration_s:.4g} s by its header; expected {LONGEST_S:g} at most; copy "
            "it again"
        )
    count = max(2, math.ceil(duration_s))
    return HeartRate(np.arange(count) * duration_s / count, np.full(count, bpm))


def _stated_rates(truth: Path) -> dict[str, float | None]:
    """Return the frame rate of each video in a `gt.csv`; None where it has no usable one."""
    try:
        rates = _row(truth, FPS_ROW)
    except InputError as error:  # the videos are listed all the same, with their own clocks
        log.warning("%s", error)
        return {}
    usable: dict[str, float | None] = {}
    for name, fps in rates.items():
        try:
            check_rate(fps, f"{truth}, {name}: ")
        except InputError as error:
            log.warning("%s; the rate in the video's header is used", error)
            usable[name] = None
        else:
            usable[name] = fps
    return usable


def _row(path: Path, name: str) -> dict[str, float]:
    """Read a row of a `gt.csv`, by video.

    Raises:
        InputError: an unreadable file, no such row, or a value that isn't a number.
    """
    table = read_table(path)
    labels, *videos = table
    names = [label.strip().lower() for label in table[labels]]
    if name not in names:
        raise InputError(f"{path}: no row {name!r}; found {', '.join(names)}")
    words = [table[video][names.index(name)] for video in videos]
    values = parse_numbers(words, f"{path}, row {name}")
    return {
        video.lower(): float(value)
        for video, value in zip(videos, values, strict=True)
        if re.fullmatch(r"video\d+", video, re.IGNORECASE)
    }
