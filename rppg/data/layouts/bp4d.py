"""BP4D+, 25 frames a second.

    ROOT/
        2D+3D/
            F001.zip                     one archive per subject, F or M and a number
                F001/T1/*.jpg            frames of task T1, numbered
                F001/T2/*.jpg
            M001.zip
        Physiology/
            F001/
                T1/
                    BP_mmHg.txt          blood pressure wave, 1000 Hz, one value per line
                    Pulse Rate_BPM.txt   pulse rate, 1000 Hz, one value per line; optional
                T2/

Frames are read from the ZIP file one by one.

Zhang, Girard, Wu, Zhang, Liu, Ciftci, Canavan, Reale, Horowitz, Yang, Cohn, Ji and Yin, Multimodal
spontaneous emotion corpus for human behavior analysis, CVPR 2016.
"""

from functools import partial
from pathlib import Path

from rppg.data.find_files import list_files, list_folders, natural_key
from rppg.data.image_folder import ImageFolder, missing_before
from rppg.data.reading import Array, log, read_column, regular_times
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.image_sequence import number_clock, open_zip

FPS = 25.0
RATE_HZ = 1000.0


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `2D+3D` and `Physiology`."""
    listed: list[Recording] = []
    for archive, match in list_files(root / "2D+3D", r"([FM]\d+)\.zip"):
        subject = match[1]
        physiology = root / "Physiology" / subject
        tasks = _tasks_in_archive(archive, subject)
        if physiology.is_dir():
            tasks |= {folder.name for folder, _ in list_folders(physiology, r"T\d+")}
        listed += [
            _recording(root, archive, subject, task) for task in sorted(tasks, key=natural_key)
        ]
    return listed


def _tasks_in_archive(archive: Path, subject: str) -> set[str]:
    try:
        with open_zip(archive) as content:
            paths = [name.split("/") for name in content.namelist()]
    except InputError as error:
        # Tasks with physiology are listed all the same, and `rppg check` reports the archive.
        log.warning("%s", error)
        return set()
    return {parts[1] for parts in paths if len(parts) > 2 and parts[0] == subject}


def _recording(root: Path, archive: Path, subject: str, task: str) -> Recording:
    folder = root / "Physiology" / subject / task
    truth, rate = folder / "BP_mmHg.txt", folder / "Pulse Rate_BPM.txt"
    video = ImageFolder(archive, number_clock(FPS), inside=f"{subject}/{task}")
    return video_recording(
        name=f"{subject}/{task}",
        subject=subject,
        video=video,
        truth=partial(read_truth, truth, video),
        rate=partial(read_rate, rate, video) if rate.exists() else None,
        metadata={"task": task, "gender": "female" if subject.startswith("F") else "male"},
        files=(archive, truth),
    )


def read_truth(path: Path, images: ImageFolder | None = None) -> Pulse:
    """Read the blood pressure wave from a `BP_mmHg.txt`, with times from the first frame.

    Args:
        path: the file.
        images: the frames. If the first are missing, the wave begins before time 0.
    """
    bvp = read_column(path)
    return Pulse(_times(len(bvp), images), bvp)


def read_rate(path: Path, images: ImageFolder | None = None) -> HeartRate:
    """Read the pulse rate from a `Pulse Rate_BPM.txt`, with the arguments of `read_truth`."""
    bpm = read_column(path)
    return HeartRate(_times(len(bpm), images), bpm)


def _times(count: int, images: ImageFolder | None) -> Array:
    times = regular_times(count, RATE_HZ)
    try:
        frames = count * FPS / RATE_HZ
        missing = 0 if images is None else missing_before(images.names, frames, FPS)
    except InputError:  # reading the frames raises it, too
        return times
    return times - missing / FPS
