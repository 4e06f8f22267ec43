"""What the directories of a TIFF say, for Pillow takes a damaged one for the last page."""

import os
import struct
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from noisyjax.data.volumes.formats import base, deflated

# Tag to the field that it fills in.
_TAGS = {258: "bits", 259: "compression", 273: "starts", 279: "sizes", 324: "starts", 325: "sizes"}
_TAGS |= {256: "width", 257: "height", 277: "samples", 284: "planes", 339: "kind"}
# Tags of one number: width, height, compression, what is white, strips, and the order of pixels.
# Pillow leaves out an entry that it cannot read, and takes what is white for black.
_SINGLE = (256, 257, 259, 262, 266, 274, 277, 278, 284, 317)
_WHITE = 262
_TILES = {322, 323, 324, 325}
# Type of a value to its format; others are not of the tags above.
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_KINDS = {1: "uint", 2: "int", 3: "float", 5: "complex", 6: "complex"}
# Both numbers stand for it.
_DEFLATED = (8, 32946)
_MOST_VALUES = 2**24
_BEYOND = "a page, or pixels of one, would lie beyond its end"


class Page(NamedTuple):
    """One page: the bits and the kind of its numbers, and how they are packed (1 is not)."""

    bits: int
    kind: str
    compression: int

    def __str__(self) -> str:
        packed = "" if self.compression == 1 else f", compression {self.compression}"
        return f"{self.kind}{self.bits}{packed}"


class _Reader:
    """Reads the numbers of a TIFF, or raises EOFError beyond its end."""

    def __init__(self, file: BinaryIO, order: str, *, big: bool):
        self.file, self.order = file, order
        self.size = os.fstat(file.fileno()).st_size
        self.counter, self.entry, self.offset = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")

    def take(self, form: str) -> tuple:
        content = self.file.read(struct.calcsize(self.order + form))
        try:
            return struct.unpack(self.order + form, content)
        except struct.error as error:
            raise EOFError(_BEYOND) from error

    def go(self, position: int) -> None:
        if not 0 < position < self.size:
            raise EOFError(_BEYOND)
        self.file.seek(position)

    def values(self, kind: int, count: int, inline: bytes) -> list[int]:
        """Returns the numbers of an entry, which lie in it or elsewhere."""
        form = self.order + f"{count}{_TYPES[kind]}"
        size = struct.calcsize(form)
        if size <= len(inline):
            return list(struct.unpack(form, inline[:size]))
        (position,) = struct.unpack(self.order + self.offset, inline)
        here = self.file.tell()
        self.go(position)
        values = list(self.take(form[1:]))
        self.file.seek(here)
        return values

    def page(self, *, whole: bool) -> Page:
        """Reads a directory, and looks whether the pixels that it names are there, and `whole`."""
        fields: dict[str, list[int]] = {}
        (entries,) = self.take(self.counter)
        there = set()
        for _ in range(entries):
            tag, kind, count, inline = self.take(self.entry)
            there.add(tag)
            if tag in _SINGLE and (count != 1 or kind not in _TYPES):
                raise ValueError(f"its tag {tag} has {count} values of the type {kind}")
            if tag in _TAGS and not count:
                raise ValueError(f"its tag {tag} has no value")
            if tag in _TAGS and kind in _TYPES and count <= _MOST_VALUES:
                fields[_TAGS[tag]] = self.values(kind, count, inline)
        if _WHITE not in there:
            raise ValueError(f"it has no tag {_WHITE}, which says what is white")
        first = {name: values[0] for name, values in fields.items()}
        packed, size = first.get("compression", 1) in _DEFLATED, 0
        here = self.file.tell()
        for start, length in zip(fields.get("starts", ()), fields.get("sizes", ()), strict=False):
            if start + length > self.size:
                raise EOFError(_BEYOND)
            if packed and whole:
                self.file.seek(start)
                most = length * base.MOST_DEFLATED
                length = deflated.verify(self.file, most=most, length=length)
            size += length
        self.file.seek(here)
        strips = "sizes" in first and not there & _TILES and first.get("planes", 1) == 1
        if strips and (whole if packed else first.get("compression", 1) == 1):
            _check_size(first, size)
        kind = _KINDS.get(first.get("kind", 1), "uint")
        return Page(first.get("bits", 1), kind, first.get("compression", 1))


def _check_size(first: Mapping[str, int], size: int) -> None:
    """Raises a ValueError unless the strips of a page hold the pixels that it says."""
    bits = first.get("bits", 1) * first.get("samples", 1)
    said = first.get("height", 0) * -(-first.get("width", 0) * bits // 8)
    if size != said:
        raise ValueError(f"its directory says {said} bytes of pixels, it has {size}")


def pages(path: str, *, whole: bool) -> list[Page]:
    """Returns the pages of a TIFF; none of a file that is none.

    Deflated pixels are compared with their checksums if `whole`.

    Raises:
      EOFError: if a page, or the pixels of one, would lie beyond the end of the file.
      ValueError, zlib.error: as `deflated.verify`.
    """
    found, seen = [], set()
    with open(path, "rb") as file:
        start = file.read(4)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 4:
            return []
        (version,) = struct.unpack(order + "H", start[2:])
        if version not in (42, 43):
            return []
        reader = _Reader(file, order, big=version == 43)
        if version == 43:
            reader.take("HH")
        (position,) = reader.take(reader.offset)
        while position:
            if position in seen:
                raise EOFError(_BEYOND)
            seen.add(position)
            reader.go(position)
            found.append(reader.page(whole=whole))
            (position,) = reader.take(reader.offset)
    return found
