"""Losses at coarser levels: weights, targets, and the mean over levels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.methods import deep_supervision, fused

_compare = fused.LOSSES["cross_entropy_and_soft_dice"]


def test_weights_halve_and_add_up_to_one():
    for count in (1, 2, 5):
        weights = deep_supervision.weights(count)
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(weights[1:] / weights[:-1], 0.5)


def test_nearest_takes_the_voxel_after_the_middle_of_each_block():
    target = jnp.arange(35.0).reshape(5, 7, 1)
    np.testing.assert_array_equal(deep_supervision.nearest(target, (5, 7)), target)
    half = deep_supervision.nearest(target, (3, 4))[..., 0]
    np.testing.assert_array_equal(half, np.arange(35).reshape(5, 7)[[1, 3, 4]][:, [1, 3, 5, 6]])
    quarter = deep_supervision.nearest(target, (2, 2))[..., 0]
    np.testing.assert_array_equal(quarter, np.arange(35).reshape(5, 7)[[2, 4]][:, [2, 6]])
    one_axis = deep_supervision.nearest(target, (5, 4))[..., 0]
    np.testing.assert_array_equal(one_axis, np.arange(35).reshape(5, 7)[:, [1, 3, 5, 6]])
    with pytest.raises(ValueError, match=r"shape: expected halves of \(5, 7\), got \(4, 7\)"):
        deep_supervision.nearest(target, (4, 7))


def test_the_loss_of_a_pixel_by_hand():
    # Foreground 3/4 where the target is foreground.
    logits, target = jnp.log(jnp.array([[[1.0, 3.0]]])), jnp.array([[[0.0, 1.0]]])
    dice = 1 - (2 * 0.75 + 1e-5) / (1.75 + 1e-5)
    found = deep_supervision.loss(_compare, [logits], target)
    np.testing.assert_allclose(found, dice - np.log(0.75), rtol=1e-5)


@pytest.mark.parametrize("strides", [((2, 2),) * 3, ((1, 2), (2, 2), (2, 2))])
def test_every_fused_target_is_learnt_at_the_coarser_levels_that_a_network_has(strides):
    sides = (8, 8)
    options = {"widths": (2, 3, 4, 4), "strides": strides, "deep_supervision": True}
    network = models.build("unet", 2, **options)
    method = methods.build(
        "mean", network, num_raters=2, num_classes=2, loss="cross_entropy_and_soft_dice"
    )
    draw = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(draw.standard_normal((2, *sides, 1)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, 2, (2, 2, *sides))),
        "rater_mask": jnp.ones((2, 2), bool),
        "id": jnp.arange(2),
        "weight": jnp.ones(2),
    }
    variables = jax.jit(method.init)(jax.random.key(0), batch)
    loss, (_, aux) = jax.jit(functools.partial(method.loss_fn, step=jnp.int32(0)))(
        variables, batch, rng.root_key(0)
    )
    own = {"params": variables["params"]["segmenter"]}
    output = jax.jit(functools.partial(network.apply, train=True))(own, batch["image"])
    # Of four levels the bottom and the one above it have no logits.
    (coarse,) = output.deep
    assert coarse.shape[1:-1] == (8 // strides[0][0], 4)
    target = jnp.stack([(batch["labels"] == label).mean(1) for label in (0, 1)], -1)
    blocks = target[:, strides[0][0] // 2 :: strides[0][0], 1::2]
    expected = 2 * jax.vmap(_compare)(output.logits, target) + jax.vmap(_compare)(coarse, blocks)
    expected = expected / 3
    np.testing.assert_allclose(aux.losses, expected, rtol=1e-5)
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-5)
