"""What crops depend on, as the name of their file in the cache.

The content of the video's files, how they are read, where the face is, the size of the crops, and
the source code, weights and FFmpeg that make them. Where the files lie does not count: a dataset
that was moved finds its crops again. `contents/` remembers the digests of files by their paths,
sizes and times, so that they are read for it once.
"""

import functools
import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import av

import rppg
from rppg.atomic import atomic_path
from rppg.cache_folder import cache_folder
from rppg.errors import InputError
from rppg.types import CROP_TO_FACE
from rppg.video.crop import VideoCrops

MADE_BY = ("data/layouts", "data/reading.py", "video")
"""The code that crops depend on: files, and folders with all that is in them."""
SETTLED_S = 2.0
"""A file changed less than this ago may change again without its time telling."""


def crops_folder() -> Path:
    """Where the cache holds crops."""
    return cache_folder() / "crops"


def stamp_of(files: Sequence[Path]) -> str:
    """Digest of the files' absolute paths, sizes and times of change; nothing is read.

    Raises:
        InputError: a file that isn't there.
    """
    try:
        found = [(str(path.absolute()), path.stat()) for path in files]
    except OSError as error:
        raise InputError(
            f"{error.filename}: {(error.strerror or 'unreadable').lower()}; check the path, or "
            "copy the dataset again"
        ) from error
    listed = [(name, about.st_size, about.st_mtime_ns) for name, about in found]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def remembered(stamp: str) -> str | None:
    """The digest of the content of files that bear a stamp, if they were read before."""
    memory = _memory(stamp)
    if not memory.is_file():  # a pipe, or a device, has no end
        return None
    try:
        with memory.open(encoding="ascii") as file:
            text = file.read(100).strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def read_contents(files: Sequence[Path]) -> str:
    """The digest of the files' content, in their order.

    Raises:
        InputError: a file that can't be read.
    """
    digest = hashlib.sha256()
    for path in files:
        if path.exists() and not path.is_file():
            found = "a folder" if path.is_dir() else "a pipe or a device"
            raise InputError(f"{path}: is {found}; expected a file")
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(
                f"{path}: can't be read ({error.strerror}); check the path, or copy it again"
            ) from error
    return digest.hexdigest()


def remember(files: Sequence[Path], stamp: str, contents: str) -> None:
    """Keep the digest of the content of files, unless they may still be changing.

    Raises:
        WriteError: the cache can't be written to.
    """
    if time.time() - max(path.stat().st_mtime for path in files) > SETTLED_S:
        with atomic_path(_memory(stamp)) as temporary:
            temporary.write_text(contents, encoding="ascii")


def _memory(stamp: str) -> Path:
    return crops_folder() / "contents" / stamp


def crops_file(wanted: VideoCrops, contents: str) -> Path:
    """Where crops of a video with this content lie; the file's stem is the key."""
    face = wanted.face
    box = None if face.box is None else [float(side) for side in face.box]
    settings = [contents, wanted.video.reading, box, face.full_frame, wanted.size]
    code = code_digest()
    key = hashlib.sha256(json.dumps([code, settings]).encode()).hexdigest()
    return crops_folder() / code[:12] / f"{key}.safetensors"


@functools.cache
def code_digest(package: Path = Path(rppg.__file__).parent) -> str:
    """Digest of all that makes crops out of files."""
    made_by = [path for part in MADE_BY for path in _modules(package / part)]
    made_by += sorted((package / "video" / "weights").glob("*.safetensors"))
    digest = hashlib.sha256(f"{CROP_TO_FACE} {sorted(av.library_versions.items())}".encode())
    for path in made_by:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _modules(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]
