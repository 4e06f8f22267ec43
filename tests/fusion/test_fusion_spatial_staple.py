"""Spatial STAPLE: fused labels, the raters' matrices around every voxel, degenerate input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion

_SHAPE, _RATERS, _CLASSES, _WINDOW = (9, 10), 4, 3, 5


def _labels(seed=0, shape=_SHAPE, raters=_RATERS, classes=_CLASSES, error=0.3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape)
    wrong = rng.random((raters, *shape)) < error
    return jnp.asarray(np.where(wrong, rng.integers(0, classes, wrong.shape), truth), jnp.uint8)


def _fuse(labels, rater_mask=None):
    mask = jnp.ones(len(labels), bool) if rater_mask is None else rater_mask
    return fusion.spatial_staple(labels, _CLASSES, rater_mask=mask, window=_WINDOW)


def _window_cms(labels, probs, window, bias):
    """The matrices of all voxels given their probabilities, voxel by voxel in double precision."""
    classes, spatial = probs.shape[-1], probs.shape[:-1]
    one_hot = np.eye(classes + 1)[np.minimum(labels, classes)][..., :classes]
    probs = np.asarray(probs, np.float64)

    def normalise(joint, empty):
        mass = joint.sum(-2, keepdims=True)
        return np.where(mass > 0, joint / np.where(mass > 0, mass, 1), empty)

    axes = "xyz"[: len(spatial)]
    sums = f"r{axes}i,{axes}j->rij"
    everywhere = normalise(np.einsum(sums, one_hot, probs), np.eye(classes))
    cms = np.zeros((len(labels), *spatial, classes, classes))
    for voxel in np.ndindex(spatial):
        near = tuple(slice(max(v - window // 2, 0), v + window // 2 + 1) for v in voxel)
        local = np.einsum(sums, one_hot[:, *near], probs[near])
        cms[:, *voxel] = (1 - bias) * normalise(local, everywhere) + bias * everywhere
    return cms


def test_one_step_by_hand():
    # Voxels 1 and 2 are in dispute: W = (2/3, 1/3) and (1/3, 2/3). The prior of each is 1/2.
    labels = jnp.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 1, 1]])
    fused = fusion.spatial_staple(labels, window=3, max_iterations=1)
    # Rater 0 says 0 where W_0 = 2/3 and 1 where W_0 = 1/3, so the matrix is (2/3, 1/3; 1/3, 2/3);
    # the others always say 0 and always 1: they tell nothing.
    np.testing.assert_allclose(fused.probs[:, 0], [1, 2 / 3, 1 / 3, 0], atol=1e-6)
    # With consensus: around voxel 1, class 0 has the mass 1 + 2/3 + 1/3, of which rater 0 calls
    # 1/3 class 1, and rater 2 2/3 + 1/3; class 1 has the mass 1/3 + 2/3.
    np.testing.assert_allclose(fused.cms[0, 1], [[5 / 6, 1 / 3], [1 / 6, 2 / 3]], atol=1e-6)
    np.testing.assert_allclose(fused.cms[1, 1], [[1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(fused.cms[2, 1], [[1 / 2, 0], [1 / 2, 1]], atol=1e-6)
    # p(votes) = 1/2 (2/3 + 1/3) at both.
    np.testing.assert_allclose(fused.log_likelihood, 2 * np.log(1 / 2), rtol=1e-6)
    assert fused.iterations == 1


@pytest.mark.parametrize(("shape", "bias"), [((9, 10), 0.0), ((4, 6, 5), 0.25)])
def test_matrices_are_of_all_voxels_around(shape, bias):
    labels = _labels(shape=shape).at[0, 0].set(255)
    fused = fusion.spatial_staple(labels, _CLASSES, window=3, bias=bias)
    expected = _window_cms(np.asarray(labels), np.asarray(fused.probs), 3, bias)
    np.testing.assert_allclose(fused.cms, expected, atol=1e-5)
    np.testing.assert_allclose(fused.cms.sum(-2), 1, atol=1e-5)
    np.testing.assert_allclose(fused.probs.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("options", [{"window": 25}, {"window": 3, "bias": 1.0}])
def test_one_window_for_all_is_staple_of_the_voxels_in_dispute(options):
    labels = _labels()
    spatial = fusion.spatial_staple(
        labels, _CLASSES, tolerance=1e-6, max_iterations=1000, **options
    )
    fused = fusion.staple(labels, _CLASSES, exclude_consensus=True)
    np.testing.assert_allclose(spatial.probs, fused.probs, atol=1e-3)
    np.testing.assert_allclose(spatial.log_likelihood, fused.log_likelihood, rtol=1e-4)
    # Its matrices take in the voxels of consensus, on which all are right.
    assert np.all(np.einsum("rii->r", spatial.cms[:, 4, 4]) > np.einsum("rii->r", fused.cms))
    np.testing.assert_allclose(spatial.cms[:, 0, 0], spatial.cms[:, -1, -1], atol=1e-5)


def test_a_window_of_one_voxel_tells_nothing_but_the_prior():
    # Each matrix is of one vote, which it gives whatever the class; two in three votes are 0.
    labels = jnp.array([[0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 1, 1]])
    fused = fusion.spatial_staple(labels, window=1)
    np.testing.assert_allclose(fused.probs[:, 0], [1, 2 / 3, 2 / 3, 0], rtol=1e-5, atol=1e-6)


def test_em_ends_at_half_the_mean_change_of_what_is_in_dispute():
    labels = _labels()
    votes = np.eye(_CLASSES)[np.asarray(labels)].mean(0)
    first = fusion.spatial_staple(labels, _CLASSES, window=_WINDOW, max_iterations=1)
    disputed = votes.max(-1) < 1
    change = float(np.abs(first.probs - votes).sum(-1)[disputed].mean() / 2)
    assert change > 0.01
    for factor, ends in ((1.01, True), (0.99, False)):
        fused = fusion.spatial_staple(labels, _CLASSES, window=_WINDOW, tolerance=factor * change)
        assert (fused.iterations == 1) == ends


def test_vmap_is_a_loop():
    labels = jnp.stack([_labels(seed) for seed in range(3)])
    masks = jnp.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0]], bool)
    mapped = jax.jit(jax.vmap(_fuse))(labels, masks)
    for i in range(3):
        alone = _fuse(labels[i], masks[i])
        for one, expected in zip(mapped, alone, strict=True):
            np.testing.assert_allclose(one[i], expected, atol=1e-5, rtol=1e-5)
    assert len(set(mapped.iterations.tolist())) == 3


def test_a_missing_rater_does_not_count():
    labels, mask = _labels(), jnp.array([True, False, True, True])
    some = _fuse(labels, mask)
    alone = _fuse(labels[mask])
    np.testing.assert_allclose(some.probs, alone.probs, atol=1e-5)
    np.testing.assert_allclose(some.cms[mask], alone.cms, atol=1e-5)
    np.testing.assert_allclose(some.log_likelihood, alone.log_likelihood, rtol=1e-5)
    np.testing.assert_array_equal(some.cms[1], np.broadcast_to(np.eye(3), (*_SHAPE, 3, 3)))
    np.testing.assert_array_equal(_fuse(labels.at[1].set(255)).probs, some.probs)


def test_raters_may_come_in_any_order():
    labels, order = _labels(), jnp.array([2, 0, 3, 1])
    fused, other = _fuse(labels), _fuse(labels[order])
    np.testing.assert_allclose(other.probs, fused.probs, atol=1e-4)
    np.testing.assert_allclose(other.cms, fused.cms[order], atol=1e-4)


def test_raters_who_are_good_on_one_side_are_believed_there():
    rng = np.random.default_rng(0)
    truth = (rng.random((24, 24)) < 0.5).astype(np.uint8)
    left = np.arange(24) < 12

    def wrong_on(side):
        return np.where(side & (rng.random(truth.shape) < 0.4), 1 - truth, truth)

    # Three are right on the left and often wrong on the right; three the other way round.
    labels = [wrong_on(side) for side in (~left, ~left, ~left, left, left, left)]
    labels = jnp.asarray(np.stack(labels), jnp.uint8)
    fused = fusion.spatial_staple(labels)
    wrong = (np.asarray(fused.probs.argmax(-1)) != truth).mean()
    by_staple = (np.asarray(fusion.staple(labels).probs.argmax(-1)) != truth).mean()
    by_majority = (np.asarray(fusion.majority(labels, 2)) != truth).mean()
    assert wrong < 0.5 * min(by_staple, by_majority)
    right = np.einsum("rhwii->rhw", fused.cms) / 2
    for rater, good in ((0, left), (1, left), (3, ~left), (4, ~left)):
        assert right[rater][:, good].mean() > right[rater][:, ~good].mean() + 0.2


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_labels_are_returned(value):
    fused = fusion.spatial_staple(jnp.full((3, 6, 7), value, jnp.uint8))
    np.testing.assert_array_equal(fused.probs[..., value], 1)
    np.testing.assert_allclose(fused.cms, np.broadcast_to(np.eye(2), fused.cms.shape), atol=1e-6)
    assert fused.log_likelihood == 0


def test_one_rater_is_believed_and_nobody_leaves_it_open():
    labels = _labels()
    for mask in ([False, False, True, False], [False] * 4):
        fused = _fuse(labels, jnp.array(mask))
        expected = np.eye(3)[labels[2]] if any(mask) else np.zeros((*_SHAPE, 3))
        np.testing.assert_allclose(fused.probs, expected, rtol=1e-6)
        np.testing.assert_allclose(
            fused.cms, np.broadcast_to(np.eye(3), fused.cms.shape), atol=1e-6
        )
        assert fused.log_likelihood == 0


def test_consensus_is_kept():
    labels = _labels()
    agreed = np.all(labels == labels[:1], axis=0)
    assert agreed.any()
    np.testing.assert_array_equal(_fuse(labels).probs[agreed], np.eye(3)[labels[0][agreed]])


@pytest.mark.parametrize(
    "options",
    [{"window": 4}, {"window": (3,)}, {"window": 0}, {"bias": 2.0}, {"tolerance": -1.0}],
)
def test_wrong_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        fusion.spatial_staple(_labels(), _CLASSES, **options)
