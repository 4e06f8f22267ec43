"""Procedural organs."""

import functools

import jax
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import rng
from noisyjax.data import sources
from noisyjax.data.sources import hounsfield
from noisyjax.data.sources.procedural import phantoms

_SIZE = 32


@pytest.fixture(scope="module", params=tuple(phantoms.ORGANS))
def loaded(request):
    return sources.load("phantoms", organ=request.param, count=10, size=_SIZE, seed=5)


def _cases(loaded):
    return loaded.examples.take(np.arange(len(loaded.examples)))


def _organ(loaded):
    return loaded.class_names[1]


def test_examples_are_patches_with_their_truth(loaded):
    batch = _cases(loaded)
    assert batch["image"].shape == (10, *(_SIZE,) * 3, 1)
    assert batch["image"].dtype == np.float32
    assert batch["image"].min() >= 0
    assert batch["image"].max() <= 1
    assert set(np.unique(batch["truth"])) == {0, 1}
    assert loaded.spacing == (6.0,) * 3
    assert len(set(loaded.case_names)) == 10
    # No two cases alike.
    assert len({truth.tobytes() for truth in batch["truth"]}) == 10


def test_the_organ_has_its_size_and_is_one_piece_around_the_centre(loaded):
    fractions = {
        "kidney": (0.012, 0.045),
        "aorta": (0.005, 0.025),
        "esophagus": (0.001, 0.009),
        "mandible": (0.005, 0.013),
    }
    low, high = fractions[_organ(loaded)]
    for truth in _cases(loaded)["truth"]:
        assert low < truth.mean() < high
        pieces, count = ndimage.label(truth, np.ones((3, 3, 3)))
        largest = max(np.bincount(pieces.ravel())[1:], default=0)
        assert count == 1 or largest > 0.9 * truth.sum()
        centre = np.argwhere(truth).mean(axis=0)
        assert np.abs(centre - _SIZE / 2).max() < _SIZE / 5


def test_tubes_run_through_and_other_organs_do_not(loaded):
    for truth in _cases(loaded)["truth"]:
        heights = truth.any(axis=(0, 1)).mean()
        if _organ(loaded) in ("kidney", "mandible"):
            assert 0.3 < heights < 0.75
        else:
            assert heights > 0.8


def test_intensity_alone_does_not_find_the_organ(loaded):
    """The best range of intensities, chosen with the truth, is far from the organ."""
    batch = _cases(loaded)
    for image, truth in zip(batch["image"][..., 0], batch["truth"].astype(bool), strict=True):
        inside = image[truth]
        best = 0.0
        for tail in (0.02, 0.05, 0.1, 0.2):
            mask = (image >= np.quantile(inside, tail)) & (image <= np.quantile(inside, 1 - tail))
            best = max(best, 2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
        assert best < 0.7
    organ = batch["truth"] == 1
    around = np.stack([ndimage.binary_dilation(t, iterations=2) for t in organ]) & ~organ
    # But there is something to see.
    image = batch["image"][..., 0]
    assert image[organ].mean() - image[around].mean() > 0.03


def test_the_first_cases_do_not_depend_on_how_many_there_are():
    few = _cases(phantoms.load(organ="kidney", count=3, size=_SIZE, seed=5))
    many = _cases(phantoms.load(organ="kidney", count=10, size=_SIZE, seed=5))
    other = _cases(phantoms.load(organ="kidney", count=3, size=_SIZE, seed=6))
    for name in ("image", "truth"):
        np.testing.assert_array_equal(few[name], many[name][:3])
        assert (few[name] != other[name]).any()


def test_side_by_side_equals_one_after_the_other():
    one_by_one = _cases(phantoms.load(organ="kidney", count=2, size=_SIZE, seed=5))
    keys = rng.example_keys(rng.purpose_key(5, "sample"), np.arange(2))
    draw = functools.partial(phantoms.phantom, shape=(_SIZE,) * 3, organ="kidney")
    images, truths = jax.jit(jax.vmap(draw))(keys)
    stored = hounsfield.to_bytes(np.asarray(images)) * hounsfield.SCALE
    # A float's last bit can decide a byte, and a voxel on the surface.
    np.testing.assert_allclose(one_by_one["image"][..., 0], stored, atol=1.01 / 255)
    assert (one_by_one["truth"] != np.asarray(truths)).mean() < 1e-4


@pytest.mark.parametrize("organ", phantoms.ORGANS)
def test_patches_need_not_be_cubes(organ):
    image, mask = jax.eval_shape(lambda: phantoms.phantom(rng.root_key(0), (12, 10, 8), organ))
    assert (image.shape, image.dtype) == ((12, 10, 8), np.float32)
    assert (mask.shape, mask.dtype) == ((12, 10, 8), np.bool_)


def test_errors():
    with pytest.raises(ValueError, match="organ: expected one of 'kidney', .* got 'heart'"):
        phantoms.load(organ="heart")
    with pytest.raises(ValueError, match="count: expected a number > 0"):
        phantoms.load(organ="kidney", count=0)
    with pytest.raises(ValueError, match=r"shape: expected three sizes .* got \(8, 8\)"):
        phantoms.phantom(rng.root_key(0), (8, 8), "kidney")
