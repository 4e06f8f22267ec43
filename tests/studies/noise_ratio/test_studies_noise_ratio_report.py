"""The report on a study of noisy annotations, of runs that a made-up trainer writes."""

import json
import math
import pathlib
import re

import matplotlib.colors
import ml_collections
import numpy as np
import pytest
from scipy import stats

from noisyjax.metrics import tabulate
from noisyjax.studies import grid, study, study_fields
from noisyjax.studies.noise_ratio import figures, report, scores

# Of four cases at 0 %; the runs of seed 1 are better by 0.02 in all of them.
DICE = np.array([0.9, 0.8, 0.7, 0.6])
CHANGE = {
    0: np.zeros(4),
    20: np.array([-0.011, -0.009, -0.012, -0.008]),
    100: np.array([-0.31, -0.29, -0.32, -0.28]),
}
RATE = np.array([0.1, 0.2, 0.3, math.nan])
# Voxels kept, deleted and added; the last label is no noisy one.
LABELS = ((80, 20, 20), (50, 50, 0), (90, 10, 110), (70, 0, 0))


def _rows(prefix, dice):
    rows = []
    for metric, values in (
        ("dice", dice),
        ("false_discovery_rate", RATE),
        ("false_positive_rate", RATE / 100),
        ("jaccard", dice / 2),
    ):
        # Two classes, whose mean is the value.
        table = np.stack([values - 0.01, values + 0.01], axis=1)
        rows += tabulate.case_rows(prefix + metric, table, tuple("abcd"), ("one", "two"))
    return rows


def fake_train(config, workdir):
    """Writes what a run leaves; the second run at 20 % fails."""
    folder, percent = pathlib.Path(workdir), round(100 * config.share)
    if (percent, config.seed) == (20, 1):
        raise RuntimeError("no luck")
    dice = DICE + CHANGE[percent] + 0.02 * config.seed
    tabulate.write_rows(folder / "test_cases.csv", _rows("", dice))
    tabulate.write_rows(
        folder / "train_cases.csv", _rows("", dice - 0.1) + _rows("label_", dice - 0.2)
    )
    curve = [
        {
            "step": step,
            "train_loss": 1 / step,
            "val_nll": None if step == 4 else (step - 2) ** 2,
        }
        for step in (1, 2, 3, 4)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    text = "id,case,replaced,kind,overlap,kept,deleted,added\n"
    for i, (kept, deleted, added) in enumerate(LABELS):
        dice = 2 * kept / (2 * kept + deleted + added)
        text += f"{i},{i},{int(percent > 0 and i < 3)},,{dice},{kept},{deleted},{added}\n"
    (folder / "replaced.csv").write_text(text)
    return {"tested_step": 2.0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study's folder and outcomes, through the door that users take."""
    base = ml_collections.ConfigDict({"share": 0.0, "seed": 0, "progress": True})
    levels = tuple((f"{percent} %", {"share": percent / 100}) for percent in (0, 100, 20))
    columns = (("tested_step", "step", ".0f"),)
    config = study_fields.new("ratios", base, [("ratio", levels)], seeds=(0, 1), columns=columns)
    config.reports = ("noise_ratio",)
    config.curve = "val_nll"
    config.workers = 1
    workdir = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "train_cell", fake_train)
        outcomes = study.run_study(config, workdir)
    assert [outcome.cell.folder for outcome in outcomes if outcome.error] == ["20/seed1"]
    return workdir, outcomes


@pytest.fixture(scope="module")
def reported(finished):
    return report.report(*finished)


@pytest.fixture(scope="module")
def parts(reported):
    return reported[0]


@pytest.fixture(scope="module")
def drawn(reported):
    return reported[1]


def _but(outcomes, level):
    return [outcome for outcome in outcomes if outcome.cell.levels["ratio"] != level]


def test_scores_by_hand(parts):
    titles = ["Test", "Training, own labels", "Training, clean labels"]
    test, own, clean = parts[:3]
    assert [part.title for part in parts] == [
        *titles, *(f"{title}: against 0 %" for title in titles), "Noisy labels"
    ]  # fmt: skip
    assert test.head[:4] == ["ratio", "Dice", "sd of runs", "FDR"]
    # Sd of .9 .8 .7 .6 is .1291; that of two runs .02 apart .0141. One case has no false rates.
    rates = ["0.200 ± 0.100 (1 undefined)", "0.000", "0.200 ± 0.100 (1 undefined)", "0.000"]
    assert test.body[0] == ["0 %", "0.760 ± 0.129", "0.014", *rates, "4", "2"]
    assert test.body[1][:3] == ["20 %", "0.740 ± 0.128", "–"]
    assert test.body[1][-1] == "1"
    assert [row[0] for row in test.body] == ["0 %", "20 %", "100 %"]
    assert (own.body[0][1], clean.body[0][1]) == ("0.560 ± 0.129", "0.660 ± 0.129")


def test_tests_against_clean_labels_by_formula(finished):
    by_evaluation = scores.read(*finished)
    some, every = scores.compare(by_evaluation[scores.EVALUATIONS[0]]["dice"])
    assert (some.ratio, every.ratio) == (20.0, 100.0)
    change = CHANGE[100]
    squares = DICE.var(ddof=1) + (DICE + change).var(ddof=1)
    two_sample = 2 * stats.t.sf(0.3 / math.sqrt(squares / 4), 6)
    paired = 2 * stats.t.sf(0.3 / (change.std(ddof=1) / 2), 3)
    # Run means .75 and .77 against .45 and .47: t = .3 / sqrt(2 * .0002 / 2), 2 degrees of freedom.
    runs = 2 * stats.t.sf(0.3 / math.sqrt(0.0002), 2)
    expected = {"two-sample": two_sample, "paired": paired, "runs": runs}
    assert {name: test.p_value for name, test in every.tests.items()} == pytest.approx(expected)
    assert every.tests["two-sample"].difference == pytest.approx(-0.3)
    assert every.adjusted["two-sample"] == pytest.approx(2 * two_sample)
    # One run at 20 %: no test over runs, and nothing to correct for.
    assert math.isnan(some.tests["runs"].p_value)
    assert every.adjusted["runs"] == pytest.approx(runs)
    assert some.tests["two-sample"].p_value > 0.5
    assert scores.compare(by_evaluation[scores.EVALUATIONS[0]]["dice"][1:]) == []


def test_table_of_tests_and_of_labels(parts):
    some, every = parts[3].body[:2]
    assert some[:3] == ["Dice", "20 %", "-0.020"]
    assert some[-1] == "–"
    assert every[:4] == ["Dice", "100 %", "-0.300", "0.015 (0.030)"]
    labels = {row[0]: row[1:] for row in parts[-1].body}
    assert labels["voxels organ"] == ["117 ± 76", "100", "75 to 150"]
    assert labels["voxels deleted"] == ["27 ± 21", "20", "15 to 35"]
    # .8, 2/3 and .6; .2, .5 and .1.
    assert labels["Dice"][:2] == ["0.689 ± 0.102", "0.667"]
    assert labels["FDR"][:2] == ["0.267 ± 0.208", "0.200"]
    assert labels["cases with Dice < 0.8"][0] == "2 of 3"
    assert "100 %, seed 0" in parts[-1].note


def test_study_writes_tables_and_pictures(finished):
    workdir, _ = finished
    text = (workdir / "noise_ratio.md").read_text()
    assert re.findall("^## (.*)$", text, re.MULTILINE)[0] == "Test"
    assert "| 0 % | 0.760 ± 0.129 | 0.014 |" in text
    for kind in ("ratio", "losses", "voxels", "quality"):
        assert (workdir / f"noise_ratio-{kind}.png").read_bytes().startswith(b"\x89PNG")


def test_panels_have_means_error_bars_runs_and_stars(drawn):
    figure = drawn["ratio"]
    assert len(figure.axes) == 9
    first = figure.axes[0]
    line, _, (bars,) = first.containers[0]
    np.testing.assert_allclose(line.get_xdata().astype(float), [0, 20, 100])
    np.testing.assert_allclose(line.get_ydata().astype(float), [0.76, 0.74, 0.46])
    low, high = bars.get_segments()[0][:, 1]
    np.testing.assert_allclose([low, high], 0.76 + np.array([-1, 1]) * DICE.std(ddof=1))
    dots = [list(one.get_ydata()) for one in first.get_lines() if one.get_color() == "0.45"]
    np.testing.assert_allclose(dots[1], [0.75, 0.77])
    marks = {}
    for text in first.texts:
        marks.setdefault(text.xy[0], []).append(text.get_text())
    # Over runs, paired and two-sample, from the panel upwards.
    assert marks[100] == ["**", "***", "*"]
    assert marks[20] == ["", "***", "ns"]
    assert 0 not in marks
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        evaluation.title for evaluation in scores.EVALUATIONS
    ]
    # Rates of 0.2 % in the last row.
    rates = figure.axes[6].containers[0][0].get_ydata()
    np.testing.assert_allclose(rates.astype(float), 0.2)


def test_violins_have_medians_and_quartiles(drawn):
    (axes,) = drawn["voxels"].axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["organ", "kept", "deleted", "added"]
    *violins, quartiles = axes.collections
    assert len(violins) == 4
    deleted = [segment[0, 1] for segment in quartiles.get_segments()[6:9]]
    np.testing.assert_allclose(deleted, [15, 20, 35])
    red = matplotlib.colors.to_rgb(figures.plots.COLOURS["false positive"])
    np.testing.assert_allclose(violins[2].get_facecolor()[0, :3], red)
    (axes,) = drawn["quality"].axes
    medians = [segment[0, 1] for segment in axes.collections[-1].get_segments()[1::3]]
    np.testing.assert_allclose(medians, [2 / 3, 0.2])
    assert axes.get_title() == "3 noisy labels of 100 %, seed 0; 2 below a Dice of 0.8"


def test_losses_leave_out_the_undefined_and_mark_the_chosen_step(drawn):
    (axes,) = drawn["losses"].axes
    train, val, chosen, point = axes.get_lines()
    np.testing.assert_allclose(train.get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(val.get_xydata(), [(1, 1), (2, 0), (3, 1)])
    assert set(chosen.get_xdata()) == {2.0}
    np.testing.assert_allclose(point.get_xydata(), [(2, 0)])


def test_unfinished_studies_report_what_there_is(finished, tmp_path):
    workdir, outcomes = finished
    parts, figures = report.report(workdir, _but(outcomes, "0 %"))
    assert [part.title for part in parts][3:] == ["Noisy labels"]
    assert figures["ratio"].legends[0].get_title().get_text() == ""
    clean = [o for o in outcomes if o.cell.levels["ratio"] == "0 %" and o.cell.seed == 0]
    parts, figures = report.report(workdir, clean)
    assert [row[:3] for row in parts[0].body] == [["0 %", "0.750 ± 0.129", "–"]]
    assert sorted(figures) == ["losses", "ratio"]
    failed = [outcome._replace(summary=None, error="x") for outcome in outcomes]
    assert report.report(tmp_path, failed) == ([], {})


def test_test_cases_only_and_another_axis(finished, tmp_path):
    tabulate.write_rows(tmp_path / "x/test_cases.csv", _rows("", DICE))
    cell = finished[1][0].cell._replace(folder="x")
    both = [
        grid.Outcome(cell._replace(levels={"method": name, **cell.levels}), {"tested_step": 2.0})
        for name in ("CE", "Soft Dice")
    ]
    parts, figures = report.report(tmp_path, both)
    assert [part.title for part in parts] == ["CE: Test", "Soft Dice: Test"]
    assert [*figures] == ["ratio-ce", "losses-ce", "ratio-soft-dice", "losses-soft-dice"]
    assert len(figures["ratio-ce"].axes) == 3


def test_other_studies_and_unknown_reports_are_refused(finished, tmp_path):
    cell = grid.Cell({"noise": "10 %"}, 0, ml_collections.ConfigDict(), "x")
    with pytest.raises(ValueError, match=r"expected the axis 'ratio', got \['noise'\]"):
        report.report(tmp_path, [grid.Outcome(cell, {})])
    for level in ("ten %", "10", "10 % or so"):
        with pytest.raises(ValueError, match=f"ratio: expected a level .* got '{level}'"):
            scores.ratio(level)
    config = study_fields.new("x", ml_collections.ConfigDict(), [], seeds=(), columns=())
    config.reports = ("noise_ratios",)
    with pytest.raises(ValueError, match="reports: expected one of 'noise_ratio'"):
        study.run_study(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()
