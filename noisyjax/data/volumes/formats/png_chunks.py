"""Whether a PNG is whole, by its own checksums, which Pillow does not verify of the pixels."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLOCK = 2**20
# Colour type to the numbers of a pixel.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def depth(path: str) -> int:
    """Returns the bits of each number of a pixel, by the header."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def damage(path: str) -> str:
    """Returns what is wrong with a PNG whose header can be read, or "" if it is whole.

    Every chunk has a checksum, and the deflated pixels have one more. They are read block by block
    and not kept.
    """
    pixels, unpacked, most, last = zlib.decompressobj(), 0, 0, b""
    try:
        with open(path, "rb") as file:
            if file.read(8) != _SIGNATURE:
                return "it does not begin as a PNG"
            while last != b"IEND":
                length, last = struct.unpack(">I4s", file.read(8))
                for block in _verified(file, last, length):
                    if last == b"IHDR":
                        most = _most(block)
                    elif last == b"IDAT":
                        unpacked += _unpacked(pixels, block)
                        if unpacked > most:
                            return f"there are more pixels than its header says, {most} bytes"
    except (struct.error, EOFError, KeyError):
        return f"it ends within the chunk {_shown(last)}"
    except (ValueError, zlib.error) as error:
        return str(error)
    return "" if pixels.eof else "its pixels end too early"


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


def _most(header: bytes) -> int:
    """Returns an upper bound of the unpacked bytes: lines begin with one more, of each pass."""
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    return 2 * height * (2 + width * bits * _SAMPLES[colour] // 8) + 64


def _unpacked(pixels, block: bytes) -> int:
    """Unpacks a block, and returns how many bytes came out."""
    size = 0
    while block and not pixels.eof:
        size += len(pixels.decompress(block, _BLOCK))
        block = pixels.unconsumed_tail
    return size
