"""Matrices and contours of raters: what stands where in the figures."""

import matplotlib.colors
import matplotlib.contour
import matplotlib.figure
import numpy as np
import pytest

from noisyjax.studies.figures import outlines, plots

NAMES = ("one", "two")


def _square(size, *, low, high, value=1):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = value
    return mask


def _contours(**options):
    """Two images; rater two marks nothing in the second, and labels only the first."""
    size = 16
    image = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    empty = np.zeros((size, size), np.uint8)
    one, two = _square(size, low=5, high=9), _square(size, low=4, high=10)
    labels = np.stack([np.stack([one, two]), np.stack([one, empty])])
    truth = np.stack([one, one])
    return outlines.contours(image, labels, labels, truth, truth, NAMES, **options)


def _drawn(axes):
    """The colours of the outlines, in the order in which they were drawn."""
    sets = [c for c in axes.collections if isinstance(c, matplotlib.contour.ContourSet)]
    return [matplotlib.colors.to_hex(c.get_edgecolor()[0]) for c in sets]


def _hex(*colours):
    return [matplotlib.colors.to_hex(colour) for colour in colours]


@pytest.mark.parametrize("num_classes", [2, 4])
def test_matrices_stand_above_each_other_with_their_numbers(num_classes):
    rng = np.random.default_rng(0)
    true, estimated = (
        rng.dirichlet(np.ones(num_classes), (3, num_classes)).swapaxes(1, 2) for _ in range(2)
    )
    figure = outlines.matrices(true, estimated, ("a", "b", "c"))
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", "", "", ""]
    for axes, cm in zip(figure.axes, [*true, *estimated], strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), cm)
        # Row i is what was said, column j what is true, as in the matrix.
        texts = {(round(t.get_position()[1]), round(t.get_position()[0])): t for t in axes.texts}
        assert {position: t.get_text() for position, t in texts.items()} == {
            position: f"{value:.2f}" for position, value in np.ndenumerate(cm)
        }
    assert figure.axes[0].get_ylabel().startswith("true")
    assert figure.axes[3].get_ylabel().startswith("estimated")


def test_an_unknown_column_has_no_numbers(tmp_path):
    true = np.eye(2)[None].copy()
    true[0, :, 1] = np.nan
    figure = outlines.matrices(true, np.eye(2)[None], ("a",), ("background", "organ"))
    above, below = figure.axes
    assert sorted(t.get_text() for t in above.texts) == ["0.00", "1.00", "–", "–"]
    assert [t.get_text() for t in below.get_xticklabels()] == ["background", "organ"]
    plots.save(figure, tmp_path / "matrices.png")


def test_contours_have_a_colour_per_rater_and_the_truth_below(tmp_path):
    figure = _contours()
    first, second = np.array(figure.axes).reshape(2, 3)
    assert [_drawn(axes) for axes in first] == [[]] + 2 * [_hex("yellow", "C0", "C1")]
    assert [_drawn(axes) for axes in second] == [[]] + 2 * [_hex("yellow", "C0")]
    assert [t.get_text() for t in second[1].texts] == ["nothing: two"]
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["one", "two", "truth, estimated truth"]
    assert first[0].get_xlim() == (-0.5, 15.5)
    plots.save(figure, tmp_path / "contours.png")


def test_who_did_not_label_an_image_is_left_out():
    mask = np.array([[True, True], [True, False]])
    figure = _contours(rater_mask=mask, truth_name="STAPLE")
    labels, predictions = figure.axes[4:]
    assert not labels.texts
    # His prediction is there all the same.
    assert [t.get_text() for t in predictions.texts] == ["nothing: two"]
    assert figure.legends[0].get_texts()[-1].get_text() == "STAPLE, estimated truth"


def test_a_margin_shows_a_square_around_what_is_outlined():
    figure = _contours(margin=2)
    # The larger square is 4..9 and the smaller, alone in the second image, 5..8.
    assert figure.axes[0].get_xlim() == (1.5, 11.5)
    assert figure.axes[0].get_ylim() == (11.5, 1.5)
    assert figure.axes[5].get_xlim() == (2.5, 10.5)
    # It does not reach beyond the image.
    assert _contours(margin=40).axes[0].get_xlim() == (-0.5, 15.5)


def test_outlines_of_every_class_are_closed_at_the_edge():
    mask = np.ones((6, 6), np.int32)
    mask[2:4, 2:4] = 3
    axes = matplotlib.figure.Figure().subplots()
    assert outlines.outline(axes, mask, "red")
    whole, inner = axes.collections
    for drawn in (whole, inner):
        for line in drawn.get_paths()[0].to_polygons(closed_only=False):
            np.testing.assert_allclose(line[0], line[-1])
    # Half a pixel around the image and around the four pixels.
    box = whole.get_paths()[0].get_extents()
    np.testing.assert_allclose([box.xmin, box.xmax], [-0.5, 5.5])
    box = inner.get_paths()[0].get_extents()
    np.testing.assert_allclose([box.ymin, box.ymax], [1.5, 3.5])
    assert not outlines.outline(axes, np.zeros((6, 6), np.int32), "red")
