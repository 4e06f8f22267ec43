"""Tables: nothing undefined is lost, files are whole."""

import math
import os

import numpy as np
import pytest

from noisyjax.metrics import tabulate


def _rows():
    values = np.array([[1.0, np.nan], [0.5, 0.25]])
    return tabulate.case_rows("dice", values, ["case 1", 'b,"2"'], ["organ", "lesion"])


def test_case_rows_are_one_per_case_and_class():
    rows = _rows()
    assert [(row.case, row.label) for row in rows[:2]] == [
        ("case 1", "organ"),
        ("case 1", "lesion"),
    ]
    (row,) = tabulate.case_rows("ged", np.array([0.5], np.float32), ["a"])
    assert row == ("a", "", "ged", 0.5)


def test_case_rows_refuse_names_that_do_not_fit():
    with pytest.raises(ValueError, match=r"values: expected shape \(2, 1\).* got \(2, 2\)"):
        tabulate.case_rows("dice", np.zeros((2, 2)), ["a", "b"], ["organ"])


def test_rows_survive_the_file_exactly(tmp_path):
    path = tmp_path / "deep" / "cases.csv"
    rows = [*_rows(), tabulate.Row("c", "", "rvd", math.inf), tabulate.Row("d", "", "x", 1 / 3)]
    tabulate.write_rows(path, rows)
    again = tabulate.read_rows(path)
    assert [row[:3] for row in again] == [row[:3] for row in rows]
    np.testing.assert_array_equal([row.value for row in again], [row.value for row in rows])
    assert path.read_text().splitlines()[0] == "case,class,metric,value"
    assert os.listdir(path.parent) == ["cases.csv"]


def test_read_rows_names_the_file_with_other_columns(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other.csv: expected the columns"):
        tabulate.read_rows(path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "cases.csv"
    tabulate.write_rows(path, _rows())
    before = path.read_text()

    def broken():
        yield _rows()[0]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        tabulate.write_rows(path, broken())
    assert path.read_text() == before


def test_aggregate_counts_the_undefined():
    summaries = tabulate.aggregate(_rows())
    assert summaries.keys() == {"dice"}
    np.testing.assert_allclose(summaries["dice"].mean, (1.0 + 0.5 + 0.25) / 3)
    np.testing.assert_allclose(summaries["dice"].sd, np.std([1.0, 0.5, 0.25], ddof=1))
    assert summaries["dice"][2:] == (3, 1)
    by_class = tabulate.aggregate(_rows(), per_class=True)
    assert by_class["dice/organ"] == (0.75, np.std([1.0, 0.5], ddof=1), 2, 0)
    assert by_class["dice/lesion"][::2] == (0.25, 1)
    assert by_class["dice/lesion"].undefined == 1
    assert math.isnan(by_class["dice/lesion"].sd)


def test_summary_of_nothing_and_of_infinity():
    nothing = tabulate.summarise([math.nan])
    assert math.isnan(nothing.mean)
    assert nothing[2:] == (0, 1)
    infinite = tabulate.summarise([1.0, math.inf])
    assert infinite.mean == math.inf
    assert math.isnan(infinite.sd)


def test_mean_sd_shows_what_is_missing():
    assert tabulate.mean_sd(tabulate.Summary(0.5, 0.125, 3, 0), digits=3) == "0.500 ± 0.125"
    assert tabulate.mean_sd(tabulate.Summary(0.5, math.nan, 1, 0)) == "0.50"
    assert tabulate.mean_sd(tabulate.Summary(math.nan, math.nan, 0, 2)) == "– (2 undefined)"
    assert tabulate.mean_sd(tabulate.Summary(math.nan, math.nan, 0, 0)) == "–"
    partly = tabulate.Summary(0.5, 0.125, 2, 1)
    assert tabulate.mean_sd(partly, form=".1f", missing="of") == "0.5 ± 0.1 (2 of 3)"
    assert tabulate.mean_sd(tabulate.Summary(math.nan, math.nan, 0, 2), missing="of") == "–"


def test_markdown_table_is_aligned():
    text = tabulate.markdown_table(
        ["method", "Dice"], [["ours", "82.92 ± 0.19"], ["mean", "38.36"]]
    )
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| :----- | -----------: |"
    narrow = tabulate.markdown_table(["a", "b"], [["1", "2"]])
    assert narrow == "| a   |   b |\n| :-- | --: |\n| 1   |   2 |\n"
    with pytest.raises(ValueError, match="rows: expected 2 entries"):
        tabulate.markdown_table(["a", "b"], [["1"]])
