"""Rows of a table that share their trainings."""

import pytest

from noisyjax.studies import grid, readout

ROWS = (
    ("CE, 1/2", "ce", {"dice": "test_dice"}),
    ("SD, 1/2", "sd", {"dice": "test_dice"}),
    ("CE, best", "ce", {"dice": "test_dice@dice"}),
)


def _outcomes():
    out = []
    for a in ("0", "1"):
        for loss, numbers in (("ce", (0.5, 0.7)), ("sd", (0.6, 0.65))):
            cell = grid.Cell({"a": a, "loss": loss, "fold": "f"}, 0, None, f"{a}/{loss}")
            summary = dict(zip(("test_dice", "test_dice@dice"), numbers, strict=True))
            out.append(grid.Outcome(cell, summary))
    return out


def test_a_training_is_read_by_every_row_that_names_it():
    rows = readout.read(_outcomes(), (("method", "loss", ROWS),))
    assert [tuple(row.cell.levels.values()) for row in rows] == [
        (a, method, "f") for a in ("0", "1") for method in ("CE, 1/2", "SD, 1/2", "CE, best")
    ]
    assert list(rows[0].cell.levels) == ["a", "method", "fold"]
    assert [row.summary["dice"] for row in rows[:3]] == [0.5, 0.6, 0.7]


def test_a_failed_training_fails_all_its_rows_and_a_missing_number_stays_missing():
    outcomes = _outcomes()
    outcomes[0] = outcomes[0]._replace(summary=None, error="no luck")
    del outcomes[2].summary["test_dice@dice"]
    rows = readout.read(outcomes, (("method", "loss", ROWS),))
    assert [row.error for row in rows[:3]] == ["no luck", None, "no luck"]
    assert "dice" not in rows[-1].summary


def test_without_readouts_nothing_changes():
    assert readout.read(_outcomes(), ()) == _outcomes()


def test_a_row_of_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="best: expected a level of loss .*'focal'"):
        readout.read(_outcomes(), (("method", "loss", (("best", "focal", {}),)),))
