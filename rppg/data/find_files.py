"""The files and folders of datasets, found by their names in any case and in natural order."""

import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".3g2",
    ".mts", ".m2ts", ".ts", ".flv", ".ogv",
)  # fmt: skip
"""Suffixes of video files with a clock, in small letters."""


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key that puts `subject2` before `subject10`."""
    return [
        (0, int(part)) if part.isdigit() else (1, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    ]


def is_mac_twin(path: Path) -> bool:
    """Return whether a file has the attributes of another, which a Mac adds where it copies to."""
    return path.name.startswith("._")


def list_folders(root: Path, pattern: str) -> list[tuple[Path, re.Match[str]]]:
    """List the folders in `root` whose whole name matches, in natural order, in any case.

    A folder whose name only begins so, such as a copy `subject4 (1)`, is passed over with a
    warning.
    """
    matching = []
    for path in sorted(root.iterdir(), key=lambda path: natural_key(path.name)):
        if is_mac_twin(path) or not path.is_dir():
            continue
        match = re.fullmatch(pattern, path.name, re.IGNORECASE)
        if match:
            matching.append((path, match))
        elif re.match(pattern, path.name, re.IGNORECASE):
            log.warning("%s: passed over for its name; rename it if it is no copy", path)
    return matching


def unnested(folder: Path) -> Path:
    """Return the folder, or the one in it if that has its name and is alone: from an archive."""
    inner = folder / folder.name
    others = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    return inner if others == [inner] and inner.is_dir() else folder


def find_entry(folder: Path, *names: str) -> Path:
    """Return the path of the first of these names in a folder, in any case.

    The path of the first name if there is none, for the message that it is missing.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    entries = {}
    if folder.is_dir():
        entries = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True)}
    found = (entries[name.lower()] for name in names if name.lower() in entries)
    return next(found, folder / names[0])


def find_video(folder: Path, stem: str) -> Path:
    """Return the path of the video with this stem, `.avi` or another suffix, in any case."""
    return find_entry(folder, *(f"{stem}{suffix}" for suffix in (".avi", *VIDEO_SUFFIXES)))


def list_files(folder: Path, pattern: str) -> list[tuple[Path, re.Match[str]]]:
    """List the files in `folder` whose whole name matches, in natural order, in any case.

    An empty list if the folder doesn't exist. Files that a Mac adds (`._NAME`) are passed over.
    """
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if not is_mac_twin(path)]
    matches = [(path, re.fullmatch(pattern, path.name, re.IGNORECASE)) for path in paths]
    matching = [(path, match) for path, match in matches if match and path.is_file()]
    return sorted(matching, key=lambda pair: natural_key(pair[0].name))
