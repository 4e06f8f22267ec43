import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.noise import field_fit, gaussian_field

_SIDE = 48


def _bean(shape):
    """A bent body, like a kidney."""
    axes = [(np.arange(size) + 0.5) / size - 0.5 for size in shape]
    first, second, *rest = np.meshgrid(*axes, indexing="ij")
    second = second + 0.12 * np.cos(6 * first) - 0.08
    squares = (first / 0.36) ** 2 + (second / 0.24) ** 2 + sum((x / 0.26) ** 2 for x in rest)
    return jnp.asarray((squares < 1).astype(np.uint8))


@functools.cache
def _draw(shape, a, b):
    return jax.jit(jax.vmap(lambda k: gaussian_field.deform(k, _bean(shape), a=a, b=b)))


@functools.cache
def _raters(shape, a, b, count, seed):
    return np.asarray(_draw(shape, a, b)(jax.random.split(jax.random.key(seed), count)))


@pytest.mark.parametrize(("a", "b"), [(0.015, 0.1), (0.03, 0.15), (0.02, gaussian_field.DEFAULT_B)])
def test_strength_and_smoothness_of_five_raters_come_back(a, b):
    labels = _raters((_SIDE,) * 3, a, b, 5, 3)
    result = gaussian_field.fit(labels)
    np.testing.assert_allclose(result, (a, b), rtol=0.15)
    about_the_truth = gaussian_field.fit(labels, consensus=_bean((_SIDE,) * 3))
    np.testing.assert_allclose(about_the_truth, (a, b), rtol=0.2)


def test_sides_of_unequal_length_are_distinguished():
    labels = _raters((64, 40, 32), 0.03, 0.15, 5, 1)
    np.testing.assert_allclose(gaussian_field.fit(labels), (0.03, 0.15), rtol=0.15)


def test_images_are_pooled():
    images = [_raters((96, 80), 0.02, 0.1, 4, seed) for seed in range(6)]
    result = gaussian_field.fit(images)
    np.testing.assert_allclose(result, (0.02, 0.1), rtol=0.15)
    truths = [_bean((96, 80))] * 6
    np.testing.assert_allclose(gaussian_field.fit(images, consensus=truths), (0.02, 0.1), rtol=0.15)


def test_empty_and_full_masks_are_left_out():
    labels = _raters((96, 80), 0.02, 0.1, 4, 0)
    empty, full = np.zeros_like(labels[:1]), np.ones_like(labels[:1])
    assert gaussian_field.fit(np.concatenate([empty, labels, full])) == gaussian_field.fit(labels)
    images = [labels, np.zeros_like(labels)]
    assert gaussian_field.fit(images) == gaussian_field.fit(labels)


def test_every_other_class_is_foreground_and_arrays_may_be_on_the_device():
    labels = _raters((96, 80), 0.02, 0.1, 4, 0)
    expected = gaussian_field.fit(labels)
    assert gaussian_field.fit(jnp.asarray(3 * labels)) == expected
    assert gaussian_field.fit(labels.astype(bool)) == expected


def test_raters_who_agree_have_no_noise():
    labels = jnp.stack([_bean((40, 30))] * 3)
    assert gaussian_field.fit(labels) == (0.0, gaussian_field.DEFAULT_B)


def test_small_objects_and_objects_at_the_edge_give_finite_numbers():
    rng = np.random.default_rng(0)
    dots = np.zeros((3, 20, 20), np.uint8)
    for mask in dots:
        y, x = rng.integers(8, 11, 2)
        mask[y, x] = 1
    edge = np.zeros((3, 20, 20), np.uint8)
    for rater, mask in enumerate(edge):
        mask[:, : 5 + rater] = 1
    for labels in (dots, edge):
        assert np.all(np.isfinite(gaussian_field.fit(labels)))


def test_too_few_masks_are_refused():
    one = np.asarray(_bean((40, 30)))[None]
    with pytest.raises(ValueError, match="labels: expected two masks that are neither empty"):
        gaussian_field.fit(one)
    with pytest.raises(ValueError, match="shorter"):
        gaussian_field.fit([np.repeat(one, 2, 0)] * 2, consensus=[one[0]])
    with pytest.raises(ValueError, match="labels: expected one mask and a consensus"):
        gaussian_field.fit(0 * one, consensus=one[0])
    with pytest.raises(ValueError, match="consensus: expected shape \\[40, 30\\] like labels"):
        gaussian_field.fit(one, consensus=one[0, :-1])


def test_rays_count_from_edge_to_edge_of_the_image():
    # The depth rises by one a voxel; a ray along it from voxel 2 of 5, in steps of a quarter.
    centre = np.tile(np.arange(5.0)[:, None] - 2, (1, 3))
    measure = field_fit._along_rays(centre, np.array([[2, 1]]), np.array([[1.0, 0.0]]), reach=3.0)
    np.testing.assert_allclose(measure(np.ones((5, 3), bool)), [4.25])
    np.testing.assert_allclose(measure(np.zeros((5, 3), bool)), [0])
