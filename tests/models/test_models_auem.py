"""The AUEM: sizes, presence, independence of what is absent, its start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models
from noisyjax.models import auem

RATERS = 3


def _inputs(*sides, size=2):
    draw = np.random.default_rng(0)
    image = jnp.asarray(draw.normal(size=(size, *sides, 1)), jnp.float32)
    labels = jnp.asarray(draw.integers(0, 3, (size, RATERS, *sides)), jnp.uint8)
    return image, labels, jnp.ones((size, RATERS), bool)


_MODULE = auem.AUEM(2, (4, 8), num_raters=RATERS)
_RUN = jax.jit(_MODULE.apply, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture
def made(variables_of):
    """(inputs, variables, the compiled module) for images of 8 by 8 and two classes."""
    inputs = _inputs(8, 8)
    return inputs, variables_of(_MODULE, *inputs), _RUN


def test_parameters_by_hand(made):
    _, variables, _ = made
    # Image, three annotations of two classes, three presences; no scale in the stem, but a bias.
    stem = 9 * (1 + RATERS * 3) * 4 + 4 + 1
    convs = 9 * (4 * 4 + 4 * 8) + 2 * (4 + 8) + 2
    decoder = 9 * (8 + 4) * 4 + 2 * 4 + 1 + (4 * 2 + 2)
    assert models.parameter_count(variables) == stem + convs + RATERS * decoder


@pytest.mark.parametrize("sides", [(7, 10), (5, 6, 7)])
def test_images_and_volumes_of_any_size(sides, variables_of, quick_jit):
    module, inputs = auem.AUEM(2, (4, 4), num_raters=RATERS), _inputs(*sides)
    maps = quick_jit(module.apply)(variables_of(module, *inputs), *inputs)
    assert maps.shape == (2, RATERS, *sides, 2)
    assert np.all((maps > 0) & (maps < 1))


def test_what_stands_for_an_absent_annotation_is_not_seen(made):
    (image, labels, present), variables, run = made
    present = present.at[0, 1].set(False)
    result = run(variables, image, labels, present)
    other = run(variables, image, labels.at[0, 1].set(255), present)
    np.testing.assert_array_equal(result, other)


def test_an_absent_annotation_is_not_an_empty_one(made):
    (image, labels, present), variables, run = made
    labels = labels.at[0, 1].set(0)
    empty = run(variables, image, labels, present)
    absent = run(variables, image, labels, present.at[0, 1].set(False))
    # In the middle as well, where padding by zeros does not tell.
    change = jnp.abs(empty - absent)[:, 0, 3:5, 3:5].max((1, 2, 3))
    assert change[0] > 1e-3
    assert change[1] == 0


def test_every_annotation_is_seen_and_each_has_maps_of_its_own(made):
    (image, labels, present), variables, run = made
    before = run(variables, image, labels, present)
    for rater in range(RATERS):
        turned = labels.at[:, rater].set((labels[:, rater] + 1) % 3)
        assert np.all(jnp.abs(run(variables, image, turned, present) - before).max((2, 3)) > 1e-3)
    head = variables["params"]["rater1_logits"]
    changed = {**variables["params"], "rater1_logits": {**head, "bias": head["bias"] + 1}}
    after = run({"params": changed}, image, labels, present)
    same = [bool((after[:, r] == before[:, r]).all()) for r in range(RATERS)]
    assert same == [True, False, True]


def test_uncertainties_start_low(made):
    inputs, variables, run = made
    heads = {n: {**v, "kernel": 0 * v["kernel"], "bias": 0 * v["bias"]}
             for n, v in variables["params"].items() if n.endswith("logits")}  # fmt: skip
    result = run({"params": {**variables["params"], **heads}}, *inputs)
    np.testing.assert_allclose(result, 1 / (1 + np.exp(2)), rtol=1e-5)


def test_another_number_of_annotations_is_refused():
    image, labels, present = _inputs(8, 8)
    module = auem.AUEM(2, (4,), num_raters=2)
    with pytest.raises(ValueError, match=r"rater_mask: expected shape \[2, 2\]"):
        jax.eval_shape(module.init, jax.random.key(0), image, labels, present)
