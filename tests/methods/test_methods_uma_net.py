"""UMA-Net: scores by hand, the split, its switches, what predicts, any number of devices."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax import methods, models
from noisyjax.core import rng
from noisyjax.losses import uncertainty
from noisyjax.methods import uma_net
from noisyjax.train import step, train_state

KEY, RATERS, SIDE = rng.root_key(0), 3, 6
# Every loss and every weight has its say.
_MIDDLE = {"confidence_threshold": 0.6, "agreement_threshold": 0.8, "temperature": 0.3}
# Compiles faster than it runs.
_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def _batch(size=4, num_classes=2, seed=0, raters=RATERS):
    """Squares that the raters blur; the second image has raters who contradict each other."""
    draw = np.random.default_rng(seed)
    truth = np.zeros((size, 1, SIDE, SIDE), np.uint8)
    truth[:, :, 1:5, 2:5] = num_classes - 1
    errors = (
        draw.random((size, raters, SIDE, SIDE)) < np.linspace(0, 0.6, size)[:, None, None, None]
    )
    labels = np.where(errors, (truth + 1) % num_classes, truth).astype(np.uint8)
    return {
        "image": draw.normal(size=(size, SIDE, SIDE, 1)).astype(np.float32),
        "labels": labels,
        "rater_mask": np.ones((size, raters), bool),
        "weight": np.ones(size, np.float32),
        "id": np.arange(size, dtype=np.int32),
    }


def _build(num_classes=2, **options):
    network = models.build("unet", num_classes, widths=(4,), convs_per_level=1)
    options = {"widths": (2,), "warmup_steps": 0, **options}
    return methods.build("uma_net", network, num_raters=RATERS, num_classes=num_classes, **options)


@pytest.fixture(scope="module")
def full():
    """(method, variables, batch) of the whole method, softly assigned."""
    batch = jax.tree.map(jnp.asarray, _batch())
    method = _build(**_MIDDLE)
    return method, _jit(method.init)(KEY, batch), batch


def _loss(method, variables, batch, at=0):
    return method.loss_fn(variables, batch, KEY, jnp.int32(at))


def test_quality_scores_by_hand_take_the_worst_class():
    # Class 1: the mean is .5, .5; class 2: it is 1, 0, and nobody differs.
    maps = jnp.stack([jnp.array([[1.0, 0.5], [0.0, 0.5]]), jnp.array([[1.0, 0.0]] * 2)], -1)
    everyone = jnp.ones(2, bool)
    confidence, agreement, quality = uma_net.quality_scores(maps, everyone)
    np.testing.assert_allclose([confidence, agreement, quality], [np.log(2), 1, 0], rtol=1e-6)
    limits = {"thresholds": (0.7, 1.01)}
    assert uma_net.quality_scores(maps, everyone, **limits)[2] == 1
    for thresholds in ((0.69, 1.01), (0.7, 1.0)):
        assert uma_net.quality_scores(maps, everyone, thresholds=thresholds)[2] == 0
    soft = uma_net.quality_scores(maps, everyone, temperature=0.5, thresholds=(0.2, 0.4))[2]
    by_hand = 1 / (1 + np.exp((np.log(2) - 0.2) / 0.5)) / (1 + np.exp(0.6 / 0.5))
    np.testing.assert_allclose(soft, by_hand, rtol=1e-5)
    # Without the one who contradicts there is nobody to disagree.
    alone = uma_net.quality_scores(maps, jnp.array([True, False]))
    np.testing.assert_allclose(alone[:2], [np.log(2) * 0.5 / 1.5, 0], rtol=1e-5)
    options = {"two_sided": True, "normalised": True}
    result = uma_net.quality_scores(maps, everyone, **options)
    np.testing.assert_allclose(result[:2], [2 * np.log(2), 0.5], rtol=1e-6)


def test_empty_maps_are_of_high_quality():
    for temperature in (0.0, 1e-3):
        result = uma_net.quality_scores(
            jnp.zeros((2, 4, 1)), jnp.ones(2, bool), temperature=temperature
        )
        np.testing.assert_array_equal(result, [0, 0, 1])


def test_a_small_temperature_gives_the_hard_split(full):
    _, variables, batch = full
    hard, soft = (_build(**_MIDDLE | {"temperature": t}) for t in (0.0, 1e-4))
    quality = [_jit(m.assess)(variables, batch).quality for m in (hard, soft)]
    np.testing.assert_array_equal(quality[0], [1, 0, 0, 1])
    np.testing.assert_allclose(*quality, atol=1e-6)
    losses = [_jit(functools.partial(_loss, m))(variables, batch)[0] for m in (hard, soft)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def _equation_8(params, batch, method, quality, alpha):
    """The loss with qualities as given numbers."""
    assessment = method.assess({"params": params}, batch)
    network = models.build("unet", 2, widths=(4,), convs_per_level=1)
    output = network.apply({"params": params["segmenter"]}, batch["image"])
    head, total = params["auxiliary"], 0.0
    other = output.features @ head["kernel"][0, 0] + head["bias"].reshape(1, 1, 1, -1)
    for i in range(4):
        labels, sigma = batch["labels"][i], assessment.uncertainty[i, ..., 0]
        for weight, logits in ((quality[i], output.logits[i]), (1 - quality[i], other[i])):
            p = jax.nn.softmax(logits)[..., 1]
            each = uncertainty.weighted_cross_entropy, uncertainty.weighted_dice
            total += weight * sum(loss(p, labels, sigma) for loss in each)
        maps = jnp.abs(labels - sigma)
        total += alpha * jnp.mean(jnp.square(maps - maps.mean(0, keepdims=True)))
    return total


def test_the_loss_is_equation_8_of_both_predictors_and_quality_has_no_gradient(full):
    method, variables, batch = full
    params, assessment = variables["params"], _jit(method.assess)(variables, batch)
    maps = jnp.abs(batch["labels"][..., None] - assessment.uncertainty)
    np.testing.assert_allclose(assessment.calibration, maps, rtol=1e-6)
    assert np.all((assessment.quality > 0.05) & (assessment.quality < 0.95))

    def loss(params):
        return _loss(method, {"params": params}, batch, at=600)

    def by_hand(params):
        alpha = np.exp(-5 * 0.4**2)
        return _equation_8(params, batch, method, assessment.quality, alpha)

    (result, (_, aux)), slope = _jit(jax.value_and_grad(loss, has_aux=True))(params)
    expected, expected_slope = _jit(jax.value_and_grad(by_hand))(params)
    np.testing.assert_allclose(result, expected, rtol=1e-4)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, slope, expected_slope)
    high, count = aux.metrics["high_quality"]
    np.testing.assert_allclose(high / count, assessment.quality.mean(), rtol=1e-5)


def test_without_its_parts_it_is_the_plain_loss_meant_over_annotations(full):
    _, variables, batch = full
    plain = _build(auem=False, quality=False, dice_weight=0)
    own = jax.eval_shape(plain.init, KEY, batch)
    assert set(own["params"]) == {"segmenter"}
    kept = uma_net.export(variables)
    batch = {**batch, "rater_mask": batch["rater_mask"].at[0, 1].set(False)}
    network = models.build("unet", 2, widths=(4,), convs_per_level=1)
    mean = methods.build("mean", network, num_raters=RATERS, num_classes=2)
    result, expected = _jit(lambda: [_loss(m, kept, batch)[0] for m in (plain, mean)])()
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_every_switch_has_its_parameters_and_its_loss(full):
    _, variables, batch = full
    grid, names = {}, ("auem", "consistency", "quality", "auxiliary")
    for switches in itertools.product((False, True), repeat=4):
        auem, _, quality, auxiliary = switches
        options = dict(zip(names, switches, strict=True))
        grid[switches] = _build(ramp_steps=1, **options, **_MIDDLE)
        parts = {"segmenter"}
        parts |= ({"auem"} if auem else set()) | ({"auxiliary"} if quality and auxiliary else set())
        assert set(jax.eval_shape(grid[switches].init, KEY, batch)["params"]) == parts
    # As one program, whose equal parts are computed once.
    losses = _jit(lambda: [_loss(m, variables, batch, at=1)[0] for m in grid.values()])()
    result = {key: round(float(loss), 5) for key, loss in zip(grid, losses, strict=True)}
    # Nothing is left to the auxiliary predictor without quality, nothing moves without the AUEM.
    for others in itertools.product((False, True), repeat=2):
        assert result[*others, False, True] == result[*others, False, False]
        assert result[False, True, *others] == result[False, False, *others]
    assert len(set(result.values())) == 3 + 6


def test_images_of_low_quality_are_left_to_the_auxiliary_predictor(full):
    _, variables, batch = full
    batch = {**batch, "weight": jnp.array([0.0, 0, 0, 1])}
    low = {"confidence_threshold": 0.0}
    everything = {"primary", "backbone", "auem"}
    cases = [
        (low | {"auxiliary": False}, ((0, set()),)),
        # In the warm-up every image is one of high quality.
        (low | {"warmup_steps": 3}, ((2, everything), (3, {"backbone", "auxiliary", "auem"}))),
    ]

    def slopes(method, params, at):
        slope = jax.grad(lambda p: _loss(method, {"params": p}, batch, at=at)[0])(params)
        backbone = {name: tree for name, tree in slope["segmenter"].items() if name != "logits"}
        parts = {"primary": slope["segmenter"]["logits"], "backbone": backbone}
        parts |= {name: slope[name] for name in ("auxiliary", "auem")}
        return {name: optax.tree.norm(tree) for name, tree in parts.items()}

    for options, steps in cases:
        norms = _jit(functools.partial(slopes, _build(**options)))
        for at, expected in steps:
            parts = norms(variables["params"], jnp.int32(at))
            moved = {name for name, norm in parts.items() if norm > 0}
            assert moved == expected, (options, at)


def test_prediction_is_that_of_the_plain_network_alone(full):
    method, variables, batch = full
    kept = uma_net.export(variables)
    assert set(kept["params"]) == {"segmenter"}
    predict = _jit(method.predict)
    result = predict(kept, batch["image"])
    np.testing.assert_array_equal(result.probs, predict(variables, batch["image"]).probs)
    network = models.build("unet", 2, widths=(4,), convs_per_level=1)
    plain = methods.build("majority", network, num_raters=RATERS, num_classes=2)
    programs = [jax.make_jaxpr(m.predict)(kept, batch["image"]) for m in (method, plain)]
    assert str(programs[0]) == str(programs[1])


def test_batch_statistics_are_exported_and_absent_annotations_have_no_influence():
    batch = jax.tree.map(jnp.asarray, _batch(2, num_classes=3, raters=2))
    batch["rater_mask"] = batch["rater_mask"].at[1, 0].set(False)
    network = models.build("unet", 3, widths=(4,), convs_per_level=1, norm="batch")
    options = {"widths": (2,), "warmup_steps": 0}
    method = uma_net.build(network, num_raters=2, num_classes=3, **options)
    variables = _jit(method.init)(KEY, batch)
    assert set(uma_net.export(variables)["batch_stats"]) == {"segmenter"}

    @_jit
    def slopes(batch):
        loss = functools.partial(_loss, method, batch=batch)
        return jax.value_and_grad(lambda p: loss({**variables, "params": p})[0])(
            variables["params"]
        )

    other = {**batch, "labels": batch["labels"].at[1, 0].set(255)}
    for one, two in zip(*(jax.tree.leaves(slopes(b)) for b in (batch, other)), strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.isfinite(one).all()
    assessment = _jit(method.assess)(variables, batch)
    assert assessment.calibration.shape == (2, 2, SIDE, SIDE, 2)
    assert assessment.quality.shape == (2,)


def test_the_number_of_devices_changes_nothing():
    batch = _batch(8, raters=2) | {"weight": np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)}
    batch = jax.tree.map(jnp.asarray, batch)
    parted = jax.tree.map(lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:]), batch)
    network = functools.partial(models.build, "unet", 2, widths=(4,), convs_per_level=1)
    options = {"widths": (2,), "warmup_steps": 0, **_MIDDLE}

    def slopes(axis_name):
        segmenter = network(norm="batch", axis_name=axis_name)
        method = uma_net.build(segmenter, num_raters=2, num_classes=2, **options)

        def run(variables, part):
            state = {"batch_stats": variables["batch_stats"]}
            loss = functools.partial(_loss, method, batch=part, at=5)
            slope = jax.grad(lambda p: loss({"params": p, **state})[0])(variables["params"])
            return slope if axis_name is None else jax.lax.psum(slope, axis_name)

        return method, run

    method, whole = slopes(None)
    _, part = slopes("devices")
    variables = _jit(method.init)(KEY, batch)
    expected = _jit(whole)(variables, batch)
    result = _jit(jax.vmap(part, (None, 0), axis_name="devices"))(variables, parted)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(lambda one, other: close(one[0], other), result, expected)


def test_a_label_that_the_others_deny_is_distrusted():
    batch = _batch(8) | {"rater_mask": np.ones((8, RATERS), bool)}
    square = np.zeros((SIDE, SIDE), np.uint8)
    square[1:5, 1:5] = 1
    batch["image"] = batch["image"] * 0.1 + square[None, ..., None]
    batch["labels"] = np.broadcast_to(square, (8, RATERS, SIDE, SIDE)).copy()
    # The last rater marks the corner as well.
    batch["labels"][:, -1, :2, :2] = 1
    batch = jax.tree.map(jnp.asarray, batch)
    method = _build(widths=(8,), start=-1.0, quality=False, ramp_steps=40)
    variables = _jit(method.init)(KEY, batch)
    optimiser = optax.adam(2e-2)
    state = train_state.create(variables, optimiser, ema=False)
    update = _jit(
        functools.partial(
            step.train_step, method=method, optimiser=optimiser,
            transform=lambda batch, key: batch, ema=0.0, axis_name=None,
        ),
        donate_argnums=0,
    )  # fmt: skip
    for _ in range(150):
        state, _ = update(state, batch, KEY)
    assessment = _jit(method.assess)(train_state.evaluation_variables(state), batch)
    maps = assessment.uncertainty[..., 0].mean(0)
    wrong = np.zeros((SIDE, SIDE), bool)
    wrong[:2, :2], wrong[1, 1] = True, False
    assert maps[-1][wrong].mean() > 0.6
    assert maps[-1][~wrong].mean() < 0.1
    assert maps[:-1].mean() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ramp_steps": 0}, "ramp_steps: expected a number > 0"),
        ({"temperature": -1.0}, "temperature: expected a number >= 0"),
        ({"dice_weight": -1}, "dice_weight: expected"),
        ({"consistency_weight": -1}, "consistency_weight: expected"),
        ({"warmup_steps": -1}, "warmup_steps: expected"),
    ],
)
def test_numbers_out_of_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def test_the_auxiliary_network_is_a_third_as_wide():
    segmenter = models.build("unet", 2, widths=(12, 7, 2), convs_per_level=1)
    assert uma_net._third(segmenter) == (4, 2, 1)


def test_weights_of_terms_may_be_0_but_not_negative():
    for name in ("dice_weight", "consistency_weight", "temperature", "warmup_steps"):
        assert _build(**{name: 0}).assess is not None
        with pytest.raises(ValueError, match=f"{name}: expected a number >= 0"):
            _build(**{name: -1})


def test_of_several_classes_the_loss_is_the_mean():
    # Both classes against the background, p = 1/2 and 1/4; nothing is labelled.
    logits = jnp.log(jnp.array([[1.0, 1.0, 1 / 3]]))
    labels, sigma = jnp.zeros((2, 1), jnp.int32), jnp.zeros((2, 1, 2))
    arguments = (logits, labels, sigma, jnp.ones(2, bool))
    losses, nll = uma_net._compare(*arguments, dice_weight=0.0)
    expected = -(np.log(1 / 2) + np.log(3 / 4)) / 2
    np.testing.assert_allclose([losses, nll], [expected] * 2, rtol=1e-6)
    # All that is predicted is wrong: a Dice loss of 1 for either class.
    losses, nll = uma_net._compare(*arguments, dice_weight=0.5)
    np.testing.assert_allclose([losses, nll], [expected + 0.5, expected], rtol=1e-6)


def test_how_many_teach_the_predicting_network_is_reported(full):
    _, variables, batch = full
    for options, share in (({}, 0.5), ({"confidence_threshold": 0.0}, 0.0)):
        method = _build(**_MIDDLE | {"temperature": 0.0, **options})
        aux = _jit(functools.partial(_loss, method))(variables, batch)[1][1]
        taught, count = aux.metrics["learning"]
        assert float(taught / count) == share
    assert (
        "learning"
        not in jax.eval_shape(functools.partial(_loss, _build(quality=False)), variables, batch)[1][
            1
        ].metrics
    )
