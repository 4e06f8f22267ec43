"""Lung nodules with four readers."""

import numpy as np
import pytest

from noisyjax.data import sources, splits
from noisyjax.data.sources import lidc


def _arrays():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (6, 4, 5, 16), dtype=np.uint8)
    masks[2, 1:3] = 0
    return masks, {
        "image": rng.integers(0, 256, (6, 5, 16), dtype=np.uint8),
        "masks_packed": np.packbits(masks, axis=-1),
        "patient": np.array([1, 1, 2, 9, 9, 1010], np.int16),
        "nodule": np.array([0, 1, 0, 0, 12, 3], np.int16),
        "slice": np.array([4, 4, 0, 1, 1, 7], np.int16),
    }


def _save(tmp_path, arrays):
    path = str(tmp_path / "lidc.npz")
    np.savez(path, **arrays)
    return path


def test_labels_and_patients_are_the_files(tmp_path):
    masks, arrays = _arrays()
    loaded = sources.load("lidc", path=_save(tmp_path, arrays))
    assert not loaded.persistent_raters
    assert len(loaded.rater_names) == 4
    assert loaded.case_names[4] == "LIDC-IDRI-0009-nodule12-slice01"
    example = loaded.examples[2]
    np.testing.assert_array_equal(example["labels"], masks[2])
    assert example["rater_mask"].all()
    assert "truth" not in example
    np.testing.assert_allclose(example["image"][..., 0], arrays["image"][2] / 255, rtol=1e-6)
    parts = splits.of_source(loaded, seed=0, fractions=(0.4, 0.3, 0.3))
    patients = [set(arrays["patient"][ids]) for ids in parts.values()]
    assert sum(len(part) for part in patients) == len(set(arrays["patient"]))


def test_an_empty_mask_can_be_no_label(tmp_path):
    _, arrays = _arrays()
    path = _save(tmp_path, arrays)
    loaded = lidc.load(path=path, count_unmarked=False)
    np.testing.assert_array_equal(loaded.examples[2]["rater_mask"], [True, False, False, True])
    assert loaded.examples[3]["rater_mask"].all()


def test_a_crop_is_the_centre(tmp_path):
    masks, arrays = _arrays()
    path = _save(tmp_path, arrays)
    loaded = lidc.load(path=path, crop=3)
    # Of 5 rows those from 1, of 16 columns those from 6.
    example = loaded.examples[4]
    np.testing.assert_array_equal(example["labels"], masks[4, :, 1:4, 6:9])
    np.testing.assert_allclose(example["image"][..., 0], arrays["image"][4, 1:4, 6:9] / 255)
    with pytest.raises(ValueError, match=r"lidc.npz: crop: expected at most .* \(5, 16\), got 6"):
        lidc.load(path=path, crop=6)
    with pytest.raises(ValueError, match="crop: expected a number >= 0"):
        lidc.load(path=path, crop=-2)


def test_an_outline_beyond_the_crop_is_still_a_label(tmp_path):
    masks, arrays = _arrays()
    masks[0, 3] = 0
    masks[0, 3, 0, 0] = 1
    path = _save(tmp_path, {**arrays, "masks_packed": np.packbits(masks, axis=-1)})
    example = lidc.load(path=path, crop=3, count_unmarked=False).examples[0]
    assert not example["labels"][3].any()
    assert example["rater_mask"].all()


def test_raters_by_the_size_of_their_outline(tmp_path):
    masks, arrays = _arrays()
    # By hand: areas 3, 1, 2 and 1; of equal ones the first stays first.
    masks[0] = 0
    for rater, area in enumerate((3, 1, 2, 1)):
        masks[0, rater, rater, :area] = 1
    path = _save(tmp_path, {**arrays, "masks_packed": np.packbits(masks, axis=-1)})
    loaded = lidc.load(path=path, by_size=True, count_unmarked=False)
    assert loaded.persistent_raters
    assert loaded.rater_names[0] == "smallest"
    assert loaded.rater_names[-1] == "largest"
    np.testing.assert_array_equal(loaded.examples[0]["labels"], masks[0, [1, 3, 2, 0]])
    areas = loaded.examples.take(np.arange(6))["labels"].sum(axis=(2, 3))
    assert (np.diff(areas.astype(int), axis=1) >= 0).all()
    # Who marked nothing is the smallest; the rater mask moves with the masks.
    np.testing.assert_array_equal(loaded.examples[2]["rater_mask"], [False, False, True, True])
    assert not loaded.examples[2]["labels"][:2].any()
    # The order is that of the whole image, whatever is cut out of it.
    cropped = lidc.load(path=path, by_size=True, crop=3)
    whole = loaded.examples[5]["labels"]
    np.testing.assert_array_equal(cropped.examples[5]["labels"], whole[:, 1:4, 6:9])


def test_load_names_what_is_wrong(tmp_path):
    masks, arrays = _arrays()
    masks[3] = 0
    path = _save(tmp_path, {**arrays, "masks_packed": np.packbits(masks, axis=-1)})
    with pytest.raises(ValueError, match=r"lidc.npz: masks_packed: .* for examples \[3\] \(1 in"):
        lidc.load(path=path, count_unmarked=False)
    path = _save(tmp_path, {**arrays, "masks_packed": arrays["masks_packed"][:, :3]})
    with pytest.raises(ValueError, match=r"masks_packed: expected uint8 \[N, 4, H, packed\]"):
        lidc.load(path=path)
    path = _save(tmp_path, {**arrays, "masks_packed": arrays["masks_packed"][..., :1]})
    with pytest.raises(ValueError, match="masks_packed: expected 2 bytes for a width of 16, got 1"):
        lidc.load(path=path)
    with pytest.raises(FileNotFoundError, match="none.npz: expected an .npz file with nodules"):
        lidc.load(path=str(tmp_path / "none.npz"))


def test_nodules_of_all_four_readers(real_data):
    loaded = lidc.load(path=str(real_data / "lidc_4raters_128.npz"), count_unmarked=False)
    assert len(loaded.examples) == len(set(loaded.case_names)) == 856
    batch = loaded.examples.take(np.arange(856))
    assert batch["rater_mask"].all()
    # The readers' mean Dice with each other, as published with the file.
    labels = batch["labels"].astype(np.float32).reshape(856, 4, -1)
    both = labels @ labels.swapaxes(1, 2)
    sizes = np.einsum("nrr->nr", both)
    dice = 2 * both / (sizes[:, :, None] + sizes[:, None, :])
    assert dice[:, *np.triu_indices(4, 1)].mean() == pytest.approx(0.835, abs=0.005)


def test_all_nodules(real_data):
    loaded = lidc.load(path=str(real_data / "lidc_all_nodules_64.npz"), count_unmarked=False)
    counts = np.bincount(loaded.examples.rater_masks.sum(axis=1))
    np.testing.assert_array_equal(counts, [0, 779, 501, 488, 846])


def test_the_truth_can_be_what_half_of_the_readers_outlined(tmp_path):
    masks, arrays = _arrays()
    path = _save(tmp_path, arrays)
    loaded = lidc.load(path=path, vote=True)
    np.testing.assert_array_equal(loaded.examples[0]["truth"], masks[0].sum(0) >= 2)
    # Two readers did not mark this one: of the other two, one is half.
    loaded = lidc.load(path=path, vote=True, count_unmarked=False)
    np.testing.assert_array_equal(loaded.examples[2]["truth"], masks[2].sum(0) >= 1)
