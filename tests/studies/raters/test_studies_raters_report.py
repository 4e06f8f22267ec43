"""Raters whose mistakes are known get the numbers that these mistakes make."""

import csv
import dataclasses
import io
import types

import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import train
from noisyjax.data import source
from noisyjax.data.labels import assemble
from noisyjax.methods import base
from noisyjax.studies.raters import figures, references, report, scores

N, SIDE = 6, 12
NAMES = ("exact", "twice", "half", "blind", "absent")


def discs(shape=(SIDE, SIDE), *, persistent=True):
    """A block as truth; raters who draw it right, twice, half, not at all, or are absent."""
    truth = np.zeros((N, *shape), np.uint8)
    truth[:, ..., 2:6, 4:8] = 1
    twice, half, blind = truth.copy(), truth.copy(), np.zeros_like(truth)
    twice[:, ..., 2:10, 4:8] = 1
    half[:, ..., 4:6, 4:8] = 0
    # Image 5 shows nothing; who draws double sees something.
    truth[5], half[5] = 0, 0
    labels = np.stack([truth, twice, half, blind, 1 - truth], axis=1)
    masks = np.ones((N, len(NAMES)), bool)
    masks[:, 4] = False
    masks[0, 2] = False
    return source.Source(
        name="discs",
        examples=source.ArrayExamples(
            np.random.default_rng(0).random((N, *shape, 1), np.float32), truth, labels, masks
        ),
        num_classes=2,
        class_names=("background", "disc"),
        spacing=(1.0,) * len(shape),
        has_truth=True,
        rater_names=NAMES,
        persistent_raters=persistent,
    )


@pytest.fixture(scope="module")
def result():
    return scores.build(references.from_source(discs(), by="truth"))


def test_each_rater_gets_their_numbers(result):
    exact, twice, half, blind, absent = result.raters
    assert [rater.images for rater in result.raters] == [6, 6, 5, 6, 0]
    assert exact.sensitivity == exact.specificity == exact.dice.mean == exact.trace == 1
    # 16 voxels in five images, 32 drawn in all six.
    outside = 5 * (144 - 16) + 144
    np.testing.assert_allclose(twice.specificity, 1 - (5 * 16 + 32) / outside, rtol=1e-6)
    np.testing.assert_allclose(twice.dice.mean, 5 / 6 * 2 / 3, rtol=1e-6)
    assert (twice.bias.mean, twice.bias.count, twice.bias.undefined) == (1, 5, 1)
    assert (twice.missed, twice.added, twice.worst[0]) == (0, 1, 5)
    np.testing.assert_allclose(half.sensitivity, 0.5)
    np.testing.assert_allclose(half.trace, 0.75)
    assert (half.bias.mean, half.worst[-1]) == (-1, 5)
    assert (blind.missed, blind.bias.count, float(blind.sensitivity[0])) == (5, 0, 0)
    assert np.isnan(absent.sensitivity).all()
    assert (absent.worst, absent.dice.count) == ((), 0)


def test_agreement_is_with_those_who_labelled_the_image(result):
    # Image 0, without "half": exact has twice at 2/3 and blind at 0.
    np.testing.assert_allclose(result.cases.agreement[0], [1 / 3, 1 / 3, np.nan, 0, np.nan])
    assert np.isnan(result.cases.dice[0, 2])


def test_volumes_give_the_same_numbers(result):
    volumes = scores.build(references.from_source(discs((2, SIDE, SIDE)), by="truth"))
    for one, other in zip(result.raters, volumes.raters, strict=True):
        np.testing.assert_allclose(one.specificity, other.specificity)
        assert one.dice == pytest.approx(other.dice, nan_ok=True)
        assert one.worst == other.worst
    assert len(figures.overview(volumes).axes) == 8


@pytest.mark.parametrize("by", ["staple", "spatial_staple", "majority"])
def test_raters_who_agree_define_the_truth(by):
    data = discs()
    examples = data.examples
    copies = examples.labels[:, [0, 0, 0, 1, 2]]
    data = dataclasses.replace(
        data, examples=dataclasses.replace(examples, labels=copies, rater_masks=None)
    )
    reference = references.from_source(data, by=by)
    np.testing.assert_array_equal(reference.truth, examples.truths)
    result = scores.build(reference)
    assert [rater.images for rater in result.raters] == [N] * 5
    np.testing.assert_allclose(result.raters[0].dice.mean, 1)
    np.testing.assert_allclose(result.cms.sum(axis=1), 1, atol=1e-5)
    assert result.raters[4].trace < result.raters[0].trace


def test_simulated_annotators_are_compared_with_the_truth_they_came_from():
    reference = references.from_source(
        discs(persistent=False), ids=[0, 1, 2], by="truth", panel=("blank", "blank"), seed=1
    )
    result = scores.build(reference)
    assert reference.names == ("blank_0", "blank_1")
    assert result.notes == ()
    assert [rater.missed for rater in result.raters] == [3, 3]


def test_raters_who_are_not_persistent_are_noted(tmp_path):
    reference = references.from_source(discs(persistent=False), by="truth")
    result = scores.build(reference)
    assert "not the same persons" in report.markdown(result)
    figure = figures.overview(result)
    titles = " ".join(part._suptitle.get_text() for part in figure.subfigs)
    assert "not the same" in titles.replace("\n", " ")


def _run(monkeypatch, data, predict):
    examples = assemble.label(
        data, np.arange(N), panel=None, seed=0, include_truth=True, raters=NAMES[:3]
    )
    method = types.SimpleNamespace(predict=predict)
    run = types.SimpleNamespace(
        config=types.SimpleNamespace(
            method="fake",
            data=types.SimpleNamespace(panel=()),
            evaluate=types.SimpleNamespace(batch_size=4),
        ),
        experiment=types.SimpleNamespace(
            method=method, examples={"test": examples}, rater_names=NAMES[:3], data=data
        ),
    )
    monkeypatch.setattr(train, "restore", lambda workdir, *, checkpoint, options: (run, {}))


@pytest.mark.parametrize(("estimate", "area"), [("network", 16), ("posterior", 32)])
def test_the_truth_is_the_networks_alone_or_with_the_labels(monkeypatch, estimate, area):
    cms = jnp.array([[[0.6, 0.4], [0.4, 0.6]], [[1, 1e-3], [0, 0.999]], [[0.6, 0.4], [0.4, 0.6]]])

    def predict(variables, image):
        mask = jnp.zeros(image.shape[:-1]).at[:, 2:6, 4:8].set(1)
        probs = jnp.stack([0.7 - 0.4 * mask, 0.3 + 0.4 * mask], axis=-1)
        spread = jnp.broadcast_to(cms[:, None, None], (len(image), 3, SIDE, SIDE, 2, 2))
        return base.Prediction(probs, spread)

    _run(monkeypatch, discs(), predict)
    reference = references.from_run("somewhere/run", estimate=estimate)
    # The second rater, whose matrix is nearly the identity, draws twice as much.
    assert reference.truth.shape == (N, SIDE, SIDE)
    assert (reference.truth[:5].sum(axis=(1, 2)) == area).all()
    np.testing.assert_allclose(reference.cms, cms, atol=3e-6)
    assert reference.title == "discs, test, fake"
    assert [rater.images for rater in scores.build(reference).raters] == [6, 6, 5]


def test_a_network_without_raters_is_refused(monkeypatch):
    def predict(variables, image):
        return base.Prediction(jnp.ones((*image.shape[:-1], 2)) / 2)

    _run(monkeypatch, discs(), predict)
    with pytest.raises(ValueError, match="the method fake has no confusion matrices"):
        references.from_run("run")
    with pytest.raises(ValueError, match=r"split: .*test.*got 'val'"):
        references.from_run("run", split="val")
    with pytest.raises(ValueError, match="estimate: expected one of .*got 'guess'"):
        references.from_run("run", estimate="guess")


def test_an_unknown_fusion_is_named():
    with pytest.raises(ValueError, match="by: expected one of .*got 'sampled'"):
        references.from_source(discs(), by="sampled")


def test_the_files_hold_every_number(result, tmp_path):
    report.write(result, tmp_path / "new")
    written = {path.name for path in (tmp_path / "new").iterdir()}
    assert written == {"raters.md", "raters.csv", "raters_cases.csv", "raters.png"}
    assert (tmp_path / "new" / "raters.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "new" / "raters.csv", newline="") as file:
        lines = {line["rater"]: line for line in csv.DictReader(file)}
    assert float(lines["half"]["sensitivity"]) == 0.5
    assert lines["twice"]["worst"].split()[0] == "discs[5]"
    with open(tmp_path / "new" / "raters_cases.csv", newline="") as file:
        cases = list(csv.DictReader(file))
    # Five numbers for each label that was given.
    assert len(cases) == 5 * (4 * N - 1)
    dice = [
        c for c in cases if (c["case"], c["rater"], c["metric"]) == ("discs[5]", "twice", "dice")
    ]
    assert [float(case["value"]) for case in dice] == [0]
    table = (tmp_path / "new" / "raters.md").read_text()
    assert "discs: 6 images, compared with the known truth" in table
    assert "| absent |      0 |" in table


def test_several_classes_have_numbers_of_their_own():
    labels = np.zeros((1, 2, 4, 4), np.uint8)
    labels[:, :, 0], labels[:, :, 1] = 1, 2
    truth = labels[:, 0].copy()
    labels[:, 1, 1, :2] = 1
    data = source.Source(
        name="nested",
        examples=source.ArrayExamples(np.zeros((1, 4, 4, 1), np.float32), truth, labels),
        num_classes=3,
        class_names=("background", "rim", "core"),
        spacing=(1.0, 1.0),
        has_truth=True,
        rater_names=("a", "b"),
    )
    result = scores.build(references.from_source(data, by="truth"))
    np.testing.assert_allclose(result.raters[1].sensitivity, [1, 0.5])
    np.testing.assert_allclose(result.raters[1].specificity, [10 / 12, 1], rtol=1e-6)
    assert result.raters[1].bias.mean == 0
    head, rows = report.class_rows(result)
    assert head[1:] == [f"{k} {c}" for k in ("sensitivity", "specificity") for c in ("rim", "core")]
    assert rows[1][:3] == ["b", "1.000", "0.500"]
    assert "sensitivity core" in report.markdown(result)
    line = next(csv.DictReader(io.StringIO(report.rater_csv(result))))
    assert float(line["sensitivity/core"]) == 1
    assert len(figures.overview(result).axes) == 5


def test_the_table_of_one_rater_has_a_header(result):
    table = report.rater_csv(result._replace(raters=result.raters[1:2]))
    lines = [line.split(",")[:2] for line in table.splitlines()]
    assert lines == [["rater", "images"], [NAMES[1], "6"]]


def test_comparisons_are_of_the_same_raters(result):
    figure = figures.comparison({"truth": result, "again": result})
    assert [axes.get_title() for axes in figure.axes][0] == "sensitivity"
    assert len(figure.axes[0].patches) == 2 * len(NAMES)
    renamed = result._replace(reference=result.reference._replace(names=tuple("abcde")))
    with pytest.raises(ValueError, match="expected them on the same raters"):
        figures.comparison({"truth": result, "other": renamed})
