"""MNIST: 60,000 + 10,000 handwritten digits of 28x28 pixels (LeCun et al. 1998).

The segmentation task is that of Zhang et al. 2020: the truth is an intensity of at least half of
the range.
"""

import hashlib
import http.client
import math
import os
import urllib.request
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from noisyjax.core import files
from noisyjax.data import order, source

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
SIZES = {"train": 60_000, "t10k": 10_000}

_SIDE = 28
_MAX_BYTES = 1 << 24
_TIMEOUT_S = 30.0


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _fetch_file(name: str, path: str) -> None:
    """Downloads one file from the first mirror that has it right, at once or not at all."""
    failures = []
    for mirror in MIRRORS:
        try:
            with urllib.request.urlopen(mirror + name, timeout=_TIMEOUT_S) as response:
                content = response.read(_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {error}")
            continue
        if _md5(content) == CHECKSUMS[name]:
            with files.replacing(path) as unfinished:
                unfinished.write_bytes(content)
            return
        failures.append(f"{mirror}: expected md5 {CHECKSUMS[name]}, got {_md5(content)}")
    raise ConnectionError(f"{name}: no mirror could serve it: " + "; ".join(failures))


def fetch(root: str) -> None:
    """Downloads the files that are missing into a folder, trying the mirrors in turn.

    If no mirror serves a file with the right checksum, a ConnectionError names each failure.
    """
    os.makedirs(root, exist_ok=True)
    for name in CHECKSUMS:
        path = os.path.join(root, name)
        if not os.path.exists(path):
            _fetch_file(name, path)


def _content(path: str) -> bytes:
    """Reads a file whole and verifies its checksum."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path}: missing; expected the four original files {', '.join(CHECKSUMS)} in this "
            "folder; pass download=True to fetch them"
        )
    with open(path, "rb") as file:
        content = file.read(_MAX_BYTES + 1)
    expected = CHECKSUMS[os.path.basename(path)]
    if _md5(content) != expected:
        raise ValueError(
            f"{path}: expected md5 {expected}, got {_md5(content)} from {len(content)} bytes: the "
            "file is truncated or another one; delete it and pass download=True"
        )
    return content


def read_idx(path: str, shape: Sequence[int]) -> UInt8[np.ndarray, "..."]:
    """Reads one of the gzipped idx files of unsigned bytes, named as in `CHECKSUMS`.

    No more is unpacked than the expected shape needs, whatever the file claims.

    Raises:
      FileNotFoundError: if the file is missing.
      ValueError: if its checksum, header or length are not the expected ones.
    """
    header = bytes((0, 0, 8, len(shape))) + np.asarray(shape, ">u4").tobytes()
    size = math.prod(shape)
    # The window of 31 makes zlib read a gzip header; the bound holds for what comes out.
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(_content(path), len(header) + size + 1)
    except zlib.error as error:
        raise ValueError(f"{path}: expected a gzipped idx file, got {error}") from error
    if data[: len(header)] != header:
        raise ValueError(
            f"{path}: expected the idx header {header.hex()} (bytes of shape {tuple(shape)}), "
            f"got {data[: len(header)].hex()}"
        )
    if len(data) != len(header) + size:
        raise ValueError(
            f"{path}: expected {size} bytes of data, got "
            f"{'more' if len(data) > len(header) + size else len(data) - len(header)}"
        )
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(tuple(shape))


def load(
    *, root: str, download: bool = False, seed: int = 0, val_fraction: float = 0.2
) -> source.Source:
    """Loads MNIST with its own test images; a part of its training images validates.

    Ids 0..59,999 are MNIST's training images, the following ones its test images. There are two
    classes and no raters of its own; images are in [0, 1].

    Args:
      root: the folder of the four original ``.gz`` files.
      download: whether to fetch missing files first; if that fails it raises ConnectionError.
      seed: decides which training images validate.
      val_fraction: how many of them, in (0, 1).

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if a file is not the original one; it names the file and the remedy.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction: expected a number in (0, 1), got {val_fraction}")
    if download:
        fetch(root)
    images, names = [], []
    for part, size in SIZES.items():
        name = os.path.join(root, part)
        images.append(read_idx(f"{name}-images-idx3-ubyte.gz", (size, _SIDE, _SIDE)))
        digits = read_idx(f"{name}-labels-idx1-ubyte.gz", (size,))
        names.extend(f"{part}-{i:05d}-{digit}" for i, digit in enumerate(digits))
    stacked = np.concatenate(images)
    train = order.permutation(SIZES["train"], seed=seed).astype(np.int32)
    num_val = round(val_fraction * SIZES["train"])
    return source.Source(
        name="mnist",
        examples=source.ArrayExamples(
            stacked[..., np.newaxis],
            truths=source.upper_half(stacked, low=0.0, high=255.0),
            scale=1 / 255,
        ),
        num_classes=2,
        class_names=("background", "digit"),
        spacing=(1.0, 1.0),
        has_truth=True,
        case_names=tuple(names),
        splits={
            "train": train[num_val:],
            "val": train[:num_val],
            "test": np.arange(SIZES["train"], len(stacked), dtype=np.int32),
        },
    )
