"""Deflated data, read to their checksum, which the libraries that unpack them may not compare."""

import zlib
from typing import BinaryIO

_BLOCK = 2**20
# Of zlib's form or gzip's, as the stream says.
_EITHER = zlib.MAX_WBITS | 32


def verify(file: BinaryIO, *, most: int, length: int | None = None) -> int:
    """Unpacks a stream from where a file stands, block by block, and keeps nothing of it.

    Returns how many bytes came out.

    Args:
      most: the bytes that it may unpack to.
      length: its own bytes; the rest of the file if None.

    Raises:
      ValueError: if it ends too early, or there is more in it than allowed.
      zlib.error: if it is damaged, or its checksum is another.
    """
    stream, size = zlib.decompressobj(_EITHER), 0
    left = float("inf") if length is None else length
    while not stream.eof:
        block = file.read(int(min(left, _BLOCK)))
        if not block:
            raise ValueError("its deflated data end too early")
        left -= len(block)
        while block and not stream.eof:
            size += len(stream.decompress(block, _BLOCK))
            if size > most:
                raise ValueError(f"there is more in its deflated data than {most} bytes")
            block = stream.unconsumed_tail
    return size
