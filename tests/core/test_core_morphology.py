import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import morphology

_STATIC = ("structure", "border_value")
_erode = jax.jit(morphology.erode, static_argnames=_STATIC)
_dilate = jax.jit(morphology.dilate, static_argnames=_STATIC)

NORMS = {
    "ball": lambda offset: np.sqrt(np.sum(offset**2, axis=0)),
    "box": lambda offset: np.max(np.abs(offset), axis=0),
}


def _element(ndim, radius, structure, spacing=1.0):
    reach = int(np.ceil(radius / np.min(spacing)))
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * ndim, indexing="ij"))
    sizes = np.broadcast_to(spacing, ndim).reshape(-1, *[1] * ndim)
    return NORMS[structure](grid * sizes) <= radius + 1e-9


def _mask(shape, seed=0):
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.gaussian_filter(noise, 1.5) > 0


@pytest.mark.parametrize("shape", [(21, 26), (11, 12, 13)])
@pytest.mark.parametrize("structure", ["ball", "box"])
@pytest.mark.parametrize("border_value", [0, 1])
def test_erosion_and_dilation_equal_scipy(shape, structure, border_value):
    mask = _mask(shape)
    for radius in (0.0, 1.0, 1.5, 2.0, 3.7, 5.0):
        element = _element(len(shape), radius, structure)
        theirs = {"structure": element, "border_value": border_value}
        options = {"radius": radius, "structure": structure, "border_value": border_value}
        ours = _erode(jnp.asarray(mask), **options)
        np.testing.assert_array_equal(ours, ndimage.binary_erosion(mask, **theirs))
        ours = _dilate(jnp.asarray(mask), **options)
        np.testing.assert_array_equal(ours, ndimage.binary_dilation(mask, **theirs))


@pytest.mark.parametrize("structure", ["ball", "box"])
def test_radius_in_mm_equals_scipy_with_an_anisotropic_element(structure):
    mask, spacing = _mask((20, 24)), (2.0, 0.1)
    # 0.3 mm is three voxels of 0.1 mm, which float32 does not see as equal.
    for radius in (0.3, 4.0):
        element = _element(2, radius, structure, spacing)
        options = {"radius": radius, "structure": structure, "spacing": jnp.asarray(spacing)}
        ours = _erode(jnp.asarray(mask), **options)
        np.testing.assert_array_equal(ours, ndimage.binary_erosion(mask, element))
        ours = _dilate(jnp.asarray(mask), **options)
        np.testing.assert_array_equal(ours, ndimage.binary_dilation(mask, element))


def test_irrational_radius_includes_the_voxels_exactly_that_far_away():
    mask = jnp.zeros((5, 5), bool).at[2, 2].set(True)
    assert np.sum(_dilate(mask, radius=jnp.sqrt(jnp.float32(2)))) == 9


def test_a_static_radius_equals_a_traced_one_and_eager_equals_jit():
    mask = jnp.asarray(_mask((6, 6)))
    for structure, radius in (("ball", 1), ("box", 2.5)):
        static = morphology.erode(mask, radius=radius, structure=structure)
        traced = _erode(mask, radius=jnp.float32(radius), structure=structure)
        np.testing.assert_array_equal(static, traced)


def test_vmap_over_masks_and_radii_equals_a_loop():
    masks = jnp.stack([jnp.asarray(_mask((12, 14), seed)) for seed in range(3)])
    radii = jnp.array([0.0, 1.0, 2.2])
    batched = jax.jit(jax.vmap(lambda m, r: morphology.dilate(m, radius=r)))(masks, radii)
    loop = jnp.stack([_dilate(m, radius=r) for m, r in zip(masks, radii)])
    np.testing.assert_array_equal(batched, loop)


@pytest.mark.parametrize("structure", ["ball", "box"])
def test_erosion_lies_in_the_mask_and_the_mask_in_its_dilation(structure):
    mask = _mask((18, 18), 3)
    inner = mask
    for radius in (1.0, 2.0, 3.0):
        eroded = np.asarray(_erode(jnp.asarray(mask), radius=radius, structure=structure))
        dilated = np.asarray(_dilate(jnp.asarray(mask), radius=radius, structure=structure))
        assert not np.any(eroded & ~inner)
        assert not np.any(mask & ~dilated)
        inner = eroded


def test_empty_and_full_masks_stay_what_they_are_when_the_outside_agrees():
    empty, full = jnp.zeros((18, 18), bool), jnp.ones((18, 18), bool)
    assert not np.any(_dilate(empty, radius=3.0, structure="ball"))
    assert np.all(_erode(full, radius=3.0, structure="ball", border_value=1))
    assert np.sum(_erode(full, radius=1.0, structure="ball")) == 16 * 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 1.0, "structure": "star"}, "structure: expected one of 'ball', 'box'"),
        ({"radius": -1.0}, "radius: expected a number >= 0, got -1"),
        ({"radius": 1.0, "border_value": 2}, "border_value: expected one of 0, 1, got 2"),
    ],
)
def test_the_error_names_the_argument(options, message):
    for operation in (morphology.erode, morphology.dilate):
        with pytest.raises(ValueError, match=message):
            operation(jnp.ones((3, 3), bool), **options)
