"""The reports against the golden file: images as they are given, not their voxels one by one."""

import numpy as np
import pytest

import noisyjax
from noisyjax.tool.evaluation import predictions


def _given(golden, case):
    with np.load(golden / "multirater.npz") as file:
        return {
            key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{case:02d}.")
        }


def _values(report, rater=""):
    return {
        (key.metric, key.label): value
        for key, value in zip(report.keys, report.values[0], strict=True)
        if key.rater == rater
    }


_SETS = {
    "ged2": "ged_iou",
    "ged2_unbiased": "ged_iou_unbiased",
    "sample_diversity": "diversity_samples",
    "rater_diversity": "diversity_raters",
    "hm_iou": "hm_iou",
    "ncc": "ncc_phiseg",
    "dice_max_samples": "dice_max_predictions",
    "dice_max_raters": "dice_max_labels",
    "dice_max": "dice_max_mean",
    "dice_match": "dice_match",
    "ncc_variance": "ncc_variance",
}


@pytest.mark.parametrize("case", [2, 4, 8])
def test_samples_beside_raters(golden, case):
    given = _given(golden, case)
    labels = np.where(given["labels"] < 0, 255, given["labels"]).astype(np.uint8)
    probs = given["sample_probs"].astype(np.float32)
    drawn = predictions.from_probabilities(probs.mean(axis=0), probs)
    drawn = drawn._replace(samples=given["sample_maps"].astype(np.uint8))
    report = noisyjax.evaluate(
        drawn,
        labels,
        rater_masks=given["rater_mask"],
        num_classes=probs.shape[-1],
        metrics=(*_SETS, "dice_qubiq", "dice_soft"),
        conventions=(),
    )
    found = _values(report)
    wanted = {(ours, ""): theirs for ours, theirs in _SETS.items()}
    wanted |= {("dice_qubiq", "1"): "dice_soft_9", ("dice_soft", "1"): "dice_soft_5"}
    compared = {ours: theirs for ours, theirs in wanted.items() if theirs in given}
    assert len(compared) >= 6
    for ours, theirs in compared.items():
        np.testing.assert_allclose(found[ours], given[theirs], rtol=1e-4, err_msg=ours[0])


@pytest.mark.parametrize("case", [17, 20])
def test_raters_beside_each_other(golden, case):
    given = _given(golden, case)
    report = noisyjax.raters(
        given["labels"].astype(np.uint8),
        num_classes=int(given["num_classes"]),
        region="all",
        reference="majority",
        surfaces=False,
    )
    np.testing.assert_allclose(report.kappa, given["fleiss_kappa"], rtol=1e-9)
    np.testing.assert_allclose(report.alpha, given["krippendorff_alpha"], rtol=1e-9)
    np.testing.assert_allclose(report.cohen, given["cohen_kappa"], rtol=1e-9)
    if "conformity_index" in given:
        np.testing.assert_allclose(report.conformity[0], given["conformity_index"], rtol=1e-9)


def test_probabilities_beside_raters(golden):
    given = _given(golden, 14)
    report = noisyjax.evaluate(
        predictions.from_probabilities(given["probs"].astype(np.float32)),
        given["labels"].astype(np.uint8),
        num_classes=4,
        metrics=("consensus_dice", "consensus_confidence", "crps", "crps_gaussian")
        + ("multirater_ece", "top_label_ece"),
        conventions=(),
    )
    found = _values(report)
    pairs = {"crps": "crps_curvas", "consensus_dice": "consensus_dice"}
    pairs |= {name: name for name in ("consensus_confidence", "crps_gaussian")}
    for ours, theirs in pairs.items():
        values = [found[ours, label] for label in ("1", "2", "3")]
        np.testing.assert_allclose(values, given[theirs], rtol=1e-4, err_msg=ours)
    np.testing.assert_allclose(found["multirater_ece", ""], given["ece_multirater"], rtol=1e-4)
    of_raters = [_values(report, f"rater_{r}")["top_label_ece", ""] for r in (1, 2, 3)]
    np.testing.assert_allclose(of_raters, given["ece_per_rater"], rtol=1e-4)


def test_probabilities_beside_the_truth(golden):
    given = _given(golden, 10)
    truth = np.where(given["where"], given["truth"], 255).astype(np.uint8)
    names = ("ece", "mce", "ace", "adaptive_ece", "brier", "brier_of_all", "top_label_ece")
    report = noisyjax.evaluate(
        predictions.from_probabilities(given["probs"].astype(np.float32)),
        np.zeros((0, *truth.shape), np.uint8),
        truths=truth,
        num_classes=2,
        metrics=names,
    )
    found = _values(report, "truth")
    wanted = [f"{name}_15" for name in names[:4]]
    wanted += ["brier_binary", "brier_multiclass", "top_label_ece_50"]
    for ours, theirs in zip(names, wanted, strict=True):
        label = "" if ours in ("brier_of_all", "top_label_ece") else "1"
        np.testing.assert_allclose(found[ours, label], given[theirs], rtol=1e-4, err_msg=ours)
