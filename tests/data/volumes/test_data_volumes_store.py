"""Arrays kept under the hash of what they were made from."""

import numpy as np
import pytest

from noisyjax.data.volumes import store


def test_the_digest_changes_with_content_order_and_options(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"abc")
    other.write_bytes(b"de")
    options = {"spacing": (1.0, 2.0), "box": ""}
    digests = {
        store.digest([one, other], options),
        store.digest([other, one], options),
        store.digest([one, other], {**options, "box": "labels"}),
        store.digest([one], options),
    }
    assert len(digests) == 4
    moved = tmp_path / "moved"
    moved.write_bytes(b"abc")
    again = store.digest([moved, other], dict(reversed(options.items())))
    assert again == store.digest([one, other], options)
    one.write_bytes(b"abd")
    assert store.digest([one, other], options) not in digests


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
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["x.a.npy", "x.b.npy"]


@pytest.mark.parametrize("damage", ["missing", "cut", "pickled"])
def test_what_is_damaged_is_made_again(tmp_path, damage):
    def make():
        return {"a": np.arange(4)}

    store.stored(tmp_path, "x", ("a",), make)
    path = tmp_path / "x.a.npy"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        np.save(path, np.array([{}], object), allow_pickle=True)
    arrays = store.stored(tmp_path, "x", ("a",), make)
    np.testing.assert_array_equal(arrays["a"], np.arange(4))
