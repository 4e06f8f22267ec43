"""Decisions on labels, and what a network learns from then."""

import json

import fold_fakes
import folder_fakes
import jax
import numpy as np
import pytest

import noisyjax
from noisyjax.data import sources
from noisyjax.data.volumes import read_write
from noisyjax.tool import folder, record
from noisyjax.tool.training import decided, run_files
from noisyjax.train import saved_runs

HEADER = "case,rater,decision,weight\n"


def _csv(path, *rows):
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def _write(root, path, *rows, mended=None):
    """The folder as it was decided on, beside it as it was."""
    opened = folder.open_folder(root)
    made = decided.plan(opened, decided.read(_csv(path, *rows), opened), mended=mended)
    return opened, decided.write(made, path.with_suffix(""))


@pytest.fixture
def rated(tmp_path):
    return folder_fakes.make(tmp_path / "in", raters=("anna", "ben", "cleo"), tests=1)


@pytest.fixture
def single(tmp_path):
    return folder_fakes.make(tmp_path / "in", tests=1)


def test_labels_are_dropped_and_mended_and_cases_weigh(rated, tmp_path):
    before, after = _write(
        rated,
        tmp_path / "decided.csv",
        *("case_00,ben,drop,", "case_03,cleo,mend,", "case_01,,weight,0.5", "case_02,anna,keep,"),
        *("case_02,ben,weight,0", "case_03,ben,weight,0.4"),
    )
    assert list(after.cases) == list(before.cases)
    assert {name: tuple(case.raters) for name, case in after.cases.items()} == {
        "case_00": ("anna", "cleo"),
        "case_01": ("anna", "cleo"),
        "case_02": ("anna",),
        "case_03": ("anna", "ben", "cleo"),
        "case_04": (),
    }
    # Of a case it is the mean of its labels' weights.
    assert after.layout.weights == {"case_01": 0.5, "case_03": pytest.approx((1 + 0.4 + 1) / 3)}
    old, new = before.read("case_03"), after.read("case_03")
    expected = noisyjax.consensus(old.labels, 3, rater_mask=np.array([True, True, False])).label
    np.testing.assert_array_equal(new.labels[2], expected)
    assert (expected != old.labels[2]).any()
    for name, case in after.cases.items():
        assert case.truth.samefile(before.cases[name].truth)
        assert case.images[0].samefile(before.cases[name].images[0])
        for rater, path in case.raters.items():
            kept = (name, rater) != ("case_03", "cleo")
            assert path.samefile(before.cases[name].raters[rater]) == kept


def test_single_labels_are_mended_by_a_folder_and_cases_without_are_left_out(single, tmp_path):
    mended = tmp_path / "mended"
    folder_fakes.save(mended / "case_01.nii.gz", folder_fakes.label(8))
    before, after = _write(
        single,
        tmp_path / "decided.csv",
        *("case_00,,drop,", "case_01,truth,mend,", "case_02,truth,weight,3"),
        mended=mended,
    )
    assert list(after.cases) == ["case_01", "case_02", "case_03", "case_04"]
    np.testing.assert_array_equal(
        read_write.read(after.cases["case_01"].truth).array, folder_fakes.label(8)
    )
    assert after.layout.weights == {"case_02": 3.0}
    assert json.loads((after.root / "dataset.json").read_text())["numTraining"] == 3
    # Going on changes nothing.
    made = decided.plan(before, [])
    assert list(decided.write(made, after.root).cases) == list(after.cases)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (["case_01,,mend,"], "case_01: expected a label of another rater that is kept"),
        ([f"case_0{i},,drop," for i in range(4)], "expected a label to learn from to be left"),
        (["case_09,,drop,"], "line 2: case: .*case_09"),
        (["case_00,anna,drop,"], "line 2: rater of case_00: .*anna"),
    ],
)
def test_what_cannot_be_is_refused(single, tmp_path, rows, match):
    with pytest.raises(ValueError, match=match):
        _write(single, tmp_path / "decided.csv", *rows)
    assert not (tmp_path / "decided").exists()


def test_the_truth_of_raters_never_teaches(rated, tmp_path):
    rows = [f"case_0{i},,drop," for i in range(4)]
    with pytest.raises(ValueError, match="expected a label to learn from to be left"):
        _write(rated, tmp_path / "decided.csv", *rows)
    (rated / "ratersTr/cleo").rename(rated / "ratersTr/truth")
    with pytest.raises(ValueError, match="expected no rater of the name 'truth'"):
        _write(rated, tmp_path / "decided.csv", "case_00,,drop,")


def test_a_network_learns_from_what_was_decided(tmp_path):
    data = fold_fakes.make(tmp_path / "in", 4)
    given = _csv(tmp_path / "decisions.csv", "case_00,,drop,", "case_01,truth,weight,2")
    options = {"folds": 1, "epochs": 1, "changes": fold_fakes.CHANGES}
    options |= {"plan": fold_fakes.tiny_plan(), "decisions": given}
    run = tmp_path / "run"
    made = noisyjax.train_folds(data, run, **options)
    assert made.problems == ()
    trained = saved_runs.restore_without_data(run_files.fold(run, 0))
    assert trained.facts.cases["train"] == ("case_01", "case_02", "case_03")
    source = sources.load("folder", root=str(run / "decided"))
    assert source.weights.tolist() == [2.0, 1.0, 1.0, 1.0]
    assert "trained on in, with 2 decisions on its labels, by" in (run / "summary.html").read_text()
    assert noisyjax.train_folds(data, run, **options).finished
    for other in (None, _csv(tmp_path / "other.csv", "case_00,,drop,")):
        with pytest.raises(record.OtherRun, match="train.json is of decisions="):
            noisyjax.train_folds(data, run, **options | {"decisions": other})
    with pytest.raises(ValueError, match="mended: expected decisions beside it"):
        noisyjax.train_folds(data, run, **options | {"decisions": None, "mended": data})


def test_weights_that_are_all_alike_change_nothing(tmp_path):
    data = fold_fakes.make(tmp_path / "in", 4)
    options = {"folds": 1, "epochs": 1, "changes": fold_fakes.CHANGES}
    options["plan"] = fold_fakes.tiny_plan()
    alike = _csv(tmp_path / "alike.csv", *(f"case_0{i},,weight,2" for i in range(4)))
    other = _csv(tmp_path / "other.csv", "case_00,,weight,5")
    params = []
    for name, given in (("plain", None), ("alike", alike), ("other", other)):
        noisyjax.train_folds(data, tmp_path / name, decisions=given, **options)
        trained = saved_runs.restore_without_data(run_files.fold(tmp_path / name, 0))
        params.append(jax.tree.leaves(trained.variables))
    plain, alike, other = params
    for one, two in zip(plain, alike, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(plain, other, strict=True))
