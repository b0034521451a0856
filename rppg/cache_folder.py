"""The folder of the package's caches, which hold only what can be computed again."""

import os
import re
from pathlib import Path


def cache_folder() -> Path:
    """Return `$RPPG_CACHE`, or `rppg` in the user's cache folder."""
    if "RPPG_CACHE" in os.environ:
        return Path(os.environ["RPPG_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rppg"


def describe_stale(folder: Path, current: str) -> list[str]:
    """Describe the folders of a cache that other versions of this package wrote, one line each.

    They are never read and never deleted: the other version may still be in use.

    Args:
        folder: the cache.
        current: the name of the folder in it that this version uses.
    """
    try:
        sizes = {path: _size(path) for path in sorted(folder.iterdir()) if _is_stale(path, current)}
    except OSError:  # the cache doesn't exist, or another process changes it
        return []
    return [
        f"{path}: {size / 1e6:.1f} MB from another version of rppg, not used by this one; "
        "delete the folder unless that version is still in use"
        for path, size in sizes.items()
    ]


def _is_stale(path: Path, current: str) -> bool:
    versioned = re.fullmatch(r"([\w-]+@\d+-)?[0-9a-f]{12}", path.name)
    return bool(versioned) and path.name != current and path.is_dir() and not path.is_symlink()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
