"""A volume with a part of it ignored is measured as the rest alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import ignored
from noisyjax.methods import base
from noisyjax.metrics import (
    agreement,
    boundary,
    calibration,
    confusion,
    curvas,
    distribution,
    label_quality,
    matching,
    overlap,
    raters,
    surface,
)
from noisyjax.train.evaluation import case_metrics, surfaces

_SHAPE, _REST, _CLASSES, _RATERS = (9, 4, 5), 6, 3, 3


def _drawn(seed=0):
    """Ids and probabilities of a volume; of its last third everything is ignored."""
    rng = np.random.default_rng(seed)
    ids = {"truth": _SHAPE, "labels": (_RATERS, *_SHAPE), "pred": _SHAPE}
    drawn = {name: rng.integers(0, _CLASSES, shape, np.uint8) for name, shape in ids.items()}
    drawn["probs"] = rng.dirichlet(np.ones(_CLASSES), _SHAPE).astype(np.float32)
    cms = rng.dirichlet(np.ones(_CLASSES), (_RATERS, *_SHAPE, _CLASSES)).astype(np.float32)
    drawn["cms"] = np.swapaxes(cms, -1, -2)
    for name in ("truth", "labels"):
        drawn[name][..., _REST:, :, :] = ignored.IGNORE
    return drawn


def _cropped(drawn):
    space = {"truth": 0, "labels": 1, "pred": 0, "probs": 0, "cms": 1}
    return {name: np.take(a, range(_REST), space[name]) for name, a in drawn.items()}


def _of_case(d):
    probs, cms = jnp.asarray(d["probs"]), jnp.asarray(d["cms"])
    mixed = jnp.einsum("r...ij,...j->r...i", cms, probs)
    batch = {"labels": jnp.asarray(d["labels"]), "truth": jnp.asarray(d["truth"])}
    batch["rater_mask"] = jnp.array([True, False, True])
    options = {"num_classes": _CLASSES, "surface": True, "raters": True}
    measure = functools.partial(case_metrics.case_values, **options)
    values = jax.jit(measure)(base.Prediction(probs, cms, mixed), batch)
    values = {name: np.asarray(value)[None] for name, value in values.items()}
    sizes = {"num_classes": _CLASSES, "spacing": (1.0, 2.0, 0.5), "tolerance": 1.0}
    return surfaces.measure(values, d["truth"][None], **sizes)


def test_every_metric_of_a_case_is_that_of_the_rest():
    whole, rest = _of_case(_drawn()), _of_case(_cropped(_drawn()))
    names = {name for name, metric in case_metrics.METRICS.items() if not metric.derive}
    # Of folders with regions alone.
    names.remove("region_dice")
    names |= {"cm_sum", "cm_weight", "cm_error", "cm_count"}
    assert names | {"similar_known", "similar_iou", "similar_dice"} == whole.keys()
    for name in whole:
        np.testing.assert_allclose(whole[name], rest[name], rtol=2e-5, err_msg=name)
        assert np.isfinite(rest[name]).all() or name in ("own_dice",)


# Of arrays of JAX, and of NumPy what is measured on the host.
_OTHERS = {
    "soft counts": lambda d: overlap.soft_counts(d["probs"], jax.nn.one_hot(d["truth"], _CLASSES)),
    "boundary": lambda d: boundary.boundary_overlap(d["pred"], d["truth"], outside="ignored"),
    "adaptive": lambda d: calibration.adaptive_ece(d["probs"][..., 0], d["truth"]),
    "brier": lambda d: calibration.brier(d["probs"][..., 0], d["truth"]),
    "top label": lambda d: calibration.top_label_ece(d["probs"], d["truth"]),
    "of raters": lambda d: calibration.multirater_ece(d["probs"], d["labels"]),
    "matrices": lambda d: raters.joint_counts(d["labels"], d["truth"], _CLASSES),
    "agreement": lambda d: raters.agreement(d["labels"], _CLASSES),
    "thresholds": lambda d: label_quality.confident_thresholds(d["probs"], d["labels"][0]),
    "error": lambda d: confusion.true_column_error(d["cms"], d["truth"], d["labels"]),
    "consensus": lambda d: curvas.consensus_dice(d["pred"], d["labels"], _CLASSES),
    "ncc": lambda d: distribution.ncc_variance(d["probs"][None], d["labels"]),
}
_ON_HOST = {
    "hausdorff": lambda d: surface.hausdorff(d["pred"], d["truth"], percentile=90),
    "a miss": lambda d: surface.surface_metrics(d["pred"], d["truth"] // 255 * d["truth"]),
    "kappa": lambda d: agreement.fleiss_kappa(d["labels"], _CLASSES),
    "alpha": lambda d: agreement.krippendorff_alpha(d["labels"], _CLASSES),
    "cohen": lambda d: agreement.cohen_kappa(d["labels"], _CLASSES),
    "matched": lambda d: matching.hm_iou(d["pred"][None], d["labels"], num_classes=_CLASSES),
}


@pytest.mark.parametrize("name", [*_OTHERS, *_ON_HOST])
def test_other_metrics_are_those_of_the_rest(name):
    whole, rest = _drawn(), _cropped(_drawn())
    measure = jax.jit(_OTHERS[name]) if name in _OTHERS else _ON_HOST[name]
    whole, rest = measure(whole), measure(rest)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_voxel_that_one_rater_ignored_is_out_for_that_rater_alone():
    labels = np.array([[1, 1, 0, 0], [1, 255, 255, 0]], np.uint8)
    truth = np.array([1, 1, 1, 255], np.uint8)
    counts = jax.vmap(lambda one: overlap.counts(one, jnp.asarray(truth), 2))(jnp.asarray(labels))
    assert counts.tp[:, 1].tolist() == [2, 1]
    assert counts.fn[:, 1].tolist() == [1, 0]
    assert counts.tn[:, 1].tolist() == [0, 0]
    given = ignored.given(labels, np.array([True, False]))
    assert given.tolist() == [[True] * 4, [False] * 4]
