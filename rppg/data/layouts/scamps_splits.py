"""The official splits of SCAMPS, which are a CSV file of their own.

    ROOT/
        ScampsTrainTestSplit.csv     here, or beside ROOT

Its columns aren't documented. A row may name recordings (`P000001` or `P000001.mat`) and their
split, or the header may name the splits, with their recordings below.
"""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from rppg.data.find_files import list_files
from rppg.data.reading import log, read_text
from rppg.errors import InputError

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""From names of splits, in small letters, to ours."""
FILE = r".*split.*\.csv|scamps_?train_?test\w*(?:\.csv)?"
RECORDING = r"P(\d+)(?:\.mat)?"


def find_splits(folder: Path) -> dict[int, str]:
    """Return the split of each recording by its number; empty if no file has them.

    Args:
        folder: the folder with the recordings.
    """
    for place in (folder, folder.absolute().parent):
        for path, _ in list_files(place, FILE) if os.access(place, os.R_OK | os.X_OK) else []:
            try:
                splits = read_splits(path)
            except InputError as error:
                log.warning("%s; the splits in it are not used", error)
                continue
            if splits:
                return splits
    return {}


def read_splits(path: Path) -> dict[int, str]:
    """Read the split of each recording by its number; empty if the file names no recording.

    Raises:
        InputError: an unreadable file, or a recording in two splits.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text(path))))
    except csv.Error as error:
        raise InputError(f"{path}: not a readable CSV file ({error}); copy it again") from error
    rows = [[cell.strip() for cell in row] for row in lines]
    splits: dict[int, str] = {}
    for row in rows:
        stated = {SPLITS[cell.lower()] for cell in row if cell.lower() in SPLITS}
        for column, cell in enumerate(row):
            name = re.fullmatch(RECORDING, Path(cell).name, re.IGNORECASE)
            split = next(iter(stated)) if len(stated) == 1 else _split_above(rows[0], column)
            if name is None or split is None:
                continue
            if splits.setdefault(int(name[1]), split) != split:
                raise InputError(f"{path}: {cell} is in two splits; copy the file again")
    return splits


def _split_above(header: Sequence[str], column: int) -> str | None:
    return SPLITS.get(header[column].lower()) if column < len(header) else None
