"""BUAA-MIHR: `Sub NN/Lux X/*.avi`, `*PPGData.mat` beside it; 30 frames a second.

Xi, Chen, Zhao, Li and Han, Image enhancement for remote photoplethysmography in a low-light
environment, FG 2020. The MATLAB file holds a structure `PPG` with `data`, at 60 Hz.
"""

from functools import partial
from pathlib import Path

from rppg.data.reading import files, folders, read_mat, regular, variable
from rppg.data.recording import video_recording
from rppg.types import Pulse, Recording
from rppg.video.sources.source import VideoFile

RATE_HZ = 60.0


def recordings(root: Path) -> list[Recording]:
    """Recordings in the folder that holds `Sub 01` and so on."""
    return [
        _recording(folder, subject.name, lux[1])
        for subject, _ in folders(root, r"(?i:sub) ?\d+")
        for folder, lux in folders(subject, r"(?i:lux) ?([\d.]+)")
    ]


def _recording(folder: Path, subject: str, lux: str) -> Recording:
    videos, truths = files(folder, r"(?i:.*\.avi)"), files(folder, r"(?i:.*PPGData\.mat)")
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
    """The BVP of a `*PPGData.mat`."""
    bvp = variable(read_mat(path, ["PPG"]), ["PPG"], path)
    return Pulse(regular(len(bvp), RATE_HZ), bvp)
