import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.methods import noise_rate

_ESTIMATE = jax.jit(noise_rate.estimate_noise_rate)


def _losses(rate, *, size=400, ratio=3.0, spread=0.2, seed=0):
    draw = np.random.default_rng(seed)
    noisy = np.arange(size) < round(rate * size)
    losses = 0.12 * np.where(noisy, ratio, 1.0) * np.exp(draw.normal(0.0, spread, size))
    return jnp.asarray(losses, jnp.float32), noisy


@pytest.mark.parametrize("rate", [0.05, 0.25, 0.5, 0.75])
def test_the_mixture_equals_that_of_scikit_learn(rate):
    mixture = pytest.importorskip("sklearn.mixture")
    losses, noisy = _losses(rate)
    estimate = _ESTIMATE(losses)
    column = np.log(np.asarray(losses, np.float64))[:, None]
    peer = mixture.GaussianMixture(
        2, covariance_type="tied", random_state=0, n_init=3, tol=1e-8, max_iter=500
    ).fit(column)
    high = int(peer.means_.argmax())
    posterior = peer.predict_proba(column)[:, high]
    np.testing.assert_allclose(estimate.rate, peer.weights_[high], atol=2e-3)
    np.testing.assert_allclose(estimate.posterior, posterior, atol=0.02)
    gap = np.average(losses, weights=posterior) - np.average(losses, weights=1 - posterior)
    np.testing.assert_allclose(estimate.gap, gap, atol=2e-3)
    assert float(estimate.rate) == pytest.approx(rate, abs=0.02)
    assert ((estimate.posterior > 0.5) == noisy).mean() > 0.98


@pytest.mark.parametrize("seed", range(4))
def test_groups_without_a_valley_between_them_are_told(seed):
    # Means and deviations of the Dice losses of slices of the hippocampus.
    draw = np.random.default_rng(seed)
    losses = np.concatenate([draw.normal(0.14, 0.045, 67), draw.normal(0.32, 0.075, 201)])
    estimate = _ESTIMATE(jnp.asarray(losses, jnp.float32))
    assert float(estimate.rate) == pytest.approx(0.75, abs=0.1)
    assert float(estimate.gap) == pytest.approx(0.18, abs=0.03)


def _unimodal(kind, size=400):
    draw = np.random.default_rng(1)
    return {
        "constant": np.full(size, 0.37),
        "almost constant": 0.37 + 1e-8 * draw.random(size),
        "normal": draw.normal(0.4, 0.1, size),
        "skewed": draw.exponential(0.1, size),
        "beta": draw.beta(2, 8, size),
        "log-normal": draw.lognormal(-2, 0.4, size),
        "uniform": draw.random(size),
        "one": np.array([0.4]),
        "two": np.array([0.4, 0.5]),
        "none": np.full(4, np.nan),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "constant",
        "almost constant",
        "normal",
        "skewed",
        "beta",
        "log-normal",
        "uniform",
        "one",
        "two",
        "none",
    ],
)
def test_one_group_is_no_noise(kind):
    estimate = _ESTIMATE(jnp.asarray(_unimodal(kind), jnp.float32))
    assert float(estimate.rate) == float(estimate.gap) == 0
    assert not np.any(estimate.posterior)


@pytest.mark.parametrize("seed", range(8))
def test_one_normal_group_is_no_noise_whatever_was_drawn(seed):
    draw = np.random.default_rng(seed)
    losses = jnp.asarray(draw.normal(0.3, 0.05, 40 if seed % 2 else 400), jnp.float32)
    assert float(_ESTIMATE(losses).rate) == 0


def test_scale_and_order_change_nothing():
    losses, _ = _losses(0.3, size=100)
    estimate = _ESTIMATE(losses)
    moved = _ESTIMATE(7 * losses[::-1])
    np.testing.assert_allclose(moved.rate, estimate.rate, rtol=1e-4)
    np.testing.assert_allclose(moved.gap, 7 * estimate.gap, rtol=1e-4)
    np.testing.assert_allclose(moved.posterior[::-1], estimate.posterior, atol=1e-4)


def test_a_loss_of_nothing_is_no_group():
    losses, _ = _losses(0.3, size=100)
    estimate = _ESTIMATE(losses.at[-1].set(0.0))
    np.testing.assert_allclose(estimate.rate, _ESTIMATE(losses).rate, atol=0.02)


def test_examples_without_a_loss_do_not_count():
    losses, _ = _losses(0.3, size=100)
    estimate = _ESTIMATE(losses)
    more = jnp.concatenate([losses, jnp.array([jnp.nan, jnp.inf, 50.0])])
    where = jnp.arange(103) != 102
    gaps = jax.jit(lambda x, w: noise_rate.estimate_noise_rate(x, where=w))(more, where)
    np.testing.assert_allclose(gaps.rate, estimate.rate, rtol=1e-5)
    np.testing.assert_allclose(gaps.posterior[:100], estimate.posterior, atol=1e-5)
    assert not np.any(gaps.posterior[100:])


def test_many_without_a_loss_change_nothing():
    losses, _ = _losses(0.3, size=100)
    estimate = _ESTIMATE(jnp.concatenate([losses, jnp.full(10_000, jnp.nan)]))
    np.testing.assert_allclose(estimate.rate, _ESTIMATE(losses).rate, rtol=1e-4)


def test_vmap_equals_loop():
    stacked = jnp.stack([_losses(0.2, size=50)[0], _losses(0.6, size=50, seed=2)[0]])
    estimate = jax.jit(jax.vmap(noise_rate.estimate_noise_rate))(stacked)
    for index in range(2):
        one = _ESTIMATE(stacked[index])
        np.testing.assert_allclose(estimate.rate[index], one.rate, rtol=1e-4)
        np.testing.assert_allclose(estimate.posterior[index], one.posterior, atol=1e-4)


def test_the_first_groups_are_those_of_least_squares():
    draw = np.random.default_rng(0)
    for values in (np.array([-1, -1, -1, 3.0]), *(draw.exponential(1, (12, 9)) ** 2)):
        values, size = np.sort(values - values.mean()).astype(np.float32), len(values)
        squares = [values[:k].var() * k + values[k:].var() * (size - k) for k in range(1, size)]
        upper = noise_rate._two_means(jnp.asarray(values), jnp.ones(size, bool))
        expected = np.arange(size) > np.argmin(squares)
        np.testing.assert_array_equal(upper, expected)
