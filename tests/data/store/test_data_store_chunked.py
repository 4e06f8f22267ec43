"""Arrays in chunks, against the arrays."""

import concurrent.futures
import os
import pickle

import numpy as np
import pytest

from noisyjax.data.store import chunked


@pytest.mark.parametrize(
    ("shape", "cut", "dtype", "chunk"),
    [
        ((70, 33, 5, 2), (0, 1, 2), np.float32, (32, 32, 5, 2)),
        ((3, 130, 140), (1, 2), np.uint8, (3, 128, 128)),
        ((40000,), (0,), np.int32, (32768,)),
        ((0, 8, 9), (1, 2), np.uint8, (1, 8, 9)),
    ],
)
def test_parts_are_those_of_the_array(tmp_path, shape, cut, dtype, chunk):
    array = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    made = chunked.write(tmp_path / "a", array, cut=cut)
    assert (made.shape, made.chunk, made.ndim, len(made)) == (shape, chunk, len(shape), shape[0])
    assert made.nbytes == array.nbytes
    read = chunked.of_json(tmp_path / "a", made.to_json())
    assert read == made
    np.testing.assert_array_equal(read, array)
    assert np.asarray(read).dtype == dtype
    where = tuple(slice(n // 3, n - n // 4) for n in shape)
    np.testing.assert_array_equal(read[where], array[where])
    np.testing.assert_array_equal(read[-2:], array[-2:])


@pytest.mark.parametrize(("shape", "cut"), [((70, 33, 40, 1), (0, 1, 2)), ((2, 70, 33), (1, 2))])
def test_a_large_array_lies_in_several_files(tmp_path, monkeypatch, shape, cut):
    monkeypatch.setattr(chunked, "_FILE", 2**14)
    monkeypatch.setattr(chunked, "_EDGES", {2: 16, 3: 16})
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    read = chunked.of_json(tmp_path / "a", chunked.write(tmp_path / "a", array, cut=cut).to_json())
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file() and p.name != "zarr.json"]
    assert len(files) > 1
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(read[-2:], array[-2:])


def test_a_patch_reads_the_chunks_around_it_alone(tmp_path):
    array = np.random.default_rng(0).normal(size=(96, 96, 96)).astype(np.float32)
    made = chunked.write(tmp_path / "a", array, cut=(0, 1, 2))
    path = max((p for p in (tmp_path / "a").rglob("*") if p.is_file()), key=os.path.getsize)
    content = bytearray(path.read_bytes())
    # The first chunk, of what is less than a hundredth of the file.
    content[100] ^= 1
    path.write_bytes(content)
    np.testing.assert_array_equal(made[32:96, 32:96, 32:96], array[32:, 32:, 32:])
    with pytest.raises(ValueError, match=f"^{made.path}: expected the chunks"):
        made[0:2, 0:2, 0:2]


def test_threads_share_an_array_and_processes_may_have_it(tmp_path):
    array = np.arange(64 * 64 * 3).reshape(64, 64, 3)
    made = chunked.write(tmp_path / "a", array, cut=(0, 1))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda i: made[i], range(64)))
    np.testing.assert_array_equal(np.stack(rows), array)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)), array)
