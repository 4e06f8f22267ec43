"""Calibration against the golden file, scikit-learn and values worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn_metrics

from noisyjax.metrics import calibration

_BINS = jax.jit(calibration.bins, static_argnames="num_bins")
_CURVE = jax.jit(calibration.reliability_curve)
_ERRORS = {name: jax.jit(getattr(calibration, name)) for name in ("ece", "mce", "ace")}
_ERROR = _ERRORS["ece"]
_ADAPTIVE = jax.jit(calibration.adaptive_ece, static_argnames="num_groups")
_BRIER = jax.jit(calibration.brier)
_TOP_LABEL = jax.jit(calibration.top_label_ece, static_argnames="num_bins")
_MULTIRATER = jax.jit(calibration.multirater_ece)


def _drawn(shape=(40, 50)):
    draw = np.random.default_rng(0)
    probs = draw.random(shape).astype(np.float32)
    return jnp.asarray(probs), jnp.asarray(draw.random(shape) < probs**2)


@pytest.mark.parametrize("case", ["10", "11", "12", "13"])
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        arrays = {name: file[name] for name in file.files if name.startswith(case)}
    expected = {name.partition(".")[2]: value for name, value in arrays.items()}
    probs = jnp.asarray(expected["probs"], jnp.float32)
    truth, where = jnp.asarray(expected["truth"]), jnp.asarray(expected["where"])
    p, is_object = probs[..., 1], truth == 1
    bins = {count: _BINS(p, is_object, num_bins=count, where=where) for count in (15, 20)}
    result = {f"bins_{name}": value for name, value in bins[15]._asdict().items()}
    for name, error in _ERRORS.items():
        result |= {f"{name}_{count}": error(bins[count]) for count in bins}
    result["brier_binary"] = _BRIER(p, is_object, where=where)
    result["brier_multiclass"] = _BRIER(probs, truth, where=where)
    result["top_label_ece_50"] = _TOP_LABEL(probs, truth, where=where)
    if "adaptive_ece_15" in expected:
        result["adaptive_ece_15"] = _ADAPTIVE(p, is_object, where=where)
    assert len(result) >= 12
    for name, value in result.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", ["14", "15", "16"])
def test_golden_of_several_raters(golden, case):
    with np.load(golden / "multirater.npz") as file:
        names = ("probs", "labels", "ece_per_rater", "ece_multirater")
        probs, labels, each, mean = (file[f"{case}.{name}"] for name in names)
    probs, labels = jnp.asarray(probs, jnp.float32), jnp.asarray(labels)
    np.testing.assert_allclose(_MULTIRATER(probs, labels), mean, rtol=1e-5)
    for label, expected in zip(labels, each, strict=True):
        np.testing.assert_allclose(_TOP_LABEL(probs, label), expected, rtol=1e-5)


def test_the_curve_equals_scikit_learn():
    probs, truth = _drawn()
    probs = 0.7 * probs
    mean, share = _CURVE(_BINS(probs, truth, num_bins=10))
    expected_share, expected_mean = sklearn_calibration.calibration_curve(
        np.ravel(truth), np.ravel(probs), n_bins=10
    )
    np.testing.assert_allclose(mean[:7], expected_mean, rtol=1e-5)
    np.testing.assert_allclose(share[:7], expected_share, rtol=1e-5)
    assert np.isnan(mean[7:]).all()
    assert np.isnan(share[7:]).all()


def test_the_brier_score_equals_scikit_learn():
    probs, truth = _drawn()
    expected = sklearn_metrics.brier_score_loss(np.ravel(truth), np.ravel(probs))
    np.testing.assert_allclose(_BRIER(probs, truth), expected, rtol=1e-5)
    both = jnp.stack([1 - probs, probs], -1)
    np.testing.assert_allclose(_BRIER(both, truth.astype(int)), 2 * expected, rtol=1e-5)


def test_by_hand():
    probs = jnp.array([0.0, 0.5, 0.6, 1.0])
    truth = jnp.array([0, 1, 0, 1])
    bins = _BINS(probs, truth, num_bins=2)
    # A probability on the edge of two bins belongs to the lower one.
    np.testing.assert_array_equal(bins.count, [2, 2])
    np.testing.assert_allclose(bins.probability, [0.5, 1.6])
    np.testing.assert_array_equal(bins.positive, [1, 1])
    np.testing.assert_allclose(_ERROR(bins), (2 * 0.25 + 2 * 0.3) / 4, rtol=1e-6)
    np.testing.assert_allclose(_BRIER(probs, truth), (0.25 + 0.36) / 4, rtol=1e-6)


def test_every_error_by_hand():
    p, truth = jnp.array([0.2, 0.4, 0.9, 0.9, 0.9]), jnp.array([0, 1, 1, 1, 0])
    bins = _BINS(p, truth, num_bins=2)
    expected = {"ece": 0.22, "mce": 0.7 / 3, "ace": (0.2 + 0.7 / 3) / 2}
    for name, value in expected.items():
        np.testing.assert_allclose(_ERRORS[name](bins), value, rtol=1e-5, err_msg=name)
    # Groups of three and of two: |1.5 - 2| and |1.8 - 1| of five.
    np.testing.assert_allclose(_ADAPTIVE(p, truth, num_groups=2), 0.26, rtol=1e-5)
    np.testing.assert_allclose(_BRIER(p, truth), 0.246, rtol=1e-5)
    np.testing.assert_allclose(_TOP_LABEL(jnp.stack([1 - p, p], -1), truth), 0.3, rtol=1e-5)


def test_the_edges_of_the_two_kinds_of_bins():
    for num_bins in (15, 50):
        edges = np.arange(1, num_bins) / num_bins
        p = jnp.asarray(edges, jnp.float32)
        bins = _BINS(p, jnp.zeros(p.shape, bool), num_bins=num_bins)
        # The upper edge of a bin is part of it, and nothing is in the last one.
        np.testing.assert_array_equal(bins.count, [1] * (num_bins - 1) + [0])
    # Of the top label the lower edge is, and what is certain has a bin of its own: alone |1 - 0|,
    # together with .99 it would be |1.99 - 1|.
    top = jnp.array([0.99, 1.0])
    error = _TOP_LABEL(jnp.stack([1 - top, top], -1), jnp.array([1, 0]))
    np.testing.assert_allclose(error, (0.01 + 1.0) / 2, rtol=1e-5)
    # .6 and .615 share the bin [.6, .62): |1.215 - 1|.
    top = jnp.array([0.6, 0.615])
    error = _TOP_LABEL(jnp.stack([1 - top, top], -1), jnp.array([1, 0]))
    np.testing.assert_allclose(error, 0.215 / 2, rtol=1e-5)


def test_groups_of_equal_size():
    p, truth = _drawn((10,))
    order = np.argsort(p)
    parts = np.array_split(order, 4)
    assert [len(part) for part in parts] == [3, 3, 2, 2]
    gaps = [abs(float(np.sum(p[part])) - int(np.sum(truth[part]))) for part in parts]
    np.testing.assert_allclose(_ADAPTIVE(p, truth, num_groups=4), sum(gaps) / 10, rtol=1e-5)
    # More groups than pixels: each is a group.
    alone = np.abs(np.asarray(p) - np.asarray(truth)).mean()
    np.testing.assert_allclose(_ADAPTIVE(p, truth, num_groups=12), alone, rtol=1e-5)
    # Equal probabilities are divided in the order of the pixels.
    ties = _ADAPTIVE(jnp.full(4, 0.5), jnp.array([1, 1, 0, 0]), num_groups=2)
    np.testing.assert_allclose(ties, 0.5)


def test_images_can_be_added_and_pixels_left_out():
    probs, truth = _drawn()
    whole = _BINS(probs, truth)
    parts = [_BINS(probs[rows], truth[rows]) for rows in (slice(0, 9), slice(9, None))]
    where = jnp.broadcast_to(jnp.arange(40)[:, None] < 9, probs.shape)
    unknown = jnp.where(where, probs, jnp.nan)
    left_out = _BINS(unknown, truth, where=where)
    for all_of, one, other, masked in zip(whole, *parts, left_out, strict=True):
        np.testing.assert_allclose(one + other, all_of, rtol=1e-5)
        np.testing.assert_allclose(masked, one, rtol=1e-6)
    for metric in (_BRIER, _ADAPTIVE):
        kept = metric(unknown, truth, where=where)
        np.testing.assert_allclose(kept, metric(probs[:9], truth[:9]), rtol=1e-5)
    both, kept = (jnp.stack([1 - p, p], -1) for p in (unknown, probs[:9]))
    ids = truth.astype(int)
    for metric in (_BRIER, _TOP_LABEL):
        kept_alone = metric(kept, ids[:9])
        np.testing.assert_allclose(metric(both, ids, where=where), kept_alone, rtol=1e-5)


def test_sums_of_many_pixels_stay_exact():
    count = 2**24 + 2**10
    bins = _BINS(jnp.full(count, 0.3), jnp.zeros(count, bool).at[::2].set(True))
    assert int(bins.count[4]) == count
    assert int(bins.positive[4]) == count // 2
    np.testing.assert_allclose(bins.probability[4], 0.3 * count, rtol=1e-5)
    np.testing.assert_allclose(_ERROR(bins), 0.2, rtol=1e-4)


def test_a_calibrated_prediction_has_no_error_and_a_shift_has_its_own():
    probs = jnp.repeat(jnp.array([0.25, 0.75]), 8)
    truth = jnp.concatenate([jnp.arange(8) < 2, jnp.arange(8) < 6])
    right, shifted = (_BINS(probs + shift, truth, num_bins=4) for shift in (0.0, 0.1))
    for error in _ERRORS.values():
        np.testing.assert_allclose(error(right), 0.0, atol=1e-7)
        np.testing.assert_allclose(error(shifted), 0.1, rtol=1e-5)


def test_errors_are_in_order():
    bins = _BINS(*_drawn())
    assert _ERRORS["ece"](bins) <= _ERRORS["mce"](bins) <= 1
    assert _ERRORS["ace"](bins) <= _ERRORS["mce"](bins)


def test_raters_who_labelled_nothing_are_left_out():
    draw = np.random.default_rng(1)
    probs = jax.nn.softmax(jnp.asarray(draw.normal(size=(6, 7, 3)), jnp.float32))
    labels = jnp.asarray(draw.integers(0, 3, (4, 6, 7)))
    # The third is absent, the last gave no pixel, the second gave all but one row.
    labels = labels.at[3].set(255).at[1, 0].set(255)
    present = jnp.array([True, True, False, True])
    expected = (_TOP_LABEL(probs, labels[0]) + _TOP_LABEL(probs[1:], labels[1, 1:])) / 2
    np.testing.assert_allclose(_MULTIRATER(probs, labels, rater_mask=present), expected, rtol=1e-5)
    nobody = jnp.zeros(4, bool)
    assert np.isnan(_MULTIRATER(probs, labels, rater_mask=nobody))


def test_labels_of_more_classes_than_the_image_has_columns_count():
    probs = jnp.tile(jnp.array([0.1, 0.2, 0.7]), (4, 2, 1))
    # Right, with a confidence of .7.
    np.testing.assert_allclose(_MULTIRATER(probs, jnp.full((1, 4, 2), 2)), 0.3, rtol=1e-5)


def test_nothing_counts():
    probs, truth = _drawn((3, 4))
    nowhere = jnp.zeros((3, 4), bool)
    bins = _BINS(probs, truth, where=nowhere)
    for error in _ERRORS.values():
        assert np.isnan(error(bins))
    for metric in (_BRIER, _ADAPTIVE):
        assert np.isnan(metric(probs, truth, where=nowhere))
    both = jnp.stack([1 - probs, probs], -1)
    assert np.isnan(_TOP_LABEL(both, truth.astype(int), where=nowhere))


def test_an_undefined_probability_leaves_no_error():
    probs, truth = _drawn((3, 4))
    probs = probs.at[1, 1].set(jnp.nan)
    assert np.isnan(_ERROR(_BINS(probs, truth)))
    assert np.isnan(_ADAPTIVE(probs, truth))
    assert np.isnan(_BRIER(probs, truth))


def test_vmap_equals_loop_and_gradients_are_finite():
    probs, truth = _drawn((3, 4, 5))

    def every(p, truth):
        bins = calibration.bins(p, truth)
        both = jnp.stack([1 - p, p], -1)
        return {
            **bins._asdict(),
            **{name: getattr(calibration, name)(bins) for name in _ERRORS},
            "adaptive": calibration.adaptive_ece(p, truth),
            "brier": calibration.brier(both, truth.astype(int)),
            "top": calibration.top_label_ece(both, truth.astype(int)),
        }

    together, alone = jax.jit(jax.vmap(every))(probs, truth), jax.jit(every)
    for case in range(3):
        for name, one in alone(probs[case], truth[case]).items():
            np.testing.assert_allclose(together[name][case], one, rtol=1e-5, err_msg=name)
    # Of several images' bins at once too.
    stacked = calibration.Bins(*(together[name] for name in calibration.Bins._fields))
    np.testing.assert_allclose(_ERRORS["ace"](stacked), together["ace"], rtol=1e-6)
    gradient = jax.grad(_BRIER)(probs, truth)
    np.testing.assert_allclose(gradient, 2 * (probs - truth) / probs.size, rtol=1e-5, atol=1e-8)
    of_all = jax.jit(jax.grad(lambda p: sum(every(p, truth[0])[name] for name in _ERRORS)))
    assert np.isfinite(of_all(probs[0])).all()


_REFUSED = {
    "truth: expected shape": lambda p, t: calibration.bins(p, t[:2]),
    "num_bins: expected a number > 0, got 0": lambda p, t: calibration.bins(p, t, num_bins=0),
    "num_groups: expected a number > 0, got 0": functools.partial(
        calibration.adaptive_ece, num_groups=0
    ),
    "probs: expected shape": lambda p, t: calibration.brier(p, t[0]),
    "labels: expected shape": lambda p, t: calibration.multirater_ece(p, t[None].astype(int)),
}


@pytest.mark.parametrize("message", _REFUSED)
def test_errors_name_the_argument(message):
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match=message.partition(":")[0]):
        _REFUSED[message](*_drawn((3, 4, 5)))


def test_label_nll_by_hand():
    probs = jnp.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [1.0, 0.0]]])
    labels = jnp.array([[0, 1], [0, 1]])
    label_nll = jax.jit(calibration.label_nll)
    both = label_nll(probs, labels, jnp.array([True, True]))
    expected = -np.log([0.9, 0.8, 0.5, np.finfo(np.float32).tiny]).mean()
    np.testing.assert_allclose(both, expected, rtol=1e-6)
    first = label_nll(probs, labels, jnp.array([True, False]))
    np.testing.assert_allclose(first, -np.log([0.9, 0.8]).mean(), rtol=1e-6)
    shared = label_nll(probs[:1], labels, jnp.array([True, True]))
    np.testing.assert_allclose(shared, -np.log([0.9, 0.8, 0.9, 0.8]).mean(), rtol=1e-6)
    assert np.isnan(label_nll(probs, labels, jnp.array([False, False])))


def test_groups_of_two_and_of_one_by_hand():
    p, truth = jnp.array([0.1, 0.3, 0.5, 0.6, 0.9]), jnp.array([0, 1, 0, 1, 1])
    # The groups are the first two and each of the others: gaps .3, .5, .4 and .1.
    error = _ADAPTIVE(p, truth, num_groups=4)
    np.testing.assert_allclose(error, (2 * 0.3 + 0.5 + 0.4 + 0.1) / 5, rtol=1e-5)
