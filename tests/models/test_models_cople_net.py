"""COPLE-Net: parameter count, wiring against PyTorch, resizing, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models
from noisyjax.models import cople_net


def _net(num_classes=2, **options):
    return models.build("cople_net", num_classes, **options)


def _shapes(net, *shape):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))


def test_parameters_are_those_of_the_published_code():
    assert models.parameter_count(_shapes(_net(), 1, 32, 32, 1)) == 10_521_666


def _twin(variables, image, widths):
    """The published network in PyTorch, with our parameters, in evaluation."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    params, stats = jax.tree.map(
        lambda x: torch.from_numpy(np.array(x)), (variables["params"], variables["batch_stats"])
    )

    def conv(name, x, dilation=1):
        kernel = params[name]["kernel"].permute(3, 2, 0, 1)
        padding = dilation * (kernel.shape[-1] // 2)
        bias = params[name]["bias"]
        return functional.conv2d(x, kernel, bias, padding=padding, dilation=dilation)

    def layer(name, x):
        norm, average = params[f"{name}_norm"], stats[f"{name}_norm"]
        x = functional.batch_norm(
            conv(name, x), average["mean"], average["variance"], norm["scale"], norm["bias"]
        )
        return functional.leaky_relu(x)

    def dense(name, x):
        return functional.linear(x, params[name]["kernel"].T, params[name]["bias"])

    def stage(name, x):
        x = layer(f"{name}_1", layer(f"{name}_0", x))
        hidden = functional.leaky_relu(dense(f"{name}_squeeze", x.mean((2, 3))))
        factor = functional.relu(dense(f"{name}_excite", hidden))
        return factor[:, :, None, None] * x + x

    x = stage("encoder0", torch.from_numpy(np.array(image)).permute(0, 3, 1, 2))
    skips = [layer("skip0", x)]
    for level in range(1, len(widths)):
        pools = (functional.max_pool2d(x, 2), functional.avg_pool2d(x, 2))
        x = torch.cat(pools, 1)
        x = stage(f"encoder{level}", x) + x
        if level < len(widths) - 1:
            skips.append(layer(f"skip{level}", x))
    dilations = (1, 2, 4, 6)
    x = torch.cat([conv(f"branch{i}", x, d) for i, d in enumerate(dilations)], 1)
    x = layer("pyramid", x)
    for level in reversed(range(len(widths) - 1)):
        x = functional.interpolate(
            conv(f"up{level}", x), scale_factor=2, mode="bilinear", align_corners=True
        )
        x = torch.cat([skips[level], x], 1)
        x = stage(f"decoder{level}", x) + x
    return conv("logits", x).permute(0, 2, 3, 1).numpy()


def test_logits_are_those_of_the_published_wiring(variables_of, quick_jit):
    widths = (4, 8, 16)
    net = _net(3, widths=widths)
    image = jnp.asarray(np.random.default_rng(1).standard_normal((2, 16, 12, 2)), jnp.float32)
    variables = variables_of(net, image)
    logits = quick_jit(net.apply)(variables, image).logits
    expected = _twin(variables, image, widths)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_resizing_by_hand():
    x = jnp.array([0.0, 3.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(
        cople_net.resize(x, (2, 4))[0, ..., 0], [[0, 1, 2, 3]] * 2, atol=1e-6
    )
    np.testing.assert_array_equal(cople_net.resize(x, (1, 2)), x)


@pytest.mark.parametrize(
    ("sides", "new", "mode"), [((3, 5), (6, 9), "bilinear"), ((2, 3, 4), (4, 5, 7), "trilinear")]
)
def test_resizing_equals_pytorch_with_gradients(sides, new, mode):
    torch = pytest.importorskip("torch")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *sides, 3)), jnp.float32)
    g = jnp.asarray(np.random.default_rng(1).standard_normal((2, *new, 3)), jnp.float32)

    @jax.jit
    def resize(x, g):
        y, pullback = jax.vjp(lambda x: cople_net.resize(x, new), x)
        return y, pullback(g)[0]

    y, gradient = resize(x, g)
    peer = torch.from_numpy(np.array(jnp.moveaxis(x, -1, 1))).requires_grad_()
    expected = torch.nn.functional.interpolate(peer, new, mode=mode, align_corners=True)
    np.testing.assert_allclose(jnp.moveaxis(y, -1, 1), expected.detach().numpy(), atol=1e-5)
    expected.backward(torch.from_numpy(np.array(jnp.moveaxis(g, -1, 1))))
    np.testing.assert_allclose(jnp.moveaxis(gradient, -1, 1), peer.grad.numpy(), atol=1e-5)


def test_dropout_depends_on_the_example_and_not_on_its_place(variables_of, quick_jit):
    net = _net(widths=(4, 8), norm="none", dropout=0.5)
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


@pytest.mark.parametrize(
    ("dropout", "needs_keys"),
    [((0.0, 0.0, 0.3, 0.4, 0.5), True), ((0.9, 0.0, 0.0), False), ((0.0, 0.9, 0.0), True)],
)
def test_fewer_levels_take_the_last_probabilities_of_dropout(dropout, needs_keys):
    net = _net(widths=(2, 4), dropout=dropout, norm="none")
    variables = _shapes(net, 1, 4, 4, 1)

    def apply(variables):
        return net.apply(variables, jnp.zeros((1, 4, 4, 1)), train=True)

    if needs_keys:
        with pytest.raises(ValueError, match="keys"):
            jax.eval_shape(apply, variables)
    else:
        jax.eval_shape(apply, variables)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (4, 8, 8)}, "widths.*4, 8, 8"),
        ({"widths": (3, 6)}, "widths.*3, 6"),
        ({"widths": (4, 8), "dropout": (0.5,)}, "dropout.*0.5"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _shapes(_net(**options), 1, 8, 8, 1)


def test_jit_equals_eager(variables_of, quick_jit):
    net = _net(widths=(2, 4))
    image = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6, 7, 1)), jnp.float32)
    variables = variables_of(net, image)
    eager = net.apply(variables, image).logits
    np.testing.assert_allclose(quick_jit(net.apply)(variables, image).logits, eager, atol=1e-4)


def test_a_volume_of_equal_slices_is_segmented_as_a_slice(variables_of, quick_jit):
    """With depth taps that only look at their own slice."""
    net = _net(widths=(2, 4))
    image = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6, 7, 1)), jnp.float32)
    variables = variables_of(net, image)
    volume = jnp.broadcast_to(image[:, None], (2, 5, 6, 7, 1))

    def deepened(path, leaf):
        if path[-1].key != "kernel" or leaf.ndim != 4:
            return leaf
        kernel = jnp.zeros((len(leaf), *leaf.shape))
        return kernel.at[len(leaf) // 2].set(leaf)

    deep = jax.tree_util.tree_map_with_path(deepened, variables)
    logits = quick_jit(net.apply)(deep, volume).logits
    expected = quick_jit(net.apply)(variables, image).logits
    np.testing.assert_allclose(logits, jnp.broadcast_to(expected[:, None], logits.shape), atol=1e-4)
