"""Several annotators in one npz file."""

import numpy as np
import pytest

from noisyjax.data import sources
from noisyjax.data.sources import annotators_npz


def _arrays():
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)}
    for name in annotators_npz.RATERS:
        arrays[name] = rng.integers(0, 2, (6, 5, 4), dtype=np.uint8)
    arrays["idx_train"] = np.arange(3)
    arrays["idx_val"] = np.array([3])
    arrays["idx_test"] = np.array([4, 5])
    return arrays


def _save(tmp_path, arrays):
    path = tmp_path / "labels.npz"
    np.savez(path, **arrays)
    return str(path)


def test_raters_truth_and_splits_are_the_files(tmp_path):
    arrays = _arrays()
    loaded = sources.load("annotators_npz", path=_save(tmp_path, arrays))
    example = loaded.examples[4]
    assert loaded.rater_names == ("gt", "over", "under", "wrong")
    assert loaded.persistent_raters
    np.testing.assert_array_equal(example["truth"], arrays["gt"][4])
    for r, name in enumerate(loaded.rater_names):
        np.testing.assert_array_equal(example["labels"][r], arrays[name][4])
    np.testing.assert_allclose(example["image"], arrays["images"][4] / 255.0, rtol=1e-6)
    assert example["rater_mask"].all()
    assert loaded.splits["test"].tolist() == [4, 5]
    assert loaded.splits["test"].dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wrong": None, "idx_val": None}, r"missing \['wrong', 'idx_val'\]"),
        ({"images": np.zeros((6, 5, 4), np.uint8)}, r"images: expected uint8 \[N, H, W, K\]"),
        ({"images": np.zeros((6, 5, 4, 3), np.float32)}, "got float32"),
        (
            {"over": np.zeros((6, 5, 5), np.uint8)},
            r"over: expected uint8 \[N, H, W\], N = 6, H = 5",
        ),
        ({"under": np.full((6, 5, 4), 7, np.uint8)}, r"under: expected values in 0\.\.1, got 7"),
        ({"idx_val": np.array([2])}, "distinct ids"),
        ({"idx_val": np.array([9])}, r"ids: expected values in 0\.\.5, got 0\.\.9"),
    ],
)
def test_load_names_what_is_wrong(tmp_path, changes, message):
    arrays = {k: v for k, v in {**_arrays(), **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        annotators_npz.load(path=_save(tmp_path, arrays))


def test_objects_are_not_unpickled(tmp_path):
    arrays = {**_arrays(), "gt": np.array([{"a": 1}], dtype=object)}
    with pytest.raises(ValueError, match="allow_pickle=False"):
        annotators_npz.load(path=_save(tmp_path, arrays))


def test_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz"):
        annotators_npz.load(path=str(tmp_path / "none.npz"))
    whole = tmp_path / "labels.npz"
    np.savez(whole, **_arrays())
    broken = tmp_path / "broken.npz"
    broken.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match="broken.npz: expected an .npz archive"):
        annotators_npz.load(path=str(broken))
    content = bytearray(whole.read_bytes())
    content[200] ^= 255
    broken.write_bytes(content)
    with pytest.raises(ValueError, match="broken.npz: expected plain arrays, got Bad CRC"):
        annotators_npz.load(path=str(broken))
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match="one.npy: expected an .npz archive"):
        annotators_npz.load(path=str(tmp_path / "one.npy"))


def test_published_example(real_data):
    loaded = annotators_npz.load(path=str(real_data / "mnist_annotators.npz"))
    assert len(loaded.examples) == 100
    assert {name: len(ids) for name, ids in loaded.splits.items()} == {
        "train": 70,
        "val": 10,
        "test": 20,
    }
    labels = np.stack([loaded.examples[i]["labels"] for i in range(100)])
    gt, over, under, _ = labels.astype(bool).swapaxes(0, 1)
    np.testing.assert_array_equal(gt, [loaded.examples[i]["truth"] for i in range(100)])
    assert under.sum() < gt.sum() < over.sum()
