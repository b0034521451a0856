"""The cache of face crops on disk, so that every video is decoded only once."""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rppg.cache_folder import describe_stale
from rppg.captured_warnings import capture_warnings
from rppg.crops.crop_file import UnusableError, check_header, open_crops, write_crops
from rppg.crops.crop_key import (
    content_digest,
    crops_folder,
    crops_path,
    files_stamp,
    store_digest,
    stored_digest,
    version_name,
)
from rppg.errors import InputError, WriteError
from rppg.processes import WRITING, usable_cpus, work_through
from rppg.types import FaceCrops, Recording
from rppg.video.crop import VideoCrops

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

ABANDONED_S = 3600.0
"""Writing takes seconds. Older temporary files belong to processes that were killed."""
SMALL_BYTES = 2_000_000
"""Reading videos of this total size takes less time than starting other processes."""
VIDEO_NAME = "<video>"
"""Placeholder for the video's name in stored warnings."""


class CacheError(InputError):
    """A cache that is not writable."""


@dataclass(frozen=True)
class Stored:
    """The result of filling the cache.

    Attributes:
        recordings: the same recordings; those cut from videos load their crops from the cache.
        ready: number of recordings that needed no work. Synthetic ones count here.
        built: number of recordings whose crops were added.
        failed: reasons, by the index of the recordings that could not be read.
    """

    recordings: list[Recording]
    ready: int
    built: int
    failed: Mapping[int, str]


def cached(
    recordings: Sequence[Recording], *, workers: int | None = 1, progress: Progress | None = None
) -> list[Recording]:
    """Return the same recordings with their crops in the cache, and add those that are missing.

    `cached(open_datasets(...))` is all that a script needs. `store` returns more details.
    """
    return store(recordings, workers=workers, progress=progress).recordings


def store(
    recordings: Sequence[Recording],
    *,
    workers: int | None = 1,
    progress: Progress | None = None,
    verify: bool = False,
) -> Stored:
    """Add the crops that the cache doesn't have.

    Recordings that aren't cut from files (synthetic ones) are returned unchanged. If a recording
    can't be read, its `load_crops` raises the reason, without another attempt. An interrupted or
    killed run resumes where it stopped. Several processes may fill the same cache.

    Args:
        workers: number of processes; 1 uses this process; None uses all CPUs if there is enough to
            read. A script that sets more than 1 needs `if __name__ == "__main__":`.
        progress: called with the number of recordings finished or failed, and their total.
        verify: read existing files completely. Otherwise each is verified when it is opened.

    Raises:
        CacheError: the disk is full or the folder is not writable.
    """
    _remove_abandoned(crops_folder())
    if logger.isEnabledFor(logging.INFO):
        _log_stale(crops_folder())
    results = list(recordings)
    failed: dict[int, str] = {}
    jobs: dict[int, VideoCrops] = {}
    for index, recording in enumerate(recordings):
        if isinstance(recording.load_crops, VideoCrops):
            crops = recording.load_crops
            try:
                path = _find(crops, verify=verify) if crops.video.files else None
            except InputError as error:
                failed[index] = str(error)
                continue
            if path is not None:
                results[index] = replace(recording, load_crops=CachedCrops(crops, path))
            elif crops.video.files:
                jobs[index] = crops
    indices, built = list(jobs), set[int]()
    remaining = len(jobs)

    def done(job: int, outcome: "_Outcome | None") -> None:
        nonlocal remaining
        index = indices[job]
        crops = jobs[index]
        if outcome is None:
            failed[index] = (
                f"{crops.video.name}: the process that read it died; was there memory enough?"
            )
        elif outcome.path is None:
            failed[index] = outcome.message
        else:
            if outcome.message:
                logger.warning("%s", outcome.message)
            if outcome.built:
                built.add(index)
            cached_crops = CachedCrops(crops, outcome.path)
            results[index] = replace(recordings[index], load_crops=cached_crops)
        remaining -= 1
        if progress:
            progress(len(recordings) - remaining, len(recordings))

    if workers is None:
        workers = usable_cpus() if _total_size(jobs.values()) > SMALL_BYTES else 1
    work_through(_build, list(jobs.values()), workers, done)
    for index, reason in failed.items():
        results[index] = replace(recordings[index], load_crops=_Unreadable(reason))
    ready = len(recordings) - len(built) - len(failed)
    return Stored(results, ready, len(built), dict(sorted(failed.items())))


def stale_crops() -> list[str]:
    """Describe the crops of other versions of this package, one line for each folder."""
    return describe_stale(crops_folder(), version_name())


@functools.cache
def _log_stale(folder: Path) -> None:
    """Log the crops of other versions, once per process."""
    for line in describe_stale(folder, version_name()):
        logger.info("%s", line)


@dataclass(frozen=True)
class CachedCrops:
    """Crops in the cache. Call it to open them, memory-mapped and verified.

    If the file is damaged or missing, a warning is logged and the video is read again.

    Attributes:
        crops: the crops to be cut from the video.
        path: their file in the cache.
        check: whether to verify the content; False if another process has just done so.
    """

    crops: VideoCrops
    path: Path
    check: bool = True

    def __call__(self) -> FaceCrops:
        name = self.crops.video.name
        try:
            crops, warnings = open_crops(self.path, self.path.stem, check=self.check)
        except (UnusableError, FileNotFoundError) as error:
            logger.warning("%s", _replaced(name, self.path, error))
            crops, warnings = _read(self.crops)
            try:
                _write(self.path, crops, warnings)
            except CacheError as full:
                logger.warning("%s", full)
        for line in warnings:
            logger.warning("%s", line.replace(VIDEO_NAME, name))
        return crops


def checked_elsewhere(recordings: Sequence[Recording]) -> list[Recording]:
    """Return the same recordings, with cached crops that are opened without verification."""
    return [
        replace(recording, load_crops=replace(recording.load_crops, check=False))
        if isinstance(recording.load_crops, CachedCrops)
        else recording
        for recording in recordings
    ]


@dataclass(frozen=True)
class _Unreadable:
    """Crops that are unavailable. Raises the reason when called."""

    reason: str

    def __call__(self) -> FaceCrops:
        raise InputError(self.reason)


@dataclass(frozen=True)
class _Outcome:
    """The outcome of building crops.

    Attributes:
        path: the crops' file, None if the video can't be read.
        built: whether the file is new.
        message: the reason if there is no file, otherwise a warning or an empty text.
    """

    path: Path | None
    built: bool = False
    message: str = ""


def _find(crops: VideoCrops, *, verify: bool) -> Path | None:
    """Return the file with these crops, if the video's digest is stored and the file is usable."""
    contents = stored_digest(files_stamp(crops.video.files))
    if contents is None:
        return None
    path = crops_path(crops, contents)
    try:
        (open_crops if verify else check_header)(path, path.stem)
    except FileNotFoundError:
        return None
    except UnusableError as error:
        logger.warning("%s", _replaced(crops.video.name, path, error))
        path.unlink(missing_ok=True)
        return None
    return path


def _total_size(jobs: Iterable[VideoCrops]) -> int:
    return sum(path.stat().st_size for crops in jobs for path in crops.video.files)


def _build(job: VideoCrops) -> _Outcome:
    """Build one file, unless it exists by now."""
    files, message = job.video.files, ""
    try:
        stamp = files_stamp(files)
        contents = stored_digest(stamp) or content_digest(files)
        path = crops_path(job, contents)
        try:
            open_crops(path, path.stem)
        except FileNotFoundError:
            pass
        except UnusableError as error:
            message = _replaced(job.video.name, path, error)
        else:
            _store_digest(files, stamp, contents)
            return _Outcome(path)
        crops, warnings = _read(job)
        if files_stamp(files) != stamp:
            raise InputError(f"{job.video.name}: changed while it was read; try again")
    except InputError as error:
        return _Outcome(None, message=str(error))
    _store_digest(files, stamp, contents)
    _write(path, crops, warnings)
    return _Outcome(path, built=True, message=message)


def _read(job: VideoCrops) -> tuple[FaceCrops, list[str]]:
    """Read crops from the video, and return them with the warnings that were logged."""
    with capture_warnings() as logged:
        crops = job()
    return crops, [record.getMessage().replace(job.video.name, VIDEO_NAME) for record in logged]


def _store_digest(files: Sequence[Path], stamp: str, contents: str) -> None:
    with _cache_errors(), WRITING:
        store_digest(files, stamp, contents)


def _write(path: Path, crops: FaceCrops, warnings: Sequence[str]) -> None:
    with _cache_errors(), WRITING:
        write_crops(path, path.stem, crops, warnings)


@contextmanager
def _cache_errors() -> Iterator[None]:
    """Re-raise an InputError as a CacheError that names the remedies."""
    try:
        yield
    except InputError as error:
        reason = error.reason if isinstance(error, WriteError) else error
        raise CacheError(
            f"{crops_folder()}: crops can't be stored there ({reason}); make room, set "
            "RPPG_CACHE to another folder, or go without (--no-cache)"
        ) from error


def _replaced(name: str, path: Path, error: Exception) -> str:
    reason = "it is missing" if isinstance(error, FileNotFoundError) else error
    return f"{name}: the crops in {path} can't be used ({reason}); the video is read again"


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of killed processes."""
    for path in folder.glob("*/.*"):
        if path.parent.is_symlink() or not path.is_file():  # not created by this package
            continue
        try:
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
        except FileNotFoundError:  # another process has removed or finished it
            continue
