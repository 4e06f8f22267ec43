"""Cases that are kept under the hash of what they were made from."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from noisyjax.data.store import chunked, kept

_CUT = {"a": (0, 1)}
_LARGE = np.arange(60 * 50, dtype=np.int16).reshape(60, 50)


def _stored(folder, name="x", array=_LARGE):
    calls = []

    def make():
        calls.append(1)
        return {"a": array, "small": np.array([0.1, np.nan, -np.inf], np.float32)}

    return kept.stored(folder, name, _CUT, make), len(calls)


def test_the_digest_changes_with_content_order_and_options(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"abc")
    other.write_bytes(b"de")
    options = {"spacing": (1.0, 2.0), "box": ""}

    def digest(paths, **changes):
        return kept.digest([kept.of_file(path) for path in paths], {**options, **changes})

    digests = {
        digest([one, other]),
        digest([other, one]),
        digest([one, other], box="labels"),
        digest([one]),
    }
    assert len(digests) == 4
    moved = tmp_path / "moved"
    moved.write_bytes(b"abc")
    contents = [kept.of_file(path) for path in (moved, other)]
    assert kept.digest(contents, dict(reversed(options.items()))) == digest([one, other])
    one.write_bytes(b"abd")
    assert digest([one, other]) not in digests


def test_cases_are_made_once_and_read_back(tmp_path):
    for made in (1, 0):
        arrays, calls = _stored(tmp_path / "new")
        assert calls == made
        assert isinstance(arrays["a"], chunked.Chunked)
        assert (arrays["a"].shape, arrays["a"].dtype) == ((60, 50), "int16")
        np.testing.assert_array_equal(arrays["a"], _LARGE)
        np.testing.assert_array_equal(arrays["a"][7:9, 3], _LARGE[7:9, 3])
        assert arrays["small"].dtype == np.float32
        np.testing.assert_array_equal(arrays["small"], np.float32([0.1, np.nan, -np.inf]))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_a_folder_may_be_relative_to_the_current_one_and_that_may_change(tmp_path, monkeypatch):
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    arrays, _ = _stored("../there")
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(arrays["a"], _LARGE)
    assert _stored("../there")[1] == 0


def test_a_small_array_that_unpacks_to_more_is_no_record(tmp_path):
    _stored(tmp_path)
    path = tmp_path / "x" / kept.RECORD
    record = json.loads(path.read_text())
    del record["digest"]
    record["small"]["small"]["values"] = kept._packed(np.zeros(10**6, np.float32))
    path.write_text(json.dumps({**record, "digest": kept._digest(record)}))
    assert kept.read(tmp_path / "x") is None


def _data_file(folder):
    return max((p for p in (folder / "x" / "a").rglob("*") if p.is_file()), key=os.path.getsize)


def test_every_changed_byte_is_noticed(tmp_path):
    """Of the values and of what says where they are; never is something else read."""
    arrays, _ = _stored(tmp_path)
    path = _data_file(tmp_path)
    written = path.read_bytes()
    for place in range(0, len(written), 7):
        changed = bytearray(written)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"x/a: expected the chunks that were written, got"):
            arrays["a"][...]
    path.write_bytes(written)
    np.testing.assert_array_equal(arrays["a"], _LARGE)


@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "no record", "no JSON", "edited"])
def test_what_is_damaged_is_made_again(tmp_path, damage):
    _stored(tmp_path)
    path, record = _data_file(tmp_path), tmp_path / "x" / kept.RECORD
    right = record.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"0")
    elif damage == "no record":
        record.unlink()
    elif damage == "no JSON":
        record.write_text("{")
    else:
        content = json.loads(right)
        content["large"]["a"]["shape"] = [30, 100]
        record.write_text(json.dumps(content))
    arrays, calls = _stored(tmp_path)
    assert calls == 1
    np.testing.assert_array_equal(arrays["a"], _LARGE)
    assert record.read_bytes() == right
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_files_of_another_case_are_made_again(tmp_path):
    _stored(tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    arrays, calls = _stored(tmp_path, "y", _LARGE + 1)
    assert calls == 1
    np.testing.assert_array_equal(arrays["a"], _LARGE + 1)


def test_what_cannot_be_read_is_not_damaged(tmp_path):
    _stored(tmp_path)
    (tmp_path / "x" / kept.RECORD).unlink()
    (tmp_path / "x" / kept.RECORD).symlink_to(kept.RECORD)
    with pytest.raises(OSError, match=r"case\.json"):
        _stored(tmp_path)


def test_who_comes_later_keeps_what_is_there(tmp_path):
    """Two processes make the same case: a reader of the first one's loses nothing."""

    def make():
        _stored(tmp_path)
        return {"a": _LARGE, "small": np.zeros(1)}

    arrays = kept.stored(tmp_path, "x", _CUT, make)
    assert arrays["small"].shape == (3,)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


_CONTAINER = """
import os, socket, sys
import numpy as np
from noisyjax.data.store import kept
os.getpid, socket.gethostname = lambda: 7, lambda: sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(40):
    arrays = {"x": np.full(1000, i), "y": np.arange(i)}
    made = kept.stored(sys.argv[1], f"{i:032x}", {}, lambda: arrays)
    assert all(np.array_equal(made[key], arrays[key]) for key in arrays), i
"""


def test_two_containers_on_one_folder_make_each_case(tmp_path):
    command = [sys.executable, "-c", _CONTAINER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*command, "one"], **pipes) as one,
        subprocess.Popen([*command, "other"], **pipes) as other,
    ):
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("go\n")
            process.stdin.close()
    assert one.returncode == other.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{i:032x}" for i in range(40)}

    def not_made():
        raise AssertionError("not what was written")

    for i in range(40):
        assert kept.stored(tmp_path, f"{i:032x}", {}, not_made)["x"][0] == i


def test_a_case_that_fails_leaves_nothing(tmp_path):
    def make():
        raise ValueError("no such case")

    with pytest.raises(ValueError, match="no such case"):
        kept.stored(tmp_path / "new", "x", _CUT, make)
    with pytest.raises(ValueError, match="not one of the supported data types"):
        kept.write(tmp_path / "new" / "x", {"a": _LARGE, "b": np.array([{}] * 3000)}, _CUT)
    assert not list((tmp_path / "new").iterdir())
