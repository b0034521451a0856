"""A plain folder of videos: no ground truth, each video a subject of its own."""

from pathlib import Path

from rppg.data.reading import natural
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Recording
from rppg.video.sources.source import VideoFile

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
)


def recordings(root: Path) -> list[Recording]:
    """Every video in a folder, searched recursively, or the one video that `root` is."""
    if not root.is_dir():
        return [_recording(root, root.name)]
    found = [path for path in root.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES]
    if not found:
        known = " ".join(sorted(VIDEO_SUFFIXES))
        raise InputError(f"{root}: no video in this folder; looked for files ending in {known}")
    names = sorted((str(path.relative_to(root)) for path in found), key=natural)
    return [_recording(root / name, name) for name in names]


def _recording(path: Path, name: str) -> Recording:
    return video_recording(name=name, subject=name, video=VideoFile(path), files=(path,))
