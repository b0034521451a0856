"""Source distributions of other libraries: from a folder, or downloaded into it by pip."""

import importlib.util
import subprocess
import sys
import tarfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LATEST_TESTED = {"pytorch_optimizer": ">=4.1,<5", "accelerate": ">=1.2,<2", "parameterized": ""}


class UnavailableError(Exception):
    """A suite that can't be run, and why."""


def is_importable(name: str) -> bool:
    """Return whether a top-level module is installed."""
    return importlib.util.find_spec(name) is not None


def unpacked(name: str, folder: Path, *, fetch: bool) -> Path:
    """Return the folder of an unpacked source distribution.

    Args:
        name: of the distribution, with underscores.
        folder: where archives are looked for, downloaded to and unpacked.
        fetch: download the archive if it isn't there.

    Raises:
        UnavailableError: there is none, or the download failed.
    """
    archive = _archive(name, folder)
    if archive is None:
        if not fetch:
            raise UnavailableError(
                f"found no {name}-*.tar.gz in {folder}; add --fetch to download it with pip, or "
                "name the folder that holds it with --sources"
            )
        _download(name, folder)
        archive = _archive(name, folder)
    if archive is None:
        raise UnavailableError(f"pip downloaded no source distribution of {name}")
    target = folder / archive.name.removesuffix(".tar.gz")
    if not target.exists():
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    if not target.is_dir():
        raise UnavailableError(f"{archive.name} doesn't unpack to a folder {target.name}")
    return target


def _archive(name: str, folder: Path) -> Path | None:
    """Return the newest archive of a distribution, whose name may be spelled with hyphens."""
    found = [
        path
        for path in folder.glob("*.tar.gz")
        if path.name.rpartition("-")[0].lower().replace("-", "_") == name
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _download(name: str, folder: Path) -> None:
    """Download the installed version, or one of the range that is tested.

    Only this distribution is asked for as source: pip builds its metadata, and takes what it needs
    for that from wheels.
    """
    try:
        wanted = f"{name}=={version(name)}"
    except PackageNotFoundError:
        wanted = name + LATEST_TESTED[name]
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name]
    done = subprocess.run(
        [*pip, "--dest", str(folder), wanted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UnavailableError(
            f"pip could not download the sources of {wanted}: {(lines or ['no message'])[-1]}"
        )
