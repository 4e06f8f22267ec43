"""Contracts that every method keeps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import methods, models
from noisyjax.core import rng

SIDE, RATERS, CLASSES = 8, 3, 2
LEARN_MATRICES = ("cm_trace", "no_trace", "low_rank_cm", "global_cm")
KNOW_RATERS = (*LEARN_MATRICES, "separate", "mr_net", "self_calib")


def _batch(size: int, *, sides=(SIDE, SIDE), num_classes=CLASSES) -> dict:
    draw = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draw.normal(size=(size, *sides, 1)), jnp.float32),
        "labels": jnp.asarray(draw.integers(0, num_classes, (size, RATERS, *sides)), jnp.uint8),
        "rater_mask": jnp.ones((size, RATERS), bool),
        "truth": jnp.asarray(draw.integers(0, num_classes, (size, *sides)), jnp.uint8),
        "target": jnp.asarray(draw.dirichlet(np.ones(num_classes), (size, *sides)), jnp.float32),
        "weight": jnp.ones(size),
        "id": jnp.arange(size, dtype=jnp.int32),
    }


def _build(name: str, num_classes: int = CLASSES, **options) -> methods.Method:
    segmenter = models.build("unet", num_classes, widths=(4,), convs_per_level=1)
    return methods.build(name, segmenter, num_raters=RATERS, num_classes=num_classes, **options)


def _cheap(name: str) -> dict:
    if name == "prob_unet":
        return {"widths": (4, 4), "convs_per_level": 1, "num_samples": 3}
    if name == "self_calib":
        return {"recurrences": 2}
    if name == "uma_net":
        # Softly assigned, every image teaches both predictors.
        return {"temperature": 0.3, "widths": (4,), "warmup_steps": 0}
    if name == "co_teaching":
        # Otherwise it learns from some examples of a batch only.
        return {"forget_rate": 0.0}
    if name in LEARN_MATRICES:
        # In the last stage from the start.
        steps = {"warmup_steps": 0, "frozen_segmenter_steps": 0}
        return {"convs": 0, "min_raters_for_consensus": 0, **steps}
    return {}


@pytest.fixture(scope="module", params=sorted(methods.METHODS))
def made(request):
    """(name, method, variables, batch of six, compiled loss) of every method."""
    method = _build(request.param, **_cheap(request.param))
    batch = _batch(6)
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    loss = jax.jit(lambda b: method.loss_fn(variables, b, rng.root_key(1), jnp.int32(3)))
    return request.param, method, variables, batch, loss


def test_padding_and_labels_of_missing_raters_change_nothing(made):
    _, _, _, batch, loss = made
    real = {**batch, "weight": jnp.array([1.0, 1, 1, 1, 0, 0])}
    real["rater_mask"] = batch["rater_mask"].at[1, 0].set(False)
    other = {**real, "image": batch["image"].at[4:].set(7.0)}
    other["labels"] = batch["labels"].at[1, 0].set(255).at[4:].set(0)
    total, (count, aux) = loss(real)
    again, (count_again, _) = loss(other)
    assert float(count) == float(count_again) == 4
    np.testing.assert_allclose(total, again, rtol=1e-5)
    np.testing.assert_allclose(aux.metrics["loss"][0], total)


def test_loss_is_the_sum_over_examples(made):
    _, _, _, batch, loss = made
    parts = [loss({**batch, "weight": weight})[0] for weight in jnp.eye(6)]
    np.testing.assert_allclose(loss(batch)[0], sum(parts), rtol=1e-5)


def test_only_oracles_read_the_truth(made):
    name, method, variables, batch, _ = made
    assert method.needs_truth == (name in ("oracle", "oracle_cm"))
    blind = {key: value for key, value in batch.items() if key != "truth"}

    def shape_of_loss():
        return jax.eval_shape(method.loss_fn, variables, blind, rng.root_key(1), jnp.int32(0))[0]

    if method.needs_truth:
        with pytest.raises(KeyError, match="truth"):
            shape_of_loss()
    else:
        assert shape_of_loss().shape == ()


def test_predictions_are_distributions(made):
    name, method, variables, batch, _ = made
    prediction = jax.jit(method.predict)(variables, batch["image"])
    assert prediction.probs.shape == (6, SIDE, SIDE, CLASSES)
    np.testing.assert_allclose(prediction.probs.sum(-1), 1, rtol=1e-5)
    assert (prediction.cms is not None) == (name in LEARN_MATRICES)
    if prediction.cms is not None:
        assert prediction.cms.shape == (6, RATERS, SIDE, SIDE, CLASSES, CLASSES)
        np.testing.assert_allclose(prediction.cms.sum(-2), 1, rtol=1e-5)
        np.testing.assert_allclose(prediction.rater_probs.sum(-1), 1, rtol=1e-5)
    assert (prediction.rater_probs is not None) == (name in KNOW_RATERS)
    assert (prediction.samples is not None) == (name == "prob_unet")


def test_parameters_are_the_models_or_the_annotators(made):
    name, method, variables, _, _ = made
    labels = method.param_labels(variables["params"])
    assert jax.tree.structure(labels) == jax.tree.structure(variables["params"])
    expected = {"model", "annotators"} if name in LEARN_MATRICES else {"model"}
    assert set(jax.tree.leaves(labels)) == expected


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="majority.*magic"):
        _build("magic")
    segmenter = models.build("unet", 2, widths=(4,))
    with pytest.raises(ValueError, match="target.*best"):
        methods.fused.build(segmenter, num_raters=1, num_classes=2, target="best")
    with pytest.raises(ValueError, match="annotators.*psychic"):
        methods.cm_trace.build(segmenter, num_raters=1, num_classes=2, annotators="psychic")


@pytest.mark.parametrize("name", ["majority", "low_rank_cm", "separate", "prob_unet", "uma_net"])
def test_volumes_and_many_classes_take_the_same_path(name):
    method = _build(name, num_classes=3, **_cheap(name))
    batch = _batch(1, sides=(4, 6, 5), num_classes=3)
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    total, _ = jax.jit(method.loss_fn)(variables, batch, rng.root_key(0), jnp.int32(0))
    assert np.isfinite(total)
    assert jax.eval_shape(method.predict, variables, batch["image"]).probs.shape == (1, 4, 6, 5, 3)


@pytest.mark.parametrize("name", ["pint", "mr_net", "self_calib"])
def test_parts_of_a_batch_with_padding_add_up_to_the_whole(name):
    batch = _batch(4)
    batch["weight"] = batch["weight"].at[3].set(0.0)

    def sums(axis_name):
        options = {"widths": (4,), "convs_per_level": 1, "norm": "batch", "axis_name": axis_name}
        segmenter = models.build("unet", CLASSES, **options)
        method = methods.build(
            name, segmenter, num_raters=RATERS, num_classes=CLASSES, **_cheap(name)
        )

        def run(variables, part):
            total, (count, aux) = method.loss_fn(variables, part, rng.root_key(1), jnp.int32(200))
            return total, count, aux.metrics, aux.model_state

        return method, run

    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    (method, whole), (_, part) = sums(None), sums("devices")
    variables = jax.jit(method.init, compiler_options=quick)(rng.root_key(0), batch)
    *expected, state = jax.jit(whole, compiler_options=quick)(variables, batch)
    parts = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), batch)
    spread = jax.vmap(part, (None, 0), axis_name="devices")
    *result, states = jax.jit(spread, compiler_options=quick)(variables, parts)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: close(a.sum(0), b), result, expected)
    # Both know the statistics of all.
    jax.tree.map(lambda a, b: close(a, np.stack([b, b])), states, state)


def test_the_sum_of_both_losses_is_their_sum():
    batch = _batch(2)
    made = {loss: _build("mean", loss=loss) for loss in methods.fused.LOSSES}
    variables = jax.jit(made["soft_dice"].init)(rng.root_key(0), batch)

    @jax.jit
    def of_all(variables):
        key, step = rng.root_key(0), jnp.int32(0)
        return {n: method.loss_fn(variables, batch, key, step)[0] for n, method in made.items()}

    totals = of_all(variables)
    parts = totals["cross_entropy"] + totals["soft_dice"]
    np.testing.assert_allclose(totals["cross_entropy_and_soft_dice"], parts, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "of_a_pixel"),
    [
        ("cross_entropy", -np.log(0.8)),
        ("soft_bootstrap", -0.95 * np.log(0.8) - 0.05 * (0.8 * np.log(0.8) + 0.2 * np.log(0.2))),
        ("hard_bootstrap", -np.log(0.8)),
        ("generalised_cross_entropy", (1 - 0.8**0.7) / 0.7),
        ("soft_dice", None),
        ("noise_robust_dice", None),
        ("cross_entropy_and_soft_dice", None),
    ],
)
def test_the_loss_of_an_image_is_that_of_one_pixel_if_all_are_alike(loss, of_a_pixel):
    compare = jax.jit(methods.fused.LOSSES[loss])
    logits, target = jnp.log(jnp.array([[0.2, 0.8]])), jnp.array([[0.0, 1.0]])
    one, four = compare(logits, target), compare(jnp.tile(logits, (4, 1)), jnp.tile(target, (4, 1)))
    np.testing.assert_allclose(four, one if of_a_pixel is None else of_a_pixel, rtol=1e-3)


@pytest.mark.parametrize("name", ["staple", "spatial_staple"])
def test_fused_labels_come_with_the_batch(name):
    method, batch = _build(name), _batch(2)
    assert method.target == name
    assert _build("majority").target == ""
    segmenter = models.build("unet", CLASSES, widths=(4,), convs_per_level=1)
    oracle = methods.build("oracle", segmenter, num_raters=RATERS, num_classes=CLASSES)
    variables = jax.jit(method.init)(rng.root_key(0), batch)
    batch["target"] = jax.nn.one_hot(batch["truth"], CLASSES)
    key = rng.root_key(0)
    loss, like = (m.loss_fn(variables, batch, key, jnp.int32(0))[0] for m in (method, oracle))
    assert float(loss) == float(like)
    del batch["target"]
    with pytest.raises(KeyError, match="target"):
        jax.eval_shape(method.loss_fn, variables, batch, key, jnp.int32(0))


def test_a_rater_who_labelled_the_image_is_drawn_anew_in_each_step():
    mask = jnp.array([[True, False, True, True], [False] * 4, [False, True, False, False]])
    ids = jnp.array([5, 6, 7], jnp.int32)
    draw = jax.jit(lambda s: methods.base.sample_rater(rng.root_key(2), ids, mask, s))
    drawn = jax.vmap(draw)(jnp.arange(3000, dtype=jnp.int32))
    np.testing.assert_array_equal(drawn.sum(-1), jnp.broadcast_to(mask.any(-1), (3000, 3)))
    # The standard deviation of a share of one third is 0.0086.
    np.testing.assert_allclose(drawn[:, 0].mean(0), [1 / 3, 0, 1 / 3, 1 / 3], atol=0.035)
    assert drawn[:, 2, 1].all()
    alone = methods.base.sample_rater(rng.root_key(2), ids[:1], mask[:1], jnp.int32(9))
    np.testing.assert_array_equal(alone[0], drawn[9, 0])


def test_label_sampling_learns_from_one_label_a_step_and_from_the_mean_in_the_long_run():
    sampling, mean, batch = _build("label_sampling"), _build("mean"), _batch(2)
    batch["rater_mask"] = batch["rater_mask"].at[0, 1].set(False)
    # The mean is that of the labels, where none of probabilities comes with the batch.
    del batch["target"]
    variables, key = jax.jit(sampling.init)(rng.root_key(0), batch), rng.root_key(3)

    def losses(method, steps):
        return jax.jit(jax.vmap(lambda s: method.loss_fn(variables, batch, key, s)[0]))(steps)

    sampled = losses(sampling, jnp.arange(400, dtype=jnp.int32))
    # Two raters of the first image, three of the second: one of six sums in each step.
    assert len(np.unique(np.round(sampled, 4))) == 6
    spread = float(sampled.std()) / 20
    expected = losses(mean, jnp.arange(1, dtype=jnp.int32))[0]
    np.testing.assert_allclose(sampled.mean(), expected, atol=4 * spread)


def test_a_prediction_is_segmented_by_the_decision_asked_for():
    probs = jnp.stack([1 - jnp.array([0.9, 0.6, 0.4, 0.1]), jnp.array([0.9, 0.6, 0.4, 0.1])], -1)
    probs = probs.reshape(2, 2, 2)
    expected = {"argmax": [1, 1, 0, 0], "accuracy": [1, 1, 0, 0], "dice": [1, 1, 1, 0]}
    for decision, mask in expected.items():
        result = methods.base.segment(probs, decision=decision)
        np.testing.assert_array_equal(result.reshape(-1), mask)
    with pytest.raises(ValueError, match="argmax.*coin"):
        methods.base.segment(probs, decision="coin")
