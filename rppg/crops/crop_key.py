"""The key of crops in the cache, which is the name of their file.

The key covers the content of the video's files, how they are read, the face region, the size of the
crops, and the code, weights and FFmpeg version that compute them. It doesn't cover the location of
the files, so a dataset that was moved finds its crops again. `contents/` stores the digests of
files by their paths, sizes and modification times, so that files are read for their digest once.
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
from rppg.atomic import write_text
from rppg.cache_folder import cache_folder
from rppg.code_digest import digest_code
from rppg.errors import InputError
from rppg.types import CROP_TO_FACE
from rppg.video.crop import VideoCrops

CODE = (
    "data/far_off.py",
    "data/find_files.py",
    "data/image_folder.py",
    "data/layouts",
    "data/reading.py",
    "data/stated_rate.py",
    "video",
)
"""The code that crops depend on: files, and folders with all of their modules."""
SETTLED_S = 2.0
"""A file modified less than this ago may change again without a change of its time."""


def crops_folder() -> Path:
    """Return the folder of the cached crops."""
    return cache_folder() / "crops"


def files_stamp(files: Sequence[Path]) -> str:
    """Return a digest of the files' absolute paths, sizes and modification times.

    The files aren't read.

    Raises:
        InputError: a file that doesn't exist.
    """
    try:
        stats = [(str(path.absolute()), path.stat()) for path in files]
    except OSError as error:
        raise InputError(
            f"{error.filename}: {(error.strerror or 'unreadable').lower()}; check the path, or "
            "copy the dataset again"
        ) from error
    entries = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def stored_digest(stamp: str) -> str | None:
    """Return the content digest of files with this stamp, None if it isn't stored."""
    path = _digest_path(stamp)
    if not path.is_file():  # a pipe or a device has no end
        return None
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(100).strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def content_digest(files: Sequence[Path]) -> str:
    """Compute the digest of the files' content, in their order.

    Raises:
        InputError: a file that can't be read.
    """
    digest = hashlib.sha256()
    for path in files:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise InputError(f"{path}: is {kind}; expected a file")
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(
                f"{path}: can't be read ({error.strerror}); check the path, or copy it again"
            ) from error
    return digest.hexdigest()


def store_digest(files: Sequence[Path], stamp: str, contents: str) -> None:
    """Store the content digest of files, unless they may still be changing.

    Raises:
        WriteError: the cache is not writable.
    """
    if time.time() - max(path.stat().st_mtime for path in files) > SETTLED_S:
        write_text(_digest_path(stamp), contents)


def _digest_path(stamp: str) -> Path:
    return crops_folder() / "contents" / stamp


def crops_path(crops: VideoCrops, contents: str) -> Path:
    """Return the path of the crops of a video with this content digest; its stem is the key."""
    face = crops.face
    box = None if face.box is None else [float(side) for side in face.box]
    settings = [contents, crops.video.reading, box, face.full_frame, crops.size]
    code = code_digest()
    key = hashlib.sha256(json.dumps([code, settings]).encode()).hexdigest()
    return crops_folder() / version_name() / f"{key}.safetensors"


def version_name() -> str:
    """Return the name of the folder for the crops of this version of the code."""
    return code_digest()[:12]


@functools.cache
def code_digest(package: Path = Path(rppg.__file__).parent) -> str:
    """Return a digest of the code, weights and libraries that turn files into crops."""
    code = digest_code([package / part for part in CODE], root=package)
    libraries = sorted(av.library_versions.items())
    digest = hashlib.sha256(f"{CROP_TO_FACE} {libraries} {code}".encode())
    for path in sorted((package / "video" / "weights").glob("*.safetensors")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
