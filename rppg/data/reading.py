"""Reading the small files of datasets, with one clear line for each way they can be wrong."""

import csv
import io
import logging
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from rppg.data.matlab5 import check_structure
from rppg.errors import InputError

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DAMAGE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError,
    NameError, RuntimeError, EOFError, MemoryError, ArithmeticError, struct.error, zlib.error,
)  # fmt: skip
"""What SciPy and h5py raise on damaged files: neither has an exception of its own for it."""
MOST_VALUES = 10**8
"""Of a wave: a day at 1000 Hz."""


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key in which `subject2` comes before `subject10`."""
    return [
        (0, int(part)) if part.isdigit() else (1, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    ]


def folders(root: Path, pattern: str) -> list[tuple[Path, re.Match[str]]]:
    """Folders in `root` whose whole name matches, sorted naturally."""
    found = [(path, re.fullmatch(pattern, path.name)) for path in root.iterdir() if path.is_dir()]
    matching = [(path, match) for path, match in found if match]
    return sorted(matching, key=lambda pair: natural(pair[0].name))


def files(folder: Path, pattern: str) -> list[tuple[Path, re.Match[str]]]:
    """Files in `folder` whose whole name matches, sorted naturally; none if it isn't there."""
    if not folder.is_dir():
        return []
    found = [(path, re.fullmatch(pattern, path.name)) for path in folder.iterdir()]
    matching = [(path, match) for path, match in found if match and path.is_file()]
    return sorted(matching, key=lambda pair: natural(pair[0].name))


def check_file(path: Path) -> Path:
    """The path, if a file with something in it is there.

    Raises:
        InputError: missing, a folder, or empty.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a file")
    if not path.exists():
        raise InputError(f"{path}: no such file; copy the dataset again")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); copy it again")
    return path


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what a reader raises on a damaged file into an `InputError` that names the file."""
    try:
        check_file(path)
        yield
    except InputError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: not a readable {kind} ({reason}); copy it again") from error


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        InputError: missing, empty, or not text.
    """
    with readable(path, "text file"):
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise InputError(f"{path}: not a text file (it holds zero bytes); copy it again")
        return text


def parse_numbers(words: Sequence[str], where: str) -> Array:
    """Words as numbers; an empty word is NaN.

    Raises:
        InputError: a word that is no number.
    """
    values = np.empty(len(words))
    for k, word in enumerate(words):
        try:
            values[k] = float(word) if word.strip() else np.nan
        except ValueError as error:
            raise InputError(
                f"{where}: value {k + 1} is {word.strip()[:40]!r}, expected a number; copy the "
                "file again, or mend the value"
            ) from error
    return values


def read_column(path: Path) -> Array:
    """A file with one number on each line.

    Raises:
        InputError: missing, empty, not text, a line that is no number.
    """
    lines = read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{path}: no value in it; copy it again")
    return parse_numbers(lines, str(path))


def read_table(path: Path) -> dict[str, list[str]]:
    """A CSV file with a header, as text, by column.

    Raises:
        InputError: missing, empty, not text, no row below the header, rows of other lengths.
    """
    text = read_text(path)
    with readable(path, "CSV file"):
        try:
            rows = [row for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
        except csv.Error as error:
            raise InputError(f"{path}: not a readable CSV file ({error}); mend it") from error
    if len(rows) < 2:
        raise InputError(f"{path}: {len(rows)} lines; expected a header and a row for each value")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise InputError(f"{path}: a column stands twice in the header {','.join(header)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: row {number} has {len(row)} values, the header {len(header)} columns; "
                "mend the row, or copy the file again"
            )
    return {name: [row[k] for row in rows[1:]] for k, name in enumerate(header)}


def column(table: dict[str, list[str]], name: str, path: Path) -> Array:
    """A column of numbers; the case of its name doesn't matter.

    Raises:
        InputError: no such column, or a value in it that is no number.
    """
    for found, words in table.items():
        if found.lower() == name.lower():
            return parse_numbers(words, f"{path}, column {found}")
    raise InputError(f"{path}: no column {name!r}; found {', '.join(table)}")


def read_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Variables of a MATLAB file of any version, as SciPy gives them; those that are there.

    Raises:
        InputError: missing, empty, damaged, not a MATLAB file.
    """
    with readable(path, "MATLAB file"):
        if not h5py.is_hdf5(path):
            check_structure(path)
            return dict(scipy.io.loadmat(path, variable_names=list(names)))
        with h5py.File(path, "r") as file:
            return {name: _matlab(file[name]) for name in names if name in file}


def stored_values(item: Any) -> Any:
    """What an HDF5 dataset holds.

    Raises:
        ValueError: it claims more than `MOST_VALUES`; HDF5 makes up what the file doesn't hold.
    """
    if (item.size or 0) > MOST_VALUES:
        raise ValueError(f"{item.name} claims {item.size} values")
    return item[()]


def _matlab(item: Any) -> Any:
    """MATLAB 7.3 stores arrays in HDF5 with their axes reversed, and text as its codes."""
    if isinstance(item, h5py.Group):
        return {name: _matlab(item[name]) for name in item}
    values = np.asarray(stored_values(item)).T
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, values.flatten()))
    return values


def variable(variables: dict[str, Any], names: Sequence[str], path: Path) -> Array:
    """The first of the variables `names` that there is, as one row of numbers `(N,)`.

    A MATLAB structure stands for its field `data`.

    Raises:
        InputError: none is there, or it isn't a row of numbers.
    """
    for name in names:
        if name in variables:
            return as_row(variables[name], f"{path}, {name}")
    there = ", ".join(name for name in variables if not name.startswith("__")) or "none of them"
    raise InputError(f"{path}: no variable {' or '.join(names)}; found {there}")


def as_row(values: Any, where: str) -> Array:
    """Anything that holds one row of numbers → `(N,)` float64.

    Raises:
        InputError: more than one row, or not numbers.
    """
    if isinstance(values, dict):
        values = values.get("data", values)
    found = np.asarray(values)
    while found.dtype.names or (found.dtype == object and found.size == 1):
        if found.dtype.names:
            field = next((n for n in found.dtype.names if n.lower() == "data"), None)
            if field is None or found.size != 1:
                raise InputError(f"{where}: a structure of {', '.join(found.dtype.names)}; no data")
            found = found[field]
        else:
            found = np.asarray(found.item())
    if found.dtype.kind not in "fiub" or found.ndim == 0 or max(found.shape) != found.size:
        raise InputError(
            f"{where}: {found.dtype} of shape {found.shape}; expected one row of numbers"
        )
    return found.reshape(-1).astype(np.float64)


def regular(count: int, hz: float) -> Array:
    """The clock of `count` samples at a documented rate, from 0."""
    return np.arange(count) / hz


def from_first(times: Array, path: Path) -> Array:
    """Times from the first on.

    Raises:
        InputError: no time, or a first one that is not finite.
    """
    if not len(times) or not np.isfinite(times[0]):
        raise InputError(f"{path}: the first time is missing; copy the file again")
    return times - times[0]


def together(path: Path, **columns: Array) -> list[Array]:
    """Columns of one clock, cut to the shortest; a difference is told in a warning.

    Raises:
        InputError: a column without values.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    least = min(lengths.values())
    told = ", ".join(f"{count} of {name}" for name, count in lengths.items())
    if least == 0:
        raise InputError(f"{path}: {told}; copy the file again")
    if least < max(lengths.values()):
        log.warning(
            "%s: %s; used as far as all go", path, told, extra={"kind": "lengths"}
        )  # fmt: skip
    return [values[:least] for values in columns.values()]
