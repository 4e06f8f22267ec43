"""SIMPLE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.fusion import patterns


def test_when_worked_by_hand():
    # The vote is 11100 (three of four). Dice: 1, 1, .8, .5; mean .825, sd .2046: .5 < .6204 is
    # left out. Then 1, 1, .8: mean .9333, sd .0943, .8 < .839 is left out; then 1, 1.
    labels = jnp.array(
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0]], jnp.uint8
    )
    fused = fusion.simple(labels)
    np.testing.assert_allclose(fused.probs[:, 1], [1, 1, 1, 0, 0], atol=1e-6)
    assert fused.iterations == 3
    np.testing.assert_allclose(fused.cms[:, 1, 1], [1, 1, 2 / 3, 1 / 3], rtol=1e-6)
    # With 1.5 deviations all but the last stay: .5 < .825 - .3069, and .8 > .9333 - .1414.
    fused = fusion.simple(labels, alpha=1.5)
    np.testing.assert_allclose(fused.probs[:, 1], [1, 1, 2 / 2.8, 0, 0], rtol=1e-5)
    assert fused.iterations == 2
    assert fusion.simple(labels, max_iterations=1).iterations == 1


def test_a_careless_rater_is_left_out_and_the_others_are_weighted():
    rng = np.random.default_rng(0)
    truth = rng.random((20, 20)) < 0.3
    wrong = rng.random((6, 20, 20)) < np.array([0.05, 0.05, 0.06, 0.06, 0.45, 0.5])[:, None, None]
    labels = jnp.asarray(truth ^ wrong, jnp.uint8)
    ours = (np.asarray(fusion.simple(labels).probs.argmax(-1)) != truth).mean()
    voted = (np.asarray(fusion.majority(labels, 2)) != truth).mean()
    assert ours < voted


def test_absent_raters_single_raters_and_empty_labels():
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 3, (4, 6, 7)), jnp.uint8)
    who = jnp.array([True, False, True, True])
    some = fusion.simple(labels, 3, rater_mask=who)
    alone = fusion.simple(labels[who], 3)
    np.testing.assert_allclose(some.probs, alone.probs, atol=1e-6)
    np.testing.assert_allclose(some.cms[who], alone.cms, atol=1e-6)
    np.testing.assert_array_equal(fusion.simple(labels[:1], 3).probs.argmax(-1), labels[0])
    nobody = fusion.simple(labels, 3, rater_mask=jnp.zeros(4, bool))
    np.testing.assert_array_equal(nobody.probs, 0)
    empty = fusion.simple(jnp.zeros((3, 5), jnp.uint8))
    np.testing.assert_array_equal(empty.probs, [[1, 0]] * 5)
    assert jnp.isfinite(empty.log_likelihood)


def test_of_patterns_and_vmap_are_the_same():
    labels = np.random.default_rng(2).integers(0, 3, (2, 3, 100))
    mapped = jax.vmap(lambda x: fusion.simple(x, 3))(jnp.asarray(labels))
    for image, probs in zip(labels, mapped.probs, strict=True):
        codes = patterns.encode_on_host(image, 3)
        tally = patterns.tally([codes], num_raters=3, num_classes=3)
        fused = fusion.simple_of_patterns(tally.votes, tally.counts, 3)
        np.testing.assert_allclose(patterns.spread(fused.probs, tally, codes), probs, atol=1e-6)


@pytest.mark.parametrize("options", [{"alpha": -1.0}, {"max_iterations": 0}])
def test_wrong_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        fusion.simple(jnp.zeros((2, 4), jnp.uint8), **options)
