"""Heads that tell raters apart: what they start as, and what each of them reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models
from noisyjax.models import multi_rater

RATERS, CLASSES, WIDTH = 3, 2, 4


def _inputs(sides):
    draw = np.random.default_rng(0)
    widths = (WIDTH, CLASSES)
    return tuple(jnp.asarray(draw.normal(size=(2, *sides, w)), jnp.float32) for w in widths)


@pytest.mark.parametrize("sides", [(5, 6), (3, 4, 5)])
def test_shapes_and_parameters(sides, quick_jit):
    inputs, shares = _inputs(sides), jnp.full((2, RATERS), 1 / RATERS)
    # A convolution to the width of the features, with scale, bias and slope.
    shared = 3 ** len(sides) * (WIDTH + CLASSES) * WIDTH + 2 * WIDTH + 1
    film = (RATERS + 1) * 2 * WIDTH + 1
    expected = {
        multi_rater.ExpertnessHead(CLASSES): (
            (inputs, shares), (2, *sides, CLASSES), film + (WIDTH + 1) * CLASSES,
        ),
        multi_rater.RaterHead(RATERS, CLASSES): (
            (inputs,), (2, RATERS, *sides, CLASSES), (WIDTH + 1) * RATERS * CLASSES,
        ),
        multi_rater.WeightHead(RATERS): ((inputs,), (2, RATERS, *sides), (WIDTH + 1) * RATERS),
    }  # fmt: skip
    for module, (arguments, shape, more) in expected.items():
        variables = jax.eval_shape(module.init, jax.random.key(0), *arguments)
        assert models.parameter_count(variables) == shared + more
        assert jax.eval_shape(module.apply, variables, *arguments).shape == shape


def test_mixtures_are_segmented_alike_at_first_and_apart_later(variables_of, quick_jit):
    head, inputs = multi_rater.ExpertnessHead(CLASSES), _inputs((4, 4))
    first, second = jnp.eye(RATERS)[:2], jnp.eye(RATERS)[1:]
    apply = quick_jit(head.apply)
    fresh = quick_jit(head.init)(jax.random.key(0), inputs, first)
    np.testing.assert_array_equal(apply(fresh, inputs, first), apply(fresh, inputs, second))
    trained = variables_of(head, inputs, first)
    one, other = apply(trained, inputs, first), apply(trained, inputs, second)
    assert float(jnp.abs(one - other).max()) > 1e-2
    # The shares of another example change nothing.
    mixed = apply(trained, inputs, jnp.stack([second[0], first[1]]))
    np.testing.assert_allclose(mixed[1], one[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mixed[0], other[0], rtol=1e-5, atol=1e-6)


def test_every_rater_has_channels_of_his_own(variables_of, quick_jit):
    head, inputs = multi_rater.RaterHead(RATERS, CLASSES), _inputs((4, 4))
    variables, apply = variables_of(head, inputs), quick_jit(head.apply)
    before = apply(variables, inputs)
    bias = variables["params"]["logits"]["bias"].at[CLASSES].add(1.0)
    moved = {"params": {**variables["params"]}}
    moved["params"]["logits"] = {**variables["params"]["logits"], "bias": bias}
    change = np.zeros((2, RATERS, 4, 4, CLASSES))
    change[:, 1, ..., 0] = 1
    np.testing.assert_allclose(apply(moved, inputs) - before, change, atol=1e-5)


def test_weights_start_equal(quick_jit):
    head, inputs = multi_rater.WeightHead(RATERS), _inputs((4, 4))
    variables = quick_jit(head.init)(jax.random.key(0), inputs)
    np.testing.assert_array_equal(quick_jit(head.apply)(variables, inputs), 0)
