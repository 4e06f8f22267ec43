"""Predictions judged against a truth and several raters."""

import json

import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.core import files
from noisyjax.metrics import surface
from noisyjax.tool import folder
from noisyjax.tool.evaluation import evaluate, evaluation_tables, prediction_metrics, predictions


def _rows(*rows):
    labels = [[255 if c == "?" else int(c) for c in row] for row in rows]
    return np.array(labels, np.uint8)[:, None]


def _probs(*p):
    """Of one class of the foreground, on one line of voxels."""
    p = np.array(p, np.float32)
    return np.stack([1 - p, p], axis=-1)[None]


def _judge(prediction, *rows, metrics, **options):
    options = {"num_classes": 2, "conventions": ()} | options
    return noisyjax.evaluate(prediction, _rows(*rows), metrics=metrics, **options)


def _value(report, metric, label="1", rater=""):
    return report.line(metric, label, rater).summary.mean


def test_each_rater_and_their_mean():
    names = ("dice", "iou", "precision", "recall", "volume_difference")
    report = _judge(_rows("1100")[0], "1000", "1110", "????", metrics=names)
    raters = ("rater_1", "rater_2", evaluate.ALL_RATERS)
    expected = {
        "dice": (2 / 3, 4 / 5, 11 / 15),
        "iou": (1 / 2, 2 / 3, 7 / 12),
        "precision": (1 / 2, 1, 3 / 4),
        "recall": (1, 2 / 3, 5 / 6),
        "volume_difference": (0.001, -0.001, 0),
    }
    for name, values in expected.items():
        assert [_value(report, name, rater=r) for r in raters] == pytest.approx(values), name
    assert {key.rater for key in report.keys} == set(raters)


def test_the_truth_and_raters_beside_each_other():
    report = _judge(_rows("1100")[0], "1000", truths=_rows("1100")[0], metrics=("dice",))
    assert _value(report, "dice", rater="truth") == 1
    assert _value(report, "dice", rater="rater_1") == pytest.approx(2 / 3)
    alone = noisyjax.evaluate(
        _rows("1100")[0],
        np.zeros((0, 1, 4), np.uint8),
        truths=_rows("1000")[0],
        metrics=("dice",),
        num_classes=2,
    )
    assert [key.rater for key in alone.keys] == ["truth"]


def test_voxels_without_a_label_do_not_count():
    names = ("dice", "volume_difference", "hd95", "brier")
    options = {"conventions": ("monai",), "metrics": names}
    report = _judge(_probs(1, 1, 0, 1), "100?", **options)
    assert _value(report, "dice", rater="rater_1") == pytest.approx(2 / 3)
    assert _value(report, "volume_difference", rater="rater_1") == pytest.approx(0.001)
    assert _value(report, "hd95", rater="rater_1") == pytest.approx(0.95)
    assert _value(report, "brier", rater="rater_1") == pytest.approx(1 / 3)


def test_worked_examples_of_challenges():
    shares = _judge(_probs(0.8, 0.6, 0.2, 0), "1100", "1000", metrics=("dice_qubiq", "dice_soft"))
    assert _value(shares, "dice_qubiq") == pytest.approx(0.7185, abs=1e-4)
    assert _value(shares, "dice_soft") == pytest.approx(0.6933, abs=1e-4)
    names = ("consensus_dice", "consensus_confidence", "crps", "crps_gaussian")
    given = _probs(0.9, 0.5, 0.6, 0.1)
    ids = predictions.from_probabilities(given)._replace(segmentation=_rows("1110")[0])
    curvas = _judge(ids, "1100", "1000", "1100", metrics=names)
    assert _value(curvas, "consensus_dice") == pytest.approx(0.6667, abs=1e-4)
    assert _value(curvas, "consensus_confidence") == pytest.approx(0.775)
    # Volumes 2, 1, 2 and 2.1 mm^3.
    sd, distance = np.sqrt(2) / 3, 2.1 - 5 / 3
    assert 0 < _value(curvas, "crps_gaussian") < distance
    assert _value(curvas, "crps") == pytest.approx(_value(curvas, "crps_gaussian"), abs=sd / 10)


def test_worked_examples_of_samples():
    drawn = predictions.Prediction(_rows("1100")[0], samples=_rows("1100", "1110", "0011"))
    names = ("dice_max_samples", "dice_max_raters", "dice_match", "sample_diversity")
    report = _judge(drawn, "1100", "1000", metrics=names)
    assert _value(report, "dice_max_samples", "") == pytest.approx(0.6)
    assert _value(report, "dice_max_raters", "") == pytest.approx(0.8333, abs=1e-4)
    assert _value(report, "dice_match", "") == pytest.approx(0.75)
    assert report.samples == 3
    pair = predictions.Prediction(_rows("110")[0], samples=_rows("110", "110"))
    report = _judge(pair, "100", "110", metrics=("ged2", "ged2_unbiased", "rater_diversity"))
    assert _value(report, "ged2", "") == pytest.approx(0.25)
    assert _value(report, "ged2_unbiased", "") == pytest.approx(0)
    assert _value(report, "rater_diversity", "") == pytest.approx(0.25)
    one = predictions.Prediction(_rows("1100")[0], samples=_rows("1100"))
    assert _value(_judge(one, "1100", "0011", metrics=("hm_iou",)), "hm_iou", "") == 0.5


def test_other_forms_of_dice():
    # Class 1: 2 of 3 and 2 voxels in common, class 2: 1 of 1 and 2.
    names = ("generalised_dice", "tversky", "focal_dice")
    options = {"num_classes": 3, "metrics": names, "regions": {"whole": [1, 2]}}
    report = _judge(_rows("111200")[0], "110220", **options)
    rater = {"rater": "rater_1"}
    generalised = 2 * (2 / 2**2 + 1 / 2**2) / (5 / 2**2 + 3 / 2**2)
    assert _value(report, "generalised_dice", "", **rater) == pytest.approx(generalised)
    assert _value(report, "tversky", "1", **rater) == pytest.approx(2 / (2 + 0.3))
    assert _value(report, "tversky", "2", **rater) == pytest.approx(1 / (1 + 0.7))
    assert _value(report, "tversky", "whole", **rater) == pytest.approx(3 / (3 + 0.3 + 0.7))
    assert _value(report, "focal_dice", "1", **rater) == pytest.approx((1 - 4 / 5) ** 0.75)
    weighed = _judge(_rows("111200")[0], "110220", tversky=(1, 1), **options)
    assert _value(weighed, "tversky", "1", **rater) == pytest.approx(2 / 3)


def test_each_direction_and_a_percentile_of_the_hausdorff_distance():
    names = ("hd", "hd_pred", "hd_truth")
    options = {"conventions": ("monai",), "metrics": names, "spacing": (1.0, 2.0)}
    report = _judge(_rows("11000")[0], "11001", **options)
    assert [_value(report, name, rater="rater_1") for name in names] == [6, 0, 6]
    # Of three voxels' distances 0, 0 and 6.
    report = _judge(_rows("11000")[0], "11001", percentile=75, **options)
    assert [_value(report, name, rater="rater_1") for name in names] == [3, 0, 3]


def test_a_score_of_samples_is_the_worked_example():
    drawn = predictions.Prediction(_rows("1100")[0], samples=_rows("1100", "1110", "0011"))
    report = _judge(drawn, "1100", "1000", metrics=("collective_insight", "dice_max"))
    assert _value(report, "collective_insight", "") == pytest.approx(0.6116, abs=1e-4)
    assert _value(report, "dice_max", "") == pytest.approx(0.7167, abs=1e-4)


def test_six_thresholds_of_a_challenge():
    # Shares 1 and .5: equal sets of voxels below .6, at .66 and at .8 (where p is not above).
    report = _judge(_probs(0.8, 0.6, 0.2, 0), "1100", "1000", metrics=("dice_pdacvi",))
    cuts = {0.1: 2 * 2 / 5, 0.24: 1, 0.38: 1, 0.52: 2 / 3, 0.66: 1, 0.8: 0}
    assert _value(report, "dice_pdacvi") == pytest.approx(np.mean(list(cuts.values())), abs=1e-6)


def test_calibration_against_a_rater():
    report = _judge(
        _probs(0.25, 0.25, 0.75, 0.75), "0011", metrics=("ece", "mce", "ace", "top_label_ece")
    )
    for name in ("ece", "mce", "ace"):
        assert _value(report, name, rater="rater_1") == pytest.approx(0.25)
    assert _value(report, "top_label_ece", "", "rater_1") == pytest.approx(0.25)


def test_masks_predicted_for_raters_are_samples_too():
    masks = _rows("1100", "0110", "0000")
    given = predictions.Prediction(
        _rows("1100")[0], rater_labels=masks, rater_mask=np.array([True, True, False])
    )
    report = _judge(given, "1000", "0110", "1111", metrics=("own_dice", "dice_max_raters"))
    assert _value(report, "own_dice", rater="rater_1") == pytest.approx(2 / 3)
    assert _value(report, "own_dice", rater="rater_2") == 1
    assert report.samples == 2
    assert evaluate.Key("own_dice", "1", "rater_3") not in report.keys


def test_masks_for_raters_who_did_not_label_the_case_are_no_samples():
    given = predictions.Prediction(
        _rows("1100")[0], rater_labels=_rows("1100", "????"), rater_mask=np.array([True, False])
    )
    report = _judge(given, "????", "1000", metrics=("dice", "own_dice", "ged2"))
    assert {key.metric for key in report.keys} == {"dice"}
    assert report.samples == 0


def test_distances_are_those_of_other_packages():
    medpy = pytest.importorskip("medpy.metric.binary")
    one, other = (np.random.default_rng(0).random((2, 9, 8, 7)) < 0.2).astype(np.uint8)
    spacing = (1.0, 1.5, 2.0)
    names = ("dice", "hd", "hd95_medpy")
    report = noisyjax.evaluate(one, other[None], spacing=spacing, metrics=names)
    expected = {
        "dice": medpy.dc(one, other),
        "hd": medpy.hd(one, other, voxelspacing=spacing),
        "hd95_medpy": medpy.hd95(one, other, voxelspacing=spacing),
    }
    for name, value in expected.items():
        assert _value(report, name, rater="rater_1") == pytest.approx(value), name


def test_unions_of_classes_and_means_over_classes():
    report = _judge(
        _rows("1120")[0], "1220", num_classes=3, regions={"whole": [1, 2]}, metrics=("dice",)
    )
    values = [_value(report, "dice", label, "rater_1") for label in ("1", "2", "whole")]
    assert values == pytest.approx([2 / 3, 2 / 3, 1])
    assert _value(report, "dice", evaluate.ALL_CLASSES, "rater_1") == pytest.approx(2 / 3)


def test_regions_of_a_folder_are_judged(tmp_path):
    root = folder_fakes.make(tmp_path / "in", 1, raters=("anna",))
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder_fakes.describe(root, labels=labels, regions_class_order=[1, 2])
    label = folder_fakes.label(0)
    # Every core is taken for the rest of its region.
    folder_fakes.save(tmp_path / "p/case_00.nii.gz", np.minimum(label, 1))
    report = evaluate.evaluate(tmp_path / "p", root, metrics=("dice",), conventions=(), draws=9)
    found = {name: _value(report, "dice", name, "anna") for name in ("whole", "core")}
    assert found == {"whole": 1.0, "core": 0.0}


# Both empty; only the prediction is not; only the label is not.
_EMPTY = {
    "one": (1, 0, 0),
    "zero": (0, 0, 0),
    "nan": (np.nan, 0, 0),
    "monai": (np.nan, np.nan, 0),
    "medpy": (1, 0, 0),
    "nnunet": (np.nan, 0, 0),
    "torchmetrics": (np.nan, 0, 0),
}


@pytest.mark.parametrize("empty", prediction_metrics.EMPTY)
def test_empty_masks_are_as_a_library_has_them(empty):
    cases = [("000", "000"), ("100", "000"), ("000", "100")]
    report = noisyjax.evaluate(
        [_rows(predicted)[0] for predicted, _ in cases],
        [_rows(given) for _, given in cases],
        num_classes=2,
        empty=empty,
        metrics=("dice", "iou"),
    )
    for column in report.values.T:
        np.testing.assert_array_equal(column, _EMPTY[empty])


def test_nnunet_averages_cases_before_classes():
    truths = [_rows("12")[0], _rows("10")[0]]
    report = noisyjax.evaluate(
        [_rows("12")[0], _rows("00")[0]],
        [np.zeros((0, 1, 2), np.uint8)] * 2,
        truths=truths,
        num_classes=3,
        empty="nnunet",
        metrics=("dice",),
    )
    # Class 1: 1 and 0; class 2: 1 and undefined.
    assert _value(report, "dice", evaluate.ALL_CLASSES, "truth") == pytest.approx(0.75)


def test_distances_by_three_conventions():
    rng = np.random.default_rng(0)
    one, other = (rng.random((2, 8, 7, 6)) < 0.2).astype(np.uint8)
    spacing = (1.0, 1.5, 2.0)
    names = ("hd", "hd95", "hd95_medpy", "hd95_deepmind", "assd_deepmind", "nsd")
    report = noisyjax.evaluate(one, other[None], spacing=spacing, metrics=names)
    for name in names:
        field, _, convention = name.partition("_")
        expected = surface.surface_metrics(
            one, other, spacing=spacing, convention=convention or "monai"
        )
        found = _value(report, name, rater="rater_1")
        assert found == pytest.approx(getattr(expected, field)), name
    none = noisyjax.evaluate(one, other[None], metrics=("dice", *names), conventions=())
    assert {key.metric for key in none.keys} == {"dice"}


def test_intervals_and_differences_are_of_cases():
    rng = np.random.default_rng(0)
    truths = [(rng.random((6, 6)) < 0.5).astype(np.uint8) for _ in range(12)]
    good = [np.where(rng.random((6, 6)) < 0.1, 1 - truth, truth) for truth in truths]
    bad = [np.where(rng.random((6, 6)) < 0.3, 1 - truth, truth) for truth in truths]
    options = {"truths": truths, "metrics": ("dice", "volume_difference"), "conventions": ()}
    nobody = [np.zeros((0, 6, 6), np.uint8)] * 12
    report = noisyjax.evaluate(good, nobody, versus=bad, **options)
    line = report.line("dice", "1", "truth")
    assert line.low < line.summary.mean < line.high
    (difference,) = report.differences
    assert difference.key.metric == "dice"
    assert difference.comparison.difference > 0
    assert difference.p_holm == difference.comparison.p_value < 0.01
    again = noisyjax.evaluate(good, nobody, **options)
    assert again.line("dice", "1", "truth") == line
    other = noisyjax.evaluate(good, nobody, **options, seed=1).line("dice", "1", "truth")
    assert (other.summary, other.low) != (line.summary, line.low)


def test_every_metric_is_computed_where_there_is_all_it_needs(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (3, 6, 6)).astype(np.uint8)
    drawn = rng.random((3, 6, 6, 2)).astype(np.float32)
    drawn /= drawn.sum(axis=-1, keepdims=True)
    given = predictions.from_probabilities(drawn.mean(axis=0), drawn)
    given = given._replace(rater_labels=labels, rater_mask=np.ones(3, bool))
    report = noisyjax.evaluate(given, labels, truths=labels[0])
    assert {key.metric for key in report.keys} == set(prediction_metrics.METRICS)
    assert np.isfinite(report.values).all()
    files.write_json(tmp_path / "all.json", evaluation_tables.to_json(report))
    content = json.loads((tmp_path / "all.json").read_text())
    assert len(content["summary"]) == len(report.keys)
    (_, head, body), *_ = evaluation_tables.tables(report)
    assert all(len(row) == len(head) for row in body)


def test_a_folder_of_predictions_with_damaged_and_missing_cases(tmp_path):
    root = folder_fakes.make(tmp_path / "in", 4, raters=("anna", "ben"))
    for i in range(3):
        folder_fakes.save(tmp_path / f"p/case_{i:02d}.nii.gz", folder_fakes.label(i))
    (tmp_path / "p/case_01.nii.gz").write_bytes(b"broken")
    report = noisyjax.evaluate(tmp_path / "p", root, metrics=("dice",))
    assert report.cases == ("case_00", "case_02")
    assert "case_03: expected a prediction, got none" in report.problems[0]
    assert "case_01.nii.gz" in report.problems[1]
    assert _value(report, "dice", evaluate.ALL_CLASSES, "truth") == 1
    assert {key.label for key in report.keys} == {"organ", "lesion", evaluate.ALL_CLASSES}
    for path in (tmp_path / "p").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(folder.FolderError, match="case_02"):
        noisyjax.evaluate(tmp_path / "p", root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ("dise",)}, "metrics: expected one of 'dice', .* got 'dise'"),
        ({"empty": "half"}, "empty: expected one of 'one', .* got 'half'"),
        ({"empty_distance": "far"}, "empty_distance: expected one of"),
        ({"conventions": ("itk",)}, "conventions: expected one of"),
        ({"test": "z"}, "test: expected one of"),
        ({"tolerance": -1}, "tolerance: expected a number >= 0, got -1"),
        ({"regions": {"1": [1]}}, "regions: expected a name that is no class, got '1'"),
        ({"regions": {"all": [1, 7]}}, "regions: all: expected one of 0, 1, got 7"),
        ({"regions": {"all": []}}, "regions: all: expected classes, got none"),
        ({"percentile": 101}, "percentile: expected a number up to 100, got 101"),
        ({"tversky": (1, 2, 3)}, r"tversky: expected two weights, got \(1, 2, 3\)"),
        ({"tversky": (1, -1)}, "tversky: expected a number >= 0, got -1"),
        ({"level": 2.0}, r"level: expected a number in \(0, 1\), got 2"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        _judge(_rows("11")[0], "10", **{"metrics": ("dice",)} | options)


def test_bad_predictions_are_named(tmp_path):
    for given, message in (
        (np.zeros((2, 2), np.uint8), "segmentation of the prediction: expected shape"),
        (np.zeros((1, 2, 3), np.float32), r"expected probabilities \[\*S, 2\], got \[1, 2, 3\]"),
        ([_rows("11")[0]] * 2, "prediction: expected 1 like labels, got 2"),
        (str(tmp_path), "labels: expected a folder for predictions in a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            _judge(given, "10", metrics=("dice",))
    with pytest.raises(ValueError, match="expected raters or a truth, got none"):
        _judge(_rows("11")[0], "??", metrics=("dice",))
