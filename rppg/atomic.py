"""Outputs that are there whole or not at all.

A process that is killed leaves its temporary file behind, named after the machine and the process:
whoever writes the same output next on that machine removes it.
"""

import functools
import glob
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rppg.errors import InputError, WriteError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends without an error.

    The temporary name ends as `path` does, for writers that go by it. After an error nothing is
    left behind, and what was at `path` before is untouched. The content is on the disk before it is
    moved: after a power cut there is the old file or the new one.

    Raises:
        WriteError: the disk is full, or can't be written to there.
        InputError: `path` is a folder, or a file is where its folder should be.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    _make_folder(path)
    with _told_of(path):
        _sweep(path.parent, path.stem, path.suffix)
        handle, name = tempfile.mkstemp(path.suffix, _prefix(path.stem), path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, moved to it when the block ends without an error.

    After an error nothing is left behind.

    Raises:
        WriteError: the disk is full, or can't be written to there.
        InputError: something is at `path` already, or a file is where its folder should be.
    """
    if path.exists() or path.is_symlink():
        raise InputError(f"{path}: exists already; choose another folder")
    _make_folder(path)
    with _told_of(path):
        _sweep(path.parent, path.name)
        temporary = Path(tempfile.mkdtemp(None, _prefix(path.name), path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """What fails beside `path`, or names no file (a full disk), is told of `path`."""
    try:
        yield
    except WriteError as error:  # of a file in the folder that was to be `path`
        raise WriteError(path, error.reason) from error
    except OSError as error:
        if error.filename is None or path.parent in Path(os.fsdecode(error.filename)).parents:
            raise WriteError(path, error.strerror or str(error)) from error
        raise


def _make_folder(path: Path) -> None:
    """The folder that an output lies in, and those above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path}: {error.filename} is a file; choose another folder") from error
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error


@functools.cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _prefix(stem: str) -> str:
    return f".{stem}-{_machine()}-{os.getpid()}-"


def _sweep(folder: Path, stem: str, suffix: str = "") -> None:
    """Remove what processes of this machine that are no more have left of an output."""
    start = f".{stem}-{_machine()}-"
    for path in folder.glob(f"{glob.escape(start)}*-*{glob.escape(suffix)}"):
        process = path.name.removeprefix(start).partition("-")[0]
        if process.isdigit() and not _running(int(process)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _running(process: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
