"""Face crops of videos kept on disk: a video is decoded once, whoever asks for its crops."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rppg.captured_warnings import warnings_kept
from rppg.crops.crop_file import UnusableError, check_header, open_crops, write_crops
from rppg.crops.crop_key import (
    crops_file,
    crops_folder,
    read_contents,
    remember,
    remembered,
    stamp_of,
)
from rppg.errors import InputError, WriteError
from rppg.processes import WRITING, usable_cpus, work_through
from rppg.types import FaceCrops, Recording
from rppg.video.crop import VideoCrops

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

LEFT_BEHIND_S = 3600.0
"""Writing takes seconds: older temporary files are of processes that were killed."""
LITTLE_BYTES = 2_000_000
"""Videos of this size together are read before other processes have started."""
HERE = "<video>"
"""Stands for the video's name in the warnings that are kept."""


class CacheError(InputError):
    """The cache can't be written to."""


@dataclass(frozen=True)
class Stored:
    """What the cache has of some records.

    Attributes:
        recordings: the same recordings; those cut from videos take their crops from the cache.
        ready: how many there were; synthetic ones count here.
        built: how many were made now.
        failed: why not, by the records' places among those given.
    """

    recordings: list[Recording]
    ready: int
    built: int
    failed: Mapping[int, str]


def cached(
    recordings: Sequence[Recording], *, workers: int | None = 1, progress: Progress | None = None
) -> list[Recording]:
    """The same records with their crops in the cache; those that aren't there are made now.

    `cached(open_datasets(...))` is all that a script needs; `store` tells more.
    """
    return store(recordings, workers=workers, progress=progress).recordings


def store(
    recordings: Sequence[Recording],
    *,
    workers: int | None = 1,
    progress: Progress | None = None,
    verify: bool = False,
) -> Stored:
    """Make the crops that the cache doesn't have.

    Records that aren't cut from files (synthetic ones) stay as they are. Of one that can't be read,
    `load_crops` raises the reason, without another try. Whoever is interrupted, or killed, goes on
    where he was; others may do the same work at the same time.

    Args:
        workers: processes; with 1, all is done in this one; None: as many as CPUs, where there is
            enough to read. A script that asks for more than 1 needs `if __name__ == "__main__":`.
        progress: called with the number of recordings ready or given up, and their total.
        verify: read the files that are there from beginning to end; else each is when opened.

    Raises:
        CacheError: the disk is full, or the folder can't be written to.
    """
    _sweep(crops_folder())
    found = list(recordings)
    failed: dict[int, str] = {}
    jobs: dict[int, VideoCrops] = {}
    for place, recording in enumerate(recordings):
        if isinstance(recording.load_crops, VideoCrops):
            wanted = recording.load_crops
            try:
                file = _find(wanted, verify=verify) if wanted.video.files else None
            except InputError as error:
                failed[place] = str(error)
                continue
            if file is not None:
                found[place] = replace(recording, load_crops=CachedCrops(wanted, file))
            elif wanted.video.files:
                jobs[place] = wanted
    places, built = list(jobs), set[int]()
    left = len(jobs)

    def done(number: int, outcome: "_Outcome | None") -> None:
        nonlocal left
        place = places[number]
        wanted = jobs[place]
        if outcome is None:
            failed[place] = (
                f"{wanted.video.name}: the process that read it died; was there memory enough?"
            )
        elif outcome.file is None:
            failed[place] = outcome.told
        else:
            if outcome.told:
                logger.warning("%s", outcome.told)
            if outcome.built:
                built.add(place)
            found[place] = replace(recordings[place], load_crops=CachedCrops(wanted, outcome.file))
        left -= 1
        if progress:
            progress(len(recordings) - left, len(recordings))

    if workers is None:
        workers = usable_cpus() if _size(jobs.values()) > LITTLE_BYTES else 1
    work_through(_make, list(jobs.values()), workers, done)
    for place, reason in failed.items():
        found[place] = replace(recordings[place], load_crops=_Unreadable(reason))
    ready = len(recordings) - len(built) - len(failed)
    return Stored(found, ready, len(built), dict(sorted(failed.items())))


@dataclass(frozen=True)
class CachedCrops:
    """Crops in the cache. When called, it opens them, memory-mapped, and checks them.

    Where they are damaged, or gone by then, a warning says so and the video is read again. What
    another process has just checked need not be read for it: `check` is False.
    """

    wanted: VideoCrops
    file: Path
    check: bool = True

    def __call__(self) -> FaceCrops:
        name = self.wanted.video.name
        try:
            crops, told = open_crops(self.file, self.file.stem, check=self.check)
        except (UnusableError, FileNotFoundError) as error:
            logger.warning("%s", _replaced(name, self.file, error))
            crops, told = _read(self.wanted)
            try:
                _write(self.file, crops, told)
            except CacheError as full:
                logger.warning("%s", full)
        for line in told:
            logger.warning("%s", line.replace(HERE, name))
        return crops


def checked_elsewhere(recordings: Sequence[Recording]) -> list[Recording]:
    """The same records; those in the cache are opened without reading them from end to end."""
    return [
        replace(recording, load_crops=replace(recording.load_crops, check=False))
        if isinstance(recording.load_crops, CachedCrops)
        else recording
        for recording in recordings
    ]


@dataclass(frozen=True)
class _Unreadable:
    """Crops that can't be had."""

    reason: str

    def __call__(self) -> FaceCrops:
        raise InputError(self.reason)


@dataclass(frozen=True)
class _Outcome:
    """Of making crops: their file, None where the video can't be read; what there is to tell."""

    file: Path | None
    built: bool = False
    told: str = ""


def _find(wanted: VideoCrops, *, verify: bool) -> Path | None:
    """The file with these crops, if the video's content is known and the file can be used."""
    contents = remembered(stamp_of(wanted.video.files))
    if contents is None:
        return None
    file = crops_file(wanted, contents)
    try:
        (open_crops if verify else check_header)(file, file.stem)
    except FileNotFoundError:
        return None
    except UnusableError as error:
        logger.warning("%s", _replaced(wanted.video.name, file, error))
        file.unlink(missing_ok=True)
        return None
    return file


def _size(jobs: Iterable[VideoCrops]) -> int:
    return sum(path.stat().st_size for wanted in jobs for path in wanted.video.files)


def _make(wanted: VideoCrops) -> _Outcome:
    """Make one file, unless it is there by now."""
    files, told = wanted.video.files, ""
    try:
        before = stamp_of(files)
        contents = remembered(before) or read_contents(files)
        file = crops_file(wanted, contents)
        try:
            open_crops(file, file.stem)
        except FileNotFoundError:
            pass
        except UnusableError as error:
            told = _replaced(wanted.video.name, file, error)
        else:
            _remember(files, before, contents)
            return _Outcome(file)
        crops, warnings = _read(wanted)
        if stamp_of(files) != before:
            raise InputError(f"{wanted.video.name}: changed while it was read; try again")
    except InputError as error:
        return _Outcome(None, told=str(error))
    _remember(files, before, contents)
    _write(file, crops, warnings)
    return _Outcome(file, built=True, told=told)


def _read(wanted: VideoCrops) -> tuple[FaceCrops, list[str]]:
    """Crops from the video, and what reading it warned of."""
    with warnings_kept() as told:
        crops = wanted()
    return crops, [line.getMessage().replace(wanted.video.name, HERE) for line in told]


def _remember(files: Sequence[Path], stamp: str, contents: str) -> None:
    with _writing(), WRITING:
        remember(files, stamp, contents)


def _write(file: Path, crops: FaceCrops, warnings: Sequence[str]) -> None:
    with _writing(), WRITING:
        write_crops(file, file.stem, crops, warnings)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        reason = error.reason if isinstance(error, WriteError) else error
        raise CacheError(
            f"{crops_folder()}: crops can't be kept there ({reason}); make room, set "
            "RPPG_CACHE to another folder, or go without (--no-cache)"
        ) from error


def _replaced(name: str, file: Path, error: Exception) -> str:
    reason = "it is gone" if isinstance(error, FileNotFoundError) else error
    return f"{name}: the crops in {file} can't be used ({reason}); they are made again"


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind."""
    for path in folder.glob("*/.*"):
        if path.parent.is_symlink() or not path.is_file():  # not ours
            continue
        try:
            if time.time() - path.stat().st_mtime > LEFT_BEHIND_S:
                path.unlink()
        except FileNotFoundError:  # another process swept it, or has finished it
            continue
