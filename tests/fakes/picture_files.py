"""Makes PNG and TIFF files byte by byte, also such as Pillow does not write."""

import struct
import zlib

import numpy as np

# First row and column, and steps, of the passes of an interlaced PNG.
_PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _rows(array, bits):
    digits = np.unpackbits(array.astype(np.uint8)[..., np.newaxis], axis=-1)[..., 8 - bits :]
    rows = np.packbits(digits.reshape(len(array), -1), axis=-1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


def png(array, *, bits=8, interlaced=False):
    """A PNG of grey values ``[H, W]`` of 1 to 8 bits."""
    header = struct.pack(">IIBBBBB", *array.shape[::-1], bits, 0, 0, 0, int(interlaced))
    parts = [array[y::dy, x::dx] for y, x, dy, dx in _PASSES] if interlaced else [array]
    pixels = b"".join(_rows(part, bits) for part in parts if part.size)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


def tiff(*pages):
    """A TIFF, not deflated, of pages ``[H, W]`` of any dtype; each directory before its pixels."""
    content, after = b"II*\0", 8
    for number, page in enumerate(pages):
        content += struct.pack("<I", after) if number == 0 else b""
        pixels = after + 2 + 12 * 9 + 4
        entries = [
            *((256, page.shape[1]), (257, page.shape[0]), (258, 8 * page.itemsize), (259, 1)),
            *((262, 1), (273, pixels), (278, page.shape[0]), (279, page.nbytes)),
            (339, {"u": 1, "i": 2, "f": 3}[page.dtype.kind]),
        ]
        content += struct.pack("<H", len(entries))
        content += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        after = pixels + page.nbytes
        content += struct.pack("<I", 0 if number == len(pages) - 1 else after) + page.tobytes()
    return content
