import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.tool import folder
from noisyjax.tool.page import gallery


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    root = tmp_path_factory.mktemp("gallery") / "in"
    return noisyjax.open_folder(folder_fakes.make(root, raters=("anna", "ben")))


def _labels(opened):
    def labels(name):
        case = opened.read(name)
        return gallery.Labels(opened.by_rater(case), case.spacing)

    return labels


def test_cases_are_drawn_in_the_order_given(opened):
    names = ["case_02", "case_01", "case_00"]
    cases = gallery.make(opened, names, _labels(opened), facts={"case_01": {"Dice": "0.5"}})
    assert [case.name for case in cases] == names
    assert [case.facts for case in cases] == [{}, {"Dice": "0.5"}, {}]
    # Ben has not labelled the second.
    assert [list(case.views[0].outlines) for case in cases] == [
        ["anna", "ben", "truth"],
        ["anna", "truth"],
        ["anna", "ben", "truth"],
    ]


def test_a_case_that_cannot_be_read_has_no_pictures(opened):
    def labels(name):
        if name == "case_00":
            raise folder.FolderError(["broken"])
        drawn = _labels(opened)(name)
        if name == "case_01":
            return drawn._replace(labels={"anna": np.zeros((3, 3, 3), np.uint8)})
        return drawn

    cases = gallery.make(opened, list(opened.cases), labels)
    assert [case.name for case in cases] == ["case_02", "case_03"]


def test_a_page_holds_so_many_cases_and_bytes(opened, monkeypatch):
    monkeypatch.setattr(gallery, "MOST_CASES", 3)
    assert len(gallery.make(opened, list(opened.cases), _labels(opened))) == 3
    monkeypatch.setattr(gallery, "MOST_BYTES", 1)
    assert len(gallery.make(opened, list(opened.cases), _labels(opened))) == 1
