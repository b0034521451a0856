"""Readers for the small files of datasets, with a one-line error for each kind of damage."""

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
from numpy.typing import NDArray

from rppg.data import mat_files
from rppg.data.far_off import far_off
from rppg.errors import InputError, one_line

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DAMAGE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError,
    NameError, RuntimeError, EOFError, MemoryError, ArithmeticError, struct.error, zlib.error,
)  # fmt: skip
"""Exceptions that SciPy and h5py raise on damaged files. Neither has a specific one."""
RATES_BPM = (30.0, 240.0)
"""Heart rates of a ground truth. Others are missing ones: sensors write 0 where they have none."""
MAX_VALUES = 10**8
"""The longest signal: a day at 1000 Hz."""


def check_file(path: Path) -> Path:
    """Return the path if it is a file that isn't empty.

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
def damage_as_input_error(path: Path, kind: str) -> Iterator[None]:
    """Turn an exception that a reader raises on a damaged file into an `InputError` naming it."""
    try:
        check_file(path)
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{path}: not a readable {kind} ({one_line(error)}); copy it again"
        ) from error


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: missing, empty, or not text.
    """
    with damage_as_input_error(path, "text file"):
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise InputError(f"{path}: not a text file (it holds zero bytes); copy it again")
        return text


def parse_numbers(words: Sequence[str], where: str) -> Array:
    """Parse words as numbers; an empty word becomes NaN.

    Raises:
        InputError: a word that isn't a number.
    """
    values = np.empty(len(words))
    for index, word in enumerate(words):
        try:
            values[index] = float(word) if word.strip() else np.nan
        except ValueError as error:
            raise InputError(
                f"{where}: value {index + 1} is {word.strip()[:40]!r}, expected a number; copy the "
                "file again, or fix the value"
            ) from error
    return values


def read_column(path: Path) -> Array:
    """Read a file with one number per line.

    Raises:
        InputError: missing, empty, not text, or a line that isn't a number.
    """
    lines = read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{path}: no value in it; copy it again")
    return parse_numbers(lines, str(path))


def split_header(text: str) -> tuple[list[str], str]:
    """Return the names in the first line of a CSV file's text, and what separates them: `,` or `;`.

    Spreadsheets write `;` where the comma is the decimal separator.
    """
    line = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    separator = ";" if line.count(";") > line.count(",") else ","
    try:
        names = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:  # reading the whole file raises it, too
        names = line.split(separator)
    return [name.strip() for name in names], separator


def read_table(path: Path) -> dict[str, list[str]]:
    """Read a CSV file with a header as text, by column. Commas or semicolons separate them.

    Raises:
        InputError: missing, empty, not text, no row below the header, or rows of different lengths.
    """
    text = read_text(path)
    with damage_as_input_error(path, "CSV file"):
        try:
            _, separator = split_header(text)
            lines = csv.reader(io.StringIO(text), delimiter=separator)
            rows = [row for row in lines if any(map(str.strip, row))]
        except csv.Error as error:
            raise InputError(f"{path}: not a readable CSV file ({error}); fix it") from error
    if len(rows) < 2:
        raise InputError(f"{path}: {len(rows)} lines; expected a header and a row for each value")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise InputError(f"{path}: a column appears twice in the header {','.join(header)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: row {number} has {len(row)} values, the header {len(header)} columns; "
                "fix the row, or copy the file again"
            )
    return {name: [row[index] for row in rows[1:]] for index, name in enumerate(header)}


def column(table: dict[str, list[str]], name: str, path: Path) -> Array:
    """Parse a column of a table as numbers; the case of its name doesn't matter.

    Raises:
        InputError: no such column, or a value that isn't a number.
    """
    for header, words in table.items():
        if header.lower() == name.lower():
            return parse_numbers(words, f"{path}, column {header}")
    raise InputError(f"{path}: no column {name!r}; found {', '.join(table)}")


def read_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read variables from a MATLAB file of any version: arrays, text, or dicts for structures.

    Variables that the file doesn't have are left out.

    Raises:
        InputError: missing, empty, damaged, or not a MATLAB file.
    """
    with damage_as_input_error(path, "MATLAB file"):
        if not h5py.is_hdf5(path):
            return mat_files.read_variables(path, names)
        with open_hdf5(path) as file:
            return {name: _matlab(file[name]) for name in names if name in file}


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, without a lock: network file systems may have none."""
    return h5py.File(path, "r", locking=False)


def stored_values(item: Any) -> Any:
    """Read the values of an HDF5 dataset.

    Raises:
        ValueError: it claims more than `MAX_VALUES`. HDF5 would fill in those not in the file.
    """
    if (item.size or 0) > MAX_VALUES:
        raise ValueError(f"{item.name} claims {item.size} values")
    return item[()]


def _matlab(item: Any) -> Any:
    """Read a MATLAB 7.3 variable: HDF5 with the axes reversed and text as character codes."""
    if isinstance(item, h5py.Group):
        return {name: _matlab(item[name]) for name in item}
    values = np.asarray(stored_values(item)).T
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, values.flatten()))
    return values


def find_variable(variables: dict[str, Any], names: Sequence[str], path: Path) -> Array:
    """Return the first existing variable of `names` as one row of numbers `(N,)`.

    Of a MATLAB structure, its field `data`.

    Raises:
        InputError: none exists, or it isn't a row of numbers.
    """
    for name in names:
        if name in variables:
            return as_row(variables[name], f"{path}, {name}")
    others = ", ".join(name for name in variables if not name.startswith("__")) or "none of them"
    raise InputError(f"{path}: no variable {' or '.join(names)}; found {others}")


def as_row(values: Any, where: str) -> Array:
    """Convert an array or MATLAB structure with one row of numbers to `(N,)` float64.

    Raises:
        InputError: more than one row, or not numbers.
    """
    while isinstance(values, dict):
        field = next((name for name in values if name.lower() == "data"), None)
        if field is None:
            raise InputError(f"{where}: a structure of {', '.join(values)}; no data")
        values = values[field]
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim == 0 or max(array.shape) != array.size:
        raise InputError(
            f"{where}: {array.dtype} of shape {array.shape}; expected one row of numbers"
        )
    return array.reshape(-1).astype(np.float64)


def regular_times(count: int, hz: float) -> Array:
    """Return the times of `count` samples at a documented rate, from 0."""
    return np.arange(count) / hz


def from_first_time(times: Array, path: Path) -> Array:
    """Return times relative to the first. Times that are far off the others are replaced.

    Raises:
        InputError: no time, or a first time that isn't finite.
    """
    if not len(times) or not np.isfinite(times[0]):
        raise InputError(f"{path}: the first time is missing; copy the file again")
    times = replace_far_off(times, path)
    return times - times[0]


def replace_far_off(times: Array, path: Path) -> Array:
    """Replace times that are far off the others by those that their neighbours imply.

    A warning names the first of them.
    """
    off = far_off(times)
    if not off.any():
        return times
    log.warning(
        "%s: %d of %d times are far off the others, first %.10g s (number %d); left out",
        path, int(off.sum()), len(times), times[off][0], int(np.argmax(off)) + 1,
    )  # fmt: skip
    index = np.arange(len(times))
    good = index[~off & np.isfinite(times)]
    replaced = times.copy()
    replaced[off] = np.interp(index[off], good, times[good])
    step_s = float(np.median(np.diff(times[good]))) if len(good) > 1 else 0.0
    before, after = off & (index < good[0]), off & (index > good[-1])
    replaced[before] = times[good[0]] - step_s * (good[0] - index[before])
    replaced[after] = times[good[-1]] + step_s * (index[after] - good[-1])
    return replaced


def cut_to_shortest(path: Path, **columns: Array) -> list[Array]:
    """Cut columns to the length of the shortest, with a warning if they differ.

    Raises:
        InputError: a column without values.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    least = min(lengths.values())
    counts = ", ".join(f"{count} of {name}" for name, count in lengths.items())
    if least == 0:
        raise InputError(f"{path}: {counts}; copy the file again")
    if least < max(lengths.values()):
        log.warning(
            "%s: %s; used as far as all go", path, counts, extra={"kind": "lengths"}
        )  # fmt: skip
    return [values[:least] for values in columns.values()]
