import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion, methods, models
from noisyjax.core import rng
from noisyjax.losses import entropy, overlap
from noisyjax.methods import nnunet_style

KEY, STEP = rng.root_key(0), jnp.int32(0)
# Compiles faster than it runs.
OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick_jit = functools.partial(jax.jit, compiler_options=OPTIONS)


def _batch(*sides, num_classes=2):
    draw = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draw.normal(size=(2, *sides, 1)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, num_classes, (2, 3, *sides)), jnp.uint8),
        "rater_mask": jnp.ones((2, 3), bool),
        "weight": jnp.ones(2),
        "id": jnp.arange(2, dtype=jnp.int32),
    }


def _network(**options):
    return models.build("unet", 2, widths=(2, 2, 2, 2), convs_per_level=1, **options)


def _build(**options):
    network = _network(deep_supervision=True)
    return methods.build("nnunet_style", network, num_raters=3, num_classes=2, **options)


@pytest.fixture(scope="module")
def made():
    """(batch, variables) in 2-D, with one deep level."""
    batch, draw = _batch(9, 8), np.random.default_rng(2)
    shapes = jax.eval_shape(_build().init, KEY, batch)
    filled = jax.tree.map(lambda s: jnp.asarray(draw.normal(0, 0.5, s.shape), s.dtype), shapes)
    return batch, filled


@pytest.fixture(scope="module")
def learned(made):
    """(sum, (count, Aux)) and the gradient."""
    batch, variables = made

    def loss(params):
        return _build().loss_fn({"params": params}, batch, KEY, STEP)

    return quick_jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])


def test_the_loss_weighs_every_level_against_the_nearest_labels(made, learned):
    batch, variables = made
    (total, (count, aux)), _ = learned
    own = {"params": variables["params"]["segmenter"]}

    @quick_jit
    def expected(batch):
        output = _network(deep_supervision=True).apply(own, batch["image"], train=True)
        votes = (batch["labels"].sum(1) >= 2).astype(jnp.int32)
        # 9 x 8 voxels become 5 x 4.
        coarse = votes[:, jnp.array([1, 3, 5, 7, 8])][:, :, 1::2]
        parts = []
        for logits, mask in ((output.logits, votes), (output.deep[0], coarse)):
            target = jax.nn.one_hot(mask, 2)
            ce = jax.vmap(entropy.soft_cross_entropy)(logits, target).mean((1, 2))
            parts.append(ce + jax.vmap(overlap.soft_dice)(jax.nn.softmax(logits), target))
        return (2 * parts[0] + parts[1]) / 3

    np.testing.assert_allclose(aux.losses, expected(batch), rtol=1e-5)
    np.testing.assert_allclose(total, aux.losses.sum(), rtol=1e-6)
    assert float(count) == 2


def test_every_parameter_learns(learned):
    for path, leaf in jax.tree.leaves_with_path(learned[1]):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize(
    ("sides", "subsets"),
    [
        ((3, 4), [(), (1,), (2,), (1, 2)]),
        ((3, 4, 2), [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]),
    ],
)
def test_the_mirrored_mean_is_that_of_a_loop(sides, subsets):
    image = np.random.default_rng(1).normal(size=(2, *sides, 1)).astype(np.float32)
    slope = np.arange(image[0].size, dtype=np.float32).reshape(1, *image.shape[1:])
    each = [np.flip(np.flip(image, axes) * slope, axes) for axes in subsets]
    result = nnunet_style.mirrored_mean(lambda image: image * slope, jnp.asarray(image))
    np.testing.assert_allclose(result, sum(each) / len(each), rtol=1e-5, atol=1e-5)


def test_a_mirrored_image_has_the_mirrored_prediction_only_with_the_switch(made):
    batch, variables = made
    predict = quick_jit(
        lambda image: [_build(mirror=on).predict(variables, image).probs for on in (True, False)]
    )
    image = batch["image"]
    for probs, mirrored, equal in zip(
        predict(image), predict(image[:, ::-1]), (True, False), strict=True
    ):
        assert np.allclose(probs[:, ::-1], mirrored, atol=1e-5) == equal
        np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)


def test_the_target_is_what_was_asked_for():
    for name in fusion.FUSIONS:
        assert _build(target=name).target == name
    assert _build(target="truth").needs_truth
    assert (_build().target, _build().needs_truth) == ("", False)
    with pytest.raises(ValueError, match="target: expected one of.*got 'best'"):
        _build(target="best")
