"""A procedural mandible."""

import numpy as np
import pytest
from scipy import ndimage

from noisyjax.data import sources
from noisyjax.data.sources.procedural import mandible

_SIZE = 32


def _load(count, **options):
    source = sources.load("phantoms", organ="mandible", count=count, size=_SIZE, seed=5, **options)
    batch = source.examples.take(np.arange(count))
    return batch["image"][..., 0], batch["truth"] == 1


@pytest.fixture(scope="module")
def drawn():
    """Images in HU, masks without crowns and masks with them."""
    image, bone = _load(9)
    low, high = mandible.WINDOW
    return low + (high - low) * image, bone, _load(9, teeth=True)[1]


def test_the_definition_changes_no_image_and_the_count_no_case(drawn):
    image, bone = _load(2)
    other, whole = _load(2, teeth=True)
    # Two programs: a float's last bit can decide a byte.
    np.testing.assert_allclose(other, image, atol=1.01 / 255)
    low, high = mandible.WINDOW
    np.testing.assert_array_equal(low + (high - low) * image, drawn[0][:2])
    np.testing.assert_array_equal(bone, drawn[1][:2])
    np.testing.assert_array_equal(whole, drawn[2][:2])


def test_crowns_are_a_matter_of_definition(drawn):
    _, bone, whole = drawn
    assert not (bone & ~whole).any()
    for narrow, wide in zip(bone, whole, strict=True):
        crowns = wide & ~narrow
        assert 0.02 < crowns.sum() / wide.sum() < 0.15
        # They stand on the bone, on the arch's front.
        up = np.argwhere(crowns).mean(axis=0) - np.argwhere(narrow).mean(axis=0)
        assert up[1] > 0
        assert np.argwhere(crowns)[:, 2].min() > np.argwhere(narrow)[:, 2].min() + 2


def test_it_is_one_thin_piece_of_bone(drawn):
    image, bone, whole = drawn
    for mask in (*bone, *whole):
        pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
        assert count == 1 or np.bincount(pieces.ravel())[1:].max() > 0.98 * mask.sum()
        assert 0.005 < mask.mean() < 0.013
    for hounsfield, mask in zip(image, bone, strict=True):
        # Muscle is below 100.
        assert (hounsfield[mask] > 150).mean() > 0.97
        # No voxel is further than two voxels, 12 mm, from the outside.
        assert ndimage.distance_transform_edt(mask).max() <= 2.01


def test_it_is_an_arch_with_two_rami(drawn):
    """From above a horseshoe open to the back; from behind two branches above a body."""
    for mask in drawn[1]:
        above = mask.any(axis=2)
        middle = int(np.argwhere(mask)[:, 0].mean())
        front = np.argwhere(above)[:, 1].max()
        assert above[middle, front - 2 :].any()
        # Nothing is on the middle line behind the chin.
        assert not above[middle, : front - 5].any()
        heights = np.flatnonzero(mask.any(axis=(0, 1)))
        # Rolled heads hold one condyle higher than the other.
        top = mask[..., heights[len(heights) // 2 + 1]]
        assert top[:middle].any()
        assert top[middle + 1 :].any()
        assert not top[middle - 3 : middle + 4].any()


def test_only_the_mandible_has_teeth():
    with pytest.raises(ValueError, match="teeth: expected an organ with teeth, got 'aorta'"):
        sources.load("phantoms", organ="aorta", size=8, teeth=True)
