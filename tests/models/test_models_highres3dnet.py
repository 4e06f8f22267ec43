"""HighRes3DNet: parameter counts, receptive field, wiring against PyTorch, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import models


def _net(num_classes=2, **options):
    return models.build("highres3dnet", num_classes, **options)


def _shapes(net, *shape):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(
    ("num_classes", "parameters"), [(1, 808_866), (2, 808_948), (160, 821_904)]
)
def test_parameters_are_the_published_ones(num_classes, parameters):
    assert models.parameter_count(_shapes(_net(num_classes), 1, 4, 4, 4, 1)) == parameters


@pytest.mark.parametrize("sides", [(95, 1, 1), (1, 95, 1), (1, 1, 95), (91, 89)])
def test_a_logit_sees_87_voxels_along_each_axis(sides, quick_jit):
    net = _net(1, widths=(1, 1, 1), head=1)
    image = jnp.ones((1, *sides, 1))
    # Positive weights: no ReLU is closed and no two paths cancel.
    variables = jax.tree.map(
        lambda s: jnp.full(s.shape, 0.2 if len(s.shape) > 1 else 1.0), _shapes(net, *image.shape)
    )
    middle = (0, *(side // 2 for side in sides), 0)
    gradient = quick_jit(jax.grad(lambda x: net.apply(variables, x).logits[middle]))(image)
    near = [np.abs(np.arange(side) - side // 2) <= 43 for side in sides]
    expected = np.all(np.meshgrid(*near, indexing="ij"), axis=0)
    np.testing.assert_array_equal(gradient[0, ..., 0] > 0, expected)


def _twin(variables, image, widths):
    """The published network in PyTorch, with our parameters, in evaluation."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    params, stats = jax.tree.map(
        lambda x: torch.from_numpy(np.array(x)), (variables["params"], variables["batch_stats"])
    )

    def conv(name, x, dilation=1):
        kernel = params[name]["kernel"].permute(4, 3, 0, 1, 2)
        padding = dilation * (kernel.shape[-1] // 2)
        return functional.conv3d(x, kernel, padding=padding, dilation=dilation)

    def norm(name, x):
        average, own = stats[name], params[name]
        return functional.batch_norm(
            x, average["mean"], average["variance"], own["scale"], own["bias"]
        )

    x = torch.from_numpy(np.array(image)).permute(0, 4, 1, 2, 3)
    x = functional.relu(norm("norm", conv("conv", x)))
    for level, width in enumerate(widths):
        for index in range(3):
            name, y = f"block{level}_{index}", x
            for half in range(2):
                y = functional.relu(norm(f"{name}_norm{half}", y))
                y = conv(f"{name}_conv{half}", y, 2**level)
            zeros = torch.zeros_like(x)[:, :1].repeat(1, (width - x.shape[1]) // 2, 1, 1, 1)
            x = y + torch.cat([zeros, x, zeros], 1)
    x = functional.relu(norm("head_norm", conv("head", x)))
    return norm("logits_norm", conv("logits", x)).permute(0, 2, 3, 4, 1).numpy()


def test_logits_are_those_of_the_published_wiring(variables_of, quick_jit):
    widths = (2, 4, 8)
    net = _net(3, widths=widths, head=5)
    image = jnp.asarray(np.random.default_rng(1).standard_normal((2, 6, 5, 7, 2)), jnp.float32)
    variables = variables_of(net, image)
    logits = quick_jit(net.apply)(variables, image).logits
    expected = _twin(variables, image, widths)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_dropout_depends_on_the_example_and_not_on_its_place(variables_of, quick_jit):
    net = _net(widths=(2, 4), norm="none", dropout=0.5)
    image = jnp.broadcast_to(
        jnp.asarray(np.random.default_rng(1).standard_normal((1, 6, 6, 1)), jnp.float32),
        (3, 6, 6, 1),
    )
    variables = variables_of(net, image)
    apply = quick_jit(lambda keys: net.apply(variables, image, train=True, keys=keys))
    keys = jax.random.split(jax.random.key(3), 3)
    output, turned = apply(keys), apply(keys[::-1])
    np.testing.assert_allclose(output.logits, turned.logits[::-1], atol=1e-5)
    assert not np.allclose(output.logits[0], output.logits[1], atol=1e-3)
    # The features are what the logits read.
    assert np.mean(output.features == 0) > 0.5


def test_widths_that_shrink_are_refused():
    with pytest.raises(ValueError, match="widths.*8, 4"):
        _shapes(_net(widths=(8, 4)), 1, 8, 8, 1)


@pytest.mark.parametrize("sides", [(6, 7), (4, 5, 3)])
def test_jit_equals_eager(sides, variables_of, quick_jit):
    net = _net(widths=(2, 3), head=5)
    image = jnp.asarray(np.random.default_rng(1).standard_normal((2, *sides, 1)), jnp.float32)
    variables = variables_of(net, image)
    output = net.apply(variables, image)
    jitted = quick_jit(net.apply)(variables, image)
    np.testing.assert_allclose(jitted.logits, output.logits, atol=1e-4)
    assert output.logits.shape == (2, *sides, 2)
    assert output.features.shape == (2, *sides, 5)
    assert np.isfinite(output.logits).all()
