"""The cells of a study and what becomes of them, with a trainer that trains nothing."""

import json
import os
import pathlib

import ml_collections
import pytest

from noisyjax.studies import grid


def _config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "base": {"method": "", "seed": -1, "data": {"labels_per_image": 0}},
            "axes": (
                (
                    "labels",
                    (("dense", {}), ("one", {"data.labels_per_image": 1})),
                ),
                ("method", (("vote", {"method": "majority"}), ("ours", {"method": "cm_trace"}))),
            ),
            "seeds": (3, 5),
        }
    )


def fake_train(config, workdir):
    """Writes what it was asked to do; fails on one method and seed."""
    if config.method == "majority" and config.seed == 5:
        raise RuntimeError("no luck")
    path = pathlib.Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    (path / "who.json").write_text(json.dumps(sorted(os.sched_getaffinity(0))))
    return {"score": float(config.seed + 10 * config.data.labels_per_image)}


def test_cells_are_the_product_of_the_levels_with_seeds_innermost():
    cells = grid.cells(_config())
    assert [cell.folder for cell in cells[:3]] == [
        "dense/vote/seed3",
        "dense/vote/seed5",
        "dense/ours/seed3",
    ]
    assert len(cells) == 8
    assert cells[-1].levels == {"labels": "one", "method": "ours"}
    assert cells[-1].config.data.labels_per_image == 1
    assert cells[-1].config.seed == 5
    assert cells[0].config.data.labels_per_image == 0


def test_a_level_that_changes_an_unknown_field_is_refused():
    config = _config()
    config.axes = (("method", (("typo", {"data.label_per_image": 1}),)),)
    with pytest.raises(KeyError, match="label_per_image"):
        grid.cells(config)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_cell_is_reported_and_leaves_the_others_alone(tmp_path, workers):
    cells = grid.cells(_config())
    outcomes = {
        o.cell.folder: o for o in grid.run(cells, tmp_path, workers=workers, train=fake_train)
    }
    assert set(outcomes) == {cell.folder for cell in cells}
    failed = {folder for folder, outcome in outcomes.items() if outcome.error}
    assert failed == {"dense/vote/seed5", "one/vote/seed5"}
    assert "no luck" in outcomes["one/vote/seed5"].error
    assert outcomes["one/ours/seed5"].summary == {"score": 15.0}


def test_workers_have_cores_of_their_own(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core")
    list(grid.run(grid.cells(_config()), tmp_path, workers=2, train=fake_train))
    used = {tuple(json.loads(path.read_text())) for path in tmp_path.rglob("who.json")}
    assert used <= {tuple(cores[0::2]), tuple(cores[1::2])}
