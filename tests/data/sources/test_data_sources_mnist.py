"""MNIST: reading, refusing what is not MNIST, and downloading from (local) mirrors."""

import functools
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest

from noisyjax.data import sources
from noisyjax.data.sources import mnist


def _zipped(content):
    # Without the time of day, that the names of tests made from it are the same in every process.
    return gzip.compress(content, mtime=0)


def _idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.asarray(array.shape, ">u4").tobytes()
    return _zipped(header + array.tobytes())


def _small_files():
    rng = np.random.default_rng(0)
    files = {}
    for part, size in (("train", 10), ("t10k", 4)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte.gz"] = _idx(images)
        digits = rng.integers(0, 10, size, dtype=np.uint8)
        files[f"{part}-labels-idx1-ubyte.gz"] = _idx(digits)
    return files


@pytest.fixture
def small(monkeypatch):
    """Makes a tiny MNIST the real one: its sizes and checksums; returns its files."""
    files = _small_files()
    monkeypatch.setattr(mnist, "SIZES", {"train": 10, "t10k": 4})
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist, "CHECKSUMS", sums)
    # A test that forgot its own mirrors must fail, not reach out.
    monkeypatch.setattr(mnist, "MIRRORS", ())
    return files


def _write(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    """Serves folders over HTTP on this machine; returns ``folder -> url``."""
    servers = []

    def start(folder):
        handler = functools.partial(_Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_small_mnist_is_read_and_split(small, tmp_path):
    loaded = sources.load("mnist", root=str(_write(tmp_path, small)), seed=3)
    raw = gzip.decompress(small["t10k-images-idx3-ubyte.gz"])[16:]
    images = np.frombuffer(raw, np.uint8).reshape(4, 28, 28)
    example = loaded.examples[11]
    np.testing.assert_allclose(example["image"][..., 0], images[1] / np.float32(255), rtol=1e-6)
    np.testing.assert_array_equal(example["truth"], images[1] >= 128)
    assert loaded.case_name(11).startswith("t10k-00001-")
    assert loaded.splits["test"].tolist() == [10, 11, 12, 13]
    assert len(loaded.splits["val"]) == 2
    both = np.concatenate([loaded.splits["train"], loaded.splits["val"]])
    assert sorted(both.tolist()) == list(range(10))


def test_the_seed_decides_which_images_validate(small, tmp_path):
    root = str(_write(tmp_path, small))
    validating = [mnist.load(root=root, seed=s).splits["val"].tolist() for s in (0, 0, 1, 2, 3)]
    assert validating[0] == validating[1]
    assert len({tuple(v) for v in validating}) > 1


def test_missing_file_is_named_with_the_remedy(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3.*missing.*download=True"):
        mnist.load(root=str(tmp_path))


def test_truncated_or_wrong_file_is_named_with_both_checksums(small, tmp_path):
    name = "t10k-labels-idx1-ubyte.gz"
    root = _write(tmp_path, {**small, name: small[name][:-3]})
    with pytest.raises(ValueError, match=f"{name}: expected md5 {mnist.CHECKSUMS[name]}, got"):
        mnist.load(root=str(root))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip at all", "expected a gzipped idx file"),
        (_idx(np.zeros((3, 3), np.uint8)), "idx header 00000802.*got 00000802"),
        (_idx(np.zeros((9,), np.uint8)), "idx header 00000802.*got 00000801"),
        (_zipped(b"\0\0\x0d\2" + b"\0\0\0\2\0\0\0\3"), "idx header 00000802.*got 00000d02"),
        (_zipped(b"\0\0\10\2\0\0\0\2\0\0\0\3abcde"), "expected 6 bytes of data, got 5"),
        (_zipped(b"\0\0\10\2\0\0\0\2\0\0\0\3" + b"x" * 10**6), "6 bytes of data, got more"),
    ],
)
def test_read_idx_refuses_what_is_not_the_array(tmp_path, monkeypatch, content, message):
    # Even a file whose checksum is right is read with care.
    monkeypatch.setattr(mnist, "CHECKSUMS", {"a.gz": hashlib.md5(content).hexdigest()})
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        mnist.read_idx(str(tmp_path / "a.gz"), (2, 3))


def test_download_falls_back_to_the_next_mirror(small, tmp_path, serve, monkeypatch):
    empty, wrong, good = (tmp_path / name for name in ("empty", "wrong", "good"))
    urls = [
        serve(_write(empty, {})),
        serve(_write(wrong, dict.fromkeys(small, b"something else"))),
        serve(_write(good, small)),
    ]
    monkeypatch.setattr(mnist, "MIRRORS", tuple(urls))
    root = tmp_path / "new" / "root"
    assert len(mnist.load(root=str(root), download=True).examples) == 14
    assert sorted(path.name for path in root.iterdir()) == sorted(small)
    # What is there is not fetched again.
    monkeypatch.setattr(mnist, "MIRRORS", ())
    assert len(mnist.load(root=str(root), download=True).examples) == 14


def test_download_reports_every_mirror_when_all_fail(small, tmp_path, monkeypatch):
    wrong = _write(tmp_path / "wrong", dict.fromkeys(small, b"something else"))
    mirrors = (f"{(tmp_path / 'nowhere').as_uri()}/", f"{wrong.as_uri()}/")
    monkeypatch.setattr(mnist, "MIRRORS", mirrors)
    root = tmp_path / "root"
    with pytest.raises(ConnectionError, match="no mirror") as caught:
        mnist.load(root=str(root), download=True)
    assert all(mirror in str(caught.value) for mirror in mirrors)
    assert "expected md5" in str(caught.value)
    assert list(root.iterdir()) == []


def test_val_fraction_outside_of_the_range_raises(tmp_path):
    with pytest.raises(ValueError, match="val_fraction: .* got 1.0"):
        mnist.load(root=str(tmp_path), val_fraction=1.0)


def test_real_mnist(real_data):
    loaded = sources.load("mnist", root=str(real_data / "mnist"))
    assert {name: len(ids) for name, ids in loaded.splits.items()} == {
        "train": 48_000,
        "val": 12_000,
        "test": 10_000,
    }
    assert loaded.case_name(0) == "train-00000-5"
    assert loaded.case_name(60_000) == "t10k-00000-7"
    example = loaded.examples[60_000]
    assert example["image"].shape == (28, 28, 1)
    assert example["image"].max() <= 1.0
    assert 0.05 < example["truth"].mean() < 0.3
