"""One rule for numbers that are none, over all losses: what counts shows, what does not is free."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.losses import (
    confusion,
    entropy,
    latent,
    overlap,
    probabilities,
    ssim,
    student_t,
    uncertainty,
)

# Four pixels, two classes; the last pixel is left out where a loss can.
LABELS = jnp.array([0, 1, 1, 0])
ONE_HOT = jax.nn.one_hot(LABELS, 2)
KEEP = jnp.array([True, True, True, False])
CMS = jnp.tile(jnp.array([[0.75, 0.25], [0.25, 0.75]]), (2, 4, 1, 1))
ONE_CLASS = jnp.array([0.25, 0.75, 0.5, 0.25])
CLASSES = jnp.stack([1 - ONE_CLASS, ONE_CLASS], axis=-1)
SIGMA = jnp.full((1, 4), 0.5)

# Loss of (prediction, target) that are probabilities, name to (loss, both).
OF_PROBABILITIES = {
    "soft_dice": (overlap.soft_dice, (CLASSES, ONE_HOT)),
    "noise_robust_dice": (overlap.noise_robust_dice, (CLASSES, ONE_HOT)),
    "jml": (overlap.jml, (ONE_CLASS, ONE_HOT[:, 1])),
    "jml of form 2": (functools.partial(overlap.jml, form=2), (ONE_CLASS, ONE_HOT[:, 1])),
    "dml": (overlap.dml, (ONE_CLASS, ONE_HOT[:, 1])),
    "dml of form 2": (functools.partial(overlap.dml, form=2), (ONE_CLASS, ONE_HOT[:, 1])),
    "ssim_loss": (functools.partial(ssim.ssim_loss, window=3), (CLASSES, ONE_HOT)),
    "t_loss": (functools.partial(student_t.t_loss, raw_nu=1.0), (ONE_CLASS, ONE_HOT[:, 1])),
    "weighted_cross_entropy": (
        lambda p, sigma: uncertainty.weighted_cross_entropy(p, LABELS[None], sigma),
        (ONE_CLASS, SIGMA),
    ),
    "weighted_dice": (
        lambda p, sigma: uncertainty.weighted_dice(p, LABELS[None], sigma),
        (ONE_CLASS, SIGMA),
    ),
}
# Loss of logits, ``where=KEEP`` leaves the last pixel out.
OF_LOGITS = {
    "cross_entropy": lambda z, **options: entropy.cross_entropy(z, LABELS, **options),
    "soft_cross_entropy": lambda z, **options: entropy.soft_cross_entropy(z, ONE_HOT, **options),
    "generalised_cross_entropy": (
        lambda z, **options: entropy.generalised_cross_entropy(z, ONE_HOT, **options)
    ),
    "bootstrapped_cross_entropy": (
        lambda z, **options: entropy.bootstrapped_cross_entropy(z, ONE_HOT, beta=0.8, **options)
    ),
    "hard bootstrapping": (
        lambda z, **options: entropy.bootstrapped_cross_entropy(
            z, ONE_HOT, beta=0.8, hard=True, **options
        )
    ),
    "mixed_nll": lambda z, where=None: confusion.mixed_nll(
        z, CMS, jnp.stack([LABELS] * 2), where=None if where is None else jnp.stack([where] * 2)
    ),
    "ssn_nll": lambda z, **options: latent.ssn_nll(jnp.stack([z, -z]), LABELS, **options),
}
WITHOUT_WHERE = ("ssim_loss", "weighted_cross_entropy", "weighted_dice")


def _loss_and_gradient(loss):
    return jax.jit(jax.value_and_grad(lambda first, *rest: jnp.sum(loss(first, *rest))))


@functools.cache
def _compiled(name):
    return jax.jit(OF_PROBABILITIES[name][0])


@pytest.mark.parametrize("name", OF_PROBABILITIES)
@pytest.mark.parametrize("wrong", [np.nan, -3.0, -0.1, 1.1, 4.0, np.inf])
def test_what_is_no_probability_shows(name, wrong):
    loss, (p, other) = _compiled(name), OF_PROBABILITIES[name][1]
    assert np.isfinite(loss(p, other))
    assert np.isnan(loss(p.at[1].set(wrong), other))
    # Uncertainties are no probabilities, and may be of any size.
    if np.isnan(wrong) or not name.startswith("weighted"):
        assert np.isnan(loss(p, other.at[..., 1].set(wrong)))


def test_logits_given_by_mistake_are_no_perfect_overlap():
    # Of a network that is right everywhere; as probabilities they were 0 without gradient.
    logits = 8.0 * (2.0 * ONE_HOT - 1.0)
    value, gradient = _loss_and_gradient(overlap.soft_dice)(logits, ONE_HOT)
    assert np.isnan(value)
    assert np.isnan(gradient).any()


@pytest.mark.parametrize("name", ["soft_cross_entropy", "gce", "bootstrapping"])
def test_targets_that_are_no_probabilities_show(name):
    loss = {
        "soft_cross_entropy": entropy.soft_cross_entropy,
        "gce": entropy.generalised_cross_entropy,
        "bootstrapping": functools.partial(entropy.bootstrapped_cross_entropy, beta=0.8),
    }[name]
    for wrong in (np.nan, 4.0):
        targets = ONE_HOT.at[1].set(wrong)
        assert np.isnan(loss(CLASSES, targets)[1])
        assert np.isfinite(loss(CLASSES, targets.at[1].set(0.5))).all()


def test_rounding_is_no_mistake():
    half = jnp.array([1.0 + 2.0**-7], jnp.bfloat16)  # the next number above 1
    assert probabilities.refuse_others(jnp.array(2.0), half) == 2.0
    assert probabilities.refuse_others(jnp.array(2.0), -1e-6 * jnp.ones(3)) == 2.0


@pytest.mark.parametrize("name", OF_LOGITS)
def test_logits_that_are_nan_show_where_they_count(name):
    loss = OF_LOGITS[name]
    logits = jnp.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.0]])
    both = _loss_and_gradient(lambda z: loss(z, where=KEEP))
    assert np.isnan(both(logits.at[1].set(jnp.nan))[0])
    expected = both(logits)
    value, gradient = both(logits.at[3].set(jnp.nan))
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])
    assert not gradient[3].any()


@pytest.mark.parametrize("name", [name for name in OF_PROBABILITIES if name not in WITHOUT_WHERE])
def test_what_is_left_out_may_be_anything(name):
    loss, (p, target) = OF_PROBABILITIES[name]
    both = _loss_and_gradient(functools.partial(loss, where=KEEP))
    expected = both(p, target)
    for wrong in (np.nan, 1e9):
        value, gradient = both(p.at[3].set(wrong), target.at[3].set(wrong))
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(gradient, expected[1])


@pytest.mark.parametrize("name", OF_LOGITS)
def test_the_largest_logits_have_a_finite_gradient(name):
    both = _loss_and_gradient(OF_LOGITS[name])
    for one, other in ((3e38, -3e38), (-3e38, 3e38), (3e38, 3e38)):
        value, gradient = both(jnp.tile(jnp.array([one, other]), (4, 1)))
        assert not np.isnan(value)
        assert np.isfinite(gradient).all()


def test_bootstrapping_pulls_at_the_largest_logits():
    # Sure of class 0, where the label is class 1: beta more of it, as in the cross-entropy.
    logits, target = jnp.array([[3e38, -3e38]]), jnp.array([[0.0, 1.0]])
    loss = functools.partial(entropy.bootstrapped_cross_entropy, beta=0.8)
    _, gradient = _loss_and_gradient(lambda z: loss(z, target))(logits)
    np.testing.assert_allclose(gradient[0, 0], 0.8, rtol=1e-6)


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_half_precision_images_of_any_size_have_a_finite_loss(name):
    # 262144 pixels; the sums of half-precision numbers end at 65504.
    p = jnp.full((512, 512), 0.75, jnp.float16)
    labels = jnp.ones((1, 512, 512), jnp.uint8)
    if name.startswith("weighted"):
        loss = getattr(uncertainty, name)
        half, full = (loss(x, labels, x[None]) for x in (p, p.astype(jnp.float32)))
    else:
        loss, pair = OF_PROBABILITIES[name]
        image = jnp.stack([1 - p, p], -1) if pair[0].ndim == 2 else p
        half, full = (loss(x, jnp.round(x)) for x in (image, image.astype(jnp.float32)))
    assert np.isfinite(full)
    np.testing.assert_allclose(half, full, rtol=1e-3)
