"""The program that reads MATLAB 5 files in a process that may die; `rppg.data.mat_files` starts it.

A request is a line of JSON on standard input: a name of `REQUESTS`, a path, names of variables.
The answer on standard output is any number of values, then a line `{"end": null}` or
`{"error": reason}`. A value is a line `{"sizes": [...], "value": ...}`, followed by arrays of these
sizes in bytes, in NumPy's `.npy` format; `{"array": i}` in the value stands for the i-th of them.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import scipy.io

from rppg.data.reading import DAMAGE
from rppg.errors import one_line

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

VIDEO_BYTES, OTHER_BYTES = 8 * 2**30, 2**30
"""Memory that reading may take. A damaged file may claim any size; MMPD's largest takes 3.3 GB."""
BLOCK_FRAMES = 32


def variables(path: str, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the variables of these names that the file has."""
    found = scipy.io.loadmat(path, variable_names=names)
    yield {name: simplify(found[name]) for name in names if name in found}


def shape(path: str, names: list[str]) -> Iterator[list[int]]:
    """Yield the shape of a variable, `[]` if the file doesn't have it."""
    shapes = {name: list(map(int, shape)) for name, shape, _ in scipy.io.whosmat(path)}
    yield shapes.get(names[0], [])


def blocks(path: str, names: list[str]) -> Iterator[Any]:
    """Yield an array block by block along its first axis."""
    array = scipy.io.loadmat(path, variable_names=names)[names[0]]
    for start in range(0, len(array), BLOCK_FRAMES):
        yield array[start : start + BLOCK_FRAMES]


REQUESTS: Mapping[str, Callable[[str, list[str]], Iterator[Any]]] = {
    function.__name__: function for function in (variables, shape, blocks)
}


def simplify(value: Any) -> Any:
    """Return a variable as an array of numbers or text, or a structure as a dict of its fields."""
    array = np.asarray(value)
    while array.dtype == object and array.size == 1 and isinstance(array.item(), np.ndarray):
        array = array.item()
    if array.dtype.names:
        first = array.flat[0] if array.size == 1 else None
        return {name: simplify(() if first is None else first[name]) for name in array.dtype.names}
    return array.astype(str) if array.dtype == object else array  # cells become their text


def main() -> None:
    """Answer requests until the other process closes standard input, or ends."""
    answers = sys.stdout.buffer
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_memory(VIDEO_BYTES if request["function"] == "blocks" else OTHER_BYTES)
        end: dict[str, str | None] = {"end": None}
        try:
            for value in REQUESTS[request["function"]](request["path"], request["names"]):
                send(value, answers)
        except DAMAGE as error:
            end = {"error": one_line(error)}
        answers.write(json.dumps(end).encode() + b"\n")
        answers.flush()


def send(value: Any, answers: IO[bytes]) -> None:
    """Write a value: nested dicts and lists of arrays, numbers and text."""
    arrays: list[bytes] = []

    def take_arrays(part: Any) -> Any:
        if isinstance(part, dict):
            return {"fields": {name: take_arrays(item) for name, item in part.items()}}
        if isinstance(part, np.ndarray):
            file = io.BytesIO()
            np.save(file, part, allow_pickle=False)
            arrays.append(file.getvalue())
            return {"array": len(arrays) - 1}
        return part

    tree = take_arrays(value)
    answers.write(json.dumps({"sizes": [*map(len, arrays)], "value": tree}).encode() + b"\n")
    answers.writelines(arrays)


def _limit_memory(limit: int) -> None:
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
