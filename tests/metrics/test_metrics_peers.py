"""Metrics beside figures of MONAI 1.6.1, MedPy 0.5.2, torchmetrics 1.9.0 and surface-distance 0.1.

The figures are those of the calls that stand beside them, made once, since these packages, and
PyTorch, are too large for every run of the tests.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.metrics import agreement, calibration, overlap, surface

_SPACING = (0.7, 1.4, 1.0)


def _masks():
    """Two ellipsoids of 161 and 189 voxels, of which 109 are of both."""
    x, y, z = np.meshgrid(np.arange(12), np.arange(10), np.arange(8), indexing="ij")
    one = (x - 5) ** 2 + (y - 4) ** 2 + 2 * (z - 3) ** 2 < 14
    return one, (x - 6) ** 2 + (y - 5) ** 2 + 2 * (z - 4) ** 2 < 17


def _ids():
    """Class ids of a truth and a prediction, [60]."""
    x = np.arange(60)
    truth = (x // 7) % 3
    return truth, np.where(x % 11 < 3, (truth + 1 + x // 5 % 2) % 3, truth)


def _counts(pred, truth):
    return overlap.counts(jnp.asarray(pred), jnp.asarray(truth), 3)


def test_overlap_is_medpys_and_monais():
    one, other = _masks()
    counts = overlap.counts(jnp.asarray(one), jnp.asarray(other), 2)
    # medpy.metric.binary.dc, jc, precision and recall of (one, other).
    figures = {
        "dice": 0.6228571428571429,
        "jaccard": 0.45228215767634855,
        "precision": 0.6770186335403726,
        "recall": 0.5767195767195767,
    }
    for name, value in figures.items():
        found = overlap.METRICS[name](counts)[1]
        np.testing.assert_allclose(found, value, rtol=1e-6, err_msg=name)
    # monai.metrics.compute_dice and compute_iou of torch.from_numpy(mask)[None, None].
    np.testing.assert_allclose(overlap.dice(counts)[1], 0.6228571534156799, rtol=1e-6)
    np.testing.assert_allclose(overlap.jaccard(counts)[1], 0.4522821605205536, rtol=1e-6)


# monai.metrics.compute_hausdorff_distance(one, two, include_background=True, spacing=_SPACING,
# percentile=..., None for 100): of both directions; with directed=True; and of (two, one).
@pytest.mark.parametrize(
    ("percentile", "both", "there", "back"),
    [
        (100, 2.799999952316284, 1.720465064048767, 2.799999952316284),
        (95, 1.8574175834655762, 1.720465064048767, 1.8574175834655762),
        (90, 1.720465064048767, 1.399999976158142, 1.720465064048767),
    ],
)
def test_directed_hausdorff_distances_are_monais(percentile, both, there, back):
    found = surface.hausdorff(*_masks(), percentile=percentile, spacing=_SPACING)
    np.testing.assert_allclose(found, (both, there, back), rtol=1e-6)


def test_mean_distances_and_surface_dice_are_monais():
    found = surface.surface_metrics(*_masks(), spacing=_SPACING)
    # compute_average_surface_distance(symmetric=False and True), compute_surface_dice([1.0]).
    figures = (0.8336153030395508, 0.9018118381500244, 0.6911764740943909)
    np.testing.assert_allclose((found.asd_pred, found.assd, found.nsd), figures, rtol=1e-6)


def test_distances_are_medpys():
    found = surface.surface_metrics(*_masks(), spacing=_SPACING, convention="medpy")
    # medpy.metric.binary.hd, hd95, asd(one, two), asd(two, one) and assd with voxelspacing.
    figures = (2.8, 1.7204650534085253, 0.8336153309008996, 0.9600888867252539, 0.9018118561003063)
    np.testing.assert_allclose(found[:5], figures, rtol=1e-12)


def test_distances_are_surface_distances():
    found = surface.surface_metrics(*_masks(), spacing=_SPACING, convention="deepmind")
    # compute_surface_distances(two, one, _SPACING): compute_robust_hausdorff(100 and 95),
    # compute_average_surface_distance from one and from two, ..._dice_at_tolerance(1.0).
    figures = (2.8, 1.7204650534085253, 0.5810685331102595, 0.660720396410894)
    np.testing.assert_allclose(found[:4], figures, rtol=1e-12)
    np.testing.assert_allclose(found.nsd, 0.8209212751261423, rtol=1e-12)


# monai.metrics.compute_generalized_dice(include_background=False, sum_over_classes=True) of one-hot
# ids, weight_type the same word; torchmetrics.segmentation.GeneralizedDiceScore gives these too
# ("linear" for "uniform").
@pytest.mark.parametrize(
    ("weights", "value"),
    [
        ("square", 0.7051991820335388),
        ("simple", 0.701438844203949),
        ("uniform", 0.6976743936538696),
    ],
)
def test_generalised_dice_is_monais_and_torchmetrics(weights, value):
    truth, pred = _ids()
    found = overlap.generalised_dice(_counts(pred, truth), weights=weights)
    np.testing.assert_allclose(found, value, rtol=1e-6)


def test_the_tversky_index_is_monais():
    truth, pred = _ids()
    # 1 - monai.losses.TverskyLoss(include_background=False, alpha=.3, beta=.7, smooth_nr=0,
    # smooth_dr=0, reduction="none") of one-hot ids.
    found = overlap.tversky(_counts(pred, truth), alpha=0.3, beta=0.7)[1:]
    np.testing.assert_allclose(found, [1 - 0.324324369430542, 1 - 0.21875005960464478], rtol=1e-6)


def _three_cases():
    """As they are; class 2 nowhere; class 2 in the prediction alone."""
    truth, pred = _ids()
    without = np.where(truth == 2, 0, truth)
    pairs = [(pred, truth), (np.where(pred == 2, 0, pred), without), (pred, without)]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *[_counts(*pair) for pair in pairs])


def test_means_where_a_class_is_empty_are_torchmetrics_and_monais():
    cases = _three_cases()
    each = np.array(overlap.convention_dice(cases, convention="torchmetrics"))[:, 1:]
    # torchmetrics.segmentation.DiceScore(num_classes=3, include_background=False,
    # input_format="index", aggregation_level="samplewise", average="none" and "macro").
    np.testing.assert_allclose(np.nanmean(each, axis=0), [0.6521739363670349, 0.375], rtol=1e-6)
    mean = overlap.mean_dice(cases, convention="torchmetrics").mean
    np.testing.assert_allclose(mean, 0.5597826838493347, rtol=1e-6)
    # monai.metrics.DiceMetric(include_background=False, reduction="none" and "mean").
    each = overlap.convention_dice(cases, convention="monai")[:, 1:]
    figures = [[0.6521739363670349, 0.75], [0.6521739363670349, np.nan]]
    np.testing.assert_allclose(each, [*figures, figures[1]], rtol=1e-6)
    mean = overlap.mean_dice(cases, convention="monai").mean
    np.testing.assert_allclose(mean, 0.6684783101081848, rtol=1e-6)


def test_calibration_errors_are_torchmetrics():
    k = np.arange(40)
    logits = np.stack([2 * np.sin(0.7 * k), 1.5 * np.cos(1.3 * k), np.sin(0.3 * k + 1)], axis=-1)
    probs = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype(np.float32)
    label = k * 7 % 5 % 3
    # torchmetrics.functional.classification.multiclass_calibration_error(num_classes=3, norm="l1").
    for bins, value in ((15, 0.4230785071849823), (50, 0.4262588322162628)):
        found = calibration.top_label_ece(jnp.asarray(probs), jnp.asarray(label), num_bins=bins)
        np.testing.assert_allclose(found, value, rtol=1e-5)
    # binary_calibration_error(probs[:, 1], label == 1, n_bins=15, norm="l1" and "max").
    binned = calibration.bins(jnp.asarray(probs[:, 1]), jnp.asarray(label == 1), num_bins=15)
    np.testing.assert_allclose(calibration.ece(binned), 0.4846610426902771, rtol=1e-5)
    np.testing.assert_allclose(calibration.mce(binned), 0.8929100036621094, rtol=1e-5)


def test_kappas_are_torchmetrics():
    truth, pred = _ids()
    x = np.arange(60)
    third, fourth = (
        np.where(x % m < n, (truth + k) % 3, truth) for m, n, k in [(7, 2, 1), (13, 3, 2)]
    )
    labels = np.stack([truth, pred, third, fourth]).astype(np.uint8)
    # functional.classification.multiclass_cohen_kappa(pred, truth, 3).
    found = agreement.cohen_kappa(labels, 3)[0, 1]
    np.testing.assert_allclose(found, 0.5511221885681152, rtol=1e-6)
    # functional.nominal.fleiss_kappa(counts of the classes, mode="counts"), which adds 1e-5 to
    # the 0.665 below the line.
    np.testing.assert_allclose(agreement.fleiss_kappa(labels, 3), 0.43608367443084717, rtol=2e-5)
