"""Every function of the package that takes a mask, with arguments that it can be called with."""

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)
MASK = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
OTHER = np.roll(MASK, 1, axis=1)
IDS = MASK.astype(np.int32)
RATER_MASK = np.array([True, True, False])
LABELS = np.stack([IDS, OTHER.astype(np.int32), IDS])
P = jnp.full((4, 4), 0.25).at[1, 1].set(0.75)
PROBS = jnp.stack([1 - P, P], axis=-1)
ONE_HOT = jax.nn.one_hot(IDS, 2)
CMS = jnp.tile(jnp.array([[0.75, 0.25], [0.25, 0.75]]), (3, 1, 1, 1, 1))
MATRICES = jnp.broadcast_to(CMS, (3, 4, 4, 2, 2))
SCORES = jnp.array([0.5, 0.25, 0.75])
SAMPLE_PROBS = jnp.stack([PROBS, PROBS[::-1]])
RATERS = {"rater_mask": RATER_MASK}
PIXELS = {"where": OTHER}
FUSED = {"labels": LABELS, "num_classes": 2, **RATERS}
JUDGED = {"samples": LABELS[:2], "labels": LABELS, **RATERS}
TRUSTED = {"labels": LABELS, "sigma": jnp.full((3, 4, 4), 0.5), **RATERS}
NOISE = {"key": KEY, "mask": MASK, "strength": 1.0}

# function, below `noisyjax` -> arguments
ARGUMENTS = {
    "core.distance.distance_transform": {"mask": MASK},
    "core.distance.taxicab_distance": {"mask": MASK},
    "core.distance.line_distance": {"mask": MASK, "axis": 0},
    "core.ignored.counting": {"ids": IDS, **PIXELS},
    "core.ignored.counting_targets": {"targets": ONE_HOT, **PIXELS},
    "core.ignored.given": {"labels": LABELS, **RATERS},
    "core.ignored.scale": PIXELS,
    "core.ignored.mean": {"values": P, **PIXELS},
    "core.morphology.dilate": {"mask": MASK, "radius": 1},
    "core.morphology.erode": {"mask": MASK, "radius": 1},
    "data.labels.frozen.choose_raters": {
        "key": KEY,
        "available": RATER_MASK,
        "labels_per_image": 1,
    },
    "data.labels.fuse.mean_of_soft": {
        "soft": np.full((1, 3, 4, 4), 0.25),
        "masks": RATER_MASK[None],
    },
    "data.patches.centre_of_mass": {"mask": MASK},
    "data.source.of_all": {"given": [IDS, IDS], "whose": RATER_MASK, "shape": (4, 4)},
    "data.volumes.preprocess.bounding_box": {"mask": MASK},
    "decisions.guarantees.dilations_to_cover": {"prediction": MASK, "truth": OTHER, "share": 1},
    "decisions.marginal.dice_optimal_threshold": {"m": P, **PIXELS},
    "decisions.marginal.dice_optimal": {"m": P, **PIXELS},
    "decisions.marginal.expected_dice": {"s": MASK, "m": P, **PIXELS},
    "decisions.marginal.decide": {"probs": PROBS, "decision": "argmax", **PIXELS},
    "fusion.local.spatial_staple": FUSED,
    "fusion.median.jaccard_median": FUSED,
    "fusion.patterns.check": FUSED,
    "fusion.patterns.ballots": FUSED | {"labels": LABELS.reshape(3, -1)},
    "fusion.patterns.encode_on_host": FUSED,
    "fusion.patterns.of_image": FUSED,
    "fusion.pooled.staple": FUSED,
    "fusion.pooled.pooled_staple": {
        "labels": LABELS[None],
        "num_classes": 2,
        "rater_mask": RATER_MASK[None],
    },
    "fusion.selection.simple": FUSED,
    "fusion.voting.mean": FUSED,
    "fusion.voting.majority": FUSED,
    "losses.confusion.mixed_nll": {
        "logits": PROBS,
        "cms": CMS,
        "labels": LABELS,
        "where": LABELS > 0,
        **RATERS,
    },
    "losses.confusion.log_likelihood": {"cms": CMS, "labels": LABELS, **RATERS},
    "losses.entropy.clean_labels": {"labels": IDS, "keep": OTHER, "num_classes": 2},
    "losses.entropy.cross_entropy": {"logits": PROBS, "labels": IDS, **PIXELS},
    "losses.entropy.soft_cross_entropy": {"logits": PROBS, "targets": ONE_HOT, **PIXELS},
    "losses.entropy.generalised_cross_entropy": {"logits": PROBS, "targets": ONE_HOT, **PIXELS},
    "losses.entropy.bootstrapped_cross_entropy": {
        "logits": PROBS,
        "targets": ONE_HOT,
        "beta": 0.5,
        **PIXELS,
    },
    "losses.latent.ssn_nll": {"logits": SAMPLE_PROBS, "labels": IDS, **PIXELS},
    "losses.overlap.soft_dice": {"probs": PROBS, "targets": ONE_HOT, **PIXELS},
    "losses.overlap.noise_robust_dice": {"probs": PROBS, "targets": ONE_HOT, **PIXELS},
    "losses.overlap.jml": {"probs": P, "targets": MASK, **PIXELS},
    "losses.overlap.dml": {"probs": P, "targets": MASK, **PIXELS},
    "losses.ssim.ssim_loss": {"probs": PROBS, "targets": ONE_HOT, "window": 3, **PIXELS},
    "losses.student_t.t_loss": {"probs": P, "labels": MASK, "raw_nu": 1.0, **PIXELS},
    "losses.uncertainty.weighted_cross_entropy": {"p": P, **TRUSTED},
    "losses.uncertainty.weighted_cross_entropy_of_logits": {"logits": P, **TRUSTED},
    "losses.uncertainty.weighted_dice": {"p": P, **TRUSTED},
    "losses.uncertainty.consistency": {"maps": TRUSTED["sigma"], **RATERS},
    "losses.uncertainty.confidence_score": {"maps": TRUSTED["sigma"], **RATERS},
    "losses.uncertainty.agreement_score": {"maps": TRUSTED["sigma"], **RATERS},
    "methods.base.sample_rater": {
        "key": KEY,
        "ids": jnp.arange(1),
        "rater_mask": RATER_MASK[None],
        "step": jnp.int32(0),
    },
    "methods.co_teaching.smallest": {"losses": SCORES, "present": RATER_MASK, "share": 0.5},
    "methods.cople_net.squared_distance": {
        "logits": PROBS[None],
        "others": PROBS[None],
        "where": OTHER[None],
    },
    "methods.dawid_skene.log_likelihood": {"cms": CMS, "labels": LABELS, **RATERS},
    "methods.dawid_skene.joint_counts": {"labels": LABELS, "posterior": PROBS, **RATERS},
    "methods.mr_net.sample_expertness": {
        "key": KEY,
        "ids": jnp.arange(1),
        "rater_mask": RATER_MASK[None],
        "step": jnp.int32(0),
    },
    "methods.noise_rate.estimate_noise_rate": {"losses": SCORES, "where": RATER_MASK},
    "methods.self_calib.calibrated_label": {
        "scores": jnp.zeros((3, 4, 4)),
        "labels": jax.nn.one_hot(LABELS, 2),
        **RATERS,
    },
    "methods.uma_net.quality_scores": {"maps": jnp.full((3, 4, 4, 1), 0.5), **RATERS},
    "metrics.agreement.sums": FUSED | PIXELS,
    "metrics.agreement.fleiss_kappa": FUSED | PIXELS,
    "metrics.agreement.krippendorff_alpha": FUSED | PIXELS,
    "metrics.agreement.rater_tables": FUSED | PIXELS,
    "metrics.agreement.cohen_kappa": FUSED | PIXELS,
    "metrics.agreement.conformity_index": {"labels": LABELS, **RATERS, **PIXELS},
    "metrics.boundary.boundary_overlap": {"pred": MASK, "truth": OTHER, **PIXELS},
    "metrics.calibration.bins": {"p": P, "truth": MASK, **PIXELS},
    "metrics.calibration.adaptive_ece": {"p": P, "truth": MASK, **PIXELS},
    "metrics.calibration.brier": {"probs": P, "truth": MASK, **PIXELS},
    "metrics.calibration.top_label_ece": {"probs": PROBS, "truth": IDS, **PIXELS},
    "metrics.calibration.multirater_ece": {"probs": PROBS, "labels": LABELS, **RATERS},
    "metrics.confusion.cm_rmse": {"estimated": MATRICES[0], "true": MATRICES[0], **PIXELS},
    "metrics.confusion.true_column_error": {
        "cms": MATRICES,
        "truth": IDS,
        "labels": LABELS,
        **RATERS,
        **PIXELS,
    },
    "metrics.confusion.cm_sums": {"cms": MATRICES, **PIXELS},
    "metrics.confusion.mean_cms": {"cms": MATRICES, **PIXELS},
    "metrics.confusion.mean_trace": {"cms": MATRICES, **PIXELS},
    "metrics.curvas.consensus_dice": {
        "segmentation": IDS,
        "labels": LABELS,
        "num_classes": 2,
        **RATERS,
    },
    "metrics.curvas.consensus_confidence": {"probs": PROBS, "labels": LABELS, **RATERS},
    "metrics.curvas.volume_crps": {"volume": 1.0, "rater_volumes": SCORES, **RATERS},
    "metrics.detection.precision": {"flagged": RATER_MASK, "noisy": RATER_MASK[::-1]},
    "metrics.detection.recall": {"flagged": RATER_MASK, "noisy": RATER_MASK[::-1]},
    "metrics.detection.auc": {"scores": SCORES, "noisy": RATER_MASK, "where": ~RATER_MASK},
    "metrics.distribution.ged_squared": JUDGED,
    "metrics.distribution.diversity": {"masks": LABELS, "mask": RATER_MASK, **PIXELS},
    "metrics.distribution.collective_insight": JUDGED,
    "metrics.distribution.soft_threshold_dice": {
        "probability": P,
        "labels": LABELS > 0,
        "thresholds": (0.5,),
        **RATERS,
    },
    "metrics.distribution.ncc": {"sample_probs": SAMPLE_PROBS, "labels": LABELS, **RATERS},
    "metrics.distribution.ncc_variance": {"sample_probs": SAMPLE_PROBS, "labels": LABELS, **RATERS},
    "metrics.distribution.agreement": {"labels": LABELS, **RATERS},
    "metrics.label_quality.softmin": {"quality": P, **PIXELS},
    "metrics.mask_pairs.joined": {"samples": LABELS > 0, "labels": LABELS > 0},
    "metrics.mask_pairs.present": {"labels": LABELS > 0, **RATERS},
    "metrics.mask_pairs.per_pixel": {"raters": RATER_MASK, "labels": LABELS > 0},
    "metrics.mask_pairs.labelled": {"labels": LABELS > 0, "raters": RATER_MASK},
    "metrics.mask_pairs.intersections": {"masks": MASK},
    "metrics.mask_pairs.similarities": {"maps": LABELS, "classes": jnp.arange(1, 2), **PIXELS},
    "metrics.matching.hm_iou": JUDGED,
    "metrics.matching.dice_family": JUDGED,
    "metrics.nearest.distances": {"points": MASK, "targets": OTHER, "sizes": (1.0, 1.0)},
    "metrics.overlap.counts": {"pred": MASK, "truth": OTHER, "num_classes": 2, **PIXELS},
    "metrics.overlap.soft_counts": {"probs": PROBS, "targets": ONE_HOT, **PIXELS},
    "metrics.raters.joint_counts": FUSED | {"truth": IDS},
    "metrics.raters.agreement": FUSED,
    "metrics.surface.surface_metrics": {"pred": MASK, "truth": OTHER, **PIXELS},
    "metrics.surface.hausdorff": {"pred": MASK, "truth": OTHER, **PIXELS},
    "metrics.surface.surface_and_hausdorff": {"pred": MASK, "truth": OTHER, **PIXELS},
    "metrics.surface.border_voxels": {"mask": MASK},
    "metrics.surface_elements.find": {"mask": MASK, "spacing": (1.0, 1.0)},
    "noise.annotation.erode_or_dilate": NOISE,
    "noise.annotation.shift": NOISE,
    "noise.annotation.reverse_square": NOISE,
    "noise.annotation.polygonise": NOISE,
    "noise.annotation.erase": NOISE,
    "noise.contour.redraw": {"key": KEY, "mask": MASK, "points": 4},
    "noise.elastic.elastic": {"key": KEY, "mask": MASK, "amplitude": 1.0, "smoothness": 1.0},
    "noise.morphology.measure": {"mask": MASK},
    "noise.morphology.thickness": {"mask": MASK},
    "noise.replacement.first_voxels": {"levels": P, "mask": MASK, "size": jnp.int32(3)},
    "studies.figures.outlines.contours": {
        "images": np.zeros((1, 4, 4, 1)),
        "labels": LABELS[None],
        "rater_predictions": LABELS[None],
        "truth": IDS[None],
        "estimated": IDS[None],
        "names": ("a", "b", "c"),
        "rater_mask": RATER_MASK[None],
    },
    "studies.raters.noise_fit.pairwise_dice": {"labels": LABELS > 0},
    "studies.raters.noise_fit.consensus": {"labels": LABELS > 0},
    "tool.consensus.fuse.consensus": FUSED,
    "tool.consensus.fusions.count": FUSED,
    "train.evaluation.known_truth.of_known": {
        "values": {"dice": np.ones((3, 1)), "nll": np.ones(3)},
        "known": RATER_MASK,
    },
    "metrics.calibration.label_nll": {
        "probs": PROBS[None],
        "labels": LABELS,
        **RATERS,
    },
    "metrics.matching.similarities": {"samples": IDS[None], "labels": LABELS, **RATERS},
    "data.volumes.normalisations.z_score_nonzero": {"image": P, "known": MASK},
    "data.volumes.normalisations.normalise": {
        "image": P,
        "name": "z_score_nonzero",
        "known": MASK,
    },
    "tool.page.views.choose": {"voxels": MASK[None], "spacing": (1.0, 1.0, 1.0)},
    "tool.page.views.in_question": {"labels": [IDS, IDS], "region": MASK},
    "tool.page.views.views": {
        "image": PROBS[..., 0],
        "labels": {"one": IDS},
        "spacing": (1.0, 1.0),
        "region": MASK,
    },
    "tool.training.components.largest": {"mask": MASK},
    "tool.training.guarantee.dilated": {"mask": MASK, "count": 1},
}
# No masks, though they read like one, and why.
NONE = {
    "methods.cm_trace.stop_gradient_unless": "one flag",
    "studies.figures.outlines.outline": "draws ids of any kind",
    "data.augment.augment": "a mask or ids, moved and never counted",
}
