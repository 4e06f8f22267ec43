"""Self-Calib: calibrated labels, what learns from what, and a rater who is not trusted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.losses import ssim
from noisyjax.methods import self_calib
from noisyjax.models import multi_rater

KEY = rng.root_key(0)
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
NETWORK = models.build("unet", 2, widths=(4,), convs_per_level=1)


def _build(**options):
    return methods.build("self_calib", NETWORK, num_raters=3, num_classes=2, **options)


def _batch() -> dict:
    """A bright square at varying positions; the third rater draws it two pixels to the side."""
    draw = np.random.default_rng(0)
    truth = np.zeros((6, 8, 8), np.uint8)
    for mask in truth:
        y, x = draw.integers(0, 3, 2)
        mask[y : y + 4, x : x + 4] = 1
    return {
        "image": jnp.asarray((truth + draw.normal(0, 0.1, truth.shape))[..., None], jnp.float32),
        "labels": jnp.asarray(np.stack([truth, truth, np.roll(truth, 2, -1)], 1)),
        "rater_mask": jnp.ones((6, 3), bool),
        "weight": jnp.ones(6),
        "id": jnp.arange(6, dtype=jnp.int32),
    }


@pytest.fixture(scope="module")
def fresh():
    return jax.jit(_build().init, compiler_options=QUICK)(KEY, _batch())


@pytest.fixture(scope="module")
def trained(fresh):
    method, batch, optimiser = _build(recurrences=2), _batch(), optax.adam(2e-2)

    def body(step, carry):
        def loss(params):
            return method.loss_fn({"params": params}, batch, KEY, step)[0] / 6

        updates, state = optimiser.update(jax.grad(loss)(carry[0]), carry[1])
        return optax.apply_updates(carry[0], updates), state

    @jax.jit
    def train(params):
        return jax.lax.fori_loop(0, 150, body, (params, optimiser.init(params)))[0]

    return {"params": train(fresh["params"])}


def test_calibrated_labels_by_hand():
    labels = jnp.eye(3)[np.array([[0, 1, 2], [1, 1, 0], [2, 0, 0]])]
    calibrated = jax.jit(self_calib.calibrated_label, compiler_options=QUICK)
    shares = jnp.array([[0.5, 0.1, 0.2], [0.3, 0.6, 0.4], [0.2, 0.3, 0.4]])
    everyone = calibrated(jnp.log(shares), labels, jnp.ones(3, bool))
    expected = [[0.5, 0.3, 0.2], [0.3, 0.7, 0.0], [0.8, 0.0, 0.2]]
    np.testing.assert_allclose(everyone, expected, rtol=1e-5)
    # Without the first one the others' weights are divided by their sum, whatever its label.
    two = calibrated(jnp.log(shares), labels.at[0].set(1.0), jnp.array([False, True, True]))
    np.testing.assert_allclose(two, [[0, 0.6, 0.4], [1 / 3, 2 / 3, 0], [1, 0, 0]], atol=1e-6)
    nobody = calibrated(jnp.log(shares), labels, jnp.zeros(3, bool))
    assert np.isfinite(nobody).all()


def test_the_first_loss_by_hand(fresh):
    """One recurrence: the weights are equal, the calibrated label is the mean of the labels."""
    batch = _batch()
    method = _build(recurrences=1, cross_entropy_weight=0.5, window=5)
    metrics = jax.jit(method.loss_fn, compiler_options=QUICK)(fresh, batch, KEY, jnp.int32(0))
    metrics = metrics[1][1].metrics
    mean = jnp.stack([1 - batch["labels"].mean(1), batch["labels"].mean(1)], -1)

    def distance(probs, target):
        entropy = -(target * jnp.log(probs)).sum(-1).mean()
        return ssim.ssim_loss(probs, target, window=5) + 0.5 * entropy

    def by_hand(params):
        maps = jnp.full((6, 8, 8, 3), 1 / 3)
        given = jnp.concatenate([batch["image"], maps], -1)
        probs = jax.nn.softmax(NETWORK.apply({"params": params["segmenter"]}, given).logits)
        there = jax.vmap(distance)(probs, mean).sum()
        return there, jax.vmap(distance)(jnp.maximum(mean, 1e-3), probs).sum()

    there, back = jax.jit(by_hand, compiler_options=QUICK)(fresh["params"])
    np.testing.assert_allclose(metrics["converging"][0], there, rtol=1e-4)
    np.testing.assert_allclose(metrics["weighing"][0], back, rtol=1e-4)


def test_each_part_teaches_what_it_is_to_teach(fresh):
    method, batch = _build(recurrences=2), _batch()

    def parts(params):
        metrics = method.loss_fn({"params": params}, batch, KEY, jnp.int32(0))[1][1].metrics
        return jnp.stack([metrics[name][0] for name in ("converging", "diverging", "weighing")])

    # At the start the weights have a gradient, but give none.
    moved = jax.tree.map(lambda leaf: leaf + 0.1, fresh["params"])
    jacobian = jax.jit(jax.jacrev(parts), compiler_options=QUICK)(moved)
    size = {
        name: np.sqrt(sum(np.square(leaf).reshape(3, -1).sum(-1) for leaf in jax.tree.leaves(tree)))
        for name, tree in jacobian.items()
    }
    assert np.isfinite(list(size.values())).all()
    # Maps go from one recurrence to the next without a gradient, calibrated labels as well.
    np.testing.assert_array_equal(size["raters"] > 0, [False, True, False])
    np.testing.assert_array_equal(size["weights"] > 0, [False, False, True])
    assert (size["segmenter"] > 0).all()


def test_the_rater_who_is_often_wrong_is_trusted_less(trained):
    batch = _batch()
    maps = jnp.full((6, 8, 8, 3), 1 / 3)

    @jax.jit
    def weigh(params):
        given = jnp.concatenate([batch["image"], maps], -1)
        output = NETWORK.apply({"params": params["segmenter"]}, given)
        inputs = (output.features, jax.nn.softmax(output.logits))
        scores = multi_rater.WeightHead(3).apply({"params": params["weights"]}, inputs)
        return jax.nn.softmax(scores, axis=1)

    weights = weigh(trained["params"])
    differ = batch["labels"][:, 0] != batch["labels"][:, 2]
    assert float(weights[:, 2][differ].mean()) < 0.2
    assert float(weights[:, 0][differ].mean()) > 0.25


def test_truth_and_raters_are_predicted(fresh, trained):
    batch = _batch()
    predict = jax.jit(_build(recurrences=2).predict, compiler_options=QUICK)
    result, before = (predict(variables, batch["image"]) for variables in (trained, fresh))
    for prediction, least, most in ((result, 0.0, 0.04), (before, 0.1, 1.0)):
        wrong = float((prediction.probs.argmax(-1) != batch["labels"][:, 0]).mean())
        assert least <= wrong <= most
    masks = result.rater_probs.argmax(-1)
    assert float((masks[:, :2] != batch["labels"][:, :2]).mean()) < 0.06
    # The third rater: nearer to their own label than to the truth.
    own, other = (float((masks[:, 2] != batch["labels"][:, r]).mean()) for r in (2, 0))
    assert own < other


def test_batch_statistics_of_all_recurrences_are_kept():
    network = models.build("unet", 2, widths=(4,), convs_per_level=1, norm="batch")
    method = methods.build("self_calib", network, num_raters=3, num_classes=2, recurrences=2)
    batch = _batch()
    variables = jax.jit(method.init, compiler_options=QUICK)(KEY, batch)
    variables["batch_stats"] = jax.tree.map(lambda _: jnp.full(4, 1e6), variables["batch_stats"])
    loss = jax.jit(method.loss_fn, compiler_options=QUICK)
    state = loss(variables, batch, KEY, jnp.int32(0))[1][1].model_state
    assert jax.tree.structure(state["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    # Either recurrence keeps nine tenths.
    for leaf in jax.tree.leaves(state["batch_stats"]):
        np.testing.assert_allclose(leaf, 0.81e6, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recurrences": 0}, "recurrences: expected"),
        ({"cross_entropy_weight": -1.0}, "cross_entropy_weight: expected"),
        ({"window": 4}, "window: expected an odd"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)
