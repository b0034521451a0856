"""UBFC-Phys: `sN/vid_sN_TM.avi`, `sN/bvp_sN_TM.csv`, subjects 1 to 56, tasks T1 to T3.

Sabour, Benezeth, De Oliveira, Chappé and Yang, UBFC-Phys: a multimodal database for psychophysio-
logical studies of social stress, IEEE Transactions on Affective Computing 2021. BVP at 64 Hz, one
value a line.
"""

from functools import partial
from pathlib import Path

from rppg.data.reading import files, folders, read_column, regular
from rppg.data.recording import video_recording
from rppg.types import Pulse, Recording
from rppg.video.sources.source import VideoFile

RATE_HZ = 64.0
TASKS = {"1": "rest", "2": "speech", "3": "arithmetic"}


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `s1` to `s56`."""
    found = []
    for folder, _ in folders(root, r"s\d+"):
        subject = folder.name
        pattern = rf"(?:vid_{subject}_T(\d)\.avi|bvp_{subject}_T(\d)\.csv)"
        tasks = sorted({match[1] or match[2] for _, match in files(folder, pattern)})
        found += [_recording(folder, task) for task in tasks]
    return found


def _recording(folder: Path, task: str) -> Recording:
    name = f"{folder.name}_T{task}"
    video, truth = folder / f"vid_{name}.avi", folder / f"bvp_{name}.csv"
    return video_recording(
        name=name,
        subject=folder.name,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        metadata={"task": TASKS.get(task, f"T{task}")},
        files=(video, truth),
    )


def read_truth(path: Path) -> Pulse:
    """The BVP of a `bvp_sN_TM.csv`."""
    bvp = read_column(path)
    return Pulse(regular(len(bvp), RATE_HZ), bvp)
