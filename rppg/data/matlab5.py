"""Whether a MATLAB 5 file keeps its own promises: SciPy crashes on some of those that don't.

The layout is MathWorks' MAT-File Format, version 5: after 128 bytes of header elements of a tag
(type and size) and data, matrices made of elements again, each one compressed or not.
"""

import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
CELL, STRUCT, CHAR, NUMERIC = 1, 2, 4, range(6, 16)
SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
TEXT = {16: 1, 17: 2, 18: 4}
LOOKED_AT = 1 << 20
"""Bytes of a variable that are read; of a larger one, its header is in them."""
DEEPEST = 8


def check_structure(path: Path) -> None:
    """Read the tags of a file, not its numbers.

    Raises:
        ValueError: the file is cut off, or sizes in it contradict each other.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(128)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None:
            raise ValueError("no header of a MATLAB 5 file")
        at = 128
        while at < size:
            file.seek(at)
            tag = file.read(8)
            if len(tag) < 8:
                raise ValueError(f"cut off at byte {at}")
            kind, length = struct.unpack(order + "II", tag)
            if at + 8 + length > size:
                raise ValueError(f"a variable ends {at + 8 + length - size} bytes after the file")
            if kind == COMPRESSED:
                content = _unpacked(file.read(length))
            elif kind == MATRIX:
                content = tag + file.read(min(length, LOOKED_AT))
            else:
                raise ValueError(f"an element of type {kind} at byte {at}")
            _Walk(content, order).variable()
            at += 8 + length


def _unpacked(packed: bytes) -> bytes:
    """The first bytes of a compressed element."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(packed, LOOKED_AT)
    if len(content) < LOOKED_AT and not unpacker.eof:
        raise ValueError("a compressed variable is cut off")
    return content


@dataclass(frozen=True)
class _Element:
    kind: int
    start: int
    size: int
    next: int


@dataclass(frozen=True)
class _Walk:
    """Through one variable, of which the first bytes are at hand."""

    content: bytes
    order: str

    def variable(self) -> None:
        kind, length = self._integers(0, 2)
        if kind != MATRIX:
            raise ValueError(f"a variable of type {kind}")
        whole = len(self.content) < LOOKED_AT
        if whole and 8 + length > len(self.content):
            raise ValueError("a variable is shorter than it says")
        self._matrix(8, 8 + length, 0)

    def _integers(self, at: int, count: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(f"{self.order}{count}I", self.content, at)
        except struct.error as error:
            raise ValueError(f"nothing at byte {at} of a variable") from error

    def _element(self, at: int, end: int) -> _Element:
        first, second = self._integers(at, 2)
        if first >> 16:  # small: size, type and up to four bytes of data in eight
            found = _Element(first & 0xFFFF, at + 4, first >> 16, at + 8)
            if found.size > 4:
                raise ValueError(f"a small element of {found.size} bytes")
        else:
            found = _Element(first, at + 8, second, at + 8 + -(-second // 8) * 8)
        if found.start + found.size > end:
            raise ValueError("an element ends after what holds it")
        return found

    def _expect(self, at: int, end: int, kinds: tuple[int, ...], what: str) -> _Element:
        found = self._element(at, end)
        if found.kind not in kinds:
            raise ValueError(f"{what} of type {found.kind}")
        return found

    def _matrix(self, at: int, end: int, depth: int) -> None:
        if at == end:  # an empty matrix may be nothing at all
            return
        if depth > DEEPEST:
            raise ValueError(f"structures more than {DEEPEST} deep")
        flags = self._expect(at, end, (UINT32,), "flags")
        if flags.size != 8:
            raise ValueError(f"flags of {flags.size} bytes")
        word = self._integers(flags.start, 1)[0]
        kind, is_complex = word & 0xFF, bool(word & 0x800)
        if kind not in (CELL, STRUCT, CHAR, *NUMERIC):  # objects and sparse matrices are not read
            return
        dims = self._expect(flags.next, end, (INT32,), "dimensions")
        if dims.size % 4 or not 8 <= dims.size <= 4 * 32:
            raise ValueError(f"dimensions of {dims.size} bytes")
        shape = self._integers(dims.start, dims.size // 4)
        if max(shape) >= 1 << 31:
            raise ValueError(f"dimensions {shape}")
        name = self._expect(dims.next, end, (INT8, 16), "a name")
        if name.size > 256:
            raise ValueError(f"a name of {name.size} bytes")
        count = prod(shape)
        if kind == STRUCT:
            self._structure(name.next, end, count, depth)
        elif kind == CELL:
            self._matrices(name.next, end, count, depth)
        else:
            self._numbers(name.next, end, count, kind, parts=1 + is_complex)

    def _structure(self, at: int, end: int, count: int, depth: int) -> None:
        length = self._expect(at, end, (INT32,), "a length of names")
        names = self._expect(length.next, end, (INT8,), "names of fields")
        each = self._integers(length.start, 1)[0]
        if length.size != 4 or not 1 <= each <= 256 or names.size % each:
            raise ValueError(f"{names.size} bytes of field names of {each} bytes")
        self._matrices(names.next, end, count * (names.size // each), depth)

    def _matrices(self, at: int, end: int, count: int, depth: int) -> None:
        if count * 8 > end - at:
            raise ValueError(f"{count} elements in {end - at} bytes")
        for _ in range(count):
            inner = self._expect(at, end, (MATRIX,), "a field")
            self._matrix(inner.start, inner.start + inner.size, depth + 1)
            at = inner.next

    def _numbers(self, at: int, end: int, count: int, kind: int, parts: int) -> None:
        for _ in range(parts):
            if count == 0 and at >= end:
                return
            data = self._expect(at, end, (*SIZES, *TEXT), "numbers")
            each = {**SIZES, **TEXT}[data.kind]
            as_text = kind == CHAR and data.kind in TEXT
            if data.size > count * 4 if as_text else data.size != count * each:
                raise ValueError(f"{data.size} bytes for {count} numbers")
            at = data.next
