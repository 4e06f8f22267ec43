"""A few raters of each image, drawn and kept."""

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax.data.labels import frozen


def test_choose_raters_keeps_the_wanted_number_of_those_available():
    keys = jax.random.split(jax.random.key(0), 600)
    available = jnp.array([True, True, False, True])

    def choose(key, labels_per_image):
        return frozen.choose_raters(key, available, labels_per_image=labels_per_image)

    for wanted, count in ((1, 1), (2, 2), (4, 3), (0, 3)):
        chosen = jax.jit(jax.vmap(lambda key, w=wanted: choose(key, w)))(keys)
        assert (chosen.sum(1) == count).all()
        assert not chosen[:, 2].any()
        if wanted == 1:
            one = np.asarray(chosen)
    np.testing.assert_array_equal(one[:5], [choose(key, 1) for key in keys[:5]])
    # Binomial(600, 1/3): sd 11.5.
    assert np.abs(one.sum(0)[[0, 1, 3]] - 200).max() < 60
