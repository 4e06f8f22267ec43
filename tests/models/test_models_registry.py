"""What every network promises: counts, sizes, padding, gradients, switches."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models
from noisyjax.models import blocks

_NETWORKS = {
    "rar_unet": ("rar_unet", {}),
    "dense_unet": ("dense_unet", {}),
    "attention_gate_unet": ("attention_gate_unet", {}),
    "multires_unet": ("multires_unet", {}),
    "resnet34_unet": ("encoder_unet", {}),
    "vgg16_linknet": ("encoder_unet", {"encoder": "vgg16", "decoder": "linknet"}),
    "vgg16_fpn": ("encoder_unet", {"encoder": "vgg16", "decoder": "fpn"}),
    "cople_net": ("cople_net", {}),
    "highres3dnet": ("highres3dnet", {}),
}
_networks = pytest.mark.parametrize("network", _NETWORKS)


def _build(network, num_classes=2, **options):
    name, own = _NETWORKS[network]
    return models.build(name, num_classes, **own, **options)


def _image(*shape):
    return jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)


def _shapes(net, *shape):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))


def _size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_parameters_of_the_gated_unet_by_hand():
    net = _build("attention_gate_unet", 1, widths=(4, 8, 16))
    # (in, out) of each 3x3 convolution, which two numbers per channel follow; linear up-sampling.
    convs = [(1, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
    convs += [(16 + 8, 8), (8, 8), (8 + 4, 4), (4, 4)]
    # The finest level has no gate.
    gate = 4 * 8 * 8 + (16 * 8 + 8) + (8 + 1)
    by_hand = sum(9 * i * o + 2 * o for i, o in convs) + gate + (4 + 1)
    assert models.parameter_count(_shapes(net, 1, 8, 8, 1)) == by_hand


@pytest.mark.parametrize(
    ("encoder", "decoder", "num_classes", "trained", "total"),
    [
        ("vgg16", "unet", 1, 23_748_241, 23_752_273),
        ("resnet34", "unet", 1, 24_438_804, 24_456_154),
        ("vgg16", "linknet", 1, 20_318_321, 20_325_137),
        # The paper's 17.59 million are those of the 21 classes that the Keras code has by default.
        ("vgg16", "fpn", 21, 17_593_301, 17_595_605),
    ],
)
def test_encoder_networks_have_the_published_number_of_parameters(
    encoder, decoder, num_classes, trained, total
):
    net = models.build("encoder_unet", num_classes, encoder=encoder, decoder=decoder)
    variables = _shapes(net, 1, 32, 32, 3)
    assert models.parameter_count(variables) == trained
    # Keras counts the running averages as well.
    assert _size(variables) == total


def test_multires_unet_has_the_published_number_of_parameters():
    variables = _shapes(models.build("multires_unet", 1), 1, 16, 16, 1)
    assert models.parameter_count(variables) == 7_237_982
    assert _size(variables) == 7_262_502


@_networks
@pytest.mark.parametrize("sides", [(7, 10), (33, 17), (5, 9, 6)])
def test_any_size_is_segmented(network, sides):
    net = _build(network, 3, widths=(4, 8, 16))
    image = jnp.zeros((2, *sides, 2))
    variables = _shapes(net, *image.shape)
    output = jax.eval_shape(net.apply, variables, image)
    assert output.logits.shape == (2, *sides, 3)
    assert output.logits.dtype == jnp.float32
    assert output.features.shape[:-1] == (2, *sides)


@_networks
def test_bfloat16_keeps_parameters_and_logits_in_float32(network):
    net = _build(network, widths=(8, 16), dtype=jnp.bfloat16)
    variables = _shapes(net, 1, 8, 8, 1)
    output = jax.eval_shape(net.apply, variables, jnp.zeros((1, 8, 8, 1)))
    assert output.features.dtype == jnp.bfloat16
    assert output.logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@_networks
def test_training_gradients_are_finite_and_padding_has_no_influence(
    network, variables_of, quick_jit
):
    net = _build(network, widths=(8, 16), dropout=0.0)
    image = _image(3, 12, 9, 1)
    variables = variables_of(net, image)
    weight = jnp.array([1.0, 1, 0])

    def loss(params, image):
        both = {**variables, "params": params}
        output, state = net.apply(both, image, train=True, weight=weight, mutable=["batch_stats"])
        return jnp.square(output.logits[:2]).mean(), (output.logits, state)

    step = quick_jit(jax.value_and_grad(loss, has_aux=True))
    (_, (logits, state)), gradient = step(variables["params"], image)
    (_, (other, state_other)), gradient_other = step(variables["params"], image.at[2].set(9.0))
    np.testing.assert_allclose(logits[:2], other[:2], atol=1e-4)
    assert not np.allclose(logits[2], other[2], atol=1e-2)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(state_other), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * largest),
        gradient,
        gradient_other,
    )
    # Training moves every running average.
    for path, leaf in jax.tree.leaves_with_path(state["batch_stats"]):
        before = variables["batch_stats"]
        for key in path:
            before = before[key.key]
        assert not np.array_equal(leaf, before), path


@pytest.mark.parametrize("network", ["rar_unet", "resnet34_unet"])
def test_prediction_does_not_see_the_batch(network, variables_of, quick_jit):
    net = _build(network, widths=(8, 16))
    image = _image(2, 8, 11, 1)
    variables = variables_of(net, image)
    apply = quick_jit(lambda image: net.apply(variables, image).logits)
    np.testing.assert_allclose(apply(image)[::-1], apply(image[::-1]), rtol=1e-4, atol=1e-4)
    changed = apply(image.at[1].set(0.0))
    np.testing.assert_allclose(apply(image)[0], changed[0], atol=1e-4)


@_networks
def test_dropout_needs_keys(network):
    net = _build(network, widths=(8, 16), dropout=0.1)
    image = jnp.zeros((1, 8, 8, 1))
    variables = _shapes(net, *image.shape)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))

    def apply(variables, image, keys):
        return net.apply(variables, image, train=True, keys=keys, mutable=["batch_stats"])

    with pytest.raises(ValueError, match="keys"):
        jax.eval_shape(apply, variables, image, None)
    jax.eval_shape(apply, variables, image, keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "vgg61"}, "encoder.*vgg61"),
        ({"decoder": "sideways"}, "decoder.*sideways"),
        ({"widths": (8, 10)}, "widths"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _shapes(models.build("encoder_unet", 2, **options), 1, 8, 8, 1)


@_networks
def test_a_row_of_numbers_is_no_image(network):
    with pytest.raises(ValueError, match="image"):
        _shapes(_build(network), 1, 8, 1)


@pytest.mark.parametrize("name", ["cople_net", "rar_unet"])
def test_dropout_is_of_single_numbers_and_every_layer_has_its_own(monkeypatch, name):
    layers = []

    def drop(x, keys, rate, layer, *, whole_channels=True):
        assert not whole_channels
        layers.append(layer)
        return x

    monkeypatch.setattr(blocks, "dropout", drop)
    net, image = models.build(name, 2), jnp.zeros((1, 16, 16, 1))
    keys = jax.random.split(jax.random.key(0), 1)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    run = functools.partial(net.apply, train=True, keys=keys, mutable=["batch_stats"])
    jax.eval_shape(run, variables, image)
    assert len(layers) > 2
    assert len(set(layers)) == len(layers)
