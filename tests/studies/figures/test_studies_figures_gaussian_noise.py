"""The arithmetic of the figure of Gaussian noise."""

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax.studies.figures import gaussian_noise

_ROWS = jax.jit(gaussian_noise.rows)


def _label():
    # A square with a thin line to its right.
    return jnp.zeros((48, 48), jnp.uint8).at[14:34, 10:26].set(1).at[23:25, 26:40].set(1)


def test_without_noise_all_rows_are_the_label():
    rows = _ROWS(jax.random.key(0), _label(), a=jnp.float32(0))
    for row in rows:
        np.testing.assert_allclose(row, _label(), atol=1e-6)


def test_noise_takes_thin_structures_from_the_accuracy_optimal_mask_first():
    _, m, accuracy, dice = _ROWS(jax.random.key(0), _label(), a=jnp.float32(0.03))
    assert accuracy[24, 36] == 0
    assert (accuracy <= dice).all()
    assert dice.sum() > accuracy.sum()
    np.testing.assert_array_equal(accuracy, m >= 0.5)


def test_the_figure_has_a_column_per_strength_and_takes_volumes():
    volume = jnp.zeros((6, 12, 12), jnp.uint8).at[2:5, 3:9, 3:9].set(1)
    figure = gaussian_noise.figure(jax.random.key(0), volume, (0.0, 0.05), samples=2)
    assert len(figure.axes) == 8
    assert [axes.get_title() for axes in figure.axes[:2]] == ["a = 0", "a = 0.05"]
    assert figure.axes[0].images[0].get_array().shape == (12, 12)
