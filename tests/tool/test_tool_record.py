"""The record of a command's folder."""

import json

import pytest

import noisyjax
from noisyjax.studies import run_tables
from noisyjax.tool import record


def _open(where, options=None, **changes):
    given = {"digest": "abc", "options": options or {"method": "staple", "window": (3, 3)}}
    given |= {"source": where / "in", "makes": ("labelsTr", "table.csv"), **changes}
    return record.open_record(where / "out", "fuse", **given)


def _made(where, *, problems=()):
    made = _open(where)
    made.begin()
    (made.out / "labelsTr").mkdir()
    (made.out / "labelsTr" / "a.png").write_text("a")
    made.end(problems)


def test_opening_writes_nothing(tmp_path):
    assert not _open(tmp_path).finished
    assert list(tmp_path.iterdir()) == []


def test_the_same_again_is_finished(tmp_path):
    _made(tmp_path)
    assert _open(tmp_path).finished
    content = json.loads((tmp_path / "out" / "fuse.json").read_text())
    assert content["options"] == {"method": "staple", "window": [3, 3]}
    assert content["noisyjax"] == noisyjax.__version__
    assert set(content["versions"]) == {"jax", "numpy"}


def test_what_was_cut_short_or_met_a_problem_goes_on(tmp_path):
    _open(tmp_path).begin()
    assert not _open(tmp_path).finished
    _open(tmp_path).end(["labelsTr/a.png: cut off"])
    assert not _open(tmp_path).finished
    assert (tmp_path / "out" / "fuse.json").read_text().count("cut off") == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"options": {"method": "mean"}}, "is of method='staple', window=\\[3, 3\\]$"),
        ({"digest": "xyz"}, "is of other files in .*in or contents$"),
    ],
)
def test_other_runs_are_named(tmp_path, changes, match):
    _made(tmp_path)
    with pytest.raises(record.OtherRun, match=match):
        _open(tmp_path, **changes)


def test_cases_may_be_added_and_mended(tmp_path):
    made = _open(tmp_path, digest={"a": "1", "b": "2"})
    made.begin()
    made.end(["b: cut off"], cases=["a"])
    assert not _open(tmp_path, digest={"a": "1", "b": "3", "c": "4"}).finished
    for digest in ({"a": "9", "b": "2"}, {"b": "2"}):
        with pytest.raises(record.OtherRun, match="is of other files in .*in: a$"):
            _open(tmp_path, digest=digest)


def test_the_table_is_that_of_an_earlier_run(tmp_path):
    table = record.Table(tmp_path / "table.csv", ("case", "dice"))
    table.rows |= {"b": [(0.5,), (0.25,)], "a": [(1,)]}
    table.save(["a", "c", "b"])
    again = record.Table(tmp_path / "table.csv", ("case", "dice"))
    assert again.rows == {"a": [["1"]], "b": [["0.5"], ["0.25"]]}
    again.save(["b"])
    assert (tmp_path / "table.csv").read_text() == "case,dice\nb,0.5\nb,0.25\n"
    assert record.Table(tmp_path / "table.csv", ("case", "hd95")).rows == {}


@pytest.mark.parametrize("content", [b"case,dice\n\xff,1\n", b"case,dice\n" + b"x" * 200_000])
def test_a_table_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(record.OtherRun, match="table.csv: expected the table that the command"):
        record.Table(path, ("case", "dice"))
    with pytest.raises(ValueError, match="table.csv: expected the table of a run, got"):
        run_tables.read(path, missing="")


def test_overwriting_removes_what_the_command_made(tmp_path):
    _made(tmp_path)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    opened = _open(tmp_path, {"method": "mean"}, overwrite=True)
    assert not opened.finished
    assert [path.name for path in opened.out.iterdir()] == ["mine.txt"]
    opened.begin()
    assert _open(tmp_path, {"method": "mean"}).path == opened.path


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_text("")
    assert not _open(tmp_path).finished
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(record.OtherRun, match="out: expected a new or empty folder"):
            _open(tmp_path, overwrite=overwrite)
    with pytest.raises(record.OtherRun, match="expected a folder outside of"):
        _open(tmp_path, source=tmp_path)
    (tmp_path / "out" / "fuse.json").write_text("[")
    with pytest.raises(record.OtherRun, match="fuse.json: expected JSON"):
        _open(tmp_path)


def test_the_digest_is_of_names_and_contents(tmp_path):
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    a, b, c = (tmp_path / name for name in "abc")
    whole = record.digest([a, b, c], tmp_path)
    assert whole == record.digest([c, b, a], tmp_path)
    b.write_text("3")
    assert whole != record.digest([a, b, c], tmp_path)
    b.write_text("2")
    assert whole == record.digest([a, b, c], tmp_path)
    b.rename(c)
    assert whole != record.digest([a, b, c], tmp_path)
