"""Atomic outputs: a file or folder appears complete or not at all.

A process killed while it writes leaves a hidden temporary file, `.NAME-...`, beside the output.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rppg.errors import InputError, WriteError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it to `path` if the block succeeds.

    The temporary name has the suffix of `path`, for writers that choose the format by it. After an
    error the temporary file is removed and a file that was at `path` is unchanged. The content is
    flushed to the disk before the move: after a power cut `path` holds the old file or the new one.

    Raises:
        WriteError: the disk is full or the location is not writable.
        InputError: `path` is a folder, or its parent folder is a file.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    _make_folder(path)
    with _write_errors_of(path):
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
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
    """Write a text file in UTF-8, complete or not at all; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and move it to `path` if the block succeeds.

    After an error the temporary folder is removed.

    Raises:
        WriteError: the disk is full or the location is not writable.
        InputError: `path` exists already, or its parent folder is a file.
    """
    if path.exists() or path.is_symlink():
        raise InputError(f"{path}: exists already; choose another folder")
    _make_folder(path)
    with _write_errors_of(path):
        temporary = Path(tempfile.mkdtemp(None, f".{path.name}-", path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _write_errors_of(path: Path) -> Iterator[None]:
    """Re-raise an OSError as a WriteError that names `path`.

    Only errors that concern a file beside `path`, or that name no file (a full disk).
    """
    try:
        yield
    except WriteError as error:  # of a file in the temporary folder
        raise WriteError(path, error.reason) from error
    except OSError as error:
        if error.filename is None or path.parent in Path(os.fsdecode(error.filename)).parents:
            raise WriteError(path, error.strerror or str(error)) from error
        raise


def _make_folder(path: Path) -> None:
    """Create the parent folder of an output, with all folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path}: {error.filename} is a file; choose another folder") from error
    except OSError as error:
        raise WriteError(path, error.strerror or str(error)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
