import pytest

from noisyjax.tool.page import decisions

RATERS = {"a": ("anna", "ben"), 'b, "2"': ("anna",), "c": ()}
HEADER = "case,rater,decision,weight\n"


def _write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_decisions_are_read_as_a_page_writes_them(tmp_path):
    text = HEADER + 'a,ben,drop,\n"b, ""2""",,weight,0.25\nc,,keep,\n'
    read = decisions.read(_write(tmp_path / "decisions.csv", text), RATERS)
    assert read == [
        ("a", "ben", "drop", 1.0),
        ('b, "2"', "", "weight", 0.25),
        ("c", "", "keep", 1.0),
    ]
    # A spreadsheet's byte-order mark and ends of lines.
    other = _write(tmp_path / "other.csv", "\ufeff" + text.replace("\n", "\r\n"))
    assert decisions.read(other, RATERS) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns case,rater,decision,weight, got"),
        ("case;rater;decision;weight\n", "expected the columns"),
        (HEADER + "a,ben,drop\n", "line 2: expected 4 cells, got 3"),
        (HEADER + "a,ben,drop,\nd,,drop,\n", "line 3: case: .*'d'"),
        (HEADER + "a,cleo,drop,\n", "line 2: rater of a: .*'cleo'"),
        (HEADER + "a,ben,delete,\n", "line 2: decision: .*'delete'"),
        (HEADER + "a,ben,weight,\n", "line 2: weight: expected a number >= 0, got ''"),
        (HEADER + "a,ben,weight,-1\n", "line 2: weight: expected a number >= 0, got '-1'"),
        (HEADER + "a,ben,weight,inf\n", "line 2: weight: expected a number >= 0, got 'inf'"),
        (HEADER + "a,ben,keep,2\n", "line 2: weight: expected \"\" for 'keep', got '2'"),
        (HEADER + "a,ben,keep,\na,ben,drop,\n", "line 3: expected one decision on each label"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = _write(tmp_path / "decisions.csv", text)
    with pytest.raises(ValueError, match=message) as error:
        decisions.read(path, RATERS)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="expected CSV in UTF-8"):
        decisions.read(path, RATERS)
