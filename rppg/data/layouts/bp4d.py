"""BP4D+: `2D+3D/F001.zip` with `F001/T1/*.jpg`; `Physiology/F001/T1/BP_mmHg.txt`.

Zhang, Girard, Wu, Zhang, Liu, Ciftci, Canavan, Reale, Horowitz, Yang, Cohn, Ji and Yin, Multimodal
spontaneous emotion corpus for human behavior analysis, CVPR 2016. 25 pictures a second; the blood
pressure wave at 1000 Hz, one value a line. Pictures are read out of the ZIP file one by one.
"""

from functools import partial
from pathlib import Path

from rppg.data.reading import files, folders, log, natural, read_column, regular
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.sources.image_sequence import Pictures, number_clock, open_zip

FPS = 25.0
RATE_HZ = 1000.0


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `2D+3D` and `Physiology`."""
    found = []
    for archive, match in files(root / "2D+3D", r"([FM]\d+)\.zip"):
        subject = match[1]
        tasks = {f.name for f, _ in folders(root / "Physiology" / subject, r"T\d+")} if (
            root / "Physiology" / subject
        ).is_dir() else set()  # fmt: skip
        found += [
            _recording(root, archive, subject, task)
            for task in sorted(tasks | _tasks(archive, subject), key=natural)
        ]
    return found


def _tasks(archive: Path, subject: str) -> set[str]:
    try:
        with open_zip(archive) as content:
            paths = [name.split("/") for name in content.namelist()]
    except InputError as error:  # what the physiology knows is listed: the check will tell
        log.warning("%s", error)
        return set()
    return {parts[1] for parts in paths if len(parts) > 2 and parts[0] == subject}


def _recording(root: Path, archive: Path, subject: str, task: str) -> Recording:
    folder = root / "Physiology" / subject / task
    truth, rate = folder / "BP_mmHg.txt", folder / "Pulse Rate_BPM.txt"
    return video_recording(
        name=f"{subject}/{task}",
        subject=subject,
        video=Pictures(archive, number_clock(FPS), inside=f"{subject}/{task}"),
        truth=partial(read_truth, truth),
        rate=partial(read_rate, rate) if rate.exists() else None,
        metadata={"task": task, "gender": "female" if subject.startswith("F") else "male"},
        files=(archive, truth),
    )


def read_truth(path: Path) -> Pulse:
    """The blood pressure wave of a `BP_mmHg.txt`."""
    bvp = read_column(path)
    return Pulse(regular(len(bvp), RATE_HZ), bvp)


def read_rate(path: Path) -> HeartRate:
    """The pulse rate of a `Pulse Rate_BPM.txt`."""
    bpm = read_column(path)
    return HeartRate(regular(len(bpm), RATE_HZ), bpm)
