"""Sequences of single pictures, in a folder or in a ZIP file, as a video.

A folder with a picture missing has a hole at its time; nothing moves up to fill it.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, cast

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError, TruncatedError
from rppg.types import Frame, VideoInfo
from rppg.video.sources.source import call_name, reduced, span

MOST_BYTES = 64 << 20
"""Of a packed picture."""
SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg")
Array = NDArray[np.float64]
Clock = Callable[[str, Sequence[str]], Array]
"""From the source's name and the pictures' names, in order, to their times in seconds."""


def nanosecond_clock(source: str, names: Sequence[str]) -> Array:
    """Times from names that end in nanoseconds, `Image1392643993642815000.png`."""
    stamps = [_number(source, name) for name in names]
    return np.array([(stamp - stamps[0]) * 1e-9 for stamp in stamps])


def number_clock(fps: float) -> Clock:
    """Times from consecutive numbers in the names, at a documented rate."""
    return partial(_numbered, fps)


def _numbered(fps: float, source: str, names: Sequence[str]) -> Array:
    numbers = [_number(source, name) for name in names]
    return np.array([(number - numbers[0]) / fps for number in numbers])


def _number(source: str, name: str) -> int:
    digits = re.findall(r"\d+", Path(name).stem)
    if not digits:
        raise InputError(
            f"{source}: no number in the name of {Path(name).name}, from which its time would "
            "come; remove the file, or copy the folder again"
        )
    return int(digits[-1])


@dataclass(frozen=True)
class Pictures:
    """PNG, BMP or JPEG files in a folder, or in a folder of a ZIP file, in the order of numbers.

    Attributes:
        path: the folder, or the ZIP file.
        clock: from the names to times.
        inside: the folder in the ZIP file; None where `path` is a folder.
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
        """With the pictures' names, from which their times come."""
        listed = hashlib.sha256("\n".join(self.names).encode(errors="surrogateescape"))
        return f"pictures, {call_name(self.clock)}, {listed.hexdigest()}"

    @cached_property
    def names(self) -> list[str]:
        """Names of the pictures, in the order of their numbers."""
        if self.inside is None:
            if not self.path.is_dir():
                found = "is no folder" if self.path.exists() else "no such folder"
                raise InputError(f"{self.path}: {found}; expected a folder of pictures")
            found_here = [entry.name for entry in self.path.iterdir()]
        else:
            with open_zip(self.path) as archive:
                folder = self.inside.rstrip("/") + "/"
                found_here = [n for n in archive.namelist() if n.startswith(folder)]
        chosen = [
            name
            for name in found_here
            if Path(name).suffix.lower() in SUFFIXES and not Path(name).name.startswith(".")
        ]
        if not chosen:
            raise InputError(
                f"{self.name}: no picture in it; looked for files ending in {' '.join(SUFFIXES)}"
            )
        return sorted(chosen, key=lambda name: (_number(self.name, name), name))

    @cached_property
    def times_s(self) -> Array:
        """Time of each picture in seconds from the first."""
        return self.clock(self.name, self.names)

    def probe(self) -> VideoInfo:
        times = self.times_s
        height, width = next(self._pictures(self.names[:1], 1)).shape[:2]
        length = float(times[-1] - times[0])
        fps = (len(times) - 1) / length if length > 0 else 0.0
        duration_s = length + 1 / fps if fps else 0.0
        return VideoInfo(width, height, fps, duration_s, len(times), rotation=0)

    def frames(
        self, start_s: float = 0.0, duration_s: float | None = None, *, reduce: int = 1
    ) -> Iterator[Frame]:
        times = self.times_s
        skip = int(np.searchsorted(times, start_s - 1e-6))
        pictures = self._pictures(self.names[skip:], reduce)
        timed = (Frame(float(t), rgb) for t, rgb in zip(times[skip:], pictures, strict=True))
        return span(self.name, timed, start_s, duration_s)

    def _pictures(self, names: Sequence[str], reduce: int) -> Iterator[NDArray[np.uint8]]:
        size = None
        for name, content in self._contents(names):
            full = f"{self.path}/{name}"
            rgb = decode_picture(content, full)
            if size is None:
                size = rgb.shape
            if rgb.shape != size:
                raise InputError(
                    f"{full}: {rgb.shape[1]}x{rgb.shape[0]} pixels, the pictures before have "
                    f"{size[1]}x{size[0]}; copy the folder again"
                )
            yield reduced(rgb, reduce)

    def _contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if self.inside is None:
            for name in names:
                yield name, _read(self.path / name)
            return
        with open_zip(self.path) as archive:
            for name in names:
                try:
                    claimed = archive.getinfo(name).file_size
                    if claimed > MOST_BYTES:
                        raise InputError(
                            f"{self.path}/{name}: a picture of {claimed} bytes when unpacked; "
                            f"expected up to {MOST_BYTES}; copy the ZIP file again"
                        )
                    content = archive.read(name)
                except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
                    raise TruncatedError(
                        f"{self.path}/{name}: can't be unpacked ({error}); copy the ZIP file again"
                    ) from error
                yield name, content


def open_zip(path: Path) -> zipfile.ZipFile:
    """A ZIP file, open.

    Raises:
        InputError: a file that is missing, damaged, or no ZIP file.
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


FORMATS: tuple[tuple[Literal["png", "bmp", "mjpeg"], bytes], ...] = (
    ("png", b"\x89PNG\r\n\x1a\n"),
    ("bmp", b"BM"),
    ("mjpeg", b"\xff\xd8"),
)


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """A PNG, BMP or JPEG file's content → `(H, W, 3)` uint8 RGB.

    Raises:
        InputError: content that is empty, cut off, damaged, or of another format.
    """
    if not content:
        raise InputError(f"{name}: the file is empty (0 bytes); copy it again")
    codec = next((codec for codec, start in FORMATS if content.startswith(start)), None)
    if codec is None:
        raise InputError(f"{name}: not a PNG, BMP or JPEG picture; copy it again")
    if not _whole(codec, content):
        raise TruncatedError(f"{name}: the picture is cut off; copy it again")
    try:
        decoder = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
        decoder.options = {"err_detect": "crccheck+explode"}
        decoder.thread_count = 1
        packet = av.Packet(content)
        frames = [*decoder.decode(packet), *decoder.decode(None)]
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: the picture is damaged ({reason}); copy it again") from error
    if not frames or frames[0].is_corrupt:
        raise InputError(f"{name}: the picture is damaged; copy it again")
    return np.asarray(frames[0].to_ndarray(format="rgb24"), dtype=np.uint8)


def _whole(codec: str, content: bytes) -> bool:
    """Whether the end of the file is there: decoders paint the rest grey without a word."""
    if codec == "png":
        return b"IEND" in content[-64:]
    if codec == "bmp":
        pixels = int.from_bytes(content[10:14], "little")
        width = int.from_bytes(content[18:22], "little", signed=True)
        height = abs(int.from_bytes(content[22:26], "little", signed=True))
        compressed = int.from_bytes(content[30:34], "little") in (1, 2, 4, 5)
        row = (width * int.from_bytes(content[28:30], "little") + 31) // 32 * 4
        promised = int.from_bytes(content[2:6], "little") if compressed else pixels + row * height
        return len(content) >= max(promised, 54)
    return b"\xff\xd9" in content[-64:].rstrip(b"\x00")
