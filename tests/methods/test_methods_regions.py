"""Methods that learn regions: their losses by hand, their predictions, and who learns none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from noisyjax import methods, models
from noisyjax.core import class_regions, rng
from noisyjax.methods import base, deep_supervision, fused, network, sliding_window

REGIONS = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))
DRAW = np.random.default_rng(0)
LOGITS = jnp.asarray(DRAW.normal(size=(5, 4, 2)), jnp.float32)
TARGET = jnp.asarray(DRAW.dirichlet(np.ones(3), (5, 4)), jnp.float32)
INSIDE = jnp.stack([TARGET[..., 1] + TARGET[..., 2], TARGET[..., 2]], axis=-1)


def _binary_cross_entropy(logits, inside):
    return optax.sigmoid_binary_cross_entropy(logits, inside).mean()


def _dice(logits, inside):
    probs, space = jax.nn.sigmoid(logits), (0, 1)
    below = probs.sum(space) + inside.sum(space)
    return 1 - (2 * (probs * inside).sum(space) / below).mean()


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("cross_entropy", _binary_cross_entropy),
        ("soft_dice", _dice),
        (
            "cross_entropy_and_soft_dice",
            lambda *both: _binary_cross_entropy(*both) + _dice(*both),
        ),
    ],
)
def test_the_loss_of_regions_is_that_of_their_sigmoids(loss, by_hand):
    compare = fused.of_regions(fused.LOSSES[loss], REGIONS)
    assert float(compare(LOGITS, TARGET)) == pytest.approx(float(by_hand(LOGITS, INSIDE)), abs=1e-5)
    # What is left out has zeros, and is in neither mean.
    ignored = TARGET.at[3:].set(0.0)
    expected = by_hand(LOGITS[:3], INSIDE[:3])
    assert float(compare(LOGITS, ignored)) == pytest.approx(float(expected), abs=1e-5)


def test_every_loss_is_finite_where_regions_are_sure():
    sure = 200.0 * jnp.sign(LOGITS)
    every = [fused.of_regions(loss, REGIONS) for loss in fused.LOSSES.values()]
    found = jax.jit(lambda logits: [jax.value_and_grad(f)(logits, TARGET) for f in every])(sure)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_coarser_levels_have_the_loss_of_coarser_regions():
    compare = fused.of_regions(fused.LOSSES["cross_entropy_and_soft_dice"], REGIONS)
    coarse = deep_supervision.nearest(TARGET, (3, 2))
    expected = (2 * compare(LOGITS, TARGET) + compare(LOGITS[:3, :2], coarse)) / 3
    found = deep_supervision.loss(compare, (LOGITS, LOGITS[:3, :2]), TARGET)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


class _Voxelwise(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, image, *, train=False, keys=None, weight=None):
        return models.segmentation.Segmentation(nn.Dense(self.num_classes)(image), image)


@pytest.mark.parametrize("name", ["mean", "nnunet_style"])
def test_methods_learn_regions_of_fused_labels(name):
    method = methods.build(
        name, _Voxelwise(2), num_raters=2, num_classes=3, regions=REGIONS,
        **({"loss": "cross_entropy_and_soft_dice"} if name == "mean" else {}),
    )  # fmt: skip
    labels = DRAW.integers(0, 3, (2, 1, 4, 5))
    batch = {
        "image": jnp.asarray(np.eye(3)[labels[:, 0]], jnp.float32),
        "labels": jnp.asarray(np.repeat(labels, 2, axis=1), jnp.uint8),
        "rater_mask": jnp.ones((2, 2), bool),
        "weight": jnp.ones(2),
        "id": jnp.arange(2, dtype=jnp.int32),
    }
    variables = method.init(rng.root_key(0), batch)

    @jax.jit
    def step(variables, number):
        def loss(variables):
            return method.loss_fn(variables, batch, rng.root_key(1), number)[0]

        value, slope = jax.value_and_grad(loss)(variables)
        return jax.tree.map(lambda v, s: v - 3.0 * s, variables, slope), value

    losses = []
    for number in range(40):
        variables, value = step(variables, jnp.int32(number))
        losses.append(float(value))
    assert losses[-1] < 0.3 * losses[0]
    prediction = method.predict(variables, batch["image"])
    assert prediction.region_probs.shape == (2, 4, 5, 2)
    np.testing.assert_array_equal(base.segment(prediction.probs), labels[:, 0])


def _halves(variables, image):
    """Says that the first half of each window is in both regions, the rest in the outer."""
    first = jnp.arange(image.shape[1]).reshape(1, -1, 1, 1) < image.shape[1] // 2
    logits = jnp.where(first, jnp.array([1.0, 2.0]).reshape(1, 1, 1, 2), jnp.array([3.0, -0.5]))
    return network.prediction(jnp.broadcast_to(logits, (*image.shape[:3], 2)), REGIONS)


def _absent(*_):
    raise AssertionError("not asked for")


def test_windows_are_averaged_before_regions_become_classes():
    image = np.zeros((8, 4, 1), np.float32)
    options = {"window": (4, 4), "overlap": 0.5, "blend": "constant"}
    found = sliding_window.predict_windows(_halves, {}, image, **options)
    assert found.keys() == {"region_probs"}
    regions = found["region_probs"]
    sigmoids = jax.nn.sigmoid(jnp.array([[1.0, 2.0], [3.0, -0.5]]))
    np.testing.assert_allclose(regions[:2, 0], [sigmoids[0]] * 2, rtol=1e-5)
    np.testing.assert_allclose(regions[2:4, 0], [sigmoids.mean(axis=0)] * 2, rtol=1e-5)
    method = base.Method(_absent, _absent, _halves, regions=REGIONS)
    wrapped = sliding_window.wrap(method, **options).predict({}, jnp.asarray(image)[None])
    np.testing.assert_allclose(wrapped.region_probs[0], regions, rtol=1e-5)
    np.testing.assert_allclose(
        wrapped.probs[0], class_regions.class_probs(regions, REGIONS), atol=1e-5
    )
    # The mean of the core's sigmoids, 0.88 and 0.38, is above one half.
    assert base.segment(wrapped.probs)[0, :, 0].tolist() == [2, 2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("name", ["cm_trace", "separate", "co_teaching"])
def test_methods_of_classes_refuse_regions(name):
    with pytest.raises(
        ValueError, match=r"learns regions \(oracle, mean, majority, .*nnunet_style"
    ):
        methods.build(name, _Voxelwise(2), num_raters=2, num_classes=3, regions=REGIONS)
