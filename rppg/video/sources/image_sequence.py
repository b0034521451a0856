"""A sequence of image files, in a folder or in a ZIP file, as a video.

A missing image leaves a gap at its time; later images keep their times.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError, TruncatedError
from rppg.types import Frame, VideoInfo
from rppg.video.decode_image import decode_image
from rppg.video.resize import reduce_image
from rppg.video.sources.identity import describe_function
from rppg.video.time_range import select_time_range

MAX_BYTES = 64 << 20
"""The largest image in a ZIP file, after unpacking."""
SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg")
Array = NDArray[np.float64]
Clock = Callable[[str, Sequence[str]], Array]
"""A function from the source's name and the images' names, in order, to their times in seconds."""


def nanosecond_clock(source: str, names: Sequence[str]) -> Array:
    """Return times from names that end in nanoseconds, `Image1392643993642815000.png`."""
    stamps = [_number(source, name) for name in names]
    return np.array([(stamp - stamps[0]) * 1e-9 for stamp in stamps])


def number_clock(fps: float) -> Clock:
    """Return a clock for names with consecutive numbers, at a documented rate."""
    return partial(_numbered_times, fps)


def _numbered_times(fps: float, source: str, names: Sequence[str]) -> Array:
    numbers = [_number(source, name) for name in names]
    return np.array([(number - numbers[0]) / fps for number in numbers])


def _number(source: str, name: str) -> int:
    digits = re.findall(r"\d+", Path(name).stem)
    if not digits:
        raise InputError(
            f"{source}: no number in the name of {Path(name).name}, which would give its time; "
            "remove the file, or copy the folder again"
        )
    return int(digits[-1])


@dataclass(frozen=True)
class ImageSequence:
    """PNG, BMP or JPEG files in a folder, or in a folder of a ZIP file, in numerical order.

    Attributes:
        path: the folder, or the ZIP file.
        clock: computes the times from the names.
        inside: the folder in the ZIP file; None if `path` is a folder.
    """

    path: Path
    clock: Clock
    inside: str | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.inside is None else f"{self.path}/{self.inside}"

    @property
    def files(self) -> tuple[Path, ...]:
        if self.inside is not None:
            return (self.path,)
        return tuple(self.path / name for name in self.names)

    @property
    def reading(self) -> str:
        """The clock with a digest of the images' names, which determine their times."""
        names = hashlib.sha256("\n".join(self.names).encode(errors="surrogateescape"))
        return f"images, {describe_function(self.clock)}, {names.hexdigest()}"

    @cached_property
    def names(self) -> list[str]:
        """Names of the images, in the order of their numbers."""
        if self.inside is None:
            if not self.path.is_dir():
                problem = "is not a folder" if self.path.exists() else "no such folder"
                raise InputError(f"{self.path}: {problem}; expected a folder of images")
            all_names = [entry.name for entry in self.path.iterdir()]
        else:
            with open_zip(self.path) as archive:
                folder = self.inside.rstrip("/") + "/"
                all_names = [n for n in archive.namelist() if n.startswith(folder)]
        images = [
            name
            for name in all_names
            if Path(name).suffix.lower() in SUFFIXES and not Path(name).name.startswith(".")
        ]
        if not images:
            raise InputError(
                f"{self.name}: no image in it; looked for files ending in {' '.join(SUFFIXES)}"
            )
        return sorted(images, key=lambda name: (_number(self.name, name), name))

    @cached_property
    def times_s(self) -> Array:
        """Time of each image in seconds from the first."""
        return self.clock(self.name, self.names)

    def probe(self) -> VideoInfo:
        times = self.times_s
        height, width = next(self._images(self.names[:1], 1)).shape[:2]
        length = float(times[-1] - times[0])
        fps = (len(times) - 1) / length if length > 0 else 0.0
        duration_s = length + 1 / fps if fps else 0.0
        return VideoInfo(width, height, fps, duration_s, len(times), rotation=0)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        times = self.times_s
        skip = int(np.searchsorted(times, start_s - 1e-6))
        images = self._images(self.names[skip:], reduce)
        timed = (Frame(float(t), rgb) for t, rgb in zip(times[skip:], images, strict=True))
        return select_time_range(self.name, timed, start_s, duration_s)

    def _images(self, names: Sequence[str], reduce: int) -> Iterator[NDArray[np.uint8]]:
        shape = None
        for name, content in self._contents(names):
            full_name = f"{self.path}/{name}"
            rgb = decode_image(content, full_name)
            if shape is None:
                shape = rgb.shape
            if rgb.shape != shape:
                raise InputError(
                    f"{full_name}: {rgb.shape[1]}x{rgb.shape[0]} pixels, the images before have "
                    f"{shape[1]}x{shape[0]}; copy the folder again"
                )
            yield reduce_image(rgb, reduce)

    def _contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if self.inside is None:
            for name in names:
                yield name, _read(self.path / name)
            return
        with open_zip(self.path) as archive:
            for name in names:
                try:
                    size = archive.getinfo(name).file_size
                    if size > MAX_BYTES:
                        raise InputError(
                            f"{self.path}/{name}: an image of {size} bytes when unpacked; "
                            f"expected up to {MAX_BYTES}; copy the ZIP file again"
                        )
                    content = archive.read(name)
                except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
                    raise TruncatedError(
                        f"{self.path}/{name}: can't be unpacked ({error}); copy the ZIP file again"
                    ) from error
                yield name, content


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a ZIP file.

    Raises:
        InputError: a file that is missing, damaged, or not a ZIP file.
    """
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a readable ZIP file ({error}); copy it again") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); copy it again") from error
