"""The labels that a strategy suspects: which cases are drawn, with what, and the curves."""

import csv
import pathlib
import types
from unittest import mock

import jax
import jax.numpy as jnp
import matplotlib.colors
import matplotlib.contour
import numpy as np
import pytest

from configs import adl
from noisyjax import train
from noisyjax.data import source
from noisyjax.data.labels import assemble
from noisyjax.methods import base
from noisyjax.studies.figures import case_sheet, noise_detection, of_run, plots
from noisyjax.train import runs

N, SIDE = 8, 12
# Case 5 is the worst, then 2; case 7 has never been seen.
LOSSES = (0.1, 0.2, 0.7, 0.15, 0.12, 0.8, 0.11, None)
REPLACED = (0, 0, 1, 0, 1, 1, 0, 0)


def _write(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _tables(folder, *, known):
    order = sorted(range(N), key=lambda i: -(LOSSES[i] or -1))
    rows = [[10 + i, f"case-{i}", LOSSES[i], 0.5, 0] for i in order]
    header = ["id", "case", "loss", "posterior", "removed"]
    epochs = [[1, 3, 0], [2, 2, 0.25], [3, 1, 0.3]]
    columns = ["epoch", "removed", "estimated_rate"]
    if known:
        header += ["replaced", "overlap"]
        rows = [
            [*row, REPLACED[i], 0.55 if REPLACED[i] else 1]
            for row, i in zip(rows, order, strict=True)
        ]
        columns += ["precision", "recall", "auc"]
        epochs = [[*row, "", 0.5, 0.9] for row in epochs]
    _write(folder / "suspects.csv", header, rows)
    _write(folder / "detection.csv", columns, epochs)


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """Makes a finished run: ``(shape, known) -> its folder``."""

    def make(shape=(SIDE, SIDE), *, known=True, raters=1):
        images = np.random.default_rng(0).random((10 + N, *shape, 1), np.float32)
        labels = np.zeros((10 + N, raters, *shape), np.uint8)
        labels[..., 2:6, 4:8] = 1
        given = np.ones((10 + N, raters), bool)
        given[12, 1:] = False
        data = source.Source(
            name="blocks",
            examples=source.ArrayExamples(images, None, labels, given),
            num_classes=2,
            class_names=("background", "block"),
            spacing=(1.0,) * len(shape),
            has_truth=False,
            rater_names=tuple("abcdefgh"[:raters]),
        )
        ids = np.arange(10, 10 + N)
        examples = assemble.label(data, ids, panel=None, seed=0, include_truth=False)

        def predict(variables, image):
            mask = jnp.zeros(image.shape[:-1], jnp.int32).at[..., 3:9, 3:9].set(1)
            return base.Prediction(jax.nn.one_hot(mask, 2))

        run = mock.Mock(
            spec=runs.Run,
            folder=pathlib.Path(tmp_path),
            experiment=types.SimpleNamespace(
                examples={"train": examples},
                method=types.SimpleNamespace(predict=predict),
                rater_names=("label",) if raters == 1 else tuple("abcdefgh"[:raters]),
            ),
        )
        monkeypatch.setattr(train, "restore", lambda workdir: (run, {}))
        _tables(tmp_path, known=known)
        return tmp_path

    return make


def _outlines(axes):
    drawn = [c for c in axes.collections if isinstance(c, matplotlib.contour.ContourSet)]
    return [matplotlib.colors.to_hex(c.get_edgecolor()[0]) for c in drawn]


def _hex(*colours):
    return [matplotlib.colors.to_hex(colour) for colour in colours]


def test_the_worst_come_first_with_label_and_prediction(finished, tmp_path):
    figure = noise_detection.worst(finished())
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title().split("\n") for axes in shown[:3]] == [
        ["case-5", "loss 0.8", "replaced, overlap 0.55"],
        ["case-2", "loss 0.7", "replaced, overlap 0.55"],
        ["case-1", "loss 0.2", "not replaced"],
    ]
    # A case without a loss is no suspect.
    assert len(shown) == N - 1
    for axes in shown:
        assert _outlines(axes) == _hex(case_sheet.LABEL_COLOUR, case_sheet.PREDICTION_COLOUR)
    images = train.restore("")[0].experiment.examples["train"].data.examples
    expected = plots.scaled(images[15]["image"][..., 0])
    np.testing.assert_array_equal(shown[0].images[0].get_array(), expected)
    label, prediction = shown[0].collections
    assert label.get_paths()[0].get_extents().extents.tolist() == [3.5, 1.5, 7.5, 5.5]
    assert prediction.get_paths()[0].get_extents().extents.tolist() == [2.5, 2.5, 8.5, 8.5]
    assert shown[0].get_xlim() == (-0.5, SIDE - 0.5)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["label", "prediction"]
    plots.save(figure, tmp_path / "worst.png")


def test_so_many_cases_are_drawn_as_asked_for(finished):
    figure = noise_detection.worst(finished(), count=2)
    assert [axes.axison for axes in figure.axes] == [True, True, False, False, False]


def test_every_rater_who_labelled_a_case_is_outlined(finished):
    figure = noise_detection.worst(finished(raters=2, known=False), count=2)
    assert [len(_outlines(axes)) for axes in figure.axes[:2]] == [3, 2]


def test_of_a_volume_a_slice_is_shown(finished):
    figure = noise_detection.worst(finished((2, SIDE, SIDE), known=False), count=1)
    assert figure.axes[0].images[0].get_array().shape == (SIDE, SIDE)
    assert len(_outlines(figure.axes[0])) == 2


def test_without_knowledge_of_the_noise_only_what_is_known_is_drawn(finished):
    folder = finished(known=False)
    assert noise_detection.worst(folder).axes[0].get_title() == "case-5\nloss 0.8"
    shares, removed, losses = noise_detection.curves(folder).axes
    assert [line.get_label() for line in shares.lines] == ["estimated share of noisy labels"]
    assert [t.get_text() for t in losses.get_legend().get_texts()] == ["all labels (7)"]
    assert removed.lines[0].get_ydata().tolist() == [3, 2, 1]


def test_curves_show_the_tables(finished, tmp_path):
    figure = noise_detection.curves(finished())
    shares, removed, losses = figure.axes
    lines = {line.get_label(): line for line in shares.lines}
    np.testing.assert_array_equal(lines["AUC of the losses"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(lines["AUC of the losses"].get_ydata(), 3 * [0.9])
    # The precision is not defined where the table is empty.
    assert np.isnan(lines["precision of those left out"].get_ydata()).all()
    estimated = lines["estimated share of noisy labels"].get_ydata()
    np.testing.assert_array_equal(estimated, [0, 0.25, 0.3])
    assert list(lines["true share"].get_ydata()) == 2 * [3 / 8]
    np.testing.assert_array_equal(removed.lines[0].get_ydata(), [3, 2, 1])
    names = [t.get_text() for t in losses.get_legend().get_texts()]
    assert names == ["not replaced (4)", "replaced (3)"]
    clean, noisy = (sum(bar.get_height() for bar in bars) for bars in losses.containers)
    assert (clean, noisy) == (4, 3)
    plots.save(figure, tmp_path / "curves.png")


def test_the_true_share_of_one_case_is_drawn(finished):
    folder = finished()
    head, first, *_ = (folder / "suspects.csv").read_text(encoding="utf-8").splitlines()
    (folder / "suspects.csv").write_text(f"{head}\n{first}\n", encoding="utf-8")
    lines = {line.get_label(): line for line in noise_detection.curves(folder).axes[0].lines}
    assert list(lines["true share"].get_ydata()) == [1, 1]


def test_a_folder_without_the_tables_is_refused(finished):
    folder = finished()
    (folder / "suspects.csv").unlink()
    for draw in (noise_detection.worst, noise_detection.curves):
        with pytest.raises(FileNotFoundError, match="suspects.csv: not there, the run has no"):
            draw(folder)


@pytest.mark.slow
def test_the_showcase_of_a_run_with_a_strategy(tmp_path):
    config = adl.get_config("smoke").base
    with config.unlocked():
        config.data.replacement.update({"share": 0.5, "overlap": 0.6})
        config.train.strategy = "adl"
        config.train.epochs = 1
        config.adl.estimate = True
        config.evaluate.surface = False
    train.train_and_evaluate(config, tmp_path)
    drawn = of_run.figures(tmp_path)
    assert set(drawn) == {"suspects", "detection"}
    titles = [axes.get_title().split("\n") for axes in drawn["suspects"].axes]
    assert len(titles) == 20
    assert {title[2].split(",")[0] for title in titles} == {"replaced", "not replaced"}
    losses = [float(title[1].removeprefix("loss ")) for title in titles]
    assert losses == sorted(losses, reverse=True)
    for name, figure in drawn.items():
        plots.save(figure, tmp_path / f"{name}.png")
