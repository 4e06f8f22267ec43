"""Volumes: hippocampi and patches of labelled CTs."""

import numpy as np
import pytest

from noisyjax.data import sources
from noisyjax.data.sources import ct_patches, hippocampus, hounsfield


def _hippocampi():
    rng = np.random.default_rng(0)
    extents = np.array([[4, 3, 5], [2, 4, 3]], np.int16)
    image, label = np.zeros((2, 2, 4, 4, 5), np.uint8)
    for i, (a, b, c) in enumerate(extents):
        image[i, :a, :b, :c] = rng.integers(0, 256, (a, b, c))
        label[i, :a, :b, :c] = rng.integers(0, 3, (a, b, c))
    return {"image": image, "label": label, "shape": extents, "name": np.array(["h_1", "h_7"])}


def _save(tmp_path, arrays):
    path = str(tmp_path / "volumes.npz")
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("merge", [True, False])
def test_hippocampi(tmp_path, merge):
    arrays = _hippocampi()
    loaded = sources.load("hippocampus", path=_save(tmp_path, arrays), merge=merge)
    assert loaded.num_classes == (2 if merge else 3)
    assert loaded.case_names == ("h_1", "h_7")
    assert loaded.spacing == (1.0, 1.0, 1.0)
    expected = arrays["label"] > 0 if merge else arrays["label"]
    for i, extent in enumerate(arrays["shape"]):
        example = loaded.examples[i]
        np.testing.assert_array_equal(example["truth"], expected[i])
        assert example["truth"].dtype == np.uint8
        assert example["image"].shape == (4, 4, 5, 1)
        assert example["image"].dtype == np.float32
        inside = tuple(slice(0, n) for n in extent)
        values = example["image"][inside]
        np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-5)
        order = np.argsort(arrays["image"][i][inside], axis=None, kind="stable")
        assert (np.diff(values.ravel()[order]) >= 0).all()
        padding = np.ones((4, 4, 5), bool)
        padding[inside] = False
        assert not example["image"][padding].any()


def test_a_constant_volume_becomes_zeros():
    image = np.full((3, 3), 7, np.uint8)
    np.testing.assert_array_equal(hippocampus.normalise(image, np.array([2, 3])), np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.full((2, 4, 4, 5), 3, np.uint8)}, r"label: expected values in 0\.\.2, got 3"),
        ({"shape": np.array([[4, 3, 5], [2, 5, 3]])}, r"shape\[:, 1\]: expected values in 1\.\.4"),
        ({"shape": np.array([[4, 3, 0], [2, 4, 3]])}, r"shape\[:, 2\]: .* got 0\.\.3"),
        ({"name": np.array(["a"])}, r"name: expected text \[N\], N = 2"),
    ],
)
def test_hippocampi_name_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(ValueError, match="volumes.npz: " + message):
        hippocampus.load(path=_save(tmp_path, {**_hippocampi(), **changes}))


def _ct():
    seg = np.zeros((6, 7, 8), np.uint8)
    seg[1:4, 2:5, 3:6] = 2
    seg[5, 6, 7] = 1
    return {
        "ct_hu": (50 * np.arange(6 * 7 * 8) - 2000).reshape(6, 7, 8).astype(np.int16),
        "seg": seg,
        "spacing": np.array([3, 3, 1.5], np.float32),
        "label_names": np.array(["background", "rib", "liver", "lung"]),
    }


def test_the_first_patch_is_centred_on_the_structure(tmp_path):
    arrays = _ct()
    loaded = sources.load("ct_patches", path=_save(tmp_path, arrays), structure="liver", size=4)
    assert loaded.class_names == ("background", "liver")
    assert loaded.spacing == (3.0, 3.0, 1.5)
    assert loaded.case_names == ("liver-2-3-4",)
    example = loaded.examples[0]
    inside = np.s_[0:4, 1:5, 2:6]
    np.testing.assert_array_equal(example["truth"], arrays["seg"][inside] == 2)
    expected = np.clip((arrays["ct_hu"][inside] + 200) / 600, 0, 1)
    np.testing.assert_allclose(example["image"][..., 0], expected, atol=0.51 / 255)


def test_random_patches_are_around_the_structure_and_padded_with_air(tmp_path):
    path = _save(tmp_path, _ct())
    loaded = ct_patches.load(path=path, structure="liver", size=10, count=9, seed=3)
    again = ct_patches.load(path=path, structure="liver", size=10, count=9, seed=3)
    other = ct_patches.load(path=path, structure="liver", size=10, count=9, seed=4)
    assert loaded.case_names == again.case_names != other.case_names
    assert len(set(loaded.groups)) == 1
    for i in range(9):
        example = loaded.examples[i]
        assert example["truth"][5, 5, 5] == 1
        assert example["truth"].sum() == 27
        assert (example["image"][0] == 0).all()


def test_one_mask_per_structure(tmp_path):
    arrays = _ct()
    mask = (arrays.pop("seg") == 2).astype(np.uint8)
    del arrays["label_names"]
    path = _save(tmp_path, {**arrays, "liver": mask, "odd": mask * 7})
    example = ct_patches.load(path=path, structure="liver", size=16).examples[0]
    assert example["truth"].sum() == 27
    with pytest.raises(ValueError, match=r"odd: expected values in 0\.\.1, got 0\.\.7"):
        ct_patches.load(path=path, structure="odd")
    with pytest.raises(ValueError, match="structure: expected one of 'liver', 'odd', got 'seg'"):
        ct_patches.load(path=path, structure="seg")


def test_ct_names_what_is_wrong(tmp_path):
    path = _save(tmp_path, _ct())
    # The lung has a name, but no voxel.
    with pytest.raises(ValueError, match="structure: expected one of 'rib', 'liver', got 'lung'"):
        ct_patches.load(path=path, structure="lung")
    with pytest.raises(ValueError, match=r"rib: expected at least 2 voxels .* got 1"):
        ct_patches.load(path=path, structure="rib", count=2)
    with pytest.raises(ValueError, match="size: expected a number > 0, got 0"):
        ct_patches.load(path=path, structure="rib", size=0)
    with pytest.raises(ValueError, match=r"window: expected \(low, high\) with low < high"):
        ct_patches.load(path=path, structure="rib", window=(5.0, 5.0))


def test_window_of_hounsfield_units():
    values = np.array([-20, 0, 1, 50, 100, 101], np.int16)
    stored = hounsfield.to_bytes(values, window=(0.0, 100.0))
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, [0, 0, 3, 128, 255, 255])


def test_real_hippocampi(real_data):
    loaded = hippocampus.load(path=str(real_data / "msd_hippocampus_130.npz"))
    assert len(loaded.examples) == len(set(loaded.case_names)) == 130
    assert loaded.examples[0]["image"].shape == (48, 64, 48, 1)
    assert 1000 < loaded.examples[0]["truth"].sum() < 10_000


@pytest.mark.parametrize(
    ("file", "structure", "spacing"),
    [("totalseg_abdomen_ct", "kidney_right", 3.0), ("totalseg_aorta_cta", "aorta", 1.5)],
)
def test_real_ct(real_data, file, structure, spacing):
    path = str(real_data / f"{file}.npz")
    loaded = ct_patches.load(path=path, structure=structure, count=2)
    assert loaded.spacing == (spacing,) * 3
    example = loaded.examples[0]
    assert example["image"].shape == (64, 64, 64, 1)
    organ = example["truth"] == 1
    assert 0.01 < organ.mean() < 0.15
    assert example["image"][organ].mean() > example["image"][~organ].mean()
