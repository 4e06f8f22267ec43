import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import blur

_blur = jax.jit(blur.gaussian_blur, static_argnames="truncate")


def _image(shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "sigma", "truncate"),
    [
        ((19,), 0.4, 4.0),
        ((23, 30), (0.8, 11.0), 4.0),
        ((23, 30), 1.7, 2.0),
        ((9, 10, 11), (0.0, 1.0, 2.5), 3.0),
    ],
)
def test_blur_equals_scipy_with_zeros_outside(shape, sigma, truncate):
    image = _image(shape)
    theirs = ndimage.gaussian_filter(
        image.astype(np.float64), sigma, mode="constant", truncate=truncate
    )
    static = jax.jit(lambda x: blur.gaussian_blur(x, sigma, truncate=truncate))(image)
    np.testing.assert_allclose(static, theirs, atol=2e-6)
    traced = _blur(image, jnp.asarray(sigma), truncate=truncate)
    np.testing.assert_allclose(traced, theirs, atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "sigma"), [((19,), 0.4), ((23, 30), (0.8, 11.0)), ((9, 3, 11), (0.0, 4.0, 2.5))]
)
def test_blur_equals_scipy_with_mirrors_at_the_ends(shape, sigma):
    image = _image(shape)
    theirs = ndimage.gaussian_filter(image.astype(np.float64), sigma, mode="reflect")
    static = jax.jit(lambda x: blur.gaussian_blur(x, sigma, mode="reflect"))(image)
    np.testing.assert_allclose(static, theirs, atol=2e-6)
    largest = float(np.max(sigma))
    traced = jax.jit(lambda x, s: blur.gaussian_blur(x, s, mode="reflect", largest=largest))
    np.testing.assert_allclose(traced(image, jnp.asarray(sigma)), theirs, atol=2e-6)


def test_blur_of_a_point_is_the_hand_worked_kernel():
    x = jnp.zeros(5).at[2].set(1.0)
    weights = np.exp([-2.0, -0.5, 0.0, -0.5, -2.0])
    expected = weights / weights.sum()
    np.testing.assert_allclose(blur.gaussian_blur(x, 1.0, truncate=2.0), expected, rtol=1e-6)


def test_blur_is_the_identity_when_sigma_is_zero():
    image = jnp.asarray(_image((6, 7)))
    np.testing.assert_array_equal(_blur(image, jnp.float32(0)), image)


def test_vmap_over_images_and_sigmas_equals_a_loop():
    images = jnp.asarray(_image((3, 8, 9)))
    sigmas = jnp.array([0.3, 1.0, 6.0])
    batched = jax.jit(jax.vmap(blur.gaussian_blur))(images, sigmas)
    loop = jnp.stack([_blur(x, s) for x, s in zip(images, sigmas)])
    np.testing.assert_allclose(batched, loop, atol=1e-6)


def test_gradients_are_finite_at_extreme_sigmas():
    image = jnp.asarray(_image((5, 6)))

    @jax.jit
    @jax.grad
    def gradients(arguments):
        return jnp.sum(jnp.square(blur.gaussian_blur(*arguments)))

    for sigma in (0.0, 1e-8, 1.0, 100.0):
        for gradient in gradients((image, jnp.float32(sigma))):
            assert np.all(np.isfinite(gradient))


def test_blur_neither_makes_nor_loses_mass_away_from_the_border():
    image = jnp.zeros((31, 31)).at[12:18, 13:19].set(jnp.asarray(_image((6, 6))))
    total = np.sum(_blur(image, jnp.array([1.5, 2.5])))
    np.testing.assert_allclose(total, image.sum(), rtol=1e-5)


def test_the_error_names_the_argument_when_sigma_has_too_many_numbers():
    with pytest.raises(ValueError, match="sigma: expected 1 or 2 numbers, got 3"):
        blur.gaussian_blur(jnp.ones((3, 3)), (1.0, 1.0, 1.0))
