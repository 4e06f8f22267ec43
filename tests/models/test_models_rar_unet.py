"""RAR-U-Net: the parameter counts of the paper, row by row; wiring; dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models


def _net(encoders, connections, decoders, **options):
    return models.build(
        "rar_unet",
        options.pop("num_classes", 1),
        residual_encoders=encoders,
        residual_connections=connections,
        attention_decoders=decoders,
        **options,
    )


def _count(net, ndim=2):
    image = jnp.zeros((1, *(16,) * ndim, 1))
    return models.parameter_count(jax.eval_shape(net.init, jax.random.key(0), image))


@pytest.mark.parametrize(
    ("encoders", "connections", "decoders", "parameters"),
    [
        (False, False, False, 7_762_465),
        (True, False, False, 9_899_625),
        (False, True, False, 8_912_673),
        (False, False, True, 7_785_157),
        (True, False, True, 9_922_317),
        (True, True, False, 11_049_833),
        (True, True, True, 11_794_125),
        # Not in the paper: what its recipe gives.
        (False, True, True, 8_935_365),
    ],
)
def test_parameters_are_those_of_table_4(encoders, connections, decoders, parameters):
    assert _count(_net(encoders, connections, decoders)) == parameters


@pytest.mark.parametrize(
    ("encoders", "decoders", "parameters"),
    [(False, False, 22_575_329), (True, False, 28_145_249), (False, True, 22_600_373)],
)
def test_parameters_in_3d_are_those_of_table_1(encoders, decoders, parameters):
    assert _count(_net(encoders, False, decoders, norm="none"), 3) == parameters


def test_parameters_of_the_dense_unet_are_those_of_table_1():
    assert _count(models.build("dense_unet", 1)) == 15_484_683
    assert _count(models.build("dense_unet", 1, norm="none")) == 15_479_681
    assert _count(models.build("dense_unet", 1, norm="none"), 3) == 44_783_873


@pytest.mark.parametrize(("encoders", "width"), [(True, 12), (False, 4)])
def test_features_have_the_documented_width(encoders, width):
    net = _net(encoders, True, True, widths=(4, 8))
    image = jnp.zeros((1, 8, 8, 1))
    output, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), image)
    assert output.features.shape == (1, 8, 8, width)


def test_path_units_grow_towards_the_finest_level():
    net = _net(True, True, True, widths=(4, 4, 4, 4, 4))
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    units = [len(variables["params"][f"path{level}"]) // 3 for level in range(4)]
    assert units == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("connections", "decoders", "normalised"), [(False, False, False), (True, True, True)]
)
def test_skips_carry_what_the_published_size_says(
    connections, decoders, normalised, variables_of, quick_jit
):
    """With residual encoders a skip is bare, but in the full network it is the whole stage."""
    net = _net(True, connections, decoders, widths=(2, 2), dropout=0)
    image = jnp.asarray(np.random.default_rng(1).standard_normal((1, 6, 6, 1)), jnp.float32)
    variables = variables_of(net, image)
    # Without the way through the bottom, the first norm reaches the output by the skip alone.
    variables["params"]["up0"] = jax.tree.map(jnp.zeros_like, variables["params"]["up0"])
    changed = jax.tree.map(lambda x: x, variables)
    changed["params"]["encoder_norm0"]["bias"] = jnp.full(3, 5.0)
    apply = quick_jit(net.apply)
    one, two = (apply(v, image).logits for v in (variables, changed))
    assert np.allclose(one, two) != normalised


def test_the_dense_stage_hands_its_first_input_to_its_second_convolution(variables_of):
    net = models.build("dense_unet", 1, widths=(2, 2), dropout=0)
    variables = variables_of(net, jnp.zeros((1, 4, 4, 1)))
    assert variables["params"]["encoder0_1"]["conv"]["kernel"].shape == (3, 3, 1 + 2, 2)
    # The deepest skip is the whole stage: 2 channels up, 1 + 2 across.
    assert variables["params"]["decoder0_0"]["conv"]["kernel"].shape == (3, 3, 5, 2)


def test_dropout_depends_on_the_example_and_not_on_its_place(variables_of, quick_jit):
    net = _net(False, False, False, widths=(4, 4), dropout=0.5, norm="none")
    image = jnp.broadcast_to(
        jnp.asarray(np.random.default_rng(1).standard_normal((1, 8, 8, 1)), jnp.float32),
        (3, 8, 8, 1),
    )
    variables = variables_of(net, image)
    apply = quick_jit(lambda keys: net.apply(variables, image, train=True, keys=keys).logits)
    keys = jax.random.split(jax.random.key(3), 3)
    logits, turned = apply(keys), apply(keys[::-1])
    np.testing.assert_allclose(logits, turned[::-1], atol=1e-5)
    assert not np.allclose(logits[0], logits[1], atol=1e-3)


@pytest.mark.parametrize("sides", [(6, 7), (4, 5, 3)])
def test_jit_equals_eager_and_volumes_are_segmented(sides, variables_of, quick_jit):
    net = _net(True, True, True, widths=(2, 4), norm="batch" if len(sides) == 2 else "none")
    image = jnp.asarray(np.random.default_rng(1).standard_normal((2, *sides, 1)), jnp.float32)
    variables = variables_of(net, image)
    logits = quick_jit(net.apply)(variables, image).logits
    assert logits.shape == (2, *sides, 1)
    assert np.isfinite(logits).all()
    if len(sides) == 2:
        np.testing.assert_allclose(net.apply(variables, image).logits, logits, atol=1e-4)
