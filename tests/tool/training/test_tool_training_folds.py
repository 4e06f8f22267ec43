"""Which cases teach and validate in each fold."""

import folder_fakes
import pytest

from noisyjax.data.folder import nnunet_layout
from noisyjax.tool.training import folds


def _layout(root, **options):
    folder_fakes.make(root, **options)
    return nnunet_layout.read(root)


def _named(fold):
    return {part: set(names) for part, names in fold.items()}


def test_every_case_validates_once_and_those_of_images_ts_never_teach(tmp_path):
    layout = _layout(tmp_path, count=7, tests=2)
    divided = folds.divide(layout, folds=3, seed=0)
    own, tests = {f"case_{i:02d}" for i in range(7)}, {"case_07", "case_08"}
    assert sorted(name for fold in divided for name in fold["val"]) == sorted(own)
    for fold in map(_named, divided):
        assert fold["train"] | fold["val"] == own
        assert not fold["train"] & fold["val"]
        assert fold["test"] == tests
        assert len(fold["val"]) in (2, 3)
    assert divided == folds.divide(layout, folds=3, seed=0)
    assert divided != folds.divide(layout, folds=3, seed=1)


def test_of_one_fold_all_teach(tmp_path):
    (fold,) = folds.divide(_layout(tmp_path, count=3, tests=1), folds=1, seed=0)
    assert _named(fold) == {
        "train": {"case_00", "case_01", "case_02"}, "val": set(), "test": {"case_03"},
    }  # fmt: skip


def test_patients_are_kept_together(tmp_path):
    folder_fakes.make(tmp_path, 6)
    patients = {f"case_{i:02d}": f"p{i // 2}" for i in range(6)}
    folder_fakes.describe(tmp_path, patients=patients)
    layout = nnunet_layout.read(tmp_path)
    for fold in folds.divide(layout, folds=3, seed=0):
        who = {part: {patients[name] for name in names} for part, names in fold.items()}
        assert len(who["val"]) == 1
        assert not who["val"] & who["train"]
    with pytest.raises(ValueError, match="folds: expected at most 3, the patients of"):
        folds.divide(layout, folds=4, seed=0)


def test_who_is_in_both_parts_is_named(tmp_path):
    folder_fakes.make(tmp_path, 3, tests=1)
    folder_fakes.describe(tmp_path, patients={"case_01": "p", "case_03": "p"})
    with pytest.raises(ValueError, match="patients: expected those of imagesTs.*got case_01"):
        folds.divide(nnunet_layout.read(tmp_path), folds=2, seed=0)


def test_what_no_rater_labelled_is_judged_and_not_learnt(tmp_path):
    folder_fakes.make(tmp_path, 4, raters=("anna",))
    (tmp_path / "ratersTr" / "anna" / "case_02.nii.gz").unlink()
    layout = nnunet_layout.read(tmp_path)
    divided = folds.divide(layout, folds=2, seed=0)
    for fold in divided:
        assert fold["test"] == ["case_02"]
        assert len(fold["train"]) + len(fold["val"]) == 3


def test_there_is_a_fold_at_least(tmp_path):
    layout = _layout(tmp_path, count=2)
    with pytest.raises(ValueError, match="folds: expected"):
        folds.divide(layout, folds=0, seed=0)
