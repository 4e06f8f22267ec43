"""Pictures of what a method thinks of annotations: which cases are drawn, and with what."""

import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import matplotlib.colors
import matplotlib.contour
import numpy as np
import pytest

from noisyjax import train
from noisyjax.core import files
from noisyjax.data import source
from noisyjax.data.labels import assemble
from noisyjax.methods import base
from noisyjax.studies.figures import annotation_quality, case_sheet, plots
from noisyjax.train import experiments, runs

N, SIDE, NAMES = 6, 12, ("anna", "bert", "cleo")
# From the worst to the best; the columns confidence, agreement, quality.
ORDER = (3, 0, 5, 1, 4, 2)
SCORES = {i: (0.9 - 0.1 * p, 0.5, float(p > 2)) for p, i in enumerate(ORDER)}


def _assess(variables, batch):
    """Two classes; the first rater is trusted most, and the second class least."""
    assert set(batch) == {"image", "labels", "rater_mask"}
    shape = (*batch["labels"].shape, 2)
    ramp = jnp.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2)) / 4
    sigma = jnp.broadcast_to(ramp, shape) + jnp.array([0.0, 0.25]).reshape(
        *[1] * (len(shape) - 1), 2
    )
    maps = jnp.abs((batch["labels"] > 0)[..., None] - sigma)
    zero = jnp.zeros(len(batch["labels"]))
    return base.Assessment(sigma, maps, zero, zero, zero)


def _predict(variables, image):
    mask = jnp.zeros(image.shape[:-1], jnp.int32).at[..., 3:9, 3:9].set(1)
    return base.Prediction(jax.nn.one_hot(mask, 3))


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """Makes a finished run: ``(shape, known) -> (run, its folder)``."""

    def make(shape=(SIDE, SIDE), *, known=True):
        images = np.random.default_rng(0).random((10 + N, *shape, 1), np.float32)
        truths = np.zeros((10 + N, *shape), np.uint8)
        truths[..., 1:5, 1:5] = 1
        labels = np.zeros((10 + N, len(NAMES), *shape), np.uint8)
        labels[..., 2:6, 4:8] = 1
        if len(shape) == 3:
            labels[:, :, ::2] = 0
        given = np.ones((10 + N, len(NAMES)), bool)
        given[13, 1] = False
        data = source.Source(
            name="blocks",
            examples=source.ArrayExamples(images, truths if known else None, labels, given),
            num_classes=3,
            class_names=("background", "block", "other"),
            spacing=(1.0,) * len(shape),
            has_truth=known,
            rater_names=NAMES,
        )
        ids = np.arange(10, 10 + N)
        examples = assemble.label(data, ids, panel=None, seed=0, include_truth=False)
        method = mock.Mock(spec=base.Method, predict=_predict, assess=_assess)
        experiment = mock.Mock(
            spec=experiments.Experiment,
            data=data,
            examples={"train": examples},
            method=method,
            rater_names=NAMES,
        )
        run = mock.Mock(spec=runs.Run, folder=pathlib.Path(tmp_path), experiment=experiment)
        monkeypatch.setattr(train, "restore", lambda workdir: (run, {}))
        header = ["id", "case", "confidence", "agreement", "quality"] + ["dice"] * known
        rows = [[10 + i, f"case-{i}", *SCORES[i], *[0.25] * known] for i in ORDER]
        files.write_text(tmp_path / "quality.csv", files.to_csv(header, rows))
        return run, tmp_path

    return make


def _outlines(axes):
    drawn = [c for c in axes.collections if isinstance(c, matplotlib.contour.ContourSet)]
    return [matplotlib.colors.to_hex(c.get_edgecolor()[0]) for c in drawn]


def _hex(*colours):
    return [matplotlib.colors.to_hex(colour) for colour in colours]


def _titles(figure):
    return [part.get_suptitle() for part in figure.subfigs]


def _image(axes):
    return np.asarray(axes.images[0].get_array())


def test_the_worst_come_first_with_every_annotation(finished, tmp_path):
    _, folder = finished()
    figure = annotation_quality.worst(folder, count=4)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title().split("\n") for axes in shown[:2]] == [
        ["case-3", "$u_a$ 0.90, $u_b$ 0.50", "quality 0.00, Dice 0.25"],
        ["case-0", "$u_a$ 0.80, $u_b$ 0.50", "quality 0.00, Dice 0.25"],
    ]
    assert len(shown) == 4
    # Who gave no annotation has no line, and the others keep their colours.
    assert _outlines(shown[0]) == _hex("C1", "C3", case_sheet.PREDICTION_COLOUR)
    assert _outlines(shown[1]) == _hex("C1", "C2", "C3", case_sheet.PREDICTION_COLOUR)
    named = [t.get_text() for t in figure.legends[0].get_texts()]
    assert named == [*NAMES, "prediction"]
    plots.save(figure, tmp_path / "worst.png")


def test_maps_of_the_best_and_the_worst(finished, tmp_path):
    run, _ = finished()
    figure = annotation_quality.maps(run, {}, count=2)
    assert [title.split(",")[0] for title in _titles(figure)] == [
        "best: case-2", "best: case-4", "worst: case-3", "worst: case-0",
    ]  # fmt: skip
    axes = np.array(figure.subfigs[0].axes[:15]).reshape(3, 5)
    assert _outlines(axes[0, 0]) == _hex("yellow", case_sheet.PREDICTION_COLOUR)
    assert [one.get_title() for one in axes[0, 1:4]] == list(NAMES)
    label = np.zeros((SIDE, SIDE))
    label[2:6, 4:8] = 1
    for rater in range(3):
        # The largest of the two classes.
        np.testing.assert_allclose(_image(axes[1, 1 + rater]), rater / 4 + 0.25)
        largest = np.maximum(abs(label - rater / 4), abs(label - rater / 4 - 0.25))
        np.testing.assert_allclose(_image(axes[2, 1 + rater]), largest)
    mean = np.mean([_image(axes[2, 1 + rater]) for rater in range(3)], axis=0)
    np.testing.assert_allclose(_image(axes[2, 0]), mean)
    assert _image(axes[1, 0]).sum() == 36
    plots.save(figure, tmp_path / "maps.png")


def test_an_absent_annotation_is_empty_and_out_of_the_mean(finished):
    run, _ = finished()
    axes = np.array(annotation_quality.maps(run, {}, count=1).subfigs[1].axes[:15]).reshape(3, 5)
    assert [one.axison for one in axes[:, 2]] == [False] * 3
    mean = np.mean([_image(axes[2, column]) for column in (1, 3)], axis=0)
    np.testing.assert_allclose(_image(axes[2, 0]), mean)


def test_without_a_truth_none_is_drawn(finished):
    run, _ = finished(known=False)
    figure = annotation_quality.maps(run, {}, count=1)
    assert "Dice" not in _titles(figure)[0]
    assert _outlines(figure.subfigs[0].axes[0]) == _hex(case_sheet.PREDICTION_COLOUR)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["annotation", "prediction"]


def test_of_a_volume_a_slice_with_annotations_is_shown(finished):
    run, _ = finished((4, SIDE, SIDE))
    axes = np.array(annotation_quality.maps(run, {}, count=1).subfigs[0].axes[:15]).reshape(3, 5)
    assert _image(axes[0, 0]).shape == (SIDE, SIDE)
    # The annotations are in every second slice.
    assert len(_outlines(axes[0, 1])) == 1


def test_of_few_cases_as_many_are_drawn_as_there_are(finished):
    run, _ = finished()
    assert len(annotation_quality.maps(run, {}, count=50).subfigs) == N


def test_a_folder_without_the_table_is_refused(finished):
    run, folder = finished()
    (folder / "quality.csv").unlink()
    with pytest.raises(FileNotFoundError, match="quality.csv: not there, the method judges no"):
        annotation_quality.worst(folder)
    with pytest.raises(FileNotFoundError, match="quality.csv: not there"):
        annotation_quality.maps(run, {})
