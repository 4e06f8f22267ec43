"""Reading of npz files."""

import numpy as np
import pytest

from noisyjax.data.sources import archive

_LAYOUT = {"image": "uint8 N H W", "label": "integer N H W", "name": "text N", "size": "int16 N 2"}


def _arrays():
    return {
        "image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "label": np.zeros((2, 3, 4), np.int32),
        "name": np.array(["a", "b"]),
        "size": np.zeros((2, 2), np.int16),
        "more": np.zeros(3),
    }


def _save(tmp_path, arrays):
    path = str(tmp_path / "some.npz")
    np.savez(path, **arrays)
    return path


def test_reads_what_the_layout_names(tmp_path):
    path = _save(tmp_path, _arrays())
    arrays = archive.read(path, _LAYOUT, content="volumes")
    assert set(arrays) == set(_LAYOUT)
    np.testing.assert_array_equal(arrays["image"], _arrays()["image"])
    assert archive.names(path, content="volumes") == tuple(_arrays())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": None, "name": None},
            r"some.npz: .* missing \['label', 'name'\]",
        ),
        ({"image": np.zeros((2, 3, 4))}, r"image: expected uint8 \[N, H, W\], got float64 \[2, 3"),
        ({"image": np.zeros((2, 3), np.uint8)}, r"image: expected uint8 \[N, H, W\], got uint8 \["),
        (
            {"label": np.zeros((2, 3, 5), int)},
            r"label: expected integer \[N, H, W\], N = 2, H = 3, W = 4, got int64 \[2, 3, 5\]",
        ),
        ({"name": np.zeros(2)}, r"name: expected text \[N\]"),
        ({"size": np.zeros((2, 3), np.int16)}, r"size: expected int16 \[N, 2\], N = 2, got int16"),
        ({"image": np.zeros((0, 3, 4), np.uint8)}, r"got uint8 \[0, 3, 4\]"),
        ({"name": np.array([{}, {}], object)}, "expected plain arrays, got .*allow_pickle=False"),
    ],
)
def test_names_what_is_wrong(tmp_path, changes, message):
    arrays = {k: v for k, v in {**_arrays(), **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        archive.read(_save(tmp_path, arrays), _LAYOUT, content="volumes")


def test_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz: expected an .npz file with volumes"):
        archive.read(str(tmp_path / "none.npz"), _LAYOUT, content="volumes")
    path = tmp_path / "some.npz"
    _save(tmp_path, _arrays())
    content = bytearray(path.read_bytes())
    content[-40:] = b""
    path.write_bytes(content)
    with pytest.raises(ValueError, match="some.npz: expected an .npz archive; the file is cut off"):
        archive.names(str(path), content="volumes")


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "some.npz"
    _save(tmp_path, _arrays())
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="some.npz: expected plain arrays, got Bad CRC"):
        archive.read(str(path), _LAYOUT, content="volumes")


def test_range():
    archive.check_range("f", "label", np.array([0, 2]), 0, 2)
    with pytest.raises(ValueError, match=r"f: label: expected values in 0\.\.2, got 1\.\.3"):
        archive.check_range("f", "label", np.array([1, 3]), 0, 2)


@pytest.mark.parametrize("width", [8, 13])
def test_unpack_reverses_packbits(width):
    masks = np.random.default_rng(0).integers(0, 2, (2, 3, width), dtype=np.uint8)
    packed = np.packbits(masks, axis=-1)
    np.testing.assert_array_equal(archive.unpack("f", "m", packed, width), masks)
    with pytest.raises(ValueError, match="f: m: expected 3 bytes for a width of 17, got"):
        archive.unpack("f", "m", packed, 17)
