"""What is ignored changes no loss: no value, no mean and no gradient, whatever stands there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import ignored
from noisyjax.losses import confusion, entropy, latent, overlap, ssim, student_t, uncertainty
from noisyjax.methods import fused

_SHAPE, _REST, _CLASSES, _RATERS = (6, 5), 4, 3, 2
_OUT = np.arange(_SHAPE[0]) >= _REST


def _drawn():
    """Logits, ids, targets and maps of an image, of whose last third everything is ignored."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, _CLASSES, (_RATERS, *_SHAPE)).astype(np.uint8)
    targets = rng.dirichlet(np.ones(_CLASSES), _SHAPE).astype(np.float32)
    ids[:, _OUT], targets[_OUT] = ignored.IGNORE, 0
    return {
        "logits": jnp.asarray(rng.normal(size=(*_SHAPE, _CLASSES)), jnp.float32),
        "ids": jnp.asarray(ids),
        "targets": jnp.asarray(targets),
        "sigma": jnp.asarray(rng.uniform(size=(_RATERS, *_SHAPE)), jnp.float32),
    }


def _cropped(drawn):
    space = {"logits": 0, "ids": 1, "targets": 0, "sigma": 1}
    return {name: jnp.take(a, jnp.arange(_REST), space[name]) for name, a in drawn.items()}


def _p(logits):
    return jax.nn.softmax(logits)


def _mean(losses, counting):
    return ignored.mean(losses, counting)


def _binary(ids):
    return jnp.where(ids == ignored.IGNORE, ids, (ids > 0).astype(ids.dtype))


_CMS = jnp.tile(
    jnp.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]), (_RATERS, 1, 1, 1, 1)
)

# (logits, the rest) -> loss
_LOSSES = {
    **{
        f"fused: {name}": lambda logits, d, loss=loss: loss(logits, d["targets"])
        for name, loss in fused.LOSSES.items()
    },
    "cross-entropy": lambda logits, d: _mean(
        entropy.cross_entropy(logits, d["ids"][0]), ignored.known(d["ids"][0])
    ),
    "drawn": lambda logits, d: latent.ssn_nll(jnp.stack([logits, -logits]), d["ids"][0]),
    "raters": lambda logits, d: confusion.mixed_nll(logits, _CMS, d["ids"]).sum(),
    "jml": lambda logits, d: overlap.jml(_p(logits)[..., 1], _binary(d["ids"][0])),
    "dml": lambda logits, d: overlap.dml(_p(logits)[..., 1], _binary(d["ids"][0]), form=2),
    "ssim": lambda logits, d: ssim.ssim_loss(_p(logits), d["targets"], window=5),
    "t": lambda logits, d: student_t.t_loss(_p(logits)[..., 1], _binary(d["ids"][0]), 1.0),
    "trusted": lambda logits, d: uncertainty.weighted_cross_entropy(
        _p(logits)[..., 1], d["ids"], d["sigma"]
    ),
    "trusted logits": lambda logits, d: uncertainty.weighted_cross_entropy_of_logits(
        logits[..., 1], d["ids"], d["sigma"]
    ),
    "trusted dice": lambda logits, d: uncertainty.weighted_dice(
        _p(logits)[..., 1], d["ids"], d["sigma"]
    ),
    "scores": lambda logits, d: _scores(logits, d),
}


def _scores(logits, d):
    maps = jnp.stack([_p(logits)[..., 1], d["sigma"][0]])
    given = {"rater_mask": ignored.known(d["ids"])}
    scores = (uncertainty.consistency, uncertainty.confidence_score, uncertainty.agreement_score)
    return sum(score(maps, **given) for score in scores)


@pytest.fixture(scope="module")
def compiled():
    """The value and gradient of every loss, in one program: of the image and of its rest."""

    def every(logits, d):
        return {name: jax.value_and_grad(loss)(logits, d) for name, loss in _LOSSES.items()}

    run = jax.jit(every)
    drawn = _drawn()
    return run(drawn["logits"], drawn), run(_cropped(drawn)["logits"], _cropped(drawn))


@pytest.mark.parametrize("name", _LOSSES)
def test_a_loss_is_that_of_the_rest_and_has_no_gradient_elsewhere(compiled, name):
    (whole, gradient), (rest, expected) = (results[name] for results in compiled)
    assert np.isfinite(rest)
    np.testing.assert_allclose(whole, rest, rtol=1e-5)
    assert (np.asarray(gradient)[_OUT] == 0).all()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(gradient[:_REST], expected, rtol=1e-4, atol=1e-6)


def test_what_is_ignored_may_be_anything():
    drawn = _drawn()
    logits = drawn["logits"].at[_REST:].set(jnp.nan)
    losses = {
        "soft": lambda x: entropy.mean_soft_cross_entropy(x, drawn["targets"]),
        "hard": lambda x: entropy.cross_entropy(x, drawn["ids"][0]).sum(),
        "raters": lambda x: confusion.mixed_nll(x, _CMS, drawn["ids"]).sum(),
        "dice": lambda x: overlap.soft_dice(x, drawn["targets"]),
        "trusted": lambda x: uncertainty.weighted_dice(x[..., 1], drawn["ids"], drawn["sigma"]),
    }
    inputs = {"dice": _p(logits), "trusted": _p(logits)}
    run = jax.jit(lambda x: {n: jax.value_and_grad(f)(x.get(n, logits)) for n, f in losses.items()})
    for value, gradient in run(inputs).values():
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_rater_is_left_out_where_they_ignored_alone():
    labels = jnp.array([[1, 255, 0], [1, 1, 255]], jnp.uint8)
    sigma = jnp.array([[0.0, 9.0, 0.5], [0.0, 0.5, 9.0]])
    p = jnp.array([0.5, 0.5, 0.5])
    loss = uncertainty.weighted_cross_entropy(p, labels, sigma)
    # Two voxels have the label of one rater, of sigma 0.5, and one has those of both, of sigma 0.
    expected = (np.log(2) + 2 * (np.exp(-0.5) * np.log(2) + 0.25)) / 3
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_targets_of_a_single_channel_count_everywhere_they_may():
    targets, where = jnp.array([[0.0], [1.0]]), jnp.array([True, False])
    assert ignored.counting_targets(targets).tolist() == [True, True]
    assert ignored.counting_targets(targets, where).tolist() == [True, False]
