"""Resampling, normalisation, boxes, and the way back."""

import numpy as np
import pytest
from scipy import ndimage

from noisyjax.data.volumes import preprocess


def test_a_linear_ramp_stays_one():
    """The value at x mm is x, whatever the voxels, but for the half voxel at the ends."""
    spacing, to = (2.0, 1.0), (0.5, 3.0)
    position = [(np.arange(n) + 0.5) * s for n, s in zip((6, 9), spacing)]
    ramp = position[0][:, None] - 2 * position[1]
    result = preprocess.resample(ramp, spacing=spacing, to=to, linear=True)
    assert result.shape == (24, 3)
    new = [(np.arange(n) + 0.5) * s for n, s in zip((24, 3), to)]
    expected = new[0][:, None] - 2 * new[1]
    np.testing.assert_allclose(result[2:-2], expected[2:-2])
    assert result.min() >= ramp.min()


def test_nearest_neighbours_invent_no_class():
    labels = np.random.default_rng(0).choice([0, 3, 7], (5, 6, 4)).astype(np.uint8)
    options = {"spacing": (1.0, 1.0, 2.0), "linear": False}
    fine = preprocess.resample(labels, to=(0.5, 0.25, 1.0), **options)
    np.testing.assert_array_equal(fine, labels.repeat(2, 0).repeat(4, 1).repeat(2, 2))
    coarse = preprocess.resample(labels, to=(1.7, 1.3, 2.9), **options)
    assert coarse.shape == (3, 5, 3)
    assert set(np.unique(coarse)) <= {0, 3, 7}
    assert coarse.dtype == np.uint8


def test_the_same_spacing_changes_nothing():
    image = np.arange(12, dtype=np.int16).reshape(3, 4)
    same = preprocess.resample(image, spacing=(1.5, 2), to=(1.5, 2), linear=True)
    np.testing.assert_array_equal(same, image)
    assert same.dtype == np.float32


def test_image_and_labels_stay_on_each_other():
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (20, 18, 10)], indexing="ij"))
    mask = (np.square(grid - np.array([11.3, 7.2, 4.4])[:, None, None, None])).sum(0) < 20
    options = {"spacing": (1.0, 1.0, 2.0), "to": (1.3, 0.8, 1.1)}
    image = preprocess.resample(mask.astype(np.float32), linear=True, **options)
    labels = preprocess.resample(mask, linear=False, **options)
    centres = ndimage.center_of_mass(image), ndimage.center_of_mass(labels)
    np.testing.assert_allclose(*centres, atol=0.25)
    assert ((image > 0.5) != labels).mean() < 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1.0,), "to": (1.0, 1.0)}, "spacing: expected one for each of 2 axes"),
        ({"spacing": (1.0, 1.0), "to": (1.0, 0.0)}, "to: expected a number > 0"),
        ({"spacing": (1.0, 1e6), "to": (0.1, 0.1)}, "at most 67108864 voxels after resampling"),
        ({"spacing": (1e6, 1e6), "to": (0.1, 1.0)}, "at most 67108864 voxels after resampling"),
    ],
)
def test_spacings_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        preprocess.resample(np.zeros((2, 2)), linear=True, **options)


@pytest.mark.parametrize("shape", [(4, 5), (7, 6, 3)])
@pytest.mark.parametrize("size", [(4, 5, 3), (3, 8, 3), (9, 2, 4), (8, 9, 6)])
def test_unfit_reverses_fit(shape, size):
    size = size[: len(shape)]
    array = np.random.default_rng(0).integers(1, 9, shape)
    fitted = preprocess.fit(array, size, fill=-1)
    assert fitted.shape == size
    assert (fitted == -1).any() == any(n > m for n, m in zip(size, shape))
    back = preprocess.unfit(fitted, shape)
    assert back.shape == shape
    kept = back != 0
    np.testing.assert_array_equal(back[kept], array[kept])
    assert kept.sum() == np.prod(np.minimum(shape, size))


def test_bounding_box():
    mask = np.zeros((5, 6, 7), bool)
    mask[2, 3:5, 6] = True
    assert preprocess.bounding_box(mask) == ((2, 3), (3, 5), (6, 7))
    assert preprocess.bounding_box(mask, margin=2) == ((0, 5), (1, 6), (4, 7))
    assert preprocess.bounding_box(mask & False) == ((0, 5), (0, 6), (0, 7))


def _case():
    rng = np.random.default_rng(0)
    image = np.full((16, 18, 12, 2), -5.0)
    image[3:12, 4:15, 2:9] = rng.normal(size=(9, 11, 7, 2))
    labels = np.zeros((3, 16, 18, 12), np.uint8)
    labels[0, 5:10, 6:11, 3:8] = 1
    labels[1, 5:9, 6:11, 3:8] = 2
    return image, labels


@pytest.mark.parametrize(
    ("box", "shape"),
    [("", (16, 18, 12)), ("bright", (11, 13, 9)), ("labels", (7, 7, 7))],
)
def test_prepare_cuts_to_the_box_and_restore_reverses_it(box, shape):
    image, labels = _case()
    ones = (1.0, 1.0, 1.0)
    made, maps, grid = preprocess.prepare(
        image, labels, spacing=ones, to=ones, normalisation="none", box=box, margin=bool(box)
    )
    assert made.shape == (*shape, 2)
    assert maps.shape == (3, *shape)
    assert grid.prepared == shape
    for label, whole in zip(maps, labels):
        np.testing.assert_array_equal(preprocess.restore(label, grid), whole)
    assert preprocess.Grid.from_array(grid.to_array()) == grid
    with pytest.raises(ValueError, match="labels: expected shape .* like the prepared case"):
        preprocess.restore(np.zeros((2, 2, 2), np.uint8), grid)


def test_restore_comes_back_to_the_voxels_of_the_file():
    image, labels = _case()
    made, maps, grid = preprocess.prepare(
        image, labels, spacing=(1.0, 1.0, 2.0), to=(0.5, 0.5, 1.0), box="labels", margin=3
    )
    # Finer voxels by whole numbers lose nothing.
    np.testing.assert_array_equal(preprocess.restore(maps[0], grid), labels[0])
    assert made.shape == (*grid.prepared, 2) == (16, 16, 16, 2)
    _, coarse, grid = preprocess.prepare(
        image, labels, spacing=(1.0, 1.0, 2.0), to=(1.2, 1.1, 2.1), box="bright"
    )
    back = preprocess.restore(coarse[0], grid)
    assert back.shape == labels[0].shape
    overlap = 2 * (back & labels[0]).sum() / (back.sum() + labels[0].sum())
    assert overlap > 0.8


def test_prepare_without_labels():
    image, labels = _case()
    same = {"spacing": (1.0, 1.0, 1.0), "to": (2.0, 2.0, 2.0)}
    made, maps, _ = preprocess.prepare(image, labels[:0], **same)
    assert made.shape == (8, 9, 6, 2)
    assert maps.shape == (0, 8, 9, 6)
    with pytest.raises(ValueError, match="box: expected one of '', 'bright', 'labels'"):
        preprocess.prepare(image, labels, box="foreground", **same)


def test_what_is_lost_between_coarser_voxels_is_counted():
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[:8] = 1
    # Of four voxels the third is the nearest to the new one's middle.
    for corner in ((8, 8, 8), (12, 0, 0), (9, 1, 1)):
        labels[tuple(slice(n, n + 2) for n in corner)] = 2
    spacing, to = (0.5,) * 3, (2.0,) * 3
    box = ((0, 4),) * 3
    grid = preprocess.Grid(labels.shape, spacing, to, box)
    assert preprocess.lost(labels, grid) == {2: (2, 3)}
    # Components that touch by a corner are one.
    labels[10, 10, 10] = 2
    assert preprocess.lost(labels, grid)[2] == (1, 3)
    finer = preprocess.Grid(labels.shape, spacing, (0.25,) * 3, ((0, 32),) * 3)
    assert preprocess.lost(labels, finer) == {}
    cut = preprocess.Grid(labels.shape, spacing, spacing, ((8, 16), (0, 16), (0, 16)))
    assert preprocess.lost(labels, cut) == {1: (1, 1)}


def test_an_axis_without_voxels_is_named():
    spacing = (1.0, 1.0)
    with pytest.raises(ValueError, match=r"image: expected axes .*, got shape \(0, 8, 1\)"):
        preprocess.prepare(
            np.zeros((0, 8, 1)), np.zeros((1, 0, 8), np.uint8), spacing=spacing, to=spacing
        )
    with pytest.raises(ValueError, match=r"array: expected axes .*, got shape \(8, 0\)"):
        preprocess.resample(np.zeros((8, 0)), spacing=spacing, to=(0.5, 0.5), linear=True)


def test_images_are_interpolated_and_labels_are_not():
    image, labels = np.array([[0.0], [4.0]]), np.array([[0, 4]], np.uint8)
    options = {"spacing": (2.0,), "to": (1.0,), "normalisation": "none"}
    made, maps, _ = preprocess.prepare(image, labels, **options)
    np.testing.assert_allclose(made[:, 0], [0, 1, 3, 4])
    assert maps.tolist() == [[0, 0, 4, 4]]


def test_splines_of_one_grid_are_those_of_scipy():
    """The same as zooming in the convention of whole voxels, but within the image's range."""
    image = np.random.default_rng(0).normal(size=(12, 9, 7)).astype(np.float32)
    new = preprocess.spline(image, spacing=(1.0, 1.0, 2.0), to=(0.5, 1.5, 1.0))
    assert (new.shape, new.dtype) == ((24, 6, 14), np.float32)
    factors = [2, 6 / 9, 2]
    zoomed = ndimage.zoom(image, factors, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(new, np.clip(zoomed, image.min(), image.max()), atol=2e-6)
    same = preprocess.spline(image, spacing=(1.0, 1.0, 2.0), to=(1.0, 1.0, 2.0))
    np.testing.assert_array_equal(same, image)


def test_between_thick_slices_nothing_is_interpolated():
    image = np.random.default_rng(0).normal(size=(8, 10, 4)).astype(np.float32)
    new = preprocess.spline(image, spacing=(1.0, 1.0, 4.0), to=(0.5, 0.5, 2.0))
    assert new.shape == (16, 20, 8)
    np.testing.assert_array_equal(new[..., ::2], new[..., 1::2])
    planes = [
        ndimage.zoom(image[..., k], 2, order=3, mode="nearest", grid_mode=True) for k in range(4)
    ]
    expected = np.clip(np.stack(planes, -1), image.min(), image.max())
    within = np.clip(expected, image.min((0, 1)), image.max((0, 1)))
    np.testing.assert_allclose(new[..., ::2], within, atol=2e-6)
    # Thin slices are.
    thin = preprocess.spline(image, spacing=(1.0, 1.0, 2.0), to=(0.5, 0.5, 1.0))
    assert (thin[..., ::2] != thin[..., 1::2]).any()


def _two_channels():
    image = np.zeros((10, 12, 2), np.float32)
    image[2:6, 3:9] = np.random.default_rng(0).normal(50, 10, (4, 6, 2))
    return image


def test_each_channel_has_its_own_normalisation():
    image = _two_channels()
    options = {"spacing": (1, 1), "to": (1, 1), "labels": np.zeros((0, 10, 12), np.uint8)}
    prepared, _, _ = preprocess.prepare(
        image,
        normalisation=("ct", "none"),
        intensities=((40, 60, 50, 5), (0, 1, 0, 1)),
        **options,
    )
    np.testing.assert_allclose(
        prepared[..., 0], (np.clip(image[..., 0], 40, 60) - 50) / 5, rtol=1e-6
    )
    np.testing.assert_array_equal(prepared[..., 1], image[..., 1])
    with pytest.raises(ValueError, match="normalise: expected one for all or each of 2 channels"):
        preprocess.prepare(image, normalisation=("ct",) * 3, **options)
    with pytest.raises(ValueError, match="intensities: expected 2 for the channels, got 1"):
        preprocess.prepare(image, normalisation="ct", intensities=((0, 1, 0, 1),), **options)
    with pytest.raises(ValueError, match="interpolation: expected one of 'linear', 'cubic'"):
        preprocess.prepare(image, interpolation="best", **options)


@pytest.mark.parametrize("interpolation", preprocess.INTERPOLATIONS)
def test_the_box_of_what_is_not_zero_is_where_the_statistics_are(interpolation):
    image = _two_channels()
    labels = (image[None, ..., 0] > 0).astype(np.uint8)
    options = {"spacing": (1, 1), "box": "nonzero", "interpolation": interpolation}
    prepared, kept, grid = preprocess.prepare(image, labels, to=(1, 1), **options)
    assert grid.box == ((2, 6), (3, 9))
    np.testing.assert_allclose(prepared.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(prepared.std((0, 1)), 1, rtol=1e-6)
    assert kept.all()
    np.testing.assert_array_equal(preprocess.restore(kept[0], grid), labels[0])
    _, kept, grid = preprocess.prepare(image, labels, to=(0.5, 0.8), **options)
    # 3 mm / 0.8 mm is 3.75, 9 mm 11.25: what is touched belongs to it.
    assert grid.box == ((4, 12), (3, 12))
    assert preprocess.restore(kept[0], grid).sum() == labels.sum()
    assert preprocess.prepare(image, labels, to=(1, 1), **options, margin=3)[2].box == (
        (0, 9),
        (0, 12),
    )


def test_outside_of_what_is_not_zero_the_image_stays_zero():
    image = _two_channels()
    image[3, 4, 0] = 0
    prepared, _, _ = preprocess.prepare(
        image,
        np.zeros((0, 10, 12), np.uint8),
        spacing=(1, 1),
        to=(1, 1),
        normalisation="z_score_nonzero",
    )
    inside = prepared[2:6, 3:9]
    np.testing.assert_allclose(inside.mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(inside.std((0, 1)), 1, rtol=1e-6)
    assert np.abs(prepared).sum() == pytest.approx(np.abs(inside).sum())
