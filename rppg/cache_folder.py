"""Where the package keeps what it can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$RPPG_CACHE`, or `rppg` under the user's cache folder."""
    if "RPPG_CACHE" in os.environ:
        return Path(os.environ["RPPG_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rppg"
