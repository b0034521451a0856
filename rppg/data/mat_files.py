"""MATLAB 5 files, read by SciPy in another process: it crashes on some damaged files.

The worker process (`rppg.data.mat_worker`) is started once and used again. If it dies, the file
that it was reading is refused, and the next request starts another.
"""

import atexit
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

_idle: list[subprocess.Popen[bytes]] = []


def read_variables(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read the variables of these names that the file has.

    A variable is an array of numbers or text; a structure is a dict of its fields.

    Raises:
        ValueError: SciPy can't read the file, or its process died.
    """
    (found,) = _request("variables", path, names)
    return cast("dict[str, Any]", found)


def read_shape(path: Path, name: str) -> tuple[int, ...]:
    """Read the shape of a variable; `()` if the file doesn't have it.

    Raises:
        ValueError: as `read_variables`.
    """
    (shape,) = _request("shape", path, [name])
    return tuple(shape)


def read_blocks(path: Path, name: str) -> Iterator[NDArray[np.generic]]:
    """Yield an array in blocks along its first axis: the worker holds all of it, this process one.

    Raises:
        ValueError: as `read_variables`.
    """
    return _request("blocks", path, [name])


def _request(function: str, path: Path, names: Sequence[str]) -> Iterator[Any]:
    worker = _idle.pop() if _idle else _start()
    requests, answers = cast("IO[bytes]", worker.stdin), cast("IO[bytes]", worker.stdout)
    finished = False
    try:
        request = {"function": function, "path": str(path.absolute()), "names": list(names)}
        requests.write(json.dumps(request).encode() + b"\n")
        requests.flush()
        while line := answers.readline():
            answer = json.loads(line)
            if "value" in answer:
                yield _receive(answer, answers)
                continue
            finished = True
            if "error" in answer:
                raise ValueError(answer["error"])
            return
        raise EOFError
    except (EOFError, BrokenPipeError) as error:
        raise ValueError(
            f"SciPy crashed on it, in a process of its own, with exit code {worker.wait()}"
        ) from error
    finally:
        if finished:
            _idle.append(worker)
        else:
            worker.kill()
            worker.communicate()


def _receive(answer: dict[str, Any], answers: IO[bytes]) -> Any:
    arrays = [
        np.load(io.BytesIO(answers.read(size)), allow_pickle=False) for size in answer["sizes"]
    ]

    def placed(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return arrays[part["array"]]
        return {name: placed(item) for name, item in part["fields"].items()}

    return placed(answer["value"])


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(folder for folder in sys.path if folder)
    # -P: nothing is imported from the current folder. The module is named in a string since,
    # imported, it would import this one again.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "rppg.data.mat_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
    )


@atexit.register
def _stop_idle() -> None:
    for worker in _idle:
        worker.kill()
        worker.communicate()
