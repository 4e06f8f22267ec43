"""Surface metrics against the golden file, peers and values worked out by hand."""

import itertools
import math
import warnings

import jaxtyping
import numpy as np
import pytest
from scipy import ndimage, spatial

from noisyjax.metrics import nearest, surface, surface_elements

# our field -> the golden file's, by convention
_DISTANCES = {"hd": "hd", "asd_pred": "asd_pg", "asd_truth": "asd_gp"}
_FIELDS = {
    "monai": ("monai", {**_DISTANCES, "hd95": "hd95", "assd": "assd"}),
    "medpy": ("medpy", {**_DISTANCES, "hd95": "hd95", "assd": "assd"}),
    "deepmind": ("dm", {**_DISTANCES, "hd95": "hd95", "assd": "assd_weighted", "nsd": "nsd_1mm"}),
}
# What all pairs of border voxels give in float64; NaN where a mask is empty.
_REFERENCE = {
    "monai": {**_DISTANCES, "hd95": "hd95_max", "assd": "assd"},
    "medpy": {**_DISTANCES, "hd95": "hd95_pool", "assd": "assd"},
}


@pytest.fixture(scope="module")
def cases(golden):
    with np.load(golden / "surface.npz") as file:
        arrays = dict(file)
    pairs = [
        tuple(arrays[f"c{case:02d}_{name}"] for name in ("pred", "gt", "spacing"))
        for case in range(len(arrays["case_names"]))
    ]
    return pairs, arrays


def _blobs(shape, count=2, seed=0):
    draw = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(draw.standard_normal(shape), 2) for _ in range(count)]
    return [field > 0.3 * field.std() for field in fields]


def _check(result, expected, **tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(result, name), value, err_msg=name, **tolerance)


@pytest.mark.parametrize("convention", surface.CONVENTIONS)
def test_golden_values_of_the_libraries_with_empty_masks(cases, convention):
    pairs, arrays = cases
    prefix, fields = _FIELDS[convention]
    # MONAI works in float32, and interpolates there.
    tolerance = {"atol": 2e-5} if convention == "monai" else {"rtol": 1e-9, "atol": 1e-12}
    assert len(pairs) == 19
    for case, (pred, truth, spacing) in enumerate(pairs):
        result = surface.surface_metrics(
            pred, truth, spacing=spacing, convention=convention, empty="library"
        )
        expected = {ours: arrays[f"{prefix}_{theirs}"][case] for ours, theirs in fields.items()}
        _check(result, expected, **tolerance)


@pytest.mark.parametrize("convention", _REFERENCE)
def test_golden_values_of_all_pairs_of_voxels(cases, convention):
    pairs, arrays = cases
    for case, (pred, truth, spacing) in enumerate(pairs):
        result = surface.surface_metrics(
            pred, truth, spacing=spacing, convention=convention, empty="nan"
        )
        fields = _REFERENCE[convention].items()
        expected = {ours: arrays[f"ref_{theirs}"][case] for ours, theirs in fields}
        _check(result, expected, rtol=1e-12, atol=1e-12)


def test_golden_borders_and_areas(cases):
    pairs, arrays = cases
    for case, (pred, truth, spacing) in enumerate(pairs):
        for name, mask in (("pred", pred), ("gt", truth)):
            border, _ = surface.border_voxels(mask > 0)
            np.testing.assert_array_equal(border, arrays[f"c{case:02d}_border_{name}"])
            _, areas = surface_elements.find(mask > 0, tuple(spacing))
            np.testing.assert_allclose(areas.sum(), arrays[f"dm_area_{name}"][case], rtol=1e-12)


@pytest.mark.parametrize(
    ("empty", "one", "both"),
    [
        ("diagonal", (math.hypot(8, 9),) * 5 + (0.0,), (0.0,) * 5 + (1.0,)),
        ("inf", (math.inf,) * 5 + (0.0,), (0.0,) * 5 + (1.0,)),
        ("nan", (math.nan,) * 6, (math.nan,) * 6),
    ],
)
@pytest.mark.parametrize("convention", surface.CONVENTIONS)
def test_empty_masks(convention, empty, one, both):
    nothing = np.zeros((4, 3), bool)
    something = nothing.copy()
    something[1, 1] = True
    options = {"spacing": (2.0, 3.0), "convention": convention, "empty": empty}
    assert surface.surface_metrics(nothing, something, **options) == pytest.approx(one, nan_ok=True)
    assert surface.surface_metrics(something, nothing, **options) == pytest.approx(one, nan_ok=True)
    assert surface.surface_metrics(nothing, nothing, **options) == pytest.approx(both, nan_ok=True)


def test_a_miss_is_worse_than_anything_that_can_be_hit():
    corner, other = np.zeros((2, 5, 4, 3), bool)
    corner[0, 0, 0] = other[-1, -1, -1] = True
    for convention in surface.CONVENTIONS:
        options = {"spacing": (1.0, 2.0, 0.5), "convention": convention}
        hit = surface.surface_metrics(corner, other, **options)
        missed = surface.surface_metrics(np.zeros_like(corner), other, **options)
        assert hit.hd <= missed.hd
        assert hit.assd < missed.assd


@pytest.mark.parametrize("percentile", [100, 95])
@pytest.mark.parametrize("convention", ["monai", "medpy"])
def test_golden_directed_distances(cases, convention, percentile):
    pairs, arrays = cases
    name = {100: "hd", 95: "hd95"}[percentile]
    both = {"monai": {100: "hd", 95: "hd95_max"}, "medpy": {100: "hd", 95: "hd95_pool"}}
    options = {"convention": convention, "percentile": percentile, "empty": "nan"}
    for case, (pred, truth, spacing) in enumerate(pairs):
        result = surface.hausdorff(pred, truth, spacing=spacing, **options)
        fields = {
            "hd": both[convention][percentile],
            "hd_pred": f"{name}_pg",
            "hd_truth": f"{name}_gp",
        }
        expected = {ours: arrays[f"ref_{theirs}"][case] for ours, theirs in fields.items()}
        _check(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("percentile", [100, 95])
def test_golden_directed_distances_of_monai(cases, percentile):
    pairs, arrays = cases
    name = {100: "monai_hd", 95: "monai_hd95"}[percentile]
    for case, (pred, truth, spacing) in enumerate(pairs):
        result = surface.hausdorff(
            pred, truth, spacing=spacing, percentile=percentile, empty="library"
        )
        fields = {"hd": name, "hd_pred": f"{name}_pg", "hd_truth": f"{name}_gp"}
        expected = {ours: arrays[theirs][case] for ours, theirs in fields.items()}
        _check(result, expected, atol=2e-5)


@pytest.mark.parametrize("percentile", [50, 90, 100])
def test_percentiles_equal_surface_distance(percentile):
    peer = pytest.importorskip("surface_distance.metrics")
    pred, truth = _blobs((9, 12, 11))
    spacing = (1.0, 2.0, 0.5)
    with warnings.catch_warnings():
        # It asks for a name that SciPy has moved.
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = peer.compute_surface_distances(truth, pred, spacing)
    expected = peer.compute_robust_hausdorff(distances, percentile)
    options = {"spacing": spacing, "convention": "deepmind", "percentile": percentile}
    result = surface.hausdorff(pred, truth, **options)
    assert result.hd == pytest.approx(expected)
    swapped = surface.hausdorff(truth, pred, **options)
    assert swapped == surface.Hausdorff(result.hd, result.hd_truth, result.hd_pred)
    assert result.hd == max(result.hd_pred, result.hd_truth)


def test_the_directed_distance_equals_simple_itk():
    itk = pytest.importorskip("SimpleITK")
    pred, truth = _blobs((14, 12))
    images = [itk.GetImageFromArray(mask.astype(np.uint8)) for mask in (pred, truth)]
    filter_ = itk.HausdorffDistanceImageFilter()
    filter_.Execute(*images)
    # ITK measures from all voxels of a mask to the other, not from its surface; those inside are
    # nearer, so that the larger of both directions is the same.
    result = surface.hausdorff(pred, truth)
    assert filter_.GetHausdorffDistance() == pytest.approx(result.hd, rel=1e-6)


@pytest.mark.parametrize("convention", surface.CONVENTIONS)
def test_both_at_once_are_each_alone(convention):
    pred, truth = _blobs((14, 12))
    options = {"spacing": (1.0, 2.0), "convention": convention, "empty": "inf"}
    nothing = np.zeros_like(pred)
    for one, other in ((pred, truth), (pred, nothing), (nothing, nothing)):
        both = surface.surface_and_hausdorff(one, other, percentile=90, tolerance=2, **options)
        assert both[0] == surface.surface_metrics(one, other, tolerance=2, **options)
        assert both[1] == surface.hausdorff(one, other, percentile=90, **options)


def test_percentiles_rise_and_meet_the_other_metrics():
    pred, truth = _blobs((14, 12))
    values = [surface.hausdorff(pred, truth, percentile=p).hd for p in (50, 90, 95, 100)]
    assert values == sorted(values)
    metrics = surface.surface_metrics(pred, truth)
    assert values[2:] == [metrics.hd95, metrics.hd]
    nothing = np.zeros_like(pred)
    assert surface.hausdorff(nothing, truth) == (math.hypot(14, 12),) * 3
    assert surface.hausdorff(nothing, nothing) == (0.0,) * 3
    for wrong in (0, 101):
        with pytest.raises(ValueError, match=f"percentile: expected a number .*got {wrong}"):
            surface.hausdorff(pred, truth, percentile=wrong)


def test_by_hand():
    # Lines of voxels 2 mm long: 0 1 2 and 2 3 4 5 6, so the distances are 4 2 0 and 0 2 4 6 8 mm.
    pred, truth = np.zeros((2, 8), bool)
    pred[:3], truth[2:7] = True, True
    assert surface.border_voxels(pred)[0].tolist() == [True, False, True] + [False] * 5
    # Of a line only the ends are border: 0 2 and 2 6, with distances 4 0 and 0 8.
    result = surface.surface_metrics(pred, truth, spacing=(2.0,), tolerance=4.0)
    hd95 = 0.95 * 8.0
    assert result == pytest.approx(surface.Surface(8.0, hd95, 2.0, 4.0, 3.0, 3 / 4))
    pooled = surface.surface_metrics(pred, truth, spacing=(2.0,), convention="medpy")
    assert pooled.hd95 == pytest.approx(np.quantile([4.0, 0.0, 0.0, 8.0], 0.95))
    assert pooled.hd95 < hd95


def test_points_between_voxels_by_hand():
    # Pixels of 1 mm, 5 pixels between them: contours of 4 quarter cuts of sqrt(2) / 2 mm each.
    pred, truth = np.zeros((2, 3, 9), bool)
    pred[1, 1], truth[1, 6] = True, True
    options = {"spacing": (1.0, 1.0), "convention": "deepmind"}
    result = surface.surface_metrics(pred, truth, tolerance=4.0, **options)
    # Half of each contour is 4 mm away and half 5 mm.
    assert result == pytest.approx(surface.Surface(5.0, 5.0, 4.5, 4.5, 4.5, 0.5))
    assert surface_elements.find(pred, (1.0, 1.0))[1].sum() == pytest.approx(2 * math.sqrt(2))


def test_areas_equal_the_table_of_surface_distance():
    tables = pytest.importorskip("surface_distance.lookup_tables")
    for spacing in itertools.product((0.7, 1.0, 2.5), repeat=3):
        expected = tables.create_table_neighbour_code_to_surface_area(spacing)
        np.testing.assert_allclose(surface_elements.areas(spacing), expected, rtol=1e-13)
    for spacing in itertools.product((0.7, 1.0, 2.5), repeat=2):
        expected = tables.create_table_neighbour_code_to_contour_length(spacing)
        np.testing.assert_allclose(surface_elements.areas(spacing), expected, rtol=1e-13)


def test_areas_do_not_change_when_the_block_is_turned_or_inverted():
    spacing = (1.0, 1.0, 1.0)
    table = surface_elements.areas(spacing)
    np.testing.assert_array_equal(table, table[::-1])
    for code, area in enumerate(table):
        block = np.array([code >> bit & 1 for bit in range(7, -1, -1)], bool).reshape(2, 2, 2)
        for turned in (block[::-1], np.moveaxis(block, 0, 1), block.transpose(2, 1, 0)):
            assert table[int("".join(map(str, turned.astype(int).ravel())), 2)] == area


# MONAI hands PyTorch a storage in a way that PyTorch now warns of.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_surface_dice_equals_monai():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    pred, truth = _blobs((12, 11, 10))
    tensors = [torch.from_numpy(mask)[None, None] for mask in (pred, truth)]
    for tolerance in (0.0, 0.7, 2.1):
        expected = metrics.compute_surface_dice(
            *tensors, [tolerance], include_background=True, spacing=[0.7, 1.4, 1.0]
        )
        result = surface.surface_metrics(pred, truth, spacing=(0.7, 1.4, 1.0), tolerance=tolerance)
        assert result.nsd == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("shape", [(40,), (20, 23), (9, 10, 8), (5, 4, 6, 5)])
@pytest.mark.parametrize("queries", [0, 10**9], ids=["tree", "transform"])
def test_both_ways_to_the_distances_are_exact(monkeypatch, shape, queries):
    monkeypatch.setattr(nearest, "_VOXELS_PER_QUERY", queries)
    pred, truth = _blobs(shape, seed=len(shape))
    sizes = tuple(0.7 + 0.3 * np.arange(len(shape)))
    result = surface.surface_metrics(pred, truth, spacing=sizes)
    points = [np.argwhere(surface.border_voxels(mask)[0]) * sizes for mask in (pred, truth)]
    pairs = spatial.distance.cdist(*points)
    expected = [pairs.min(axis) for axis in (1, 0)]
    assert result.asd_pred == pytest.approx(expected[0].mean())
    assert result.asd_truth == pytest.approx(expected[1].mean())
    assert result.hd == pytest.approx(max(d.max() for d in expected))
    assert result.assd == pytest.approx(np.concatenate(expected).mean())


@pytest.mark.parametrize("convention", surface.CONVENTIONS)
def test_properties(convention):
    pred, truth = _blobs((14, 15, 13))
    options = {"spacing": (1.0, 0.5, 2.0), "convention": convention}
    result = surface.surface_metrics(pred, truth, **options)
    assert surface.surface_metrics(pred, pred, **options) == (0.0,) * 5 + (1.0,)
    swapped = surface.surface_metrics(truth, pred, **options)
    assert swapped == pytest.approx(result._replace(asd_pred=result.asd_truth, asd_truth=result[2]))
    # What lies around the masks does not matter, nor which numbers stand for the object.
    wide = [np.pad(mask, ((3, 1), (0, 2), (4, 0))).astype(np.uint8) * 3 for mask in (pred, truth)]
    assert surface.surface_metrics(*wide, **options) == pytest.approx(result)
    doubled = surface.surface_metrics(
        pred, truth, **options | {"spacing": (2.0, 1.0, 4.0)}, tolerance=2.0
    )
    assert doubled[:5] == pytest.approx([2 * value for value in result[:5]])
    assert doubled.nsd == pytest.approx(result.nsd)
    assert 0.0 < result.nsd < 1.0
    assert min(result.asd_pred, result.asd_truth) < result.assd < result.hd95 < result.hd


def _maps(count, shape=(9, 8)):
    draw = np.random.default_rng(1)
    return draw.integers(0, 3, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("processes", [1, 2])
def test_cases_and_classes(processes):
    preds, truths = _maps(3), _maps(6)[3:]
    preds[1][preds[1] == 2] = 0
    spacing = np.array([[1.0, 1.0], [2.0, 0.5], [1.0, 3.0]])
    options = {"convention": "medpy", "tolerance": 0.5, "empty": "inf"}
    result = surface.surface_metrics_of_cases(
        preds, truths, num_classes=3, spacing=spacing, processes=processes, **options
    )
    assert result.hd.shape == (3, 2)
    for case, label in itertools.product(range(3), (1, 2)):
        one = surface.surface_metrics(
            preds[case] == label, truths[case] == label, spacing=spacing[case], **options
        )
        assert [values[case, label - 1] for values in result] == list(one)
    assert np.isinf(result.hd[1, 1])


def test_cases_of_different_shapes():
    shapes = [(4, 5), (7, 3)]
    preds, truths = ([np.ones(shape, np.uint8) for shape in shapes] for _ in range(2))
    result = surface.surface_metrics_of_cases(preds, truths, spacing=(1.0, 2.0))
    np.testing.assert_array_equal(result.assd, [[0.0], [0.0]])
    np.testing.assert_array_equal(result.nsd, [[1.0], [1.0]])


def test_errors_name_the_argument():
    one, other = np.ones((3, 4), bool), np.ones((3, 5), bool)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="truth"):
        surface.surface_metrics(one, other)
    with pytest.raises(ValueError, match=r"spacing: expected shape \[2\]"):
        surface.surface_metrics(one, one, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="convention: expected one of 'monai', 'medpy', 'deep"):
        surface.surface_metrics(one, one, convention="scipy")
    with pytest.raises(ValueError, match="empty: expected one of 'diagonal'"):
        surface.surface_metrics(one, one, empty="one")
    with pytest.raises(ValueError, match="tolerance: expected a number >= 0, got -1"):
        surface.surface_metrics(one, one, tolerance=-1)
    with pytest.raises(ValueError, match="mask: expected 2 or 3 axes"):
        surface.surface_metrics(one[0], one[0], convention="deepmind")
    with pytest.raises(ValueError, match="truths: expected 1 cases like preds, got 2"):
        surface.surface_metrics_of_cases([np.ones((2, 2), int)], [np.ones((2, 2), int)] * 2)


def test_all_of_a_surface_is_within_its_largest_distance_whatever_weights_are_rounded_to():
    # The running sum of ten tenths ends below their sum.
    side = surface._Side(np.arange(10.0), np.full(10, 0.1))
    assert surface._weighted_quantile(side, 1.0) == 9
