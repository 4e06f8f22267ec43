"""Prediction together with mirror images."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import class_regions
from noisyjax.methods import base, mirrored

_VARIABLES = {"scale": jnp.float32(2)}
_REGIONS = class_regions.Regions(("whole", "core"), ((1, 2), (2,)), (1, 2))


def _method(*, regions=None):
    """What it predicts depends on where a voxel lies; matrices are the same everywhere."""

    def predict(variables, image):
        shape = image.shape[1:-1]
        place = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(1, *shape, 1)
        score = variables["scale"] * image * jnp.sin(place)
        if regions is not None:
            region_probs = jax.nn.sigmoid(jnp.concatenate([score, score - 1], axis=-1))
            probs = class_regions.class_probs(region_probs, regions)
            return base.Prediction(probs, region_probs=region_probs)
        probs = jax.nn.softmax(jnp.concatenate([score, -score, 0 * score], axis=-1))
        cms = jnp.broadcast_to(jnp.eye(3), (len(image), 2, *[1] * len(shape), 3, 3))
        raters = jnp.stack([probs, probs**2], axis=1)
        return base.Prediction(probs, cms, raters, samples=raters)

    return base.Method(lambda *_: {}, lambda *_: None, predict, regions=regions)


def _loop(method, image, axes):
    found = []
    for number in range(len(axes) + 1):
        for chosen in itertools.combinations(axes, number):
            flipped = jnp.flip(image, [axis + 1 for axis in chosen])
            found.append((chosen, method.predict(_VARIABLES, flipped)))
    return found


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("jitted", [False, True])
def test_it_is_the_mean_of_the_loop_over_mirror_images(axes, jitted):
    image = jax.random.normal(jax.random.key(0), (2, 4, 5, 3, 1))
    method = _method()
    predict = mirrored.wrap(method, axes=axes).predict
    got = (jax.jit(predict) if jitted else predict)(_VARIABLES, image)
    loop = _loop(method, image, axes)
    for name, leading in (("probs", 1), ("rater_probs", 2)):
        each = [jnp.flip(getattr(p, name), [a + leading for a in c]) for c, p in loop]
        np.testing.assert_allclose(getattr(got, name), np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(got.cms, method.predict(_VARIABLES, image).cms)
    assert got.samples is None
    np.testing.assert_allclose(got.probs.sum(-1), 1, rtol=1e-5)


def test_classes_are_those_of_the_mean_of_regions():
    image = jax.random.normal(jax.random.key(1), (1, 4, 6, 1))
    method = _method(regions=_REGIONS)
    got = mirrored.wrap(method, axes=(0, 1)).predict(_VARIABLES, image)
    loop = _loop(method, image, (0, 1))
    each = [jnp.flip(p.region_probs, [axis + 1 for axis in chosen]) for chosen, p in loop]
    np.testing.assert_allclose(got.region_probs, np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(
        got.probs, class_regions.class_probs(got.region_probs, _REGIONS), atol=1e-6
    )


def test_axes_are_checked():
    method = _method()
    assert mirrored.wrap(method, axes=()) is method
    for axes in ((0, 0), (-1,)):
        with pytest.raises(ValueError, match="axes: expected different spatial axes"):
            mirrored.wrap(method, axes=axes)
    with pytest.raises(ValueError, match=r"axes: expected spatial axes of an image"):
        mirrored.wrap(method, axes=(2,)).predict(_VARIABLES, jnp.zeros((1, 4, 4, 1)))
