"""Images and volumes that are damaged, forged or of another kind."""

import gzip
import io
import os
import pathlib
import struct
import zlib

import nibabel as nib
import numpy as np
import picture_files
import PIL.Image
import PIL.PngImagePlugin
from bad_inputs import file, group

from noisyjax.data.volumes import read_write


def nifti(*, dtype=np.int16, kind=nib.Nifti1Image, **fields) -> bytes:
    """A NIfTI file of 24 voxels with fields of its header replaced."""
    image = kind(np.arange(24).reshape(2, 3, 4).astype(dtype), np.eye(4))
    content = bytearray(image.to_bytes())
    size = image.header.sizeof_hdr
    header = np.frombuffer(bytes(content[:size]), image.header.template_dtype).copy()
    for name, value in fields.items():
        header[name] = value
    content[:size] = header.tobytes()
    return bytes(content)


def _extended(size: int, content: bytes) -> bytes:
    """A NIfTI file that claims an extension of a size."""
    extension = b"\x01\0\0\0" + struct.pack("<ii", size, 0)
    return nifti(vox_offset=352 + size)[:348] + extension + content


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(999))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(picture_files.chunk(*part) for part in parts)


def picture(array: np.ndarray, form: str = "PNG", **options) -> bytes:
    """An image file of an array."""
    stream = io.BytesIO()
    PIL.Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def _text_bomb() -> PIL.PngImagePlugin.PngInfo:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 2_000_000, zip=True)
    return info


def _cut_pages() -> bytes:
    """A TIFF of two pages, cut off before the second."""
    return picture_files.tiff(GREY, GREY)[: len(picture_files.tiff(GREY))]


def _round_pages() -> bytes:
    """A TIFF whose page says that the next one is itself."""
    content = bytearray(picture_files.tiff(GREY))
    # After the directory at 8, of a count and nine entries.
    content[118:122] = struct.pack("<I", 8)
    return bytes(content)


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
_DIMS = {
    "of 32767 voxels along each axis": ([4, *[32767] * 4, 1, 1, 1], "at most .* bytes, its header"),
    "of negative sizes": ([3, -2, 3, 4, 1, 1, 1, 1], r"axes of at least one voxel, got \(-2, 3, 4"),
    "of no voxels": ([3, 0, 3, 4, 1, 1, 1, 1], r"axes of at least one voxel, got \(0, 3, 4"),
    "of no axes": ([0, 2, 3, 4, 1, 1, 1, 1], "axes of at least one voxel"),
    "of nine axes": ([9, 2, 3, 4, 1, 1, 1, 1], "expected a header of 348 bytes"),
    "of more voxels than bytes": ([3, 20, 30, 40, 1, 1, 1, 1], "the file has 400: it is cut off"),
    "of four axes": ([4, 2, 3, 2, 2, 1, 1, 1], "an image of 2 or 3 axes"),
}
_VOLUMES = [
    *[(name, file("a.nii", nifti(dim=dim)), says) for name, (dim, says) in _DIMS.items()],
    (
        "of another header size",
        file("a.nii", nifti(sizeof_hdr=7)),
        "header of 348 bytes, it says 7",
    ),
    ("with voxels in the header", file("a.nii", nifti(vox_offset=0)), "voxels from .* it says 0"),
    ("with voxels beyond its end", file("a.nii", nifti(vox_offset=1e6)), "it is cut off"),
    ("with voxels at NaN", file("a.nii", nifti(vox_offset=np.nan)), "it says nan"),
    ("scaled by inf", file("a.nii", nifti(scl_slope=np.inf)), "finite number, its header says inf"),
    ("shifted by NaN", file("a.nii", nifti(scl_slope=2, scl_inter=np.nan)), "header is damaged"),
    ("of complex numbers", file("a.nii", nifti(datatype=32, bitpix=64)), "got voxels of complex64"),
    ("of colours", file("a.nii", nifti(datatype=128, bitpix=24)), "expected numbers, got voxels"),
    ("of an unknown type", file("a.nii", nifti(datatype=999)), "its header is damaged"),
    ("with NaN in the affine", file("a.nii", nifti(srow_x=[np.nan] * 4)), "affine that can be inv"),
    ("of a flat affine", file("a.nii", nifti(srow_x=[0] * 4)), "affine that can be inverted"),
    ("with voxels of 0 mm", file("a.nii", nifti(sform_code=0, pixdim=[0] * 8)), "positive size"),
    (
        "turned by NaN",
        file("a.nii", nifti(sform_code=0, qform_code=1, quatern_b=np.nan)),
        "affine that can be inverted",
    ),
    ("of the largest numbers", file("a.nii", nifti(srow_x=[3e38] * 4)), "voxels of 1e-06"),
    ("with voxels of 1e-30 mm", file("a.nii", nifti(srow_x=[1e-30, 0, 0, 0])), "voxels of 1e-06"),
    ("with voxels of 1e30 mm", file("a.nii", nifti(srow_y=[0, 1e30, 0, 0])), "voxels of 1e-06"),
    ("that lies 3e38 mm away", file("a.nii", nifti(srow_z=[0, 0, 1, 3e38])), "at most 1e.09 mm"),
    (
        "with voxels of 3e38 mm and no matrix",
        file("a.nii", nifti(sform_code=0, pixdim=[1, *[3e38] * 7])),
        "voxels of 1e-06 to 1e.06 mm",
    ),
    (
        "turned by 3e38",
        file("a.nii", nifti(sform_code=0, qform_code=1, quatern_b=3e38)),
        "affine that can be inverted|header is damaged",
    ),
    ("of another magic word", file("a.nii", nifti(magic=b"abc")), "expected a NIfTI file"),
    ("that is cut off", file("a.nii", nifti()[:360]), "expected 48 bytes .* it is cut off"),
    ("cut off in the header", file("a.nii", nifti()[:99]), "expected a NIfTI file"),
    ("deflated and cut off", file("a.nii.gz", gzip.compress(nifti())[:60]), "cut off or damaged"),
    ("that is not deflated", file("a.nii.gz", nifti()), "expected a NIfTI file"),
    (
        "that unpacks to more",
        file("a.nii.gz", gzip.compress(nifti() + bytes(10**8))),
        "expected 4496 bytes after unpacking, there are more",
    ),
    ("of an endless extension", file("a.nii", _extended(2**31 - 999, b"")), "voxels from byte"),
    (
        "of an extension that unpacks to more",
        file("a.nii.gz", gzip.compress(_extended(10**8, bytes(10**8)))),
        "expected voxels from byte 349 to 16777216 on, it says 1",
    ),
    ("empty", file("a.nii.gz", b""), "a.nii.gz: expected an image, the file has no bytes"),
    ("a folder", lambda folder: _folder(folder / "a.nii"), "a.nii: expected a file, there is none"),
    ("a link to nothing", lambda folder: _link(folder / "a.nii"), "a.nii: expected a file, there"),
    ("a pipe", lambda folder: _pipe(folder / "a.nii"), "a.nii: expected a file, there is none"),
    ("of another ending", file("a.dcm", b"DICM"), "a.dcm: expected a name that ends in one of"),
]
_PICTURES = [
    ("of 100,000 pixels a side", file("a.png", png_claiming(10**5, 10**5)), "a smaller image"),
    ("of more pixels than bytes", file("a.png", png_claiming(9000, 9000)), "its header says"),
    ("of no pixels", file("a.png", png_claiming(0, 8)), "expected a PNG or TIFF, got another"),
    ("cut off", file("a.png", picture(GREY)[:-30]), "expected a whole file, it is cut off"),
    (
        "animated",
        file("a.png", picture(GREY, save_all=True, append_images=[PIL.Image.fromarray(GREY + 1)])),
        "expected one image in a PNG, got 2",
    ),
    ("transparent", file("a.png", picture(np.zeros((8, 8, 4), np.uint8))), "got mode RGBA"),
    (
        "with a comment that unpacks to more",
        file("a.png", picture(GREY, pnginfo=_text_bomb())),
        "Dec",
    ),
    ("a JPEG", file("a.png", picture(GREY, "JPEG")), "expected a PNG or TIFF, got another file"),
    ("a program in PostScript", file("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), "a PNG or TIFF, got"),
    (
        "of another checksum",
        file("a.png", picture(GREY)[:-16] + b"?" + picture(GREY)[-15:]),
        "IDAT",
    ),
    ("of float64", file("a.tif", picture_files.tiff(GREY.astype(float))), "32 bits .* got float64"),
    ("a TIFF without its last page", file("a.tif", _cut_pages()), "a page, or pixels of one"),
    ("a TIFF whose pages have no end", file("a.tif", _round_pages()), "cut off or damaged"),
    ("a TIFF that is cut off", file("a.tif", picture(GREY, "TIFF")[:90]), "cut off or damaged"),
]


def _folder(path: pathlib.Path) -> str:
    path.mkdir()
    return str(path)


def _link(path: pathlib.Path) -> str:
    path.symlink_to("nowhere")
    return str(path)


def _pipe(path: pathlib.Path) -> str:
    os.mkfifo(path)
    return str(path)


ROWS = [
    *group("NIfTI", read_write.read, _VOLUMES, error=read_write.UnreadableError, bounded=True),
    *group("PNG", read_write.read, _PICTURES, error=read_write.UnreadableError, bounded=True),
    *group(
        "header of a PNG",
        read_write.peek,
        [
            (
                "of 100,000 pixels a side",
                file("a.png", png_claiming(10**5, 10**5)),
                "smaller image",
            )
        ],
        error=read_write.UnreadableError,
        bounded=True,
    ),
]
