"""Readers of a few lines for formats without a checksum, that share no code with the package's.

`rewritten` gives a clean file of what such a reader finds in another one: what is read of both must
be the same. The readers refuse by any exception.
"""

import csv
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

import nibabel as nib
import numpy as np
import picture_files

_NIFTI = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
}
_NIFTI[1280] = "u8"
_META = {
    **{"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4"},
    **{"LONG": "i8", "ULONG": "u8", "LONG_LONG": "i8", "ULONG_LONG": "u8"},
    **{"FLOAT": "f4", "DOUBLE": "f8"},
}
_NRRD = {
    **{"int8": "i1", "signed char": "i1", "uint8": "u1", "unsigned char": "u1", "uchar": "u1"},
    **{"short": "i2", "int16": "i2", "ushort": "u2", "unsigned short": "u2", "uint16": "u2"},
    **{"int": "i4", "int32": "i4", "uint": "u4", "unsigned int": "u4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "longlong": "i8", "long long": "i8", "int64": "i8"},
}


def _nifti(content: bytes) -> bytes:
    packed = content[:2] == b"\x1f\x8b"
    content = gzip.decompress(content) if packed else content
    (size,) = struct.unpack("<i", content[:4])
    order = "<" if size == 348 else ">"
    count, *dims = struct.unpack(order + "8h", content[40:56])
    kind, _ = struct.unpack(order + "2h", content[70:74])
    start, slope, intercept = struct.unpack(order + "3f", content[108:120])
    shape = tuple(dims[:count])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    values = np.frombuffer(
        content, np.dtype(order + _NIFTI[kind]), int(np.prod(shape)), offset=int(start)
    )
    values = values.reshape(shape, order="F")
    if np.isfinite(slope) and slope and (slope, intercept) != (1, 0):
        with np.errstate(over="ignore"):
            values = (values * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    header = nib.Nifti1Image.from_bytes(content).header
    image = nib.Nifti1Image(
        values.astype(values.dtype.newbyteorder("=")), header.get_best_affine(), dtype=values.dtype
    )
    image.header.set_xyzt_units("mm")
    written = image.to_bytes()
    return gzip.compress(written, mtime=0) if packed else written


def _meta_image(content: bytes) -> bytes:
    match = re.search(rb"ElementDataFile *= *LOCAL *\r?\n", content)
    header, data = content[: match.end()], content[match.end() :]
    fields = dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*(.*?)\s*$", header.decode("latin-1")))
    if fields.get("CompressedData", "False") == "True":
        data = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data)
    order = ">" if fields.get("BinaryDataByteOrderMSB", "False") == "True" else "<"
    order = ">" if fields.get("ElementByteOrderMSB", "False") == "True" else order
    shape = [int(float(n)) for n in fields["DimSize"].split()][: int(fields["NDims"])]
    dtype = np.dtype(order + _META[fields["ElementType"].removeprefix("MET_")])
    values = np.frombuffer(data, dtype, int(np.prod(shape)))
    kept = {n: v for n, v in fields.items() if n not in _META_WRITTEN}
    kept |= {"CompressedData": "False", "BinaryDataByteOrderMSB": "False"}
    kept |= {"ElementType": fields["ElementType"], "DimSize": " ".join(map(str, shape))}
    # The order of the fields is part of the format.
    names = sorted(kept, key=lambda name: _META_FIRST.index(name) if name in _META_FIRST else 99)
    lines = [f"{name} = {kept[name]}" for name in names] + ["ElementDataFile = LOCAL", ""]
    return "\n".join(lines).encode("latin-1") + values.astype(dtype.newbyteorder("<")).tobytes()


_META_WRITTEN = (
    "CompressedData", "CompressedDataSize", "ElementDataFile", "ElementByteOrderMSB",
    "BinaryDataByteOrderMSB",
)  # fmt: skip
_META_FIRST = ("ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData")


def _nrrd(content: bytes) -> bytes:
    match = re.search(rb"\r?\n\r?\n", content)
    header, data = content[: match.start()].decode("latin-1"), content[match.end() :]
    fields = {
        name.strip().lower(): value.strip()
        for name, value in re.findall(r"(?m)^([^#:\n]+):[^=](.*?)\r?$", header)
    }
    if fields["encoding"].lower() in ("gz", "gzip"):
        data = gzip.decompress(data)
    elif fields["encoding"].lower() != "raw":
        raise ValueError(fields["encoding"])
    order = ">" if fields.get("endian", "little") == "big" else "<"
    dtype = np.dtype(order + _NRRD[fields["type"]])
    shape = [int(n) for n in fields["sizes"].split()]
    values = np.frombuffer(data, dtype, int(np.prod(shape)))
    kept = fields | {"encoding": "raw", "endian": "little"}
    names = ("type", "dimension", *(n for n in kept if n not in ("type", "dimension")))
    lines = ["NRRD0004", *(f"{name}: {kept[name]}" for name in names), "", ""]
    return "\n".join(lines).encode("latin-1") + values.astype(dtype.newbyteorder("<")).tobytes()


def _tiff(content: bytes) -> bytes:
    """Pages of grey values that are not packed, of the order II."""
    pages, (position,) = [], struct.unpack("<I", content[4:8])
    while position and len(pages) < 100:
        (count,) = struct.unpack("<H", content[position : position + 2])
        tags = {}
        for i in range(count):
            entry = position + 2 + 12 * i
            tag, kind, number = struct.unpack("<HHI", content[entry : entry + 8])
            form = {1: "B", 3: "H", 4: "I"}.get(kind)
            if form and number:
                whole = f"<{number}{form}"
                at = entry + 8
                if struct.calcsize(whole) > 4:
                    (at,) = struct.unpack("<I", content[at : at + 4])
                tags[tag] = struct.unpack(whole, content[at : at + struct.calcsize(whole)])
        if tags.get(259, (1,))[0] != 1 or tags.get(277, (1,))[0] != 1:
            raise ValueError("packed, or in colours")
        kind = {1: "u", 2: "i", 3: "f"}[tags.get(339, (1,))[0]]
        dtype = np.dtype(f"<{kind}{tags[258][0] // 8}")
        strips = zip(tags[273], tags[279], strict=True)
        data = b"".join(content[start : start + size] for start, size in strips)
        width, height = tags[256][0], tags[257][0]
        page = np.frombuffer(data, dtype, width * height).reshape(height, width)
        if tags.get(262, (1,))[0] == 0 and dtype.kind == "u":
            # White is 0.
            page = np.iinfo(dtype).max - page
        pages.append(page)
        end = position + 2 + 12 * count
        (position,) = struct.unpack("<I", content[end : end + 4])
    return picture_files.tiff(*pages)


def _npz(content: bytes) -> bytes:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        for name in packed.namelist():
            member = io.BytesIO(packed.read(name))
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError(name)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            count = int(np.prod(shape))
            values = np.frombuffer(member.read()[: count * dtype.itemsize], dtype, count)
            order = "F" if fortran else "C"
            arrays[name.removesuffix(".npy")] = values.reshape(shape, order=order)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _json(content: bytes) -> bytes:
    def none(text):
        raise ValueError(text)

    return json.dumps(json.loads(content.decode("utf-8-sig"), parse_constant=none)).encode()


def _lines(content: bytes) -> bytes:
    """Lines of JSON that are objects; a run leaves others out."""
    kept = []
    for line in content.decode(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            kept.append(json.dumps(row) + "\n")
    return "".join(kept).encode()


def _table(content: bytes) -> bytes:
    text = io.StringIO()
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=False)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


_READERS: dict[str, Callable[[bytes], bytes]] = {
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".mha": _meta_image,
    ".nrrd": _nrrd,
    ".tif": _tiff,
    ".npz": _npz,
    ".json": _json,
    ".jsonl": _lines,
    ".csv": _table,
}


def rewritten(name: str, content: bytes) -> bytes | None:
    """Returns a clean file of what is in one, or None if that is none, or of an unknown format."""
    end = max((end for end in _READERS if name.endswith(end)), key=len, default="")
    try:
        return _READERS[end](content)
    # Whatever a reader of a few lines meets.
    except Exception:
        return None
