"""Arrays kept under the hash of what they were made from."""

import struct
import subprocess
import sys

import numpy as np
import pytest

from noisyjax.data.volumes import store


def test_the_digest_changes_with_content_order_and_options(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"abc")
    other.write_bytes(b"de")
    options = {"spacing": (1.0, 2.0), "box": ""}

    def digest(paths, **changes):
        return store.digest([store.of_file(path) for path in paths], {**options, **changes})

    digests = {
        digest([one, other]),
        digest([other, one]),
        digest([one, other], box="labels"),
        digest([one]),
    }
    assert len(digests) == 4
    moved = tmp_path / "moved"
    moved.write_bytes(b"abc")
    contents = [store.of_file(path) for path in (moved, other)]
    again = store.digest(contents, dict(reversed(options.items())))
    assert again == digest([one, other])
    one.write_bytes(b"abd")
    assert digest([one, other]) not in digests


def test_arrays_are_made_once_and_mapped(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"a": np.arange(6).reshape(2, 3), "b": np.ones(2, bool), "unused": np.zeros(1)}

    for _ in range(2):
        arrays = store.stored(tmp_path / "new", "x", ("a", "b"), make)
        assert calls == [1]
        assert isinstance(arrays["a"], np.memmap)
        np.testing.assert_array_equal(arrays["a"], [[0, 1, 2], [3, 4, 5]])
        with pytest.raises(ValueError, match="read-only"):
            arrays["a"][0, 0] = 1
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["x.a.npy", "x.b.npy", "x.json"]


def test_every_changed_byte_is_noticed(tmp_path):
    """Of the values, which no format notices, and of the header: dtype, order and shape."""
    expected = np.arange(6, dtype=np.int16).reshape(2, 3)
    calls = []

    def make():
        calls.append(1)
        return {"a": expected}

    store.stored(tmp_path, "x", ("a",), make)
    path = tmp_path / "x.a.npy"
    written = path.read_bytes()
    places = [*range(len(written) - 12, len(written)), *range(0, 128, 3)]
    for count, place in enumerate(places, 2):
        changed = bytearray(written)
        changed[place] ^= 1
        path.write_bytes(changed)
        arrays = store.stored(tmp_path, "x", ("a",), make)
        assert len(calls) == count
        assert arrays["a"].dtype == np.int16
        np.testing.assert_array_equal(arrays["a"], expected)


@pytest.mark.parametrize("content", ["", "[]", '{"name": "x", "sha256": {"a": "0"}}', "no"])
def test_what_has_no_right_checksum_is_made_again(tmp_path, content):
    store.stored(tmp_path, "x", ("a",), lambda: {"a": np.arange(4)})
    path = tmp_path / "x.json"
    right = path.read_bytes()
    path.write_text(content) if content != "no" else path.unlink()
    arrays = store.stored(tmp_path, "x", ("a",), lambda: {"a": np.arange(4)})
    np.testing.assert_array_equal(arrays["a"], np.arange(4))
    assert path.read_bytes() == right


def test_the_files_of_another_name_are_made_again(tmp_path):
    store.stored(tmp_path, "x", ("a",), lambda: {"a": np.zeros(3)})
    store.stored(tmp_path, "y", ("a",), lambda: {"a": np.ones(3)})
    for end in ("a.npy", "json"):
        (tmp_path / f"y.{end}").write_bytes((tmp_path / f"x.{end}").read_bytes())
    arrays = store.stored(tmp_path, "y", ("a",), lambda: {"a": np.ones(3)})
    np.testing.assert_array_equal(arrays["a"], [1, 1, 1])


def _headed(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(64)


_HEADERS = {
    "with an open header": "{'descr': '|u1', 'fortran_order': False, 'shape': (4,\n",
    "with True for an extent": "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 4)}\n",
    "with a list for a name": "{[]: 1}\n",
}


@pytest.mark.parametrize(
    "damage", ["missing", "cut", "pickled", "empty", "of another case", *_HEADERS]
)
def test_what_is_damaged_is_made_again(tmp_path, damage):
    def make():
        return {"a": np.arange(4)}

    store.stored(tmp_path, "x", ("a",), make)
    path = tmp_path / "x.a.npy"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage in _HEADERS:
        path.write_bytes(_headed(_HEADERS[damage]))
    elif damage == "pickled":
        np.save(path, np.array([{}], object), allow_pickle=True)
    else:
        np.save(path, np.arange(4)[::-1])
    arrays = store.stored(tmp_path, "x", ("a",), make)
    np.testing.assert_array_equal(arrays["a"], np.arange(4))


def test_what_cannot_be_read_is_not_damaged(tmp_path):
    store.stored(tmp_path, "x", ("a",), lambda: {"a": np.arange(4)})
    (tmp_path / "x.a.npy").unlink()
    (tmp_path / "x.a.npy").symlink_to("x.a.npy")
    with pytest.raises(OSError, match=r"x\.a\.npy"):
        store.stored(tmp_path, "x", ("a",), lambda: {"a": np.zeros(4)})


_CONTAINER = """
import os, socket, sys
import numpy as np
from noisyjax.data.volumes import store
os.getpid, socket.gethostname = lambda: 7, lambda: sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(40):
    arrays = {"x": np.full(1000, i), "y": np.arange(i)}
    made = store.stored(sys.argv[1], f"{i:032x}", ("x", "y"), lambda: arrays)
    assert all(np.array_equal(made[key], arrays[key]) for key in arrays), i
"""


def test_two_containers_on_one_folder_make_each_entry(tmp_path):
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
    names = {f"{i:032x}{end}" for i in range(40) for end in (".x.npy", ".y.npy", ".json")}
    assert {path.name for path in tmp_path.iterdir()} == names

    def not_made():
        raise AssertionError("not what was written")

    for i in range(40):
        assert store.stored(tmp_path, f"{i:032x}", ("x", "y"), not_made)["x"][0] == i
