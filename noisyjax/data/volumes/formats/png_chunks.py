"""Whether a PNG is whole, by its own checksums, which Pillow does not verify of the pixels."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLOCK = 2**20
# Colour type to the numbers of a pixel.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_NUMBERED = 3
# First row and column, and steps, of the passes of an interlaced one.
_PASSES = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # fmt: skip


def depth(path: str) -> int:
    """Returns the bits of each number of a pixel, by the header."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def damage(path: str) -> str:
    """Returns what is wrong with a PNG whose header can be read, or "" if it is whole.

    Every chunk has a checksum, and the deflated pixels have one more. They are read block by block
    and not kept.
    """
    pixels, unpacked, whole, last = zlib.decompressobj(), 0, 0, b""
    # Pillow takes grey values for the colours that are not there.
    lacking = False
    try:
        with open(path, "rb") as file:
            if file.read(8) != _SIGNATURE:
                return "it does not begin as a PNG"
            while last != b"IEND":
                length, last = struct.unpack(">I4s", file.read(8))
                for block in _verified(file, last, length):
                    if last == b"IHDR":
                        whole, lacking = _whole(block), block[9] == _NUMBERED
                    elif last == b"PLTE":
                        lacking = False
                    elif last == b"IDAT":
                        unpacked += _unpacked(pixels, block)
                        if unpacked > whole:
                            return f"there are more pixels than its header says, {whole} bytes"
    except (struct.error, EOFError, KeyError):
        return f"it ends within the chunk {_shown(last)}"
    except (ValueError, zlib.error) as error:
        return str(error)
    if lacking:
        return "its colours are numbered, and it has no palette"
    return "" if pixels.eof and unpacked == whole else "its pixels end too early"


def _shown(name: bytes) -> str:
    return ascii(name.decode("latin-1"))


def _verified(file: BinaryIO, name: bytes, length: int) -> Iterator[bytes]:
    """Yields the content of a chunk; raises a ValueError after it if its checksum is another."""
    checksum = zlib.crc32(name)
    while length:
        block = file.read(min(length, _BLOCK))
        if not block:
            raise EOFError
        checksum, length = zlib.crc32(block, checksum), length - len(block)
        yield block
    if struct.unpack(">I", file.read(4))[0] != checksum:
        raise ValueError(f"the checksum of its chunk {_shown(name)} is another")


def _whole(header: bytes) -> int:
    """Returns the unpacked bytes: of each pass, lines that begin with one more."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    size = 0
    for row, column, rows, columns in _PASSES if interlaced else ((0, 0, 1, 1),):
        lines, pixels = -(-(height - row) // rows), -(-(width - column) // columns)
        if lines > 0 and pixels > 0:
            size += lines * (1 + -(-pixels * bits * _SAMPLES[colour] // 8))
    return size


def _unpacked(pixels, block: bytes) -> int:
    """Unpacks a block, and returns how many bytes came out."""
    size = 0
    while block and not pixels.eof:
        size += len(pixels.decompress(block, _BLOCK))
        block = pixels.unconsumed_tail
    return size
