"""U-Net: parameters by hand, sizes, padding, dropout, switches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models
from noisyjax.models import blocks


def _image(*shape):
    return jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)


def _made(image, **options):
    net = models.build("unet", 2, **{"widths": (4, 8)} | options)
    return net, jax.jit(net.init)(jax.random.key(0), image)


@pytest.mark.parametrize("ndim", [2, 3])
def test_parameter_count_by_hand(ndim):
    image = _image(1, *(8,) * ndim, 1)
    _, variables = _made(image)
    taps = 3**ndim
    # (in, out) of each 3^n convolution: encoder, bottom, decoder (linear up, 8 + 4 channels).
    convs = [(1, 4), (4, 4), (4, 8), (8, 8), (12, 4), (4, 4)]
    by_hand = sum(taps * i * o + 2 * o + 1 for i, o in convs) + (4 * 2 + 2)
    assert models.parameter_count(variables) == by_hand


@pytest.mark.parametrize("options", [{}, {"down": "pool", "up": "transposed"}])
@pytest.mark.parametrize("sides", [(7, 10), (5, 6, 7)])
def test_any_size_is_segmented(sides, options):
    image = _image(2, *sides, 1)
    net, variables = _made(image, widths=(4, 4, 4), convs_per_level=1, **options)
    output = jax.jit(net.apply)(variables, image)
    assert output.logits.shape == (2, *sides, 2)
    assert output.features.shape == (2, *sides, 4)
    assert np.isfinite(output.logits).all()


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_an_example_does_not_see_its_batch(norm):
    image = _image(3, 8, 8, 1)
    net, variables = _made(image, norm=norm, widths=(8,))
    apply = jax.jit(
        lambda x: net.apply(variables, x, train=True, mutable=["batch_stats"])[0].logits
    )
    whole, alone = apply(image), apply(image[1:2])
    np.testing.assert_allclose(whole[1:2], alone, atol=1e-5)


def test_padding_stays_out_of_the_batch_statistics():
    image = _image(4, 8, 8, 1)
    net, variables = _made(image, norm="batch", widths=(4,))
    apply = jax.jit(lambda x, w: net.apply(variables, x, train=True, weight=w, mutable=True))
    weight = jnp.array([1.0, 1, 0, 0])
    output, state = apply(image, weight)
    other, state_other = apply(image.at[2:].set(9.0), weight)
    np.testing.assert_allclose(output.logits[:2], other.logits[:2], atol=1e-5)
    for one, two in zip(
        jax.tree.leaves(state["batch_stats"]), jax.tree.leaves(state_other["batch_stats"])
    ):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_dropout_depends_on_the_example_and_not_on_its_place():
    image = jnp.broadcast_to(_image(1, 8, 8, 1), (3, 8, 8, 1))
    net, variables = _made(image, dropout=0.5, widths=(8,))
    apply = jax.jit(lambda keys: net.apply(variables, image, train=True, keys=keys).logits)
    keys = jax.random.split(jax.random.key(3), 3)
    logits, turned = apply(keys), apply(keys[::-1])
    np.testing.assert_allclose(logits, turned[::-1], atol=1e-6)
    assert not np.allclose(logits[0], logits[1], atol=1e-3)
    with pytest.raises(ValueError, match="keys"):
        jax.eval_shape(lambda: net.apply(variables, image, train=True))
    assert np.isfinite(jax.jit(net.apply)(variables, image).logits).all()


def test_remat_and_bfloat16_change_memory_and_precision_only():
    image = _image(1, 8, 8, 1)
    net, variables = _made(image)

    def run(**options):
        other = models.build("unet", 2, widths=(4, 8), **options)

        def loss(variables):
            return jnp.square(other.apply(variables, image).logits).mean()

        value, gradient = jax.jit(jax.value_and_grad(loss))(variables)
        return value, gradient

    value, gradient = run()
    again, gradient_again = run(remat=True)
    np.testing.assert_allclose(value, again, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        gradient,
        gradient_again,
    )
    half, gradient_half = run(dtype=jnp.bfloat16)
    np.testing.assert_allclose(half, value, rtol=0.1)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient_half))


def test_unknown_options_are_refused():
    image = _image(1, 8, 8, 1)
    for options in ({"down": "sideways"}, {"up": "sideways"}, {"norm": "sideways"}):
        with pytest.raises(ValueError, match="sideways"):
            _made(image, **options)
    with pytest.raises(ValueError, match="model.*vnet"):
        models.build("vnet", 2)


def test_every_level_has_its_width_its_depth_and_its_dropout(monkeypatch):
    layers = []
    monkeypatch.setattr(
        blocks, "dropout", lambda x, keys, rate, layer, **options: (layers.append(layer), x)[1]
    )
    widths = (2, 3, 4, 5, 6)
    options = {"widths": widths, "convs_per_level": 1, "dropout": 0.5, "deep_supervision": True}
    net = models.build("unet", 2, **options)
    image = jnp.zeros((1, 32, 16, 1))
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    channels = {
        name: part["conv"]["kernel"].shape[-1]
        for name, part in variables["params"].items()
        if name.startswith(("encoder", "decoder"))
    }
    expected = {f"encoder{level}_0": width for level, width in enumerate(widths)}
    expected |= {f"decoder{level}_0": width for level, width in enumerate(widths[:-1])}
    assert channels == expected
    keys = jax.random.split(jax.random.key(0), 1)
    output = jax.eval_shape(lambda v: net.apply(v, image, train=True, keys=keys), variables)
    # Logits of all levels but the two coarsest.
    assert [deep.shape for deep in output.deep] == [(1, 16, 8, 2), (1, 8, 4, 2)]
    assert output.logits.shape == (1, 32, 16, 2)
    # Down and up again, none twice: two layers of one number would drop alike.
    assert layers == list(range(9))


def test_a_planned_network_has_its_own_kernels_and_strides():
    image = _image(1, 5, 12, 12, 1)
    kernels, strides = ((1, 3, 3), (3, 3, 3), (3, 3, 3)), ((1, 2, 2), (2, 2, 2))
    for up in ("linear", "transposed"):
        options = {"widths": (2, 3, 4), "kernels": kernels, "strides": strides, "up": up}
        net, variables = _made(image, convs_per_level=1, **options)
        # (taps, in, out) of the encoder, then of the decoder.
        joined = {"linear": (4 + 3, 3 + 2), "transposed": (3 + 3, 2 + 2)}[up]
        convs = [(9, 1, 2), (27, 2, 3), (27, 3, 4), (27, joined[0], 3), (9, joined[1], 2)]
        by_hand = sum(taps * i * o + 2 * o + 1 for taps, i, o in convs) + (2 * 2 + 2)
        # Blocks of 2 x 2 x 2 and of 1 x 2 x 2 voxels.
        by_hand += (8 * 4 * 3 + 4 * 3 * 2) * (up == "transposed")
        assert models.parameter_count(variables) == by_hand
        assert jax.jit(net.apply)(variables, image).logits.shape == (1, 5, 12, 12, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strides": ((2, 2), (2, 2))}, "strides: expected 1 times 2 numbers for 2 levels"),
        ({"kernels": ((3, 3, 3), (3, 3, 3))}, "kernels: expected 2 times 2 numbers for 2 levels"),
        ({"strides": ((1, 1),)}, "strides: expected a 2 in each"),
        ({"strides": ((1, 2),), "down": "pool"}, "down: pool halves every side"),
    ],
)
def test_levels_that_do_not_fit_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        _made(_image(1, 8, 8, 1), **options)
