"""A whole study, small: cells, table, pictures, and taking it up again."""

import pytest

from configs import annotators
from noisyjax.studies import study
from noisyjax.studies.figures import of_run


@pytest.mark.slow
def test_a_study_ends_with_a_table_and_pictures_and_can_be_taken_up_again(tmp_path, capsys):
    outcomes = study.run_study(annotators.get_config("smoke"), tmp_path)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    rows = (tmp_path / "table.md").read_text().splitlines()
    names = [column[1] for column in annotators.COLUMNS]
    assert rows[0] == f"| method | {' | '.join(names)} | seeds |"
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| STAPLE",
        "| CM + trace",
        "| one: the label",
    ]
    staple, ours, one = (dict(zip(names, row.split(" | ")[1:])) for row in rows[2:])
    # Fusion has matrices of the labels it fused, CM + trace of any image.
    missing = [(row["CM RMSE"] == "–", row["CM RMSE of fused"] == "–") for row in (staple, ours)]
    assert missing == [(True, False), (False, True)]
    assert one["Dice to own label"] != "–"
    drawn = [f"{kind}-cm-trace-seed0.png" for kind in ("raters", "contours", "matrices")]
    for picture in ("curves.png", "consensus.png", *drawn):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert "CM + trace" in capsys.readouterr().out

    table = (tmp_path / "table.csv").read_text()
    (tmp_path / "table.csv").unlink()
    config = annotators.get_config("smoke")
    with config.unlocked():
        # Drawn above.
        config.showcases = ()
    again = study.run_study(config, tmp_path)
    assert [outcome.summary for outcome in again] == [outcome.summary for outcome in outcomes]
    assert (tmp_path / "table.csv").read_text() == table

    with pytest.raises(ValueError, match="staple has no confusion matrices"):
        of_run.figures(tmp_path / "staple/seed0")
