"""Windows against the plain prediction, against sums by hand, and on images of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.methods import base, sliding_window


def _image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _pointwise(variables, image):
    """Says of every voxel something about this voxel alone, so that windows change nothing."""
    logits = variables["scale"] * jnp.concatenate([image, 2 * image, -image], axis=-1)
    probs = jax.nn.softmax(logits)
    raters = jnp.stack([probs, probs[..., ::-1]], axis=1)
    cms = jnp.stack([raters, raters[..., ::-1]], axis=-1)
    return base.Prediction(probs, cms, raters, raters)


def _position(variables, image):
    """Says how far into the window a voxel lies along the first axis."""
    share = jnp.linspace(0, 1, image.shape[1]).reshape(1, -1, *[1] * (image.ndim - 2))
    share = jnp.broadcast_to(share, (*image.shape[:-1], 1))
    return base.Prediction(jnp.concatenate([1 - share, share], axis=-1))


VARIABLES = {"scale": jnp.float32(0.7)}
# In 2-D and 3-D, and smaller than the window along one axis or all.
SHAPES = [
    ((11, 9), (4, 5), "gaussian"),
    ((6, 7, 5), (4, 3, 4), "constant"),
    ((3, 9), (5, 4), "gaussian"),
    ((2, 3), (4, 4), "constant"),
]


def _method(predict):
    def absent(*_):
        raise AssertionError("not asked for")

    return base.Method(absent, absent, predict, base.all_model)


def test_windows_cover_the_axis_evenly_and_their_weights_add_up_to_one():
    for extent, size, overlap in ((10, 4, 0.5), (17, 5, 0.25), (9, 9, 0.5), (30, 7, 0.9)):
        for blend in sliding_window.BLENDS:
            starts, weights = sliding_window.layout(extent, size, overlap=overlap, blend=blend)
            assert [starts[0], starts[-1]] == [0, extent - size]
            # No further apart than asked for, up to the rounding of each start.
            assert np.all(np.diff(starts) <= np.ceil(size * (1 - overlap)))
            assert np.all(np.diff(starts) > 0)
            total = np.zeros(extent)
            for start, row in zip(starts, weights):
                total[start : start + size] += row
            np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_gaussian_has_an_eighth_of_the_window_as_its_deviation():
    # Two windows that share four voxels: there the weights are shares of two Gaussians.
    _, weights = sliding_window.layout(12, 8)
    middles = (3.5, 7.5)
    trust = np.exp(-0.5 * (np.arange(12)[None] - np.array(middles)[:, None]) ** 2)
    np.testing.assert_allclose(weights[0, 4:], (trust[0] / trust.sum(0))[4:8], rtol=1e-5)
    np.testing.assert_array_equal(weights[0, :4], 1)


@pytest.mark.parametrize(("shape", "window", "blend"), SHAPES)
def test_what_does_not_look_around_is_predicted_as_without_windows(shape, window, blend):
    image = _image(*shape, 1)
    plain = _pointwise(VARIABLES, image[None])
    options = {"window": window, "blend": blend, "overlap": 0.3}
    options |= {"batch_size": 3}
    found = sliding_window.predict_windows(_pointwise, VARIABLES, image, **options)
    assert found.keys() == {"probs"}
    host = found["probs"]
    del options["batch_size"]
    assert host.shape == (*shape, 3)
    np.testing.assert_allclose(host, plain.probs[0], atol=1e-6)

    method = sliding_window.wrap(_method(_pointwise), **options)
    pair = jnp.stack([image, _image(*shape, 1, seed=1)])
    both = jax.jit(method.predict)(VARIABLES, pair)
    assert both.samples is None
    for name in ("probs", "cms", "rater_probs"):
        expected = getattr(_pointwise(VARIABLES, pair), name)
        np.testing.assert_allclose(getattr(both, name), expected, atol=1e-6)


def test_an_image_smaller_than_the_window_lies_in_its_middle():
    grid = sliding_window._grid((5, 9), (8, 8), 0.5, "constant")
    assert grid.padding == [(1, 2), (0, 0)]
    assert grid.crop == (slice(1, 6), slice(0, 9))
    np.testing.assert_array_equal(grid.starts, [[0, 0], [0, 1]])


def test_constant_logits_give_a_constant_prediction():
    def predict(variables, image):
        logits = jnp.broadcast_to(jnp.array([0.3, -1.0, 0.1]), (*image.shape[:-1], 3))
        return base.Prediction(jax.nn.softmax(logits))

    result = sliding_window.predict_windows(predict, {}, _image(13, 10, 2), window=(6, 4))["probs"]
    expected = jax.nn.softmax(jnp.array([0.3, -1.0, 0.1]))
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), rtol=1e-6)


def test_overlapping_windows_are_averaged_by_their_weights():
    window, extent = 4, 7
    starts, weights = sliding_window.layout(extent, window)
    expected = np.zeros(extent)
    for start, row in zip(starts, weights):
        expected[start : start + window] += row * np.linspace(0, 1, window)
    options = {"window": (window, 3)}
    image = _image(extent, 5, 1)
    result = sliding_window.predict_windows(_position, {}, image, **options)["probs"]
    np.testing.assert_allclose(result[..., 1], np.tile(expected[:, None], 5), atol=1e-6)
    wrapped = sliding_window.wrap(_method(_position), **options)
    np.testing.assert_allclose(
        wrapped.predict({}, jnp.asarray(image[None])).probs[0], result, atol=1e-6
    )


@pytest.mark.parametrize("sides", [(8, 12), (4, 8, 4)])
def test_a_window_of_the_whole_image_is_the_plain_forward_pass(sides):
    network = models.build("unet", 2, widths=(2, 4), convs_per_level=1)
    method = methods.build("majority", network, num_raters=1, num_classes=2)
    image = jnp.asarray(_image(1, *sides, 1))
    batch = {"image": image}
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    plain = np.asarray(jax.jit(method.predict)(variables, image).probs)
    result = sliding_window.predict_windows(method.predict, variables, image[0], window=sides)
    np.testing.assert_allclose(result["probs"], plain[0], atol=1e-6)
    wrapped = sliding_window.wrap(method, window=sides)
    assert wrapped.loss_fn is method.loss_fn
    np.testing.assert_allclose(jax.jit(wrapped.predict)(variables, image).probs, plain, atol=1e-6)


def test_images_of_all_sizes_share_one_compiled_function():
    traced = []

    def predict(variables, image):
        traced.append(image.shape)
        return base.Prediction(jax.nn.softmax(image))

    run = functools.partial(sliding_window.predict_windows, predict, {}, batch_size=3)
    for shape in ((9, 9, 2), (5, 17, 2), (2, 4, 2)):
        run(_image(*shape), window=(4, 4))
    assert traced == [(3, 4, 4, 2)]
    run(_image(9, 9, 2), window=(6, 4))
    assert traced == [(3, 4, 4, 2), (3, 6, 4, 2)]


def test_arguments_out_of_range():
    run = functools.partial(sliding_window.predict_windows, _pointwise, VARIABLES)
    image = _image(8, 8, 1)
    with pytest.raises(ValueError, match=r"window: expected 2 sides, .* got \[4, 4, 4\]"):
        run(image, window=(4, 4, 4))
    with pytest.raises(ValueError, match=r"overlap: expected a number in \[0, 1\), got 1"):
        run(image, window=(4, 4), overlap=1)
    with pytest.raises(ValueError, match="blend: expected one of 'gaussian', 'constant', got 'x'"):
        run(image, window=(4, 4), blend="x")
    with pytest.raises(ValueError, match="batch_size: expected a number > 0, got 0"):
        run(image, window=(4, 4), batch_size=0)
    with pytest.raises(ValueError, match="window: expected a number > 0, got 0"):
        sliding_window.wrap(_method(_pointwise), window=(4, 0))
