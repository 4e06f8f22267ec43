"""Changes to the content of a file: to its bytes, and to what its format has for parts.

Each takes a `random.Random`, which decides on everything, and returns other bytes.
"""

import copy
import csv
import gzip
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np

Change = Callable[[random.Random, bytes], bytes]

_WHOLE = (
    0,
    1,
    -1,
    2,
    7,
    255,
    256,
    32767,
    -32768,
    40_000,
    2**31 - 1,
    -(2**31),
    2**31,
    2**63,
    10**30,
)
_REAL = (0.0, -0.0, 0.5, -1.5, 1e-30, 1e30, 3e38, -3e38, 1e300, 1e-300)
_TEXTS = ("", " ", "x", "../../x", "/etc/passwd", "\0", "a\nb", "é", "x" * 5000, "nan", "1e999")


# --- bytes -----------------------------------------------------------------------------------


def _span(draw: random.Random, content: bytes) -> slice:
    start = draw.randrange(len(content))
    return slice(start, start + min(draw.choice((1, 2, 4, 16, 64, 512)), len(content) - start))


def _flip(draw, content):
    position = draw.randrange(len(content))
    return _put(content, position, content[position] ^ (1 << draw.randrange(8)))


def _byte(draw, content):
    return _put(content, draw.randrange(len(content)), draw.choice((0, 1, 127, 128, 255)))


def _put(content: bytes, position: int, byte: int) -> bytes:
    return content[:position] + bytes([byte]) + content[position + 1 :]


def _truncate(draw, content):
    return content[: draw.choice((0, 1, draw.randrange(len(content)), len(content) - 1))]


def _insert(draw, content):
    at, block = draw.randrange(len(content) + 1), draw.randbytes(draw.choice((1, 4, 64, 512)))
    return content[:at] + block + content[at:]


def _duplicate(draw, content):
    span = _span(draw, content)
    return content[: span.stop] + content[span.start :]


def _remove(draw, content):
    span = _span(draw, content)
    return content[: span.start] + content[span.stop :]


def _zeros(draw, content):
    span = _span(draw, content)
    return content[: span.start] + bytes(span.stop - span.start) + content[span.stop :]


def _append(draw, content):
    return content + draw.choice((bytes(1), bytes(5000), content))


BYTES: dict[str, Change] = {
    "bit flipped": _flip,
    "byte changed": _byte,
    "cut off": _truncate,
    "block inserted": _insert,
    "block duplicated": _duplicate,
    "block removed": _remove,
    "block of zeros": _zeros,
    "more at the end": _append,
}


# --- texts -----------------------------------------------------------------------------------


def _nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Returns (container, key) of everything in a tree."""
    if not isinstance(tree, dict | list):
        return []
    places = []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        places += [(tree, key), *_places(value)]
    return places


def _other(draw: random.Random, value: Any) -> Any:
    """Returns a value of the same type, or of another one."""
    if type(value) in (int, float) and draw.random() < 0.5:
        return draw.choice((value + 1, -value, value * 10**6, *_WHOLE, *_REAL))
    others = (None, True, False, {}, [], [1], {"a": 1}, _nested(50), [[1], "a"])
    return draw.choice((*others, draw.choice(_WHOLE), draw.choice(_REAL), draw.choice(_TEXTS)))


def _tree(draw: random.Random, tree: Any) -> Any:
    """Changes one place of what JSON holds."""
    tree = copy.deepcopy(tree)
    places = _places(tree)
    if not places:
        return _other(draw, tree)
    container, key = draw.choice(places)
    change = draw.randrange(6)
    if change == 0:
        del container[key]
    elif change == 1 and isinstance(container, dict):
        container[draw.choice(_TEXTS)] = container.pop(key)
    elif change == 2:
        other, place = draw.choice(places)
        container[key] = copy.deepcopy(other[place])
    elif change == 3 and isinstance(container[key], list | dict) and container[key]:
        grown = container[key]
        if isinstance(grown, list):
            grown += copy.deepcopy(grown)
        else:
            grown[draw.choice(_TEXTS)] = copy.deepcopy(draw.choice(list(grown.values())))
    else:
        container[key] = _other(draw, container[key])
    return tree


def json_value(draw, content):
    try:
        changed = json.dumps(_tree(draw, json.loads(content)), ensure_ascii=draw.random() < 0.5)
    except (ValueError, RecursionError):
        return content
    if draw.random() < 0.1:
        # What Python reads and JSON has not.
        changed = re.sub(
            r"\d+(\.\d+)?", draw.choice(("NaN", "Infinity", "1e999")), changed, count=1
        )
    return changed.encode(errors="replace")


def json_line(draw, content):
    lines = content.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    changed = (json_value(draw, lines[at]).rstrip(b"\n") + b"\n", b"", lines[at] * 2)
    return b"".join([*lines[:at], draw.choice(changed), *lines[at + 1 :]])


def table_cell(draw, content):
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = draw.choice(rows)
    change = draw.randrange(4)
    if change == 0:
        rows.remove(row)
    elif change == 1:
        rows.append(row)
    elif change == 2:
        row.append(draw.choice(_TEXTS))
    else:
        row[draw.randrange(len(row))] = str(_other(draw, 1))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


# --- headers ---------------------------------------------------------------------------------


def _number(draw: random.Random, dtype: np.dtype) -> Any:
    """Returns an extreme number that a dtype holds."""
    if dtype.kind == "f":
        return draw.choice((np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-30, 3e38, 1000.0))
    info = np.iinfo(dtype)
    return draw.choice((info.min, info.max, 0, 1, 2, 16, 64, 127, max(info.min, -1)))


def nifti_field(draw, content):
    """Sets a field of a NIfTI header; one that is deflated stays so, with its checksum."""
    packed = content[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(content) if packed else content)
    template = nib.Nifti1Header.template_dtype
    header = np.frombuffer(bytes(content[: template.itemsize]), template).copy()
    name = draw.choice(template.names)
    field = header[name]
    if field.dtype.kind in "iuf":
        flat = field.reshape(-1)
        flat[draw.randrange(flat.size)] = _number(draw, field.dtype)
        header[name] = flat.reshape(field.shape)
    else:
        header[name] = draw.randbytes(3)
    content[: template.itemsize] = header.tobytes()
    return gzip.compress(bytes(content), mtime=0) if packed else bytes(content)


def text_header(draw, content):
    """Changes a line of the header of a MetaImage or NRRD."""
    end = re.search(rb"ElementDataFile *=.*\n|\r?\n\r?\n", content).end()
    lines = content[:end].splitlines(keepends=True)
    at = draw.randrange(len(lines))
    name, sign, value = re.match(rb"([^:=\n]*)([:=]*)(.*)", lines[at]).groups()
    parts = value.split()
    if parts:
        number = draw.choice((*_WHOLE, *_REAL, "nan", "inf", "MET_DOUBLE", "double", "raw", "True"))
        parts[draw.randrange(len(parts))] = str(number).encode()
    changed = (name + sign + b" " + b" ".join(parts) + b"\n",) * 4 + (b"", lines[at] * 2)
    return b"".join([*lines[:at], draw.choice(changed), *lines[at + 1 :]]) + content[end:]


def png_header(draw, content):
    """Sets a field of the header of a PNG, with its checksum."""
    fields = list(struct.unpack(">IIBBBBB", content[16:29]))
    at = draw.randrange(len(fields))
    fields[at] = draw.choice((0, 1, 2, 3, 4, 8, 16) if at > 1 else (0, 1, 7, 9, 40_000, 2**31 - 1))
    header = b"IHDR" + struct.pack(">IIBBBBB", *fields)
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def tiff_entry(draw, content):
    """Changes a part of an entry of the first directory of a TIFF (of the order II)."""
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    at = start + 2 + 12 * draw.randrange(count)
    fields = list(struct.unpack("<HHII", content[at : at + 12]))
    part = draw.randrange(4)
    few = (0, 1, 2, 3, 4, 5, 8, 12, 16, 32, 258, 259, 277, 322, 65535)
    fields[part] = draw.choice(few if part < 2 else (*few, 2**31 - 1, 2**32 - 1, len(content)))
    return content[:at] + struct.pack("<HHII", *fields) + content[at + 12 :]


def _npy(header: str, after: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + after


def npy_header(draw, content):
    """Changes a part of the header of an array."""
    (length,) = struct.unpack("<H", content[8:10])
    header, after = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    changes = (
        lambda: re.sub(r"'descr': '[^']*'", f"'descr': {draw.choice(_DTYPES)!r}", header),
        lambda: re.sub(r"'fortran_order': \w+", "'fortran_order': True", header),
        lambda: re.sub(r"'shape': \([^)]*\)", f"'shape': {draw.choice(_SHAPES)}", header),
        lambda: header.replace("shape", draw.choice(("Shape", "descr", ""))),
        lambda: header[: draw.randrange(len(header))],
    )
    return _npy(draw.choice(changes)(), after)


_DTYPES = ("|O", "<f8", "<f4", "<f2", "|u1", "|i1", ">i4", "<U9", "|S0", "|V8", "|b1", "<M8", "x")
_SHAPES = ("()", "(0,)", "(-1,)", "(1,)", "(40000, 40000)", "(2**40,)", "(True,)", "(4, 4, 9)", "5")


def npz_member(draw, content):
    """Writes an archive anew with one array changed, left out or named otherwise."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    name = draw.choice(list(members))
    change = draw.randrange(6)
    if change == 0:
        del members[name]
    elif change == 1:
        members[draw.choice(("x.npy", "../x.npy", "image", ""))] = members.pop(name)
    elif change == 2:
        members[name] = members[draw.choice(list(members))]
    elif change == 3:
        members[name] = npy_header(draw, members[name])
    elif change == 4:
        members[name] = draw.choice(list(BYTES.values()))(draw, members[name])
    else:
        members[name] = _array(draw, np.load(io.BytesIO(members[name])))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for each, inside in members.items():
            packed.writestr(each or "_", inside)
    return stream.getvalue()


def _array(draw: random.Random, array: np.ndarray) -> bytes:
    """Returns an array with another dtype, shape or number, as a file."""
    array = np.array(array)
    if array.dtype.kind in "iuf" and array.size and draw.random() < 0.5:
        array.reshape(-1)[draw.randrange(array.size)] = _number(draw, array.dtype)
    elif draw.random() < 0.5:
        array = array[..., np.newaxis] if draw.random() < 0.5 else array[:-1]
    elif array.dtype.kind in "iuf":
        array = array.astype(draw.choice(("float64", "float16", "int64", "uint8", "bool")))
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


# --- all of them -----------------------------------------------------------------------------

# The end of a name to what is changed of such a file beside its bytes.
PARTS: dict[str, tuple[str, Change]] = {
    ".nii": ("field of the header", nifti_field),
    ".nii.gz": ("field of the header", nifti_field),
    ".mha": ("line of the header", text_header),
    ".nrrd": ("line of the header", text_header),
    ".png": ("field of the header", png_header),
    ".tif": ("entry of the directory", tiff_entry),
    ".npy": ("header of the array", npy_header),
    ".npz": ("array of the archive", npz_member),
    ".json": ("value of JSON", json_value),
    ".jsonl": ("line of JSON", json_line),
    ".csv": ("cell of the table", table_cell),
    "metadata": ("value of JSON", json_value),
    "_METADATA": ("value of JSON", json_value),
    "metrics": ("value of JSON", json_value),
    "_CHECKPOINT_METADATA": ("value of JSON", json_value),
}
SWAPPED = "another file in its place"


def change(
    draw: random.Random, name: str, content: bytes, others: list[bytes]
) -> tuple[str, bytes]:
    """Changes a file that is named so; `others` may take its place.

    Returns what was done, and other bytes.
    """
    end = max((end for end in PARTS if name.endswith(end)), key=len, default="")
    for _ in range(100):
        kind = draw.random()
        if end and kind < 0.5:
            what, function = PARTS[end]
            changed = function(draw, content)
        elif others and kind < 0.6:
            what, changed = SWAPPED, draw.choice(others)
        else:
            what = draw.choice(list(BYTES))
            changed = BYTES[what](draw, content)
        if changed != content:
            return what, changed
    raise RuntimeError(f"{name}: nothing to change")
