"""The three stages of CM + trace, and what they learn where the answer is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, metrics, models
from noisyjax.core import rng
from noisyjax.losses import confusion
from noisyjax.methods import cm_trace, dawid_skene

WARMUP, FROZEN, MIN_ERROR_RATE = 60, 40, 0.05
ERRORS = (0.05, 0.25, 0.4)


def _method(**options) -> methods.Method:
    segmenter = models.build("unet", 2, widths=(4,), convs_per_level=1)
    settings = {"convs": 0, "warmup_steps": WARMUP, "frozen_segmenter_steps": FROZEN}
    settings |= {"min_error_rate": MIN_ERROR_RATE, "min_raters_for_consensus": 0}
    settings["consensus_weight"] = 1.0
    return methods.build("cm_trace", segmenter, num_raters=3, num_classes=2, **settings | options)


def _batch() -> dict:
    """Eight images whose bright pixels are the truth; raters err at random, at different rates."""
    draw = np.random.default_rng(0)
    truth = np.zeros((8, 16, 16), np.uint8)
    for mask in truth:
        y, x = draw.integers(1, 8, 2)
        mask[y : y + 7, x : x + 7] = 1
    flips = draw.random((8, 3, 16, 16)) < np.reshape(ERRORS, (1, 3, 1, 1))
    image = truth + draw.normal(0, 0.1, truth.shape)
    return {
        "image": jnp.asarray(image[..., None], jnp.float32),
        "labels": jnp.asarray(np.where(flips, 1 - truth[:, None], truth[:, None]), jnp.uint8),
        "rater_mask": jnp.ones((8, 3), bool),
        "weight": jnp.ones(8),
        "id": jnp.arange(8, dtype=jnp.int32),
        "truth": jnp.asarray(truth),
    }


@pytest.fixture(scope="module")
def stages():
    """(method, batch, variables after each of the three stages)."""
    method, batch = _method(), _batch()
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    optimiser = optax.adam(2e-2)

    def loss(params, step):
        total, (count, _) = method.loss_fn({"params": params}, batch, rng.root_key(0), step)
        return total / count

    @jax.jit
    def run(params, state, first, last):
        def body(step, carry):
            updates, state = optimiser.update(jax.grad(loss)(carry[0], step), carry[1])
            return optax.apply_updates(carry[0], updates), state

        return jax.lax.fori_loop(first, last, body, (params, state))

    params, state, kept = variables["params"], optimiser.init(variables["params"]), []
    for first, last in ((0, WARMUP), (WARMUP, WARMUP + FROZEN), (WARMUP + FROZEN, 250)):
        params, state = run(params, state, first, last)
        kept.append({"params": params})
    return method, batch, kept


def test_matrices_are_diagonally_dominant_after_the_warmup(stages):
    method, batch, (warm, _, _) = stages
    prediction = jax.jit(method.predict)(warm, batch["image"])
    mean = jax.vmap(jax.vmap(metrics.confusion.mean_cms))(prediction.cms[:, :, None])[:, :, 0]
    dominant = jax.vmap(jax.vmap(metrics.confusion.diagonally_dominant))(mean)
    assert dominant.all()
    assert float(mean[..., 0, 0].min()) > 0.8


def test_one_coin_raters_learn_their_error_rates(stages):
    _, batch, (_, _, joint) = stages
    head = models.annotators.build("one_coin", 3, 2, min_error_rate=MIN_ERROR_RATE)
    coins = head.apply({"params": joint["params"]["coins"]}, jnp.zeros((1, 2, 2, 4)))
    given = (batch["labels"] != batch["truth"][:, None]).mean((0, 2, 3))
    expected = np.maximum(given, MIN_ERROR_RATE)
    np.testing.assert_allclose(coins[0, :, 0, 0, 0, 1], expected, atol=0.03)


def test_truth_and_matrices_are_learnt_from_noisy_labels_alone(stages):
    method, batch, (_, _, joint) = stages
    prediction = jax.jit(method.predict)(joint, batch["image"])
    assert float((prediction.probs.argmax(-1) == batch["truth"]).mean()) > 0.99
    right = jnp.diagonal(prediction.cms, axis1=-2, axis2=-1)
    at_truth = jnp.take_along_axis(right, batch["truth"][:, None, ..., None].astype(int), -1)
    np.testing.assert_allclose(at_truth.mean((0, 2, 3, 4)), 1 - np.array(ERRORS), atol=0.05)


def test_the_labels_do_not_move_a_frozen_network():
    method, batch = _method(consensus="none"), _batch()
    variables = jax.jit(method.init)(rng.root_key(0), batch)

    @jax.jit
    def gradient(step):
        def loss(params):
            return method.loss_fn({"params": params}, batch, rng.root_key(0), step)[0]

        return jax.grad(loss)(variables["params"])

    def norms(step):
        grads = gradient(jnp.int32(step))
        return {name: float(optax.tree.norm(tree)) for name, tree in grads.items()}

    for step in (0, WARMUP, WARMUP + FROZEN - 1):
        assert norms(step)["segmenter"] == 0
        assert norms(step)["annotators"] > 0
    assert norms(WARMUP + FROZEN)["segmenter"] > 0


def test_without_the_trace_the_loss_is_smaller_by_the_weighted_trace():
    batch, key, late = _batch(), rng.root_key(0), jnp.int32(1000)
    with_trace, without = _method(trace_weight=0.5), _method(trace=False, trace_weight=0.5)
    variables = jax.jit(with_trace.init)(key, batch)
    total, (count, aux) = jax.jit(with_trace.loss_fn)(variables, batch, key, late)
    other = jax.jit(without.loss_fn)(variables, batch, key, late)[0]
    np.testing.assert_allclose(total - other, 0.5 * aux.metrics["trace"][0], rtol=1e-4)
    cms = jax.jit(with_trace.predict)(variables, batch["image"]).cms
    traces = jax.vmap(confusion.trace)(cms).sum(1).mean((1, 2))
    np.testing.assert_allclose(aux.metrics["trace"][0], traces.sum(), rtol=1e-5)


def test_with_few_raters_the_network_follows_the_mean_label_to_the_end():
    few, batch, key = _method(min_raters_for_consensus=4), _batch(), rng.root_key(0)
    segmenter = models.build("unet", 2, widths=(4,), convs_per_level=1)
    mean = methods.build("mean", segmenter, num_raters=3, num_classes=2)
    variables = jax.jit(few.init)(key, batch)

    def gradient(method, params):
        return jax.grad(lambda p: method.loss_fn({"params": p}, batch, key, jnp.int32(9999))[0])(
            params
        )["segmenter"]

    own = jax.jit(lambda p: gradient(few, p))(variables["params"])
    only_network = {"segmenter": variables["params"]["segmenter"]}
    expected = jax.jit(lambda p: gradient(mean, p))(only_network)
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-6), own, expected)


def test_a_matrix_each_tells_annotators_apart_whom_one_error_rate_does_not():
    """Two annotators grow the inner class alike; a third, who exchanges classes, gives it away."""
    truth = np.zeros((8, 16, 16), np.uint8)
    truth[:, 3:13, 3:13], truth[:, 5:11, 5:11] = 2, 1
    grown = np.zeros_like(truth)
    grown[:, 3:13, 3:13], grown[:, 4:12, 4:12] = 2, 1
    panel = np.stack([truth, grown, truth * (truth == 2), grown, 0 * truth, (3 - truth) % 3], 1)
    batch = _batch() | {
        "labels": jnp.asarray(panel, jnp.uint8),
        "rater_mask": jnp.ones((8, 6), bool),
        "truth": jnp.asarray(truth),
    }
    segmenter = models.build("unet", 3, widths=(4,), convs_per_level=1)
    settings = {"convs": 0, "warmup_steps": 10**6}
    # The default for three classes.
    method = methods.build("cm_trace", segmenter, num_raters=6, num_classes=3, **settings)
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    params, state = variables.pop("params"), variables

    @jax.jit
    def step(state, number):
        aux = method.loss_fn({"params": params, **state}, batch, rng.root_key(0), number)[1][1]
        return method.record(state, aux.records, number), None

    state = jax.lax.scan(step, state, jnp.arange(100))[0]
    counts = state[cm_trace.COLLECTION]["counts"]
    true = jax.vmap(lambda t, labels: confusion.one_hot_cms(t, labels, num_classes=3), out_axes=1)(
        batch["truth"], batch["labels"]
    )
    # Columns of the true matrices, as shares of the voxels of each class.
    expected = np.stack(
        [[true[r][batch["truth"] == c].mean(0)[:, c] for c in range(3)] for r in range(6)]
    ).swapaxes(1, 2)
    estimated = dawid_skene.matrices(counts, min_error_rate=0)
    np.testing.assert_allclose(estimated, expected, atol=0.1)

    # Images with a label each have nothing to agree on.
    alone = batch | {"rater_mask": jnp.arange(6)[None] == jnp.arange(8)[:, None] % 6}
    loss = jax.jit(method.loss_fn)
    aux = loss({"params": params, **state}, alone, rng.root_key(0), jnp.int32(0))[1][1]
    assert not np.any(aux.records["joint_counts"])
    assert float(aux.records["weight"]) == 8


def test_the_oracle_of_many_classes_learns_by_the_likelihood_alone_and_counts_nothing():
    segmenter = models.build("unet", 3, widths=(4,), convs_per_level=1)
    method, batch = methods.build("oracle_cm", segmenter, num_raters=3, num_classes=3), _batch()
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    assert method.record is None
    assert set(variables) == {"params"}
    total, (_, aux) = jax.jit(method.loss_fn)(variables, batch, rng.root_key(0), jnp.int32(0))
    np.testing.assert_allclose(total, aux.metrics["nll"][0], rtol=1e-6)


def test_a_negative_weight_of_imputed_labels_is_refused():
    with pytest.raises(ValueError, match=r"missing_rater_weight: expected .* got -0.5"):
        _method(missing_rater_weight=-0.5)


def test_terms_by_hand():
    """Two raters, one row of three pixels: sums over raters, means over pixels."""
    log = np.log
    plan = cm_trace._Plan()
    labels = jnp.array([[[0, 1, 1]], [[1, 1, 0]]])
    right = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    example = {
        "logits": jnp.tile(jnp.array([50.0, -50.0]), (1, 3, 1)),
        "cms": jnp.tile(right, (2, 1, 3, 1, 1)),
        "labels": labels,
        "rater_mask": jnp.ones(2, bool),
    }
    terms = jax.jit(functools.partial(cm_trace._terms, plan=plan))(example, step=jnp.int32(5))
    # The truth is class 0 everywhere: a label 0 has probability 3/4, a label 1 1/4.
    expected = -(2 * log(0.75) + 4 * log(0.25)) / 3
    np.testing.assert_allclose(terms.nll, expected, rtol=1e-5)
    np.testing.assert_allclose(terms.trace, 2 * 1.5, rtol=1e-6)
    np.testing.assert_allclose(terms.identity, -2 * 2 * log(0.75), rtol=1e-5)


def test_scores_of_the_consensus_by_hand():
    """Labels, network and frequencies, each by what it counts: 1, the trust, and the rest of it."""
    log = np.log
    plan = cm_trace._Plan(consensus_prior=0.25, warmup_steps=10)
    example = {
        "logits": jnp.array([[0.0, np.log(3.0)]]),
        "consensus_cms": jnp.array([[[[0.8, 0.4], [0.2, 0.6]]]]),
        "labels": jnp.array([[1]]),
        "rater_mask": jnp.ones(1, bool),
        "log_prior": jnp.log(jnp.array([0.9, 0.1])),
    }
    scores = cm_trace._scores(example, plan, jnp.int32(10))
    of_labels, of_network, of_prior = (np.array(x) for x in ([0.2, 0.6], [0.25, 0.75], [0.9, 0.1]))
    expected = log(of_labels) + 0.25 * log(of_network) + 0.75 * log(of_prior)
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    # A network that has learnt nothing yet has no say.
    early = cm_trace._scores(example, plan, jnp.int32(9))
    np.testing.assert_allclose(early[0], log(of_labels) + log(of_prior), rtol=1e-5)
    without = {name: value for name, value in example.items() if name != "log_prior"}
    late = cm_trace._scores(without, plan, jnp.int32(0))
    np.testing.assert_allclose(late[0], log(of_labels) + 0.25 * log(of_network), rtol=1e-5)


@pytest.mark.parametrize(("step", "posterior"), [(9, [1 / 2, 1 / 2]), (10, [6 / 7, 1 / 7])])
def test_the_first_ten_counts_follow_the_mean_label(step, posterior):
    right, unsure = ([[p, 1 - p], [1 - p, p]] for p in (0.9, 0.6))
    example = {
        "logits": jnp.zeros((1, 2)),
        "cms": jnp.full((2, 1, 2, 2), 0.5),
        "labels": jnp.array([[0], [1]]),
        "rater_mask": jnp.ones(2, bool),
        "consensus_cms": jnp.array([right, unsure])[:, None],
    }
    counted = functools.partial(cm_trace._terms, plan=cm_trace._Plan(counted=True))
    terms = jax.jit(counted)(example, step=jnp.int32(step))
    # Class 0 has .9 * .4, class 1 .1 * .6.
    expected = [[posterior, [0, 0]], [[0, 0], posterior]]
    np.testing.assert_allclose(terms.joint_counts, expected, rtol=1e-5)


def test_what_is_the_same_everywhere_counts_by_the_share_that_a_rater_labelled():
    given = jnp.array([[True, True, False], [True, False, False]])
    # Of the two pixels that somebody labelled, the second rater labelled one.
    total = cm_trace._sum_of_raters(jnp.array([[3.0], [4.0]]), given)
    np.testing.assert_allclose(total, 3 + 4 / 2)
