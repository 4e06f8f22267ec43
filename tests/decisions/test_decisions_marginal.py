"""Decisions beside hand-worked values, the sort over all voxels, and golden vectors."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from noisyjax import decisions
from noisyjax.decisions import marginal
from noisyjax.losses import entropy, overlap

_M = (0.9, 0.6, 0.4, 0.1)

_dice = jax.jit(decisions.expected_dice)
_decide = jax.jit(decisions.decide, static_argnums=1)


@jax.jit
def _decided(m):
    return decisions.dice_optimal_threshold(m), decisions.dice_optimal(m)


def _threshold(m):
    return _decided(m)[0]


def _optimal(m):
    return _decided(m)[1]


def _accuracy(s, m):
    """The expected Accuracy of a mask against labels drawn from a marginal (Definition 3)."""
    return jnp.mean(jnp.where(s, m, 1 - m))


def _sorted_threshold(m):
    """Half the best Dice over all numbers of voxels, in float64."""
    falling = np.sort(np.asarray(m, np.float64), axis=None)[::-1]
    volume = falling.sum()
    if volume == 0:
        return 0.0
    return np.max(np.cumsum(falling) / (volume + np.arange(1, falling.size + 1)))


def _smooth(seed, shape, sharpness):
    """A marginal with one soft blob and faint texture, float32."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum((p - c) ** 2 for p, c in zip(axes, rng.uniform(-0.4, 0.4, len(shape)))))
    m = 1 / (1 + np.exp(sharpness * (radius - 0.5))) * rng.uniform(0.8, 1, shape)
    return jnp.asarray(m, jnp.float32)


def test_by_hand():
    # Dice of the first 1..4 voxels: 1.8/3, 3/4, 3.8/5, 4/6.
    m = jnp.array(_M)
    assert float(decisions.dice_optimal_threshold(m)) == pytest.approx(0.38, rel=1e-6)
    np.testing.assert_array_equal(decisions.dice_optimal(m), [True, True, True, False])
    np.testing.assert_array_equal(decisions.accuracy_optimal(m), [True, True, False, False])
    assert float(decisions.expected_dice(decisions.dice_optimal(m), m)) == pytest.approx(0.76)
    assert float(decisions.expected_dice(m >= 0.5, m)) == pytest.approx(0.75)
    assert float(_accuracy(m >= 0.5, m)) == pytest.approx(3 / 4)
    assert float(_accuracy(m >= 0.3, m)) == pytest.approx(2.8 / 4)


def test_golden_vectors(golden):
    vectors = np.load(golden / "dice_threshold.npz")
    for i, name in enumerate(vectors["opt_names"]):
        case = {key: vectors[f"opt{i}_{key}"] for key in ("threshold", "seg", "sup_dice", "unique")}
        m = jnp.asarray(vectors[f"opt{i}_marginal"], jnp.float32)
        threshold, mask = float(_threshold(m)), _optimal(m)
        assert threshold == pytest.approx(float(case["threshold"]), abs=1e-7), name
        if name == "all_zero":
            assert not mask.any()
            continue
        if case["unique"]:
            np.testing.assert_array_equal(mask, case["seg"].astype(bool), err_msg=name)
        dice = float(_dice(mask, m))
        assert dice == pytest.approx(float(case["sup_dice"]), abs=1e-6), name
        at_half = float(_dice(m >= 0.5, m))
        assert at_half == pytest.approx(float(vectors[f"opt{i}_dice_at_half"]), abs=1e-6), name


@pytest.mark.parametrize("sharpness", [3, 8, 40])
@pytest.mark.parametrize("shape", [(70,), (300, 200), (40, 41, 42)])
def test_equals_the_sort_in_float64(shape, sharpness):
    m = _smooth(0, shape, sharpness)
    expected = _sorted_threshold(m)
    assert float(_threshold(m)) == pytest.approx(expected, rel=3e-7)
    np.testing.assert_array_equal(_optimal(m), np.asarray(m, np.float64) >= expected)


def test_no_mask_of_all_masks_is_better():
    rng = np.random.default_rng(0)
    masks = (np.arange(2**8)[:, None] >> np.arange(8)) % 2 == 1
    dice = jax.jit(jax.vmap(decisions.expected_dice, in_axes=(0, None)))
    accuracy = jax.jit(jax.vmap(_accuracy, in_axes=(0, None)))
    for spread in (0.2, 1, 3):
        m = jnp.asarray(rng.uniform(size=8) ** spread, jnp.float32)
        best = float(_dice(_optimal(m), m))
        assert best == pytest.approx(float(dice(masks, m).max()), rel=1e-6)
        assert float(_threshold(m)) == pytest.approx(best / 2, rel=1e-6)
        best = float(_accuracy(m >= 0.5, m))
        assert best == pytest.approx(float(accuracy(masks, m).max()), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "threshold", "on"),
    [(0.0, 0.0, False), (1.0, 0.5, True), (0.3, 0.3 / 1.3, True), (1e-9, 1e-9, True)],
)
def test_constant_marginals(value, threshold, on):
    m = jnp.full((6, 7), value, jnp.float32)
    assert float(_threshold(m)) == pytest.approx(threshold, rel=1e-6)
    np.testing.assert_array_equal(_optimal(m), np.full((6, 7), on))


def test_tiny_probabilities_have_their_own_scale():
    m = jnp.array([1e-8, 2e-9, 1e-9, 0.0], jnp.float32)
    assert float(_threshold(m)) == pytest.approx(_sorted_threshold(m), rel=1e-6)


def test_one_voxel():
    m = jnp.zeros((4, 4)).at[1, 2].set(0.7)
    assert float(_threshold(m)) == pytest.approx(0.7 / 1.7)
    np.testing.assert_array_equal(_optimal(m), m > 0)
    assert float(_threshold(jnp.array([0.7]))) == pytest.approx(0.7 / 1.7)


def test_a_mask_is_its_own_decision():
    m = (_smooth(1, (20, 30), 8) > 0.4).astype(jnp.float32)
    assert float(_threshold(m)) == 0.5
    np.testing.assert_array_equal(_optimal(m), m > 0)


def test_ties_are_decided_together():
    # The mean of five raters; equal voxels are all in or all out.
    m = jnp.round(_smooth(2, (40, 40), 5) * 5) / 5
    mask = _optimal(m)
    for value in np.unique(m):
        assert np.unique(mask[m == value]).size == 1
    assert float(_threshold(m)) == pytest.approx(_sorted_threshold(m), rel=1e-6)


def test_an_indifferent_voxel_changes_no_dice():
    # Dice of .8 with or without the voxel of .4, which lies exactly at the threshold.
    m = jnp.array([1.0, 0.6, 0.4])
    without = float(_dice(jnp.array([1, 1, 0]), m))
    with_it = float(_dice(jnp.array([1, 1, 1]), m))
    assert without == pytest.approx(0.8)
    assert with_it == pytest.approx(0.8)
    assert float(_threshold(m)) == pytest.approx(0.4)
    assert float(_dice(_optimal(m), m)) == pytest.approx(0.8)


def test_a_large_image_whose_sample_misses_the_object():
    m = jnp.zeros((64, 64, 64)).at[9:15, 9:15, 9:15].set(0.6).at[12, 12].set(0.2)
    assert float(_threshold(m)) == pytest.approx(_sorted_threshold(m), rel=1e-6)


def test_a_large_image_whose_sample_promises_too_much():
    m = jnp.full((64, 64, 64), 0.1).at[::8, ::8].set(1.0)
    assert float(_threshold(m)) == pytest.approx(_sorted_threshold(m), rel=1e-6)


def test_where_leaves_voxels_out():
    m = _smooth(3, (12, 9), 4)
    where = jnp.arange(9) < 6
    where = jnp.broadcast_to(where, (12, 9))
    other = jnp.where(where, m, jnp.nan)
    expected = float(_threshold(m[:, :6]))
    assert float(decisions.dice_optimal_threshold(other, where=where)) == pytest.approx(expected)
    mask = decisions.dice_optimal(other, where=where)
    np.testing.assert_array_equal(mask[:, :6], _optimal(m[:, :6]))
    assert not mask[:, 6:].any()
    s = jnp.ones((12, 9), bool)
    inside = float(_dice(s[:, :6], m[:, :6]))
    assert float(_dice(s, other, where=where)) == pytest.approx(inside, rel=1e-6)


def test_nothing_that_counts():
    m, none = jnp.full((3, 3), 0.6), jnp.zeros((3, 3), bool)
    assert float(decisions.dice_optimal_threshold(m, where=none)) == 0
    assert not decisions.dice_optimal(m, where=none).any()
    assert float(decisions.expected_dice(m > 0, m, where=none)) == 1
    assert float(decisions.expected_dice(none, jnp.zeros((3, 3)))) == 1


def test_vmap_is_a_loop_with_a_threshold_for_each_image():
    m = jnp.stack([_smooth(k, (20, 21), 2.0 + 5 * k) for k in range(4)] + [jnp.zeros((20, 21))])
    thresholds = jax.jit(jax.vmap(decisions.dice_optimal_threshold))(m)
    assert np.unique(thresholds).size == 5
    np.testing.assert_allclose(thresholds, [_threshold(x) for x in m], rtol=1e-6)
    masks = jax.vmap(decisions.dice_optimal)(m)
    np.testing.assert_array_equal(masks, [_optimal(x) for x in m])


def test_jit_is_eager():
    m = _smooth(4, (20, 21), 5)
    assert float(_threshold(m)) == float(decisions.dice_optimal_threshold(m))
    np.testing.assert_array_equal(_optimal(m), decisions.dice_optimal(m))


def test_half_precision_is_summed_in_float32():
    m = _smooth(5, (60, 60), 5).astype(jnp.bfloat16)
    assert float(_threshold(m)) == pytest.approx(_sorted_threshold(m), rel=1e-6)


def test_float32_finds_the_mask_of_float64():
    with jax.enable_x64(True):
        m = _smooth(6, (64, 64, 64), 3)
        exact = decisions.dice_optimal_threshold(m.astype(jnp.float64))
        assert exact.dtype == jnp.float64
        assert float(exact) == pytest.approx(_sorted_threshold(m), rel=1e-9)
        np.testing.assert_array_equal(_optimal(m), m.astype(jnp.float64) >= exact)


def test_both_reductions_agree():
    m = _smooth(7, (40, 12, 400), 5)
    slabs = marginal._slabs(m)
    assert slabs.shape == (40, 4800)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            jax.lax, "platform_dependent", lambda *args, cpu, default: (cpu(*args), default(*args))
        )
        for reduction in ("sum", "max"):
            loop, whole = marginal._columns(reduction, lambda x: (x, -x), slabs)
            np.testing.assert_allclose(loop, whole, rtol=1e-5)


def test_gradients_are_zero_and_finite():
    m = jnp.array(_M)
    np.testing.assert_array_equal(jax.grad(decisions.dice_optimal_threshold)(m), np.zeros(4))
    gradients = jax.jit(jax.grad(decisions.expected_dice, argnums=(0, 1)))
    for m in (jnp.zeros(4), jnp.ones(4), jnp.full(4, 1e-30)):
        assert np.all(np.isfinite(gradients(jnp.zeros(4), m)))


@pytest.mark.parametrize("bad", [np.nan, -0.01, 1.01, np.inf, -np.inf])
def test_values_that_are_no_probabilities_are_refused(bad):
    m = jnp.array([0.2, bad, 0.3])
    probs = jnp.stack([1 - m, m], axis=-1)
    calls = [
        functools.partial(decisions.accuracy_optimal, m),
        functools.partial(decisions.dice_optimal_threshold, m),
        functools.partial(decisions.dice_optimal, m),
        functools.partial(decisions.expected_dice, m > 0, m),
        *(functools.partial(decisions.decide, probs, name) for name in decisions.DECISIONS),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\], got"):
            call()


def test_rounding_beyond_the_ends_is_no_error():
    m = jnp.array([1 + 1e-6, -1e-6, 0.2])
    np.testing.assert_array_equal(decisions.dice_optimal(m), [True, False, False])


def test_under_jit_a_nan_shows_in_the_threshold():
    m = jnp.array([0.2, jnp.nan, 0.3])
    assert np.isnan(_threshold(m))
    assert not _optimal(m).any()


def test_shapes_must_fit():
    # The type checker of the tests comes before the checks that users see.
    m, short = jnp.zeros((3, 4)), jnp.zeros(4, bool)
    for call in (
        functools.partial(decisions.dice_optimal_threshold, m, where=short),
        functools.partial(decisions.dice_optimal, m, where=short),
        functools.partial(decisions.expected_dice, m > 0, m, where=short),
        functools.partial(decisions.decide, m, "dice", where=short),
    ):
        with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="where"):
            call()


@pytest.mark.parametrize(
    ("decision", "expected"), [("argmax", [1, 0, 0, 0]), ("accuracy", [1, 1, 0, 0])]
)
def test_two_classes(decision, expected):
    m = jnp.array([0.9, 0.5, 0.4, 0.1])
    ids = decisions.decide(jnp.stack([1 - m, m], axis=-1), decision)
    assert ids.dtype == jnp.int32
    np.testing.assert_array_equal(ids, expected)


def test_half_is_foreground_whatever_the_other_class_is_rounded_to():
    assert _decide(jnp.array([0.5000001, 0.5]), "accuracy") == 1


def test_dice_of_two_classes_is_the_dice_optimal_mask():
    m = _smooth(8, (15, 16), 3)
    ids = _decide(jnp.stack([1 - m, m], axis=-1), "dice")
    assert ids.dtype == jnp.int32
    np.testing.assert_array_equal(ids, _optimal(m))
    assert (ids == 1).sum() > (m >= 0.5).sum()


def test_several_classes_by_hand():
    probs = jnp.array([[0.1, 0.9, 0.0], [0.2, 0.4, 0.4], [0.3, 0.1, 0.6], [0.9, 0.05, 0.05]])
    # t_1 = 1.3 / (1.45 + 2), t_2 = 1 / (1.05 + 2): the second voxel belongs to both, and
    # .4 / .377 < .4 / .328.
    thresholds = jax.vmap(decisions.dice_optimal_threshold, in_axes=-1)(probs)
    np.testing.assert_allclose(thresholds[1:], [1.3 / 3.45, 1.0 / 3.05], rtol=1e-6)
    np.testing.assert_array_equal(_decide(probs, "dice"), [1, 2, 2, 0])
    np.testing.assert_array_equal(_decide(probs, "argmax"), [1, 1, 2, 0])
    np.testing.assert_array_equal(_decide(probs, "accuracy"), [1, 2, 2, 0])


def test_absent_classes_claim_nothing():
    probs = jnp.array([[0.4, 0.6, 0.0], [0.9, 0.1, 0.0]])
    np.testing.assert_array_equal(_decide(probs, "dice"), [1, 0])
    empty = jnp.zeros((2, 3)).at[:, 0].set(1)
    np.testing.assert_array_equal(_decide(empty, "dice"), [0, 0])


@pytest.mark.parametrize("decision", decisions.DECISIONS)
@pytest.mark.parametrize("num_classes", [2, 4])
def test_decisions_batch_and_leave_voxels_out(decision, num_classes):
    logits = 2 * np.random.default_rng(0).normal(size=(3, 5, 6, num_classes))
    probs = np.asarray(jax.nn.softmax(logits))
    where = np.arange(30).reshape(5, 6) % 4 != 0
    decide = functools.partial(decisions.decide, decision=decision, where=jnp.asarray(where))
    blotted = np.where(where[..., None], probs, np.nan)
    for ids, p in zip(np.asarray(jax.jit(jax.vmap(decide))(blotted)), probs, strict=True):
        kept = _decide(jnp.asarray(p[where]), decision)
        np.testing.assert_array_equal(ids[where], kept)
        assert not ids[~where].any()
        assert kept.max() == num_classes - 1


def test_unknown_decisions_and_single_classes_are_refused():
    with pytest.raises(ValueError, match="'argmax', 'accuracy', 'dice', got 'jaccard'"):
        decisions.decide(jnp.full((3, 2), 0.5), "jaccard")
    with pytest.raises(ValueError, match="at least two classes"):
        decisions.decide(jnp.full((3, 1), 0.5), "dice")


def test_losses_are_those_of_definitions_1_and_2():
    m = np.array([[0.9, 0.6, 0.4], [0.1, 0.0, 1.0]])
    c = np.array([[0.7, 0.6, 0.2], [0.3, 0.1, 0.9]])
    both = [jnp.asarray(np.stack([1 - x, x], axis=-1), jnp.float32) for x in (c, m)]
    cross_entropy = -np.sum(m * np.log(c) + (1 - m) * np.log(1 - c))
    ours = jnp.sum(entropy.soft_cross_entropy(jnp.log(both[0]), both[1]))
    assert float(ours) == pytest.approx(cross_entropy, rel=1e-5)
    soft_dice = 1 - 2 * np.sum(c * m) / (c.sum() + m.sum())
    assert float(overlap.soft_dice(*both, smooth=0.0)) == pytest.approx(soft_dice, rel=1e-5)
    # Definition 4 is 1 - soft Dice, also of a soft segmentation.
    dice = decisions.expected_dice(both[0][..., 1], both[1][..., 1])
    assert float(dice) == pytest.approx(1 - soft_dice, rel=1e-5)


def test_no_soft_segmentation_has_a_lower_soft_dice_loss():
    # Eq. 14: the infimum of soft Dice is attained by the Dice-optimal mask.
    m = _smooth(9, (10, 10), 3)
    best = 1 - float(_dice(_optimal(m), m))
    targets = jnp.stack([1 - m, m], axis=-1)
    loss = jax.jit(lambda c: overlap.soft_dice(jnp.stack([1 - c, c], axis=-1), targets, smooth=0.0))
    for k in range(20):
        other = jax.random.uniform(jax.random.key(k), m.shape)
        mixed = 0.9 * _optimal(m) + 0.1 * other
        assert float(loss(mixed)) >= best - 1e-6
    assert float(loss(_optimal(m).astype(jnp.float32))) == pytest.approx(best, abs=1e-6)


def test_accuracy_of_three_classes_in_an_image_of_two_pixels():
    # The number of classes is not that of the pixels.
    probs = jnp.array([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
    assert decisions.decide(probs, "accuracy").tolist() == [1, 2]
