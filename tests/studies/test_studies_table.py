"""Tables of a study on hand-made outcomes."""

import csv
import io

from noisyjax.studies import grid, table


def _outcomes() -> list[grid.Outcome]:
    def cell(method, seed):
        return grid.Cell({"method": method}, seed, None, f"{method}/seed{seed}")

    return [
        grid.Outcome(cell("vote", 0), {"dice": 0.5}),
        grid.Outcome(cell("vote", 1), {"dice": 0.7}),
        grid.Outcome(cell("ours", 0), {"dice": 0.9, "rmse": 0.25}),
        grid.Outcome(cell("ours", 1), None, "Traceback\nValueError: bad, luck"),
    ]


_COLUMNS = (table.Column("dice", "Dice"), table.Column("rmse", "CM RMSE", ".2f"))


def test_rows_fold_the_seeds_and_count_the_failures():
    # mean(0.5, 0.7) = 0.6, sample standard deviation = sqrt(0.02) = 0.1414
    assert table.rows(_outcomes(), _COLUMNS) == [
        ["vote", "0.600 ± 0.141", "–", "2/2"],
        ["ours", "0.900", "0.25", "1/2"],
    ]
    assert table.headings(_outcomes(), _COLUMNS) == ["method", "Dice", "CM RMSE", "seeds"]


def test_undefined_seeds_are_counted_beside_the_mean():
    cell = grid.Cell({"method": "m"}, 0, None, "m")
    outcomes = [grid.Outcome(cell, {"dice": 0.5}), grid.Outcome(cell, {"dice": float("nan")})]
    assert table.rows(outcomes, _COLUMNS[:1]) == [["m", "0.500 (1 of 2)", "2/2"]]


def test_tidy_csv_has_every_number_and_every_failure():
    lines = list(csv.reader(io.StringIO(table.tidy_csv(_outcomes()))))
    assert lines[0] == ["method", "seed", "metric", "value"]
    assert ["ours", "0", "rmse", "0.25"] in lines
    assert lines[-1] == ["ours", "1", "failed", "ValueError: bad, luck"]
    assert len(lines) == 6


def test_terminal_table_shows_every_row():
    head, body = table.headings(_outcomes(), _COLUMNS), table.rows(_outcomes(), _COLUMNS)
    shown = table.terminal("title", head, body)
    assert shown.row_count == 2
    assert [column.header for column in shown.columns] == head


def _folds() -> list[grid.Outcome]:
    values = {("0", "x"): (0.5, 0.7), ("0", "y"): (0.2, 0.2), ("1", "x"): (0.1, 0.3)}
    return [
        grid.Outcome(grid.Cell({"a": a, "m": m, "fold": str(f)}, 0, None, ""), {"dice": v})
        for (a, m), pair in values.items()
        for f, v in enumerate(pair)
    ]


def test_folds_are_repetitions():
    assert table.rows(_folds(), _COLUMNS[:1], ("fold",)) == [
        ["0", "x", "0.600 ± 0.141", "2/2"],
        ["0", "y", "0.200 ± 0.000", "2/2"],
        ["1", "x", "0.200 ± 0.141", "2/2"],
    ]
    assert table.headings(_folds(), _COLUMNS[:1], ("fold",)) == ["a", "m", "Dice", "runs"]


def test_a_pivot_puts_an_axis_across():
    assert table.pivot(_folds(), _COLUMNS[0], "m", ("fold",)) == (
        ["a", "x", "y"],
        [["0", "0.600 ± 0.141", "0.200 ± 0.000"], ["1", "0.200 ± 0.141", "–"]],
    )
