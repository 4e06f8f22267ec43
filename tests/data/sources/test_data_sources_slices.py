"""Slices of volumes: vertebrae, cords and hippocampi."""

import numpy as np
import pytest

from noisyjax.data import sources, splits
from noisyjax.data.sources import slices, spine_slices


def _spine(folder):
    """Volumes with boxes in them; voxels of 3 and 1.5 mm, the second box at the volume's edge."""
    rng = np.random.default_rng(0)
    names = ["background", "rib", "vertebrae_L1", "vertebrae_S1", "vertebrae_T12"]
    seg = np.zeros((20, 18, 30), np.uint8)
    seg[6:12, 4:10, 5:15] = 2
    seg[6:12, 4:10, 15:20] = 4
    seg[6:12, 4:10, 0:5] = 3
    seg[0:2] = 1
    np.savez(
        folder / "totalseg_abdomen_ct.npz",
        ct_hu=np.where(seg == 2, 800, rng.integers(-1000, -100, seg.shape)).astype(np.int16),
        seg=seg,
        spacing=np.full(3, 3, np.float32),
        label_names=np.array(names),
    )
    mask = np.zeros((24, 26, 12), np.uint8)
    mask[8:16, 0:10, 2:9] = 1
    np.savez(
        folder / "totalseg_aorta_cta.npz",
        ct_hu=np.where(mask, 800, -200).astype(np.int16),
        vertebra_t12=mask,
        spacing=np.full(3, 1.5, np.float32),
    )
    cords = {}
    for name in ("t1", "t2"):
        cord = np.zeros((12, 14, 9), np.uint8)
        cord[4:8, 5:10] = 1
        cords |= {
            f"{name}_image": (100 * cord + rng.integers(0, 50, cord.shape)).astype(np.int16),
            f"{name}_mask": cord,
            f"{name}_spacing": np.ones(3, np.float32),
        }
    np.savez(folder / "sct_spinal_cord_mr.npz", **cords)
    return seg


@pytest.fixture
def spine(tmp_path):
    _spine(tmp_path)
    options = {"root": str(tmp_path), "size": 40, "pixel": 1.5, "least": 30, "block": 6, "gap": 1}
    return sources.load("spine_slices", **options)


def test_slices_show_the_vertebrae_and_not_the_sacrum(spine):
    names = spine.case_names
    assert spine.class_names == ("background", "vertebrae")
    assert spine.spacing == (1.5, 1.5)
    assert [n for n in names if n.startswith("abdomen")][:3] == [
        f"abdomen-00{i}" for i in (5, 6, 7)
    ]
    assert [n for n in names if n.startswith("aorta")] == [
        f"aorta-00{i}" for i in (2, 3, 4, 5, 6, 7)
    ]
    example = spine.examples[0]
    # A box of 6 x 6 voxels of 3 mm is 12 x 12 pixels, around the middle of the square.
    truth = example["truth"].astype(bool)
    assert example["image"].shape == (40, 40, 1)
    assert truth.sum() == 144
    np.testing.assert_allclose(np.argwhere(truth).mean(axis=0), 19.5)
    assert example["image"][truth].mean() > 0.8 > 0.3 > example["image"][~truth].mean()
    assert 0 <= example["image"].min() <= example["image"].max() <= 1


def test_what_lies_outside_of_a_volume_is_air_and_background(spine):
    i = spine.case_names.index("aorta-004")
    example = spine.examples[i]
    # The box touches the edge: 10 voxels wide, its middle 4.5 from the edge, so 15 pixels of air.
    expected = np.zeros((40, 40), np.uint8)
    expected[16:24, 15:25] = 1
    np.testing.assert_array_equal(example["truth"], expected)
    assert not example["image"][:, :15].any()


def test_neighbouring_slices_stay_together_with_a_gap_between_groups(spine):
    planes = [int(name[-3:]) for name in spine.case_names]
    volumes = [name.split("-")[0] for name in spine.case_names]
    groups = spine.groups
    assert [planes[i] for i in np.flatnonzero(groups == 0)] == [5, 6, 7, 8, 9, 10]
    assert [planes[i] for i in np.flatnonzero(groups == 1)] == [12, 13, 14, 15, 16, 17]
    for i in range(len(planes)):
        for j in range(i):
            if volumes[i] == volumes[j] and abs(planes[i] - planes[j]) == 1:
                assert groups[i] == groups[j]
            assert (groups[i] == groups[j]) <= (volumes[i] == volumes[j])
    parts = splits.of_source(spine, seed=0, fractions=(0.5, 0.25, 0.25))
    owners = [set(groups[ids]) for ids in parts.values()]
    assert sum(len(owner) for owner in owners) == len(set(groups))


def test_cords(tmp_path):
    _spine(tmp_path)
    options = {"root": str(tmp_path), "structure": "cord", "size": 16, "least": 5, "block": 0}
    loaded = sources.load("spine_slices", **options)
    assert len(loaded.examples) == 18
    np.testing.assert_array_equal(np.bincount(loaded.groups), [9, 9])
    assert loaded.class_names == ("background", "cord")
    # Pixels at the voxels of the four rows and between those of the five columns.
    for i in (0, 17):
        truth = loaded.examples[i]["truth"]
        assert truth.sum() == 4 * 6
        assert loaded.examples[i]["image"][truth > 0].mean() > 0.7
    sagittal = sources.load("spine_slices", **options, axis=0)
    assert len(sagittal.examples) == 8
    assert sagittal.case_names[0] == "t1-004"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": "rib"}, "structure: expected one of 'vertebrae', 'cord', got 'rib'"),
        ({"axis": 3}, "axis: expected one of 0, 1, 2, got 3"),
        ({"size": 0}, "size: expected a number > 0"),
        ({"least": 0}, "least: expected a number > 0"),
        ({"gap": -1}, "gap: expected a number >= 0"),
        ({"least": 10_000}, "expected slices with 10000 pixels of vertebrae, got none"),
    ],
)
def test_spines_name_what_is_wrong(tmp_path, options, message):
    _spine(tmp_path)
    with pytest.raises(ValueError, match=message):
        spine_slices.load(**{"root": str(tmp_path), "size": 16, **options})


def test_absent_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"totalseg_abdomen_ct\.npz: expected an \.npz"):
        spine_slices.load(root=str(tmp_path))


def test_resampling_keeps_a_plane_at_its_own_resolution():
    plane = np.arange(35, dtype=np.float32).reshape(7, 5)
    same = spine_slices.resample(plane, (3, 2), spacing=(2, 2), size=5, pixel=2.0, fill=-1)
    np.testing.assert_array_equal(same, plane[1:6])
    double = spine_slices.resample(plane, (3, 2), spacing=(1, 2), size=3, pixel=2.0, fill=-1)
    np.testing.assert_array_equal(double, plane[1:6:2, 1:4])


def test_blocks_without_a_length_are_whole_volumes():
    np.testing.assert_array_equal(slices.blocks(np.array([3, 9]), length=0, gap=5), [0, 0])
    assert slices.blocks(np.array([], int), length=4).size == 0


def _hippocampi(tmp_path):
    rng = np.random.default_rng(0)
    label = np.zeros((3, 6, 8, 5), np.uint8)
    label[:, 1:4, 2:7, 1:4] = 1
    label[:, 2, 2:4, 1:4] = 2
    label[1, 3] = 0
    image = rng.integers(0, 256, label.shape).astype(np.uint8)
    path = str(tmp_path / "h.npz")
    shape = np.array([[6, 8, 5]] * 3, np.int16)
    np.savez(path, image=image, label=label, shape=shape, name=np.array(["h_1", "h_7", "h_9"]))
    return path, image, label


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_hippocampi_are_cut_across_each_axis(tmp_path, axis):
    path, image, label = _hippocampi(tmp_path)
    loaded = sources.load("hippocampus_slices", path=path, merge=False, axis=axis, least=6)
    assert loaded.class_names == ("background", "anterior", "posterior")
    count = 0
    for subject in range(3):
        volume = np.moveaxis(label[subject], axis, 0)
        values = image[subject].astype(np.float32)
        values = np.moveaxis((values - values.mean()) / values.std(), axis, 0)
        for level in np.flatnonzero((volume > 0).sum(axis=(1, 2)) >= 6):
            example = loaded.examples[count]
            np.testing.assert_array_equal(example["truth"], volume[level])
            np.testing.assert_allclose(example["image"][..., 0], values[level], atol=1e-5)
            assert loaded.case_names[count] == f"h_{(1, 7, 9)[subject]}-{level:02d}"
            assert loaded.groups[count] == subject
            count += 1
    assert len(loaded.examples) == count


def test_hippocampi_merged_and_thinned_out(tmp_path):
    path, _, label = _hippocampi(tmp_path)
    loaded = sources.load("hippocampus_slices", path=path, least=1, every=2)
    assert loaded.case_names == ("h_1-01", "h_1-03", "h_7-01", "h_9-01", "h_9-03")
    np.testing.assert_array_equal(loaded.examples[1]["truth"], label[0, 3] > 0)
    parts = splits.of_source(loaded, seed=0, fractions=(0.5, 0.0, 0.5))
    assert not set(loaded.groups[parts["train"]]) & set(loaded.groups[parts["test"]])
    square = sources.load("hippocampus_slices", path=path, least=1, every=2, square=True)
    height, width = label.shape[2:]
    side = max(height, width)
    example = square.examples[1]
    assert example["truth"].shape == (side, side)
    np.testing.assert_array_equal(example["truth"][:height, :width], label[0, 3] > 0)
    assert example["truth"].sum() == (label[0, 3] > 0).sum()
    with pytest.raises(ValueError, match="h.npz: expected slices with 99 pixels"):
        sources.load("hippocampus_slices", path=path, least=99)
    with pytest.raises(ValueError, match="axis: expected one of 0, 1, 2, got -1"):
        sources.load("hippocampus_slices", path=path, axis=-1)


def test_the_real_slices(real_data):
    spine = sources.load("spine_slices", root=str(real_data))
    assert len(spine.examples) == 87
    assert len(set(spine.groups)) == 11
    cord = sources.load("spine_slices", root=str(real_data), structure="cord", size=64)
    for loaded in (spine, cord):
        truths = loaded.examples.truths
        # The square is wide enough for the structure.
        assert not truths[:, [0, -1]].any()
        assert not truths[:, :, [0, -1]].any()
        assert truths.any(axis=(1, 2)).all()
    bone = spine.examples.images[..., 0][spine.examples.truths > 0].mean()
    assert bone > 1.5 * spine.examples.images.mean()
    hippocampi = sources.load("hippocampus_slices", path=str(real_data / "msd_hippocampus_130.npz"))
    assert len(hippocampi.examples) == 2401
    assert len(set(hippocampi.groups)) == 130
