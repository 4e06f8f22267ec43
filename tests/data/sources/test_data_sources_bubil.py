"""Cells outlined by experts and crowd workers."""

import numpy as np
import pytest

from noisyjax.data import sources
from noisyjax.data.sources import bubil


def _arrays(subset="fibroblast_phase"):
    """Four experts: the second copies the gold, the third does once, the fourth labels two."""
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, (3, 5, 16), dtype=np.uint8)
    experts = rng.integers(0, 2, (3, 4, 5, 16), dtype=np.uint8)
    crowd = rng.integers(0, 2, (3, 2, 5, 16), dtype=np.uint8)
    experts[:, 1] = gold
    experts[0, 2] = gold[0]
    valid = np.ones((3, 4), bool)
    valid[2, 3] = False
    experts[2, 3] = 0
    arrays = {
        "image": rng.integers(0, 256, (3, 5, 16), dtype=np.uint8),
        "gold_packed": np.packbits(gold, axis=-1),
        "experts_packed": np.packbits(experts, axis=-1),
        "expert_valid": valid,
        "expert_name": np.array(["A", "B", "C", "D"]),
        "crowd_packed": np.packbits(crowd, axis=-1),
        "name": np.array(["m01", "m02", "m03"]),
    }
    return gold, experts, crowd, {f"{subset}__{key}": value for key, value in arrays.items()}


def _save(tmp_path, arrays):
    path = str(tmp_path / "bubil.npz")
    np.savez(path, **arrays)
    return path


def test_copies_of_the_gold_standard_are_dropped(tmp_path):
    gold, experts, _, arrays = _arrays()
    loaded = sources.load("bubil", path=_save(tmp_path, arrays), subset="fibroblast_phase")
    assert loaded.rater_names == ("A", "C", "D")
    assert loaded.persistent_raters
    assert loaded.class_names == ("background", "cell")
    assert loaded.case_names[1] == "fibroblast_phase-m02"
    masks = [[True, False, True], [True, True, True], [True, True, False]]
    for i in range(3):
        example = loaded.examples[i]
        np.testing.assert_array_equal(example["truth"], gold[i])
        np.testing.assert_array_equal(example["labels"], experts[i, [0, 2, 3]])
        np.testing.assert_array_equal(example["rater_mask"], masks[i])


def test_copies_can_be_kept(tmp_path):
    path = _save(tmp_path, _arrays()[-1])
    loaded = bubil.load(path=path, subset="fibroblast_phase", keep_copies=True)
    assert loaded.rater_names == ("A", "B", "C", "D")
    np.testing.assert_array_equal(loaded.examples[0]["rater_mask"], [True] * 4)


def test_the_crowd_is_not_persistent(tmp_path):
    _, experts, crowd, arrays = _arrays()
    path = _save(tmp_path, arrays)
    loaded = bubil.load(path=path, subset="fibroblast_phase", raters="crowd")
    assert loaded.rater_names == ("crowd 1", "crowd 2")
    assert not loaded.persistent_raters
    np.testing.assert_array_equal(loaded.examples[1]["labels"], crowd[1])
    loaded = bubil.load(path=path, subset="fibroblast_phase", raters="all")
    assert loaded.rater_names == ("A", "C", "D", "crowd 1", "crowd 2")
    assert not loaded.persistent_raters
    expected = np.concatenate([experts[1, [0, 2, 3]], crowd[1]])
    np.testing.assert_array_equal(loaded.examples[1]["labels"], expected)


def test_shrunk_pixels_are_means_and_majorities(tmp_path):
    gold, experts, _, arrays = _arrays()
    keys = ("image", "gold_packed", "experts_packed", "crowd_packed")
    # Blocks of 2 x 2 need an even height.
    arrays = {
        key: value[..., :4, :] if key.split("__")[1] in keys else value
        for key, value in arrays.items()
    }
    path = _save(tmp_path, arrays)
    loaded = bubil.load(path=path, subset="fibroblast_phase", shrink=2)
    assert loaded.rater_names == ("A", "C", "D")
    # The copy of the gold standard is recognised as before.
    np.testing.assert_array_equal(loaded.examples[0]["rater_mask"], [True, False, True])
    example = loaded.examples[1]
    assert example["image"].shape == (2, 8, 1)
    image = arrays["fibroblast_phase__image"][1].astype(float)
    for i in range(2):
        for j in range(8):
            block = np.s_[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            assert example["image"][i, j, 0] == pytest.approx(image[block].mean() / 255, rel=1e-6)
            assert example["truth"][i, j] == (gold[1][block].sum() >= 2)
            of_raters = experts[1, [0, 2, 3]][block].sum(axis=(1, 2)) >= 2
            np.testing.assert_array_equal(example["labels"][:, i, j], of_raters)
    assert example["truth"].dtype == example["labels"].dtype == np.uint8
    with pytest.raises(ValueError, match=r"shrink: expected a divisor .* \(4, 16\), got 3"):
        bubil.load(path=path, subset="fibroblast_phase", shrink=3)
    with pytest.raises(ValueError, match="shrink: expected a number > 0"):
        bubil.load(path=path, subset="fibroblast_phase", shrink=0)


def test_masks_that_become_equal_by_shrinking_are_no_copies(tmp_path):
    gold, experts, _, arrays = _arrays()
    experts[:, 1, :4] = 0
    gold[:, :4] = 0
    gold[:, 0, 0] = 1
    arrays["fibroblast_phase__gold_packed"] = np.packbits(gold, axis=-1)[:, :4]
    arrays["fibroblast_phase__experts_packed"] = np.packbits(experts, axis=-1)[:, :, :4]
    for key in ("image", "crowd_packed"):
        arrays[f"fibroblast_phase__{key}"] = arrays[f"fibroblast_phase__{key}"][..., :4, :]
    loaded = bubil.load(path=_save(tmp_path, arrays), subset="fibroblast_phase", shrink=2)
    assert "B" in loaded.rater_names
    example = loaded.examples[0]
    np.testing.assert_array_equal(example["labels"][1], example["truth"])
    assert example["rater_mask"][1]


def test_load_names_what_is_wrong(tmp_path):
    gold, _, _, arrays = _arrays()
    path = _save(tmp_path, arrays)
    with pytest.raises(ValueError, match="subset: expected one of 'rat_smc_phase', .* got 'mouse'"):
        bubil.load(path=path, subset="mouse")
    with pytest.raises(ValueError, match="raters: expected one of 'experts', 'crowd', 'all'"):
        bubil.load(path=path, subset="fibroblast_phase", raters="me")
    with pytest.raises(ValueError, match=r"bubil.npz: .*missing \['aorta_mri__image'"):
        bubil.load(path=path, subset="aorta_mri")
    copied = np.packbits(np.stack([gold] * 4, axis=1), axis=-1)
    path = _save(tmp_path, {**arrays, "fibroblast_phase__experts_packed": copied})
    with pytest.raises(ValueError, match=r"a label of one of the experts .* none for \[0, 1, 2\]"):
        bubil.load(path=path, subset="fibroblast_phase")


@pytest.mark.parametrize(
    ("subset", "size", "num_experts"),
    [
        ("rat_smc_phase", 35, 8),
        ("rabbit_smc_phase", 69, 13),
        ("fibroblast_phase", 47, 9),
        ("lu_melanoma_fluo", 61, 3),
        ("wm993_melanoma_fluo", 58, 3),
        ("aorta_mri", 35, 10),
    ],
)
def test_real_sets(real_data, subset, size, num_experts):
    path = str(real_data / "bubil_multi_annotator_128.npz")
    loaded = bubil.load(path=path, subset=subset)
    assert len(loaded.examples) == len(set(loaded.case_names)) == size
    assert len(loaded.rater_names) == num_experts
    batch = loaded.examples.take(np.arange(size))
    assert batch["image"].shape == (size, 128, 128, 1)
    given = batch["rater_mask"]
    assert not bubil.copies(batch["labels"], batch["truth"])[given].any()
    # Experts agree with the gold standard, if not in every pixel.
    labels, truth = batch["labels"].astype(bool), batch["truth"][:, None].astype(bool)
    both = (labels & truth).sum((2, 3))
    dice = 2 * both / (labels.sum((2, 3)) + truth.sum((2, 3)))
    assert dice[given].mean() > 0.8
