"""UBFC-Phys, 35 frames a second.

    ROOT/
        s1/                  subject, s1 to s56
            vid_s1_T1.avi    task T1 rest, T2 speech, T3 arithmetic
            bvp_s1_T1.csv    BVP, 64 Hz, one value per line
            vid_s1_T2.avi
            bvp_s1_T2.csv
        s2/

Sabour, Benezeth, De Oliveira, Chappé and Yang, UBFC-Phys: a multimodal database for psychophysio-
logical studies of social stress, IEEE Transactions on Affective Computing 2021.
"""

from functools import partial
from pathlib import Path

from rppg.data.find_files import (
    VIDEO_SUFFIXES,
    find_entry,
    find_video,
    list_files,
    list_folders,
    unnested,
)
from rppg.data.reading import read_column, regular_times
from rppg.data.recording import video_recording
from rppg.types import Pulse, Recording
from rppg.video.sources.video_file import VideoFile

RATE_HZ = 64.0
TASKS = {"1": "rest", "2": "speech", "3": "arithmetic"}


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `s1` to `s56`."""
    listed: list[Recording] = []
    suffixes = "|".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
    for subject_folder, _ in list_folders(root, r"s\d+"):
        folder, subject = unnested(subject_folder), subject_folder.name
        pattern = rf"(?:vid_{subject}_T(\d)\.(?:{suffixes})|bvp_{subject}_T(\d)\.csv)"
        tasks = sorted({match[1] or match[2] for _, match in list_files(folder, pattern)})
        listed += [_recording(folder, task) for task in tasks]
    return listed


def _recording(folder: Path, task: str) -> Recording:
    name = f"{folder.name}_T{task}"
    video, truth = find_video(folder, f"vid_{name}"), find_entry(folder, f"bvp_{name}.csv")
    return video_recording(
        name=name,
        subject=folder.name,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        metadata={"task": TASKS.get(task, f"T{task}")},
        files=(video, truth),
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a `bvp_sN_TM.csv`."""
    bvp = read_column(path)
    return Pulse(regular_times(len(bvp), RATE_HZ), bvp)
