"""BUAA-MIHR, 30 frames a second.

    ROOT/
        Sub 01/
            Lux 1.0/                 illumination in lux
                *.avi
                *PPGData.mat         structure PPG with the field data, BVP at 60 Hz
            Lux 1.6/
        Sub 02/

Xi, Chen, Zhao, Li and Han, Image enhancement for remote photoplethysmography in a low-light
environment, FG 2020.
"""

from functools import partial
from pathlib import Path

from rppg.data.find_files import list_files, list_folders
from rppg.data.reading import find_variable, read_mat, regular_times
from rppg.data.recording import video_recording
from rppg.types import Pulse, Recording
from rppg.video.sources.video_file import VideoFile

RATE_HZ = 60.0


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `Sub 01` and so on."""
    return [
        _recording(folder, subject.name, lux[1])
        for subject, _ in list_folders(root, r"(?i:sub) ?\d+")
        for folder, lux in list_folders(subject, r"(?i:lux) ?([\d.]+)")
    ]


def _recording(folder: Path, subject: str, lux: str) -> Recording:
    videos, truths = list_files(folder, r".*\.avi"), list_files(folder, r".*PPGData\.mat")
    video = videos[0][0] if videos else folder / "*.avi"
    truth = truths[0][0] if truths else folder / "*PPGData.mat"
    return video_recording(
        name=f"{subject}/{folder.name}",
        subject=subject,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        metadata={"light": f"{lux} lux"},
        files=(video, truth),
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a `*PPGData.mat`."""
    bvp = find_variable(read_mat(path, ["PPG"]), ["PPG"], path)
    return Pulse(regular_times(len(bvp), RATE_HZ), bvp)
