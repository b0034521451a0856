"""Synthetic recordings on disk: rendered once, in parallel, and read back when asked for.

Pictures and ground truth lie in files of their own, so that whoever is given only the pictures
cannot reach a label. A file's key covers the domain, the subject, the duration and the source code
that renders it: a stale file is never read.
"""

import functools
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_path
from rppg.cache_folder import cache_folder
from rppg.errors import InputError
from rppg.synthetic.domains import DOMAINS, Domain
from rppg.synthetic.subjects import cast_subject, draw_subject, render_crops
from rppg.types import CROP_TO_FACE, FaceCrops, Pulse, Recording
from rppg.video import encode

logger = logging.getLogger(__name__)

SPLITS = {"train": 0, "validation": 100_000, "test": 200_000}
"""First subject number of each split; the ranges never meet."""

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # compressed or encrypted in ways that it never is
    ValueError,
)
"""What reading raises where a file was cut, changed or replaced since it was written."""

Progress = Callable[[int, int], None]


def find_domain(name: str) -> Domain:
    """The domain called `name`, with or without its version (`webcam`, `webcam@1`)."""
    domain = DOMAINS.get(name.partition("@")[0])
    if domain is None or ("@" in name and domain.key != name):
        known = ", ".join(d.key for d in DOMAINS.values())
        raise InputError(f"no synthetic domain {name!r}; known: {known}")
    return domain


def synthetic_recordings(
    name: str,
    split: str,
    count: int,
    *,
    duration_s: float = 20.0,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Recording]:
    """Records of the first `count` subjects of a domain's split, rendering what is missing.

    Args:
        name: a domain, `webcam`.
        split: `train`, `validation` or `test`: disjoint subjects.
        progress: called with the number of recordings ready and their total.
    """
    domain = find_domain(name)
    if split not in SPLITS:
        raise InputError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
    numbers = range(SPLITS[split], SPLITS[split] + count)
    files = {n: _file(domain, n, duration_s) for n in numbers}
    missing = [n for n in numbers if not _complete(files[n])]
    if missing:
        logger.info("rendering %d recordings of %s", len(missing), domain.key)
        _render_all(domain, missing, duration_s, files, workers, progress)
    return [_record(domain, n, duration_s, files[n]) for n in numbers]


def _render_all(
    domain: Domain,
    numbers: Sequence[int],
    duration_s: float,
    files: dict[int, Path],
    workers: int,
    progress: Progress | None,
) -> None:
    # Threads serve: NumPy and torch leave the interpreter's lock while they render.
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(_render_one, domain, n, duration_s, files[n]) for n in numbers]
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                if progress:
                    progress(done, len(numbers))
        except BaseException:  # an interrupt, too, does not wait for what has not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _render_one(domain: Domain, number: int, duration_s: float, file: Path) -> None:
    subject = draw_subject(domain, number, duration_s)
    crops = render_crops(subject)
    with atomic_path(_truth(file)) as temporary:
        np.savez(temporary, times_s=subject.truth.times_s, bvp=subject.truth.bvp)
    with atomic_path(file) as temporary:
        np.savez(temporary, frames=crops.frames, times_s=crops.times_s, valid=crops.valid)


def _record(domain: Domain, number: int, duration_s: float, file: Path) -> Recording:
    def arrays(path: Path, *names: str) -> list[NDArray[Any]]:
        try:
            return _read(path, names)
        except FileNotFoundError:  # who was given the pictures alone has no truth
            raise
        except DAMAGED as error:
            reason = " ".join(str(error).split())
            logger.warning("%s: can't be used (%s); it is rendered again", path, reason)
            _render_one(domain, number, duration_s, file)
            return _read(path, names)

    def load_crops() -> FaceCrops:
        return FaceCrops(*arrays(file, "frames", "times_s", "valid"))

    def load_truth() -> Pulse:
        return Pulse(*arrays(_truth(file), "times_s", "bvp"))

    return Recording(
        name=f"{domain.name}-{number}",
        dataset=f"synthetic:{domain.key}",
        subject=str(number),
        load_crops=load_crops,
        load_truth=load_truth,
        metadata=cast_subject(domain, number).metadata,
    )


def _read(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in names]


def _file(domain: Domain, number: int, duration_s: float) -> Path:
    key = hashlib.sha256(f"{_code_digest()}/{domain!r}/{duration_s}".encode()).hexdigest()[:12]
    return cache_folder() / "synthetic" / f"{domain.key}-{key}" / f"{number:06d}.npz"


def _truth(file: Path) -> Path:
    return file.with_name(f"{file.stem}.truth.npz")


def _complete(file: Path) -> bool:
    return file.exists() and _truth(file).exists()


@functools.cache
def _code_digest() -> str:
    video = Path(encode.__file__).parent
    sources = [*sorted(Path(__file__).parent.glob("*.py")), video / "area.py", video / "encode.py"]
    code = b"".join(source.read_bytes() for source in sources)
    return hashlib.sha256(code + str(CROP_TO_FACE).encode()).hexdigest()
