"""Reading and writing of images and label maps."""

import contextlib
import dataclasses
import gzip
import struct
import zlib

import folder_fakes as fakes
import nibabel as nib
import numpy as np
import picture_files
import PIL.Image
import pytest
import SimpleITK

from noisyjax.data.volumes import read_write
from noisyjax.data.volumes.formats import base, nifti, simpleitk

# Sheared and turned, in numbers that float32 holds.
OBLIQUE = np.array(
    [[-1.0, 0.25, 0.0, 5.0], [0.5, 1.5, 0.0, -7.5], [0.0, 0.0, 3.0, 2.0], [0, 0, 0, 1.0]]
)


def _array(dtype, shape=(4, 3, 5)):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_nifti_keeps_values_dtype_affine_and_spacing(tmp_path, end, dtype):
    path = tmp_path / f"a{end}"
    array = _array(dtype)
    read_write.write(path, read_write.Volume(array, OBLIQUE, 3))
    read = read_write.read(path)
    np.testing.assert_array_equal(read.array, array)
    np.testing.assert_array_equal(read.affine, OBLIQUE)
    assert read.array.dtype == dtype
    np.testing.assert_allclose(read.spacing, np.sqrt([1.25, 2.3125, 9.0]))
    peeked = read_write.peek(path)
    assert (peeked.shape, peeked.spacing) == (read.shape, read.spacing)
    assert peeked.array.strides == (0, 0, 0)
    # As another program reads it.
    other = nib.load(path)
    assert other.get_data_dtype() == dtype
    assert other.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(other.header.get_zooms(), read.spacing, rtol=1e-6)


@pytest.mark.parametrize("end", [".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_itk_formats_keep_values_dtype_and_place(tmp_path, end, dtype):
    path = tmp_path / f"a{end}"
    # Turned and mirrored, without shear, which ITK does not have.
    affine = np.array([[0.0, -2.0, 0, 5], [1.5, 0, 0, -7.5], [0, 0, 3.0, 2.0], [0, 0, 0, 1]])
    array = _array(dtype)
    read_write.write(path, read_write.Volume(array, affine, 3))
    read = read_write.read(path)
    np.testing.assert_array_equal(read.array, array)
    np.testing.assert_allclose(read.affine, affine, atol=1e-9)
    assert read.array.dtype == dtype
    assert read_write.peek(path).spacing == read.spacing


@pytest.mark.parametrize(
    ("end", "dtype", "shape"),
    [
        (".png", "uint8", (4, 5)),
        (".png", "uint16", (4, 5)),
        (".png", "uint8", (4, 5, 3)),
        (".tif", "uint8", (4, 5)),
        (".tiff", "uint16", (4, 5)),
        (".tif", "float32", (4, 5)),
        (".tif", "uint8", (3, 4, 5)),
    ],
)
def test_pictures_keep_values_and_dtype(tmp_path, end, dtype, shape):
    path = tmp_path / f"a{end}"
    array = _array(dtype, shape)
    axes = 3 if shape == (3, 4, 5) else 2
    read_write.write(path, read_write.Volume(array, np.eye(4), axes))
    read = read_write.read(path)
    np.testing.assert_array_equal(read.array, array)
    assert read.array.dtype == dtype
    assert read.num_axes == read_write.peek(path).num_axes == axes
    assert read.spacing == (1.0,) * axes


def test_a_picture_of_a_palette_or_of_bits_is_its_numbers(tmp_path):
    labels = (np.arange(20) % 3).reshape(4, 5).astype(np.uint8)
    palette = PIL.Image.fromarray(labels, "L").convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_write.read(tmp_path / "palette.png").array, labels)
    PIL.Image.fromarray(labels > 0).save(tmp_path / "bits.png")
    read = read_write.read(tmp_path / "bits.png").array
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels > 0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_of_few_bits_is_its_numbers(tmp_path, bits, interlaced):
    labels = (np.arange(99) % min(2**bits, 200)).reshape(9, 11).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(picture_files.png(labels, bits=bits, interlaced=interlaced))
    read = read_write.read(path).array
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels)


def test_no_bit_of_a_png_changes_its_pixels_unnoticed(tmp_path):
    labels = (np.arange(64).reshape(8, 8) // 9 % 3).astype(np.uint8)
    path = tmp_path / "a.png"
    content = picture_files.png(labels)
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(read_write.UnreadableError, match=r"a.png: expected"):
            read_write.read(path)


@pytest.mark.parametrize("end", [".mha", ".nrrd", ".tif"])
def test_no_bit_of_deflated_voxels_changes_unnoticed(tmp_path, end):
    path = tmp_path / f"a{end}"
    labels = np.random.default_rng(0).integers(0, 3, (2, 9, 9), np.uint8)
    if end == ".tif":
        first, *others = (PIL.Image.fromarray(page) for page in labels)
        options = {"compression": "tiff_adobe_deflate", "save_all": True, "append_images": others}
        first.save(path, **options)
    else:
        fakes.save(path, labels)
    np.testing.assert_array_equal(read_write.read(path).array, labels)
    content = path.read_bytes()
    # The header of a TIFF stands before each page.
    starts = {".mha": b"LOCAL\n", ".nrrd": b"\n\n", ".tif": b"\x78\x9c"}
    start = content.index(starts[end]) + (0 if end == ".tif" else len(starts[end]))
    size = len(content) - start if end != ".tif" else 36
    for bit in range(8 * start, 8 * (start + size)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        # The header of gzip holds a time and a name, which are of no matter.
        with contextlib.suppress(read_write.UnreadableError):
            np.testing.assert_array_equal(read_write.read(path).array, labels)


def test_a_png_is_whole_to_the_last_checksum(tmp_path):
    content = picture_files.png(np.zeros((8, 8), np.uint8))
    start = content.index(b"IDAT") - 4
    packed = content[start + 8 : -16]
    # The checksum of the pixels themselves, under one of the chunk that fits.
    damaged = packed[:-1] + bytes([packed[-1] ^ 1])
    more = zlib.compress(bytes(10**6))
    for pixels, words in (
        (damaged, "incorrect data check"),
        (packed[:-4], "its pixels end too early"),
        (more, "more pixels than its header says"),
    ):
        path = tmp_path / "a.png"
        path.write_bytes(content[:start] + picture_files.chunk(b"IDAT", pixels) + content[-12:])
        with pytest.raises(read_write.UnreadableError, match=words):
            read_write.read(path)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64"])
def test_a_tiff_of_wide_numbers_is_refused_for_that(tmp_path, dtype):
    path = tmp_path / "a.tif"
    path.write_bytes(picture_files.tiff(np.zeros((4, 5), dtype)))
    with pytest.raises(read_write.UnreadableError, match=f"of at most 32 bits .*, got {dtype}"):
        read_write.read(path)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_png_of_other_rows_than_it_says_is_not_filled_up(tmp_path, bits, interlaced):
    path = tmp_path / "a.png"
    for shape in ((9, 7), (1, 1), (3, 5), (8, 8)):
        array = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8) % 2
        content = picture_files.png(array, bits=bits, interlaced=interlaced)
        path.write_bytes(content)
        np.testing.assert_array_equal(read_write.read(path).array > 0, array)
        for rows, words in ((shape[0] + 8, "end too early"), (shape[0] - 1, "there are more")):
            header = struct.pack(">II", shape[1], rows) + content[24:29]
            path.write_bytes(content[:8] + picture_files.chunk(b"IHDR", header) + content[33:])
            with pytest.raises(read_write.UnreadableError, match=words if rows else "a PNG"):
                read_write.read(path)


def test_numbered_colours_without_a_palette_are_refused(tmp_path):
    path, content = (
        tmp_path / "a.png",
        picture_files.png(np.arange(20, dtype=np.uint8).reshape(4, 5)),
    )
    header = content[16:25] + b"\x03" + content[26:29]
    path.write_bytes(content[:8] + picture_files.chunk(b"IHDR", header) + content[33:])
    with pytest.raises(read_write.UnreadableError, match="numbered, and it has no palette"):
        read_write.read(path)


@pytest.mark.parametrize("true", [b"1e+30", b"t"])
def test_voxels_that_are_said_to_be_deflated_and_are_not_are_refused(tmp_path, true):
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(_array("int16", (6, 5, 4))), str(path))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CompressedData = False", b"CompressedData = " + true))
    with pytest.raises(read_write.UnreadableError, match="cut off or damaged"):
        read_write.read(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("end", "whole", "changed"),
    [
        (".nrrd", b"sizes: 4 5 6", b"sizes: 4 1e9 6"),
        (".nrrd", b"sizes: 4 5 6", b"sizes: 4 5 1"),
        (".mha", b"DimSize = 4 5 6", b"DimSize = 4 5 1"),
    ],
)
def test_a_header_that_says_less_than_there_is_is_refused(tmp_path, packed, end, whole, changed):
    path = tmp_path / f"a{end}"
    image = SimpleITK.GetImageFromArray(_array("int16", (6, 5, 4)))
    SimpleITK.WriteImage(image, str(path), useCompression=packed)
    assert read_write.read(path).shape == (4, 5, 6)
    content = path.read_bytes()
    assert whole in content
    path.write_bytes(content.replace(whole, changed))
    words = "its header says .* of voxels|more in its deflated data"
    with pytest.raises(read_write.UnreadableError, match=words):
        read_write.read(path)


@pytest.mark.parametrize(
    ("entry", "changed", "words"),
    [
        ((262, 4, 1, 1), (262, 3, 257, 1), "tag 262 has 257 values of the type 3"),
        ((262, 4, 1, 1), (9, 4, 1, 1), "no tag 262"),
        ((258, 4, 1, 8), (258, 4, 0, 8), "tag 258 has no value"),
        ((258, 4, 1, 8), (9, 4, 1, 8), "says 4 bytes of pixels, it has 20"),
        ((257, 4, 1, 4), (257, 4, 1, 3), "says 15 bytes of pixels, it has 20"),
    ],
)
def test_a_page_that_is_described_by_half_is_refused(tmp_path, entry, changed, words):
    path, content = tmp_path / "a.tif", picture_files.tiff(_array("uint8", (4, 5)))
    whole = struct.pack("<HHII", *entry)
    assert whole in content
    path.write_bytes(content.replace(whole, struct.pack("<HHII", *changed)))
    for read in (read_write.read, read_write.peek):
        with pytest.raises(read_write.UnreadableError, match=words):
            read(path)


def test_pages_that_are_cut_off_are_missed(tmp_path):
    pages = _array("uint16", (3, 4, 5))
    content, path = picture_files.tiff(*pages), tmp_path / "a.tif"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_write.read(path).array, pages)
    first = len(picture_files.tiff(pages[0]))
    for length in (first, first + 1, first + 60, len(content) - 1):
        path.write_bytes(content[:length])
        for read in (read_write.read, read_write.peek):
            with pytest.raises(read_write.UnreadableError, match="cut off or damaged"):
                read(path)


def test_numbers_of_a_palette_stand_for_colours_in_an_image(tmp_path):
    labels = (np.arange(20) % 3).reshape(4, 5).astype(np.uint8)
    path = tmp_path / "a.png"
    picture = PIL.Image.fromarray(labels, "L").convert("P")
    picture.putdata(labels.ravel().tolist())
    for colours, expected in (
        ([[9, 8, 7], [255, 0, 0], [0, 1, 2]], None),
        ([[9, 9, 9], [255, 255, 255], [0, 0, 0]], [9, 255, 0]),
    ):
        picture.putpalette(np.ravel(colours).tolist())
        picture.save(path)
        volume = read_write.read(path)
        np.testing.assert_array_equal(volume.array, labels)
        wanted = np.array(colours if expected is None else expected)[labels]
        np.testing.assert_array_equal(read_write.in_colours(volume).array, wanted)
    picture.save(path, transparency=1)
    with pytest.raises(ValueError, match="without transparency"):
        read_write.in_colours(read_write.read(path))
    grey = read_write.Volume(labels, np.eye(4), 2)
    assert read_write.in_colours(grey) is grey


def test_scaled_intensities_and_needless_axes(tmp_path):
    image = nib.Nifti1Image(_array("int16")[..., None, None], OBLIQUE)
    image.header.set_slope_inter(0.5, -3.0)
    path = tmp_path / "scaled.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes()))
    read = read_write.read(path)
    assert read.array.dtype == np.float32
    np.testing.assert_array_equal(read.array, 0.5 * _array("int16") - 3)
    assert read.shape == read_write.peek(path).shape == (4, 3, 5)


def test_the_same_volume_is_the_same_file(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        fakes.save(tmp_path / name, fakes.image(0))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 2), (2, 0), (0, 1), (0, 0)])
def test_what_is_made_of_an_image_has_both_its_matrices(tmp_path, kind, codes):
    sform, qform = OBLIQUE, np.diag([-1.0, -1.5, 3.0, 1.0])
    qform[:3, 3] = 20, 10, -5
    image = kind(_array("int16"), np.eye(4))
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    # What nibabel writes into both is one matrix.
    image.header["pixdim"][1:4] = 1, 1.5, 3
    path, made = tmp_path / "image.nii.gz", tmp_path / "made.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes()))
    for read in (read_write.read, read_write.peek):
        like = read(path)
        labels = (read_write.to_ras(read_write.read(path)).array > 99).astype(np.uint8)
        read_write.write(made, read_write.from_ras(labels, like=like))
        ours, theirs = nib.load(made).header, nib.load(path).header
        for name in ("get_sform", "get_qform"):
            ours_is, theirs_is = (getattr(h, name)(coded=True) for h in (ours, theirs))
            assert ours_is[1] == theirs_is[1]
            if ours_is[1]:
                np.testing.assert_allclose(ours_is[0], theirs_is[0], atol=1e-6)
        np.testing.assert_allclose(ours.get_best_affine(), theirs.get_best_affine(), atol=1e-6)
        np.testing.assert_array_equal(ours["pixdim"][:4], theirs["pixdim"][:4])
        assert ours.get_xyzt_units() == theirs.get_xyzt_units()
        np.testing.assert_array_equal(read_write.read(made).array, _array("int16") > 99)


def test_a_volume_that_was_moved_has_its_new_matrix_alone(tmp_path):
    path = tmp_path / "a.nii"
    read_write.write(path, read_write.Volume(_array("int16"), OBLIQUE, 3))
    moved = dataclasses.replace(read_write.read(path), affine=np.diag([1.0, 2.0, 3.0, 1.0]))
    read_write.write(path, moved)
    np.testing.assert_array_equal(nib.load(path).affine, moved.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "ILA"])
def test_to_ras_and_back(codes):
    turn = nib.orientations.axcodes2ornt(codes)
    ras = read_write.Volume(_array("int16"), np.diag([1.0, 1.5, 2.0, 1.0]), 3)
    back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), turn)
    turned = read_write.Volume(
        nib.orientations.apply_orientation(ras.array, back),
        ras.affine @ nib.orientations.inv_ornt_aff(back, ras.shape),
        3,
    )
    again = read_write.to_ras(turned)
    np.testing.assert_array_equal(again.array, ras.array)
    np.testing.assert_allclose(again.affine, ras.affine, atol=1e-12)
    assert again.spacing == pytest.approx((1.0, 1.5, 2.0))
    returned = read_write.from_ras(again.array, like=turned)
    np.testing.assert_array_equal(returned.array, turned.array)
    np.testing.assert_array_equal(returned.affine, turned.affine)
    with pytest.raises(ValueError, match="array, turned back: expected shape .* like the image"):
        read_write.from_ras(again.array[:2], like=turned)


def test_a_nearly_straight_volume_turns_by_whole_axes():
    affine = OBLIQUE[[1, 0, 2, 3]]
    ras = read_write.to_ras(read_write.Volume(_array("int16"), affine, 3))
    assert nib.aff2axcodes(ras.affine) == ("R", "A", "S")
    assert sorted(ras.shape) == [3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "fault", "message"),
    [
        ("a.jpg", b"x", "format", "ends in one of .nii, .nii.gz, .mha"),
        ("a.nii.gz", None, "missing", "there is none"),
        ("a.nii", b"", "empty", "has no bytes"),
        ("a.nii.gz", b"x" * 999, "format", "expected a NIfTI file"),
        ("a.nii", b"x" * 999, "format", "expected a NIfTI file"),
        ("a.png", b"x" * 99, "format", "expected a PNG or TIFF"),
        ("a.mha", b"NDims = 3\nElementDataFile = ../../b.raw\n", "format", "in the same file"),
        ("a.nrrd", b"NRRD0004\ndata file: /etc/passwd\n\n", "format", "in the same file"),
        ("a.mha", b"NDims = 3\nElementDataFile = LOCAL\n", "format", "header"),
        # Of these ITK does not come back.
        (
            "a.mha",
            b"NDims = 1" + b"0" * 30 + b"\nElementDataFile = LOCAL\n",
            "format",
            "NDims of 2",
        ),
        ("a.mha", b"NDims = -3\nElementDataFile = LOCAL\n", "format", "NDims of 2 to 5, got '-3'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, fault, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (read_write.read, read_write.peek):
        with pytest.raises(read_write.UnreadableError, match=message) as error:
            read(path)
        assert error.value.fault == fault
        assert str(path) in str(error.value)


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".mha", ".nrrd", ".png", ".tif"])
@pytest.mark.parametrize("left", [0.3, 0.97])
def test_a_file_that_is_cut_off_is_named(tmp_path, end, left):
    path = tmp_path / f"a{end}"
    shape = (64, 64) if end in (".png", ".tif") else (16, 16, 16)
    fakes.save(path, np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(read_write.UnreadableError, match=f"a{end}: expected .*cut off") as error:
        read_write.read(path)
    assert error.value.fault == "truncated"


@pytest.mark.parametrize("end", [".nii.gz", ".mha", ".nrrd", ".tif"])
def test_no_more_than_allowed_is_allocated(tmp_path, end):
    path = tmp_path / f"a{end}"
    fakes.save(
        path, np.zeros((32, 32), np.uint8) if end == ".tif" else np.zeros((8, 8, 8), np.uint8)
    )
    with pytest.raises(read_write.UnreadableError, match="at most 100 bytes") as error:
        read_write.read(path, max_bytes=100)
    assert error.value.fault == "too_large"


def test_more_than_the_header_says_is_not_unpacked(tmp_path):
    path = tmp_path / "a.nii.gz"
    fakes.save(path, fakes.image(0))
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(10**6)))
    with pytest.raises(read_write.UnreadableError, match="there are more"):
        read_write.read(path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.png", np.zeros((4, 4), np.float32), "expected uint8 or uint16 of 2 axes, got float32"),
        ("a.png", np.zeros((4, 4, 4), np.uint8), "of 2 axes, got uint8 of 3"),
        ("a.tif", np.zeros((4, 4), np.int64), "expected uint8 or uint16 or float32"),
        ("a.nii", np.zeros((4, 4, 4), np.float16), "expected a dtype of NIfTI, got float16"),
        ("a.nii", np.zeros((4, 0, 4), np.uint8), r"a.nii: expected axes of at least one voxel"),
        ("a.dcm", np.zeros((4, 4, 4), np.uint8), "ending: expected one of '.nii'"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, array, message):
    with pytest.raises(ValueError, match=message):
        fakes.save(tmp_path / name, array)
    assert list(tmp_path.iterdir()) == []


def test_a_file_holds_as_many_voxels_as_it_has_bytes(tmp_path):
    for name, most in (("a.nii", 10), ("a.nii.gz", 10 * base.MOST_DEFLATED)):
        path = tmp_path / name
        path.write_bytes(bytes(10))
        nifti._check_size(str(path), (most,), 1, 10**9)
        nifti._check_size(str(path), (most - 4,), 1, 10**9, 4)
        for arguments in ((most + 1,), 1, 10**9), ((most - 3,), 1, 10**9, 4):
            with pytest.raises(base.UnreadableError, match="it is cut off"):
                nifti._check_size(str(path), *arguments)


def test_data_in_another_file_is_told_from_data_behind_the_header(tmp_path):
    path = tmp_path / "a.mha"
    for name, good in (("LOCAL", True), ("/etc/hostname", False), ("LIST", False)):
        path.write_text(f"ObjectType = Image\nElementDataFile = {name}\n")
        if good:
            simpleitk._check_attached(str(path))
        else:
            with pytest.raises(base.UnreadableError, match="data in the same file"):
                simpleitk._check_attached(str(path))


def test_an_origin_that_is_no_number_is_refused(tmp_path):
    affine = np.eye(4)
    affine[0, 3] = np.nan
    path = str(tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), affine), path)
    with pytest.raises(base.UnreadableError, match="affine that can be inverted"):
        read_write.read(path)
