"""A whole study, small: cells, table, pictures, and taking it up again."""

import pytest

from configs import quickstart
from noisyjax.studies import showcase, study


def _config():
    config = quickstart.get_config("smoke")
    config.axes = (("method", quickstart.METHODS[:1] + quickstart.METHODS[2:3]),)
    config.seeds = (0,)
    config.consensus = ("dice",)
    config.workers = 1
    return config


@pytest.mark.slow
def test_a_study_ends_with_a_table_and_pictures_and_can_be_taken_up_again(tmp_path, capsys):
    outcomes = study.run_study(_config(), tmp_path)
    assert [outcome.error for outcome in outcomes] == [None, None]
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert rows[0] == "| method | Dice | CM RMSE | GED² | seconds | seeds |"
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| majority", "| CM + trace"]
    assert rows[2].split(" | ")[2] == "–"
    drawn = [f"{kind}-cm-trace-seed0.png" for kind in ("raters", "contours", "matrices")]
    for picture in ("curves.png", "consensus.png", *drawn):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert "CM + trace" in capsys.readouterr().out

    table = (tmp_path / "table.csv").read_text()
    (tmp_path / "table.csv").unlink()
    again = study.run_study(_config(), tmp_path)
    assert [outcome.summary for outcome in again] == [outcome.summary for outcome in outcomes]
    assert (tmp_path / "table.csv").read_text() == table

    with pytest.raises(ValueError, match="majority has no confusion matrices"):
        showcase.figures(tmp_path / "majority/seed0")
