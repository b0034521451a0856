"""The predicted and the true waves of recordings, a CSV file each."""

import csv
import hashlib
import io
import re
from pathlib import Path

import numpy as np

from rppg.atomic import write_text
from rppg.evaluation import Waves

UNSAFE = re.compile(r'[/\\:*?"<>|%\x00-\x1f\x7f]|^\.')
"""Characters that a file's name can't have on some system, and a dot at its beginning."""
MOST_BYTES = 200
"""Length of a file's name without its suffix."""


def write_waves(folder: Path, waves: Waves) -> Path:
    """Write `DATASET/RECORDING.csv` in a folder, complete or not at all.

    Its columns are `time_s`, `true`, and one for each method; a missing value is empty. Characters
    that can't be in a file's name are written as %XX.

    Raises:
        InputError: the disk is full, or the folder can't be written to.
    """
    path = folder / file_name(waves.dataset) / f"{file_name(waves.record)}.csv"
    write_text(path, waves_csv(waves))
    return path


def waves_csv(waves: Waves) -> str:
    """Return the waves of a recording as CSV, a row for each frame of the protocol's grid."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["time_s", "true", *waves.bvp_pred])
    missing = np.full(len(waves.times_s), np.nan)
    true = missing if waves.bvp_true is None else waves.bvp_true
    for time_s, *values in zip(waves.times_s, true, *waves.bvp_pred.values(), strict=True):
        cells = [f"{value:.6g}" if np.isfinite(value) else "" for value in values]
        writer.writerow([f"{time_s:.6f}", *cells])
    return out.getvalue()


def file_name(name: str) -> str:
    """Return a file's name for a dataset or recording; different names stay different."""
    safe = UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", name)
    if len(safe.encode()) <= MOST_BYTES:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return safe.encode()[: MOST_BYTES - 17].decode(errors="ignore") + f"-{digest}"
