"""Face crops in a file, memory-mapped and verified when opened.

The file is in safetensors format. Its metadata holds the format's version, the key, the times of
cuts, the warnings logged while the video was read, and a SHA-256 of all of these and the arrays.
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
from rppg.errors import one_line
from rppg.types import FaceCrops

FORMAT = "2"
TYPES = {
    "times_s": "F64",
    "boxes": "F64",
    "frames": "U8",
    "valid": "BOOL",
    "is_key": "BOOL",
    "repeats": "BOOL",
}
"""Types by array, in the order of the file, in which every array is aligned."""
SHAPES: Mapping[str, tuple[type, tuple[int | None, ...]]] = {
    "times_s": (np.float64, ()),
    "boxes": (np.float64, (4,)),
    "frames": (np.uint8, (None, None, None)),
    "valid": (np.bool_, ()),
    "is_key": (np.bool_, ()),
    "repeats": (np.bool_, ()),
}
"""Type of each array, and its shape after the number of frames; None for any size."""


class UnusableError(ValueError):
    """A file that is damaged, of another format, or for another key; the message says which."""


def write_crops(path: Path, key: str, crops: FaceCrops, warnings: Sequence[str] = ()) -> None:
    """Write crops to a file, which appears complete or not at all.

    Raises:
        WriteError: the disk is full or the folder is not writable.
    """
    arrays = {
        name: np.ascontiguousarray(value)
        for name in TYPES
        if (value := getattr(crops, name)) is not None
    }
    metadata = {
        "format": FORMAT,
        "key": key,
        "cuts_s": json.dumps(list(crops.cuts_s)),
        "warnings": json.dumps(list(warnings)),
    }
    header: dict[str, Any] = {"__metadata__": {**metadata, "sha256": _digest(metadata, arrays)}}
    end = 0
    for name, value in arrays.items():
        start, end = end, end + value.nbytes
        entry = {"dtype": TYPES[name], "shape": value.shape, "data_offsets": [start, end]}
        header[name] = entry
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # The writers of safetensors copy the arrays and hide the reason if the disk is full.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in arrays.values():
            file.write(_bytes(value))


def open_crops(path: Path, key: str, *, check: bool = True) -> tuple[FaceCrops, list[str]]:
    """Open a file's crops, memory-mapped, and return them with the warnings stored in it.

    The whole file is read once to verify it, unless `check` is False. The mapping holds neither
    memory nor a file handle. Writing to the arrays doesn't change the file.

    Raises:
        UnusableError: the file isn't what `write_crops` wrote for this key.
        FileNotFoundError: there is no file.
    """
    metadata, arrays = _map(path, key)
    stored_digest = metadata.pop("sha256", None)
    if check and stored_digest != _digest(metadata, arrays):
        raise UnusableError("its content is not what was written")
    try:
        warnings = [str(line) for line in json.loads(metadata["warnings"])]
        cuts_s = tuple(float(time_s) for time_s in json.loads(metadata["cuts_s"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise UnusableError("its warnings or cuts can't be read") from error
    per_frame = {name: arrays.get(name) for name in ("boxes", "is_key", "repeats")}
    crops = FaceCrops(
        arrays["frames"], arrays["times_s"], arrays["valid"], **per_frame, cuts_s=cuts_s
    )
    return crops, warnings


def check_header(path: Path, key: str) -> None:
    """Verify a file's format, key and length without reading its content.

    Raises:
        UnusableError, FileNotFoundError: as `open_crops` does.
    """
    _map(path, key)


def _map(path: Path, key: str) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise UnusableError("it is not a file")
    try:
        # Only the torch interface maps. The NumPy interface copies, and np.memmap keeps files open.
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            if metadata.get("format") != FORMAT:
                raise UnusableError(f"its format is {metadata.get('format')}, not {FORMAT}")
            if metadata.get("key") != key:
                raise UnusableError("it belongs to another video or other settings")
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise UnusableError(one_line(error, limit=400)) from error
    if not {"frames", "times_s", "valid"} <= set(arrays):
        raise UnusableError(f"it holds only {', '.join(sorted(arrays)) or 'nothing'}")
    count = arrays["times_s"].shape[:1]
    for name, (dtype, shape) in SHAPES.items():
        array = arrays.get(name)
        if array is None:
            continue
        matches = (
            array.dtype == dtype
            and array.shape[:1] == count
            and array.ndim == len(shape) + 1
            and all(
                expected in (None, size)
                for expected, size in zip(shape, array.shape[1:], strict=True)
            )
        )
        if not matches:
            raise UnusableError(f"its {name} are {array.dtype} of shape {array.shape}")
    return metadata, arrays


def _digest(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> str:
    types = [(name, str(value.dtype), value.shape) for name, value in sorted(arrays.items())]
    digest = hashlib.sha256(json.dumps([sorted(metadata.items()), types]).encode())
    for name in sorted(arrays):
        digest.update(_bytes(arrays[name]))
    return digest.hexdigest()


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
