"""The pictures' arithmetic, and that they can be drawn."""

import numpy as np

from noisyjax.studies.figures import plots


def test_error_map_gives_each_certain_outcome_its_colour():
    # Four pixels: truth (1, 1, 0, 0), the rater says (1, 0, 1, 0) with certainty.
    probs = np.eye(2)[[1, 1, 0, 0]]
    said = np.eye(2)[[1, 0, 1, 0]]
    cms = np.repeat(said[..., None], 2, -1)
    expected = [
        plots.COLOURS[name]
        for name in ("true positive", "false negative", "false positive", "true negative")
    ]
    np.testing.assert_allclose(plots.error_map(probs, cms), expected, atol=1e-12)


def test_error_map_blends_doubt():
    grey = plots.error_map(np.array([[0.5, 0.5]]), np.eye(2)[None])
    np.testing.assert_allclose(grey, [[0.5, 0.5, 0.5]])


def test_images_of_any_intensities_fill_the_range():
    image = np.linspace(-3.0, 5.0, 101).reshape(1, 101)
    shown = plots.scaled(image)
    np.testing.assert_allclose(shown[0, [0, 1, 50, 99, 100]], [0, 0, 0.5, 1, 1], atol=1e-12)
    np.testing.assert_array_equal(plots.scaled(np.full((2, 2), 7.0)), 0.0)


def test_raters_figure_has_a_panel_per_label_and_map(tmp_path):
    rng = np.random.default_rng(0)
    n, r, s, c = 2, 3, (8, 8), 2
    cms = rng.random((n, r, *s, c, c))
    figure = plots.raters(
        rng.random((n, *s, 1)),
        rng.integers(0, 2, (n, r, *s)),
        rng.integers(0, 2, (n, *s)),
        np.full((n, *s, c), 0.5),
        cms / cms.sum(-2, keepdims=True),
        ("a", "b", "c"),
    )
    assert len(figure.axes) == 3 * n * (1 + r)
    plots.save(figure, tmp_path / "raters.png")
    assert (tmp_path / "raters.png").read_bytes().startswith(b"\x89PNG")


def test_curves_draw_each_seed_and_their_mean():
    figure = plots.curves(
        {"ours": [([1, 2], [0.0, 1.0]), ([1, 2], [0.5, 0.0])]}, xlabel="step", ylabel="Dice"
    )
    lines = figure.axes[0].get_lines()
    assert len(lines) == 3
    np.testing.assert_allclose(lines[-1].get_ydata(), [0.25, 0.5])


def test_lines_have_a_plot_per_panel_and_error_bars_over_repetitions():
    line = [("0", [0.9, 0.9]), ("0.03", [0.5, 0.7])]
    figure = plots.lines(
        {"kidney": {"CE": line, "SD": line}, "aorta": {"CE": line}}, xlabel="a", ylabel="Dice"
    )
    kidney, aorta = figure.axes
    assert (kidney.get_title(), aorta.get_title()) == ("kidney", "aorta")
    assert [len(axes.containers) for axes in figure.axes] == [2, 1]
    drawn, _, (bars,) = aorta.containers[0]
    np.testing.assert_allclose(drawn.get_xdata().astype(float), [0, 0.03])
    np.testing.assert_allclose(drawn.get_ydata().astype(float), [0.9, 0.6])
    # Sample standard deviation of .5 and .7.
    low, high = bars.get_segments()[1][:, 1]
    np.testing.assert_allclose([low, high], [0.6 - 0.02**0.5, 0.6 + 0.02**0.5])


def test_lines_over_names_stand_side_by_side():
    figure = plots.lines(
        {"": {"ours": [("slight", [1.0]), ("strong", [0.5])]}}, xlabel="noise", ylabel="Dice"
    )
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["slight", "strong"]
