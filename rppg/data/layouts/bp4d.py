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

Frames are read from the ZIP file one by one. Unpacked archives are read as well, in `2D+3D` or in
ROOT itself. Some public readers keep the frames as a video; its own times are used. That copies
have these names is assumed, as the dataset's documents describe the archives only:

    ROOT/
        2D+3D/                           or ROOT/F001/
            F001/
                T1/*.jpg                 images, or a video; or a video T1.avi beside them
                T1/BP_mmHg.txt           if there is none in Physiology/

Zhang, Girard, Wu, Zhang, Liu, Ciftci, Canavan, Reale, Horowitz, Yang, Cohn, Ji and Yin, Multimodal
spontaneous emotion corpus for human behavior analysis, CVPR 2016.
"""

from functools import partial
from pathlib import Path

from rppg.data.find_files import VIDEO_SUFFIXES, list_files, list_folders, natural_key, unnested
from rppg.data.image_folder import ImageFolder, missing_before
from rppg.data.reading import Array, log, read_column, regular_times
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.image_sequence import SUFFIXES, number_clock, open_zip
from rppg.video.sources.video_file import VideoFile

FPS = 25.0
RATE_HZ = 1000.0
VIDEO_SUFFIX = rf"\.(?:{'|'.join(suffix[1:] for suffix in VIDEO_SUFFIXES)})"
VIDEO = rf".*{VIDEO_SUFFIX}"


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `2D+3D` and `Physiology`."""
    archives = {match[1]: path for path, match in list_files(root / "2D+3D", r"([FM]\d+)\.zip")}
    folders = _subject_folders(root)
    listed: list[Recording] = []
    for subject in sorted({*archives, *folders}, key=natural_key):
        if subject in archives:
            tasks = _tasks_in_archive(archives[subject], subject)
        else:
            tasks = _tasks_in_folder(folders[subject])
        physiology = root / "Physiology" / subject
        if physiology.is_dir():
            tasks |= {folder.name for folder, _ in list_folders(physiology, r"T\d+")}
        source = archives.get(subject) or folders[subject]
        listed += [
            _recording(root, source, subject, task) for task in sorted(tasks, key=natural_key)
        ]
    return listed


def _subject_folders(root: Path) -> dict[str, Path]:
    """Return the folders of unpacked archives that have frames, by subject."""
    found: dict[str, Path] = {}
    for place in (root / "2D+3D", root):
        for folder, match in list_folders(place, r"([FM]\d+)") if place.is_dir() else []:
            inner = unnested(folder)
            if _tasks_in_folder(inner):
                found.setdefault(match[1], inner)
    return found


def _tasks_in_folder(folder: Path) -> set[str]:
    """Return the tasks that have frames, as images or as a video."""
    with_frames = {
        task.name
        for task, _ in list_folders(folder, r"T\d+")
        if _has_images(task) or list_files(task, VIDEO)
    }
    return with_frames | {path.stem for path, _ in list_files(folder, rf"T\d+{VIDEO_SUFFIX}")}


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _tasks_in_archive(archive: Path, subject: str) -> set[str]:
    try:
        with open_zip(archive) as content:
            paths = [name.split("/") for name in content.namelist()]
    except InputError as error:
        # Tasks with physiology are listed all the same, and `rppg check` reports the archive.
        log.warning("%s", error)
        return set()
    return {parts[1] for parts in paths if len(parts) > 2 and parts[0] == subject}


def _recording(root: Path, source: Path, subject: str, task: str) -> Recording:
    folder = root / "Physiology" / subject / task
    if not folder.exists() and (source / task / "BP_mmHg.txt").exists():
        folder = source / task
    truth, rate = folder / "BP_mmHg.txt", folder / "Pulse Rate_BPM.txt"
    video = _video(source, subject, task)
    images = video if isinstance(video, ImageFolder) else None
    return video_recording(
        name=f"{subject}/{task}",
        subject=subject,
        video=video,
        truth=partial(read_truth, truth, images),
        rate=partial(read_rate, rate, images) if rate.exists() else None,
        rate_file=rate,
        metadata={"task": task, "gender": "female" if subject[0] in "Ff" else "male"},
        files=(video.path, truth),
    )


def _video(source: Path, subject: str, task: str) -> ImageFolder | VideoFile:
    """Return the frames of a task from a subject's archive or folder."""
    if source.is_file():
        return ImageFolder(source, number_clock(FPS), inside=f"{subject}/{task}")
    videos = [path for path, _ in list_files(source, rf"{task}{VIDEO_SUFFIX}")]
    if not _has_images(source / task):
        videos = [*(path for path, _ in list_files(source / task, VIDEO)), *videos]
        if len(videos) > 1:
            log.warning("%s/%s: %d videos; %s is read", source, task, len(videos), videos[0].name)
        if videos:
            return VideoFile(videos[0])
    return ImageFolder(source / task, number_clock(FPS))


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
