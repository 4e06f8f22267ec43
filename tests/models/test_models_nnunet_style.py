"""The U-Net in nnU-Net's style: widths, deep logits, parameters by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models


def _shapes(net, *shape):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(("ndim", "widest"), [(2, 512), (3, 320)])
def test_the_widest_level_depends_on_the_rank(ndim, widest):
    net = models.build("nnunet_style", 2, widths=(2, 4, 1024))
    params = _shapes(net, 1, *(4,) * ndim, 1)["params"]["unet"]
    kernels = [params[f"encoder{level}_1"]["conv"]["kernel"] for level in range(3)]
    assert [kernel.shape[-1] for kernel in kernels] == [2, 4, widest]


@pytest.mark.parametrize("ndim", [2, 3])
def test_parameter_count_by_hand(ndim):
    net = models.build("nnunet_style", 3, widths=(4, 8, 16, 32))
    variables = _shapes(net, 1, *(8,) * ndim, 1)
    convs = [(1, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32)]
    convs += [(32, 16), (16, 16), (16, 8), (8, 8), (8, 4), (4, 4)]
    up = 2**ndim * (32 * 16 + 16 * 8 + 8 * 4)
    # Logits at the two finest of the three levels of the decoder.
    heads = (4 * 3 + 3) + (8 * 3 + 3)
    by_hand = sum(3**ndim * i * o + 2 * o for i, o in convs) + up + heads
    assert models.parameter_count(variables) == by_hand


@pytest.mark.parametrize(
    ("levels", "sides", "coarser"),
    [
        (5, (20, 9), [(10, 5), (5, 3)]),
        (4, (6, 7, 8), [(3, 4, 4)]),
        (3, (8, 8), []),
        (1, (8, 8), []),
    ],
)
def test_deep_logits_leave_out_the_coarsest_level(levels, sides, coarser):
    net = models.build("nnunet_style", 3, widths=(2, 4, 8, 16, 32)[:levels])
    variables = _shapes(net, 2, *sides, 1)

    def run(train):
        image = jnp.zeros((2, *sides, 1))
        return jax.eval_shape(lambda v: net.apply(v, image, train=train), variables)

    output = run(True)
    assert output.logits.shape == (2, *sides, 3)
    assert output.features.shape == (2, *sides, 2)
    assert [deep.shape for deep in output.deep] == [(2, *shape, 3) for shape in coarser]
    assert run(False).deep == ()


def test_without_deep_supervision_it_is_the_same_network(variables_of, quick_jit):
    image = jnp.asarray(np.random.default_rng(0).standard_normal((1, 9, 8, 1)), jnp.float32)
    net = models.build("nnunet_style", 2, widths=(2, 4, 8, 16))
    variables = variables_of(net, image)
    plain = models.build("nnunet_style", 2, widths=(2, 4, 8, 16), deep_supervision=False)
    assert models.parameter_count(variables) - models.parameter_count(
        _shapes(plain, *image.shape)
    ) == (4 * 2 + 2)
    both = quick_jit(
        lambda v: (net.apply(v, image, train=True).logits, plain.apply(v, image).logits)
    )(variables)
    np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-5)


def test_deep_logits_are_a_linear_map_of_the_features_of_their_level(variables_of, quick_jit):
    image = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 1)), jnp.float32)
    net = models.build("nnunet_style", 2, widths=(2, 4, 8, 16))
    variables = variables_of(net, image)
    head = variables["params"]["unet"]["logits1"]
    (deep,), kept = quick_jit(
        lambda v: (
            net.apply(v, image, train=True).deep,
            net.apply(v, image, capture_intermediates=True, mutable=["intermediates"])[1],
        )
    )(variables)
    level = kept["intermediates"]["unet"]["decoder1_1"]["__call__"][0]
    expected = level @ head["kernel"].reshape(4, 2) + head["bias"].reshape(1, 1, 1, 2)
    np.testing.assert_allclose(deep, expected, rtol=1e-4, atol=1e-5)


def test_options_of_the_network_inside_take_effect():
    image, keys = jnp.zeros((1, 8, 8, 1)), jax.random.split(jax.random.key(0), 1)
    net = models.build("nnunet_style", 2, widths=(2, 4, 4, 4), dtype=jnp.bfloat16, dropout=0.1)
    variables = _shapes(net, *image.shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    def apply(variables, keys):
        return net.apply(variables, image, train=True, keys=keys)

    output = jax.eval_shape(apply, variables, keys)
    assert output.features.dtype == jnp.bfloat16
    assert output.logits.dtype == output.deep[0].dtype == jnp.float32
    with pytest.raises(ValueError, match="keys"):
        jax.eval_shape(apply, variables, None)
    with pytest.raises(ValueError, match="image"):
        _shapes(net, 1, 8, 1)
