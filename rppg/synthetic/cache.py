"""The cache of synthetic recordings on disk, rendered once and in parallel.

Crops and ground truth are in separate files, so that code that receives only the crops cannot reach
a label. A file's path covers the domain, the options, the subject, the duration and the code that
renders it, so that a stale file is never read.
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

import rppg
from rppg.atomic import atomic_path
from rppg.cache_folder import cache_folder, describe_stale
from rppg.code_digest import digest_code
from rppg.errors import InputError, one_line
from rppg.synthetic.all_domains import ALL_DOMAINS
from rppg.synthetic.domains import Domain
from rppg.synthetic.filmed.domains import FilmedDomain
from rppg.synthetic.subjects import draw_profile, render_crops
from rppg.synthetic.variations.draw import LIVING, describe_recording, draw_kind, draw_varied
from rppg.synthetic.variations.variation import Variation
from rppg.types import CROP_TO_FACE, FaceCrops, Pulse, Recording
from rppg.video.threads import one_thread

logger = logging.getLogger(__name__)

SPLITS = {"train": 0, "validation": 100_000, "test": 200_000}
"""First subject number of each split. The ranges don't overlap."""

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # an unsupported compression or encryption
    ValueError,
)
"""Exceptions raised by reading a file that was cut off, changed or replaced."""

CODE = ("synthetic", "video/encode.py", "video/encoding.py", "video/resize.py")
"""The code that recordings depend on: files, and folders with all of their modules."""
OPTIONS_CODE = "variations"
"""The folder on which only recordings with options depend."""
FILMED_CODE = "filmed"
"""The folder on which, besides `TRANSCODE`, only recordings of filmed domains depend."""
TRANSCODE = "video/transcode.py"
PLAIN = Variation()

Progress = Callable[[int, int], None]


def find_domain(name: str) -> Domain:
    """Return the domain called `name`, with or without its version (`webcam`, `webcam@1`).

    Raises:
        InputError: an unknown name or version.
    """
    domain = ALL_DOMAINS.get(name.partition("@")[0])
    if domain is None or ("@" in name and domain.key != name):
        known = ", ".join(d.key for d in ALL_DOMAINS.values())
        raise InputError(f"no synthetic domain {name!r}; known: {known}")
    return domain


def synthetic_recordings(
    name: str,
    split: str,
    count: int,
    *,
    variation: Variation = PLAIN,
    duration_s: float = 20.0,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Recording]:
    """List recordings of the first `count` subjects of a domain's split; render missing ones.

    Args:
        name: a domain, such as `webcam`.
        split: `train`, `validation` or `test`, which have disjoint subjects.
        variation: options; by default none, which is the domain itself.
        progress: called with the number of recordings ready and their total.
    """
    domain = find_domain(name)
    if split not in SPLITS:
        raise InputError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
    numbers = range(SPLITS[split], SPLITS[split] + count)
    files = {n: _file(domain, n, duration_s, variation) for n in numbers}
    living = {n: draw_kind(domain, n, variation) == LIVING for n in numbers}
    missing = [n for n in numbers if not _complete(files[n], living[n])]
    if missing:
        logger.info("rendering %d recordings of %s", len(missing), domain.key)
        for line in stale_recordings() if logger.isEnabledFor(logging.INFO) else []:
            logger.info("%s", line)
        _render_all(domain, missing, duration_s, variation, files, workers, progress)
    return [_recording(domain, n, duration_s, variation, files[n]) for n in numbers]


def _render_all(
    domain: Domain,
    numbers: Sequence[int],
    duration_s: float,
    variation: Variation,
    files: dict[int, Path],
    workers: int,
    progress: Progress | None,
) -> None:
    # Threads suffice, since NumPy and torch release the interpreter's lock while rendering. With
    # more than one thread of torch in each, they wait for each other.
    with one_thread(), ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_render_one, domain, n, duration_s, variation, files[n]) for n in numbers
        ]
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                if progress:
                    progress(done, len(numbers))
        except BaseException:  # also after an interrupt, don't start the remaining jobs
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _render_one(
    domain: Domain, number: int, duration_s: float, variation: Variation, file: Path
) -> None:
    subject = draw_varied(domain, number, duration_s, variation)
    crops = render_crops(subject)
    if draw_kind(domain, number, variation) == LIVING:
        with atomic_path(_truth_file(file)) as temporary:
            np.savez(temporary, times_s=subject.truth.times_s, bvp=subject.truth.bvp)
    with atomic_path(file) as temporary:
        np.savez(
            temporary,
            frames=crops.frames,
            times_s=crops.times_s,
            valid=crops.valid,
            is_key=np.zeros(0, np.bool_) if crops.is_key is None else crops.is_key,
        )


def _recording(
    domain: Domain, number: int, duration_s: float, variation: Variation, file: Path
) -> Recording:
    def arrays(path: Path, *names: str) -> list[NDArray[Any]]:
        try:
            return _read(path, names)
        except FileNotFoundError:  # the ground truth may have been removed deliberately
            raise
        except DAMAGED as error:
            reason = one_line(error, limit=400)
            logger.warning("%s: can't be used (%s); it is rendered again", path, reason)
            _render_one(domain, number, duration_s, variation, file)
            return _read(path, names)

    def load_crops() -> FaceCrops:
        frames, times_s, valid, is_key = arrays(file, "frames", "times_s", "valid", "is_key")
        return FaceCrops(frames, times_s, valid, is_key=is_key if len(is_key) else None)

    def load_truth() -> Pulse:
        return Pulse(*arrays(_truth_file(file), "times_s", "bvp"))

    options, kind = variation.text, draw_kind(domain, number, variation)
    metadata = draw_profile(domain, number).metadata
    return Recording(
        name=f"{domain.name}-{number}",
        dataset=f"synthetic:{domain.key}{f'?{options}' if options else ''}",
        subject=str(number),
        load_crops=load_crops,
        load_truth=load_truth if kind == LIVING else None,
        metadata=metadata | ({"kind": kind} if options else {}),
    )


def _read(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in names]


def synthetic_folder() -> Path:
    """Return the folder of the cached synthetic recordings."""
    return cache_folder() / "synthetic"


def version_name() -> str:
    """Return the name of the folder for the recordings of this version of the code."""
    return _code_digest()[:12]


def stale_recordings() -> list[str]:
    """Describe the recordings of other versions of this package, one line for each folder."""
    return describe_stale(synthetic_folder(), version_name())


def _file(domain: Domain, number: int, duration_s: float, variation: Variation) -> Path:
    content = f"{_code_digest()}/{domain!r}/{duration_s}"
    if isinstance(domain, FilmedDomain):
        content += f"/{_filmed_digest()}"
    if options := describe_recording(domain, number, variation):
        content += f"/{_options_digest()}/{options}"
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    return synthetic_folder() / version_name() / f"{domain.key}-{key}" / f"{number:06d}.npz"


def _truth_file(file: Path) -> Path:
    return file.with_name(f"{file.stem}.truth.npz")


def _complete(file: Path, living: bool) -> bool:
    return file.exists() and (not living or _truth_file(file).exists())


@functools.cache
def _code_digest(package: Path = Path(rppg.__file__).parent) -> str:
    """Return a digest of the code that renders recordings without options."""
    parts = [package / part for part in CODE]
    code = digest_code(parts, root=package, without=[OPTIONS_CODE, FILMED_CODE])
    return hashlib.sha256(f"{CROP_TO_FACE} {code}".encode()).hexdigest()


@functools.cache
def _options_digest(package: Path = Path(rppg.__file__).parent) -> str:
    """Return a digest of the code of the options."""
    return digest_code([package / "synthetic" / OPTIONS_CODE], root=package)


@functools.cache
def _filmed_digest(package: Path = Path(rppg.__file__).parent) -> str:
    """Return a digest of the code that films whole frames."""
    parts = [package / "synthetic" / FILMED_CODE, package / TRANSCODE]
    return digest_code(parts, root=package)
