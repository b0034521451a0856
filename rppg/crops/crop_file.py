"""Face crops in a file: memory-mapped when read, and checked then to be what was written.

A safetensors file. Its metadata holds the format's version, the key that it was made for, what
reading the video warned of, and a SHA-256 over all of this and the arrays.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from rppg.atomic import atomic_path
from rppg.types import FaceCrops

FORMAT = "1"
TYPES = {"times_s": "F64", "boxes": "F64", "frames": "U8", "valid": "BOOL"}
"""In the order of the file, so that each array is aligned."""
SHAPES: Mapping[str, tuple[type, tuple[int | None, ...]]] = {
    "times_s": (np.float64, ()),
    "boxes": (np.float64, (4,)),
    "frames": (np.uint8, (None, None, None)),
    "valid": (np.bool_, ()),
}
"""Type, and what follows the number of frames in the shape; None where it may be any."""


class UnusableError(ValueError):
    """A file that is damaged, older, or made for something else; the message says which."""


def write_crops(path: Path, key: str, crops: FaceCrops, warnings: Sequence[str] = ()) -> None:
    """Write crops, whole or not at all.

    Raises:
        WriteError: the disk is full, or the folder can't be written to.
    """
    arrays = {
        name: np.ascontiguousarray(value)
        for name in TYPES
        if (value := getattr(crops, name)) is not None
    }
    about = {"format": FORMAT, "key": key, "warnings": json.dumps(list(warnings))}
    header: dict[str, Any] = {"__metadata__": {**about, "sha256": _digest(about, arrays)}}
    end = 0
    for name, value in arrays.items():
        start, end = end, end + value.nbytes
        entry = {"dtype": TYPES[name], "shape": value.shape, "data_offsets": [start, end]}
        header[name] = entry
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # safetensors' own writers copy the arrays and hide the reason where the disk is full.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in arrays.values():
            file.write(_bytes(value))


def open_crops(path: Path, key: str, *, check: bool = True) -> tuple[FaceCrops, list[str]]:
    """The crops of a file, memory-mapped, and what reading the video warned of.

    All of the file is read once to check it, unless `check` is False; the mapping holds neither
    memory nor a file handle. Arrays may be written to, which doesn't change the file.

    Raises:
        UnusableError: it is not what `write_crops` wrote for this key.
        FileNotFoundError: there is none.
    """
    about, arrays = _mapped(path, key)
    told = about.pop("sha256", None)
    if check and told != _digest(about, arrays):
        raise UnusableError("its content is not what was written")
    crops = FaceCrops(arrays["frames"], arrays["times_s"], arrays["valid"], arrays.get("boxes"))
    try:
        return crops, [str(line) for line in json.loads(about["warnings"])]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise UnusableError("its warnings can't be read") from error


def check_header(path: Path, key: str) -> None:
    """Whether a file is of this format, key and length; its content is not read.

    Raises:
        UnusableError, FileNotFoundError: as `open_crops` does.
    """
    _mapped(path, key)


def _mapped(path: Path, key: str) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UnusableError("it is no file")
    try:
        # Only as torch's does it map: as NumPy's it copies, and NumPy's maps keep files open.
        with safe_open(path, "pt") as file:
            about = dict(file.metadata() or {})
            if about.get("format") != FORMAT:
                raise UnusableError(f"its format is {about.get('format')}, not {FORMAT}")
            if about.get("key") != key:
                raise UnusableError("it was made for another video or other settings")
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise UnusableError(" ".join(str(error).split())) from error
    if not {"frames", "times_s", "valid"} <= set(arrays):
        raise UnusableError(f"it holds only {', '.join(sorted(arrays)) or 'nothing'}")
    count = arrays["times_s"].shape[:1]
    for name, (dtype, shape) in SHAPES.items():
        found = arrays.get(name)
        if found is None:
            continue
        fits = found.ndim == len(shape) + 1 and found.shape[:1] == count
        if (
            found.dtype != dtype
            or not fits
            or any(
                side not in (None, was) for side, was in zip(shape, found.shape[1:], strict=True)
            )
        ):
            raise UnusableError(f"its {name} are {found.dtype} of shape {found.shape}")
    return about, arrays


def _digest(about: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    described = [(name, str(value.dtype), value.shape) for name, value in sorted(arrays.items())]
    digest = hashlib.sha256(json.dumps([sorted(about.items()), described]).encode())
    for name in sorted(arrays):
        digest.update(_bytes(arrays[name]))
    return digest.hexdigest()


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
