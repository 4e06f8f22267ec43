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


def test_panels_that_are_alike_are_one_function_and_others_are_not():
    given = {"num_classes": 2, "spacing": (1.0, 1.0), "strengths": {"shift": 2.0, "erase": 0.5}}
    one = frozen.panel(("shift",), **given)
    assert frozen.panel(["shift"], **given | {"strengths": dict(given["strengths"])}) is one
    listed = frozen.panel(("shift",), **given, a=[0.02, 0.05])
    assert listed is frozen.panel(("shift",), **given, a=(0.02, 0.05))
    changes = (
        {"num_classes": 3},
        {"spacing": (1.0, 2.0)},
        {"strengths": {"shift": 3.0, "erase": 0.5}},
        {"over": 2.0},
    )
    others = [frozen.panel(("shift",), **given | change) for change in changes]
    others.append(frozen.panel(("erase",), **given))
    assert len({one, *others}) == 1 + len(others)
