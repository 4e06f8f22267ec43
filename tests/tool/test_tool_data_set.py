"""A data set made from another."""

import json
import os

import folder_fakes
import pytest

import noisyjax
from noisyjax.tool import data_set


@pytest.fixture
def file(tmp_path):
    (tmp_path / "old").write_text("text")
    return tmp_path / "old"


def test_a_file_is_linked_copied_or_left(file, tmp_path):
    for how in data_set.IMAGES:
        data_set.place(file, tmp_path / "new" / how, how=how)
    assert sorted(os.listdir(tmp_path / "new")) == ["copy", "link"]
    assert (tmp_path / "new" / "link").samefile(file)
    assert not (tmp_path / "new" / "copy").samefile(file)
    # What is there stays.
    (tmp_path / "new" / "copy").write_text("mine")
    data_set.place(file, tmp_path / "new" / "copy", how="copy")
    assert (tmp_path / "new" / "copy").read_text() == "mine"
    with pytest.raises(ValueError, match="^images: expected one of"):
        data_set.place(file, tmp_path / "other", how="move")


def test_a_file_is_copied_where_it_cannot_be_linked(file, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    data_set.place(file, tmp_path / "new", how="link")
    assert (tmp_path / "new").read_text() == "text"
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_a_link_is_linked_to_what_it_names(file, tmp_path):
    (tmp_path / "short").symlink_to("old")
    data_set.place(tmp_path / "short", tmp_path / "new" / "file", how="link")
    assert (tmp_path / "new" / "file").samefile(file)
    assert not (tmp_path / "new" / "file").is_symlink()


def test_the_spacing_of_a_tiff_goes_with_its_image(tmp_path):
    root = folder_fakes.make(tmp_path / "in", count=2, end=".tif", shape=(4, 8, 9))
    (root / "imagesTr/case_00.json").write_text('{"spacing": [5, 0.5, 0.25]}')
    opened = noisyjax.open_folder(root)
    assert opened.read("case_00").spacing == (5, 0.5, 0.25)
    for case in opened.cases.values():
        data_set.place_images(case, tmp_path / "out", how="link")
    names = sorted(os.listdir(tmp_path / "out/imagesTr"))
    assert names == ["case_00.json", "case_00_0000.tif", "case_01_0000.tif"]


def test_dataset_json_is_of_the_cases_there_are(tmp_path):
    root = folder_fakes.make(tmp_path / "in", count=3)
    folder_fakes.describe(
        root,
        training=[{"image": "a"}],
        numTraining=3,
        patients={"case_00": "anna", "case_01": "anna", "case_02": "ben"},
        licence="free",
    )
    opened = noisyjax.open_folder(root)
    data_set.describe(opened, tmp_path, ["case_00", "case_02"], with_ignore=True)
    assert json.loads((tmp_path / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1, "lesion": 2, "ignore": 3},
        "file_ending": ".nii.gz",
        "numTraining": 2,
        "patients": {"case_00": "anna", "case_02": "ben"},
        "licence": "free",
    }


def test_regions_stay_what_they_were(tmp_path):
    root = folder_fakes.make(tmp_path / "in", count=2)
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder_fakes.describe(root, labels=labels, regions_class_order=[1, 2])
    opened = noisyjax.open_folder(root)
    assert opened.class_names == ("background", "class_1", "core")
    assert opened.regions == {"whole": (1, 2)}
    data_set.describe(opened, tmp_path, ["case_00"], with_ignore=True)
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert content["labels"] == {**labels, "ignore": 3}
    assert content["regions_class_order"] == [1, 2]
