"""Order, padding, resumption and sharding of batches."""

import itertools
import threading

import numpy as np
import pytest

from noisyjax.data import pipeline


def _examples(n):
    return [{"image": np.full((2, 2, 1), i, np.float32), "id": np.int32(100 + i)} for i in range(n)]


def _train(n=11, **options):
    options = {"batch_size": 4, "seed": 0, "num_steps": 9, **options}
    return list(pipeline.train_batches(_examples(n), **options))


def _assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_every_example_comes_once_an_epoch_and_padding_weighs_nothing():
    batches = _train()
    assert len(batches) == 9
    for epoch in range(3):
        part = batches[3 * epoch : 3 * epoch + 3]
        ids = np.concatenate([b["id"] for b in part])
        weights = np.concatenate([b["weight"] for b in part])
        assert sorted(ids[weights > 0].tolist()) == list(range(100, 111))
        assert weights.tolist() == [1.0] * 11 + [0.0]
        assert ids[-1] in ids[:-1]
        assert all((b["epoch"] == epoch).all() for b in part)


def test_examples_have_their_weights_and_padding_none():
    weights = np.arange(1, 12, dtype=np.float32) / 4
    for batch in _train(weights=weights):
        padding = len(np.unique(batch["id"])) < 4 or 0 in batch["weight"]
        expected = (batch["id"] - 99).astype(np.float32) / 4
        expected[-1] *= not padding
        np.testing.assert_array_equal(batch["weight"], expected)
    plain, same = _train(), _train(weights=np.ones(11, np.float32))
    _assert_same(plain, same)


def test_batches_have_fixed_shapes_and_the_documented_dtypes():
    for batch in _train():
        assert batch["image"].shape == (4, 2, 2, 1)
        shapes = {key: value.shape for key, value in batch.items() if key != "image"}
        assert shapes == {"id": (4,), "weight": (4,), "epoch": (4,)}
        assert {key: value.dtype.name for key, value in batch.items()} == {
            "image": "float32",
            "id": "int32",
            "weight": "float32",
            "epoch": "int32",
        }
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0] + 100, batch["id"])


def test_epochs_and_seeds_have_orders_of_their_own():
    def ids(batches):
        return np.concatenate([b["id"] for b in batches]).tolist()

    batches = _train()
    assert ids(batches[:3]) != ids(batches[3:6])
    assert ids(batches) == ids(_train())
    assert ids(batches) != ids(_train(seed=1))


@pytest.mark.parametrize("start", [0, 1, 3, 8, 9])
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(start):
    _assert_same(_train(start_step=start), _train()[start:])


def test_a_longer_run_starts_like_a_shorter_one():
    _assert_same(_train(num_steps=12)[:9], _train())


@pytest.mark.parametrize("count", [2, 4])
def test_the_slices_of_all_processes_are_the_batch_of_one(count):
    whole = _train()
    parts = [_train(process_index=p, process_count=count) for p in range(count)]
    joined = [
        {key: np.concatenate([part[k][key] for part in parts]) for key in whole[k]}
        for k in range(len(whole))
    ]
    _assert_same(joined, whole)


@pytest.mark.parametrize(("threads", "prefetch"), [(0, 0), (1, 1), (4, 3)])
def test_reading_ahead_changes_nothing(threads, prefetch):
    _assert_same(_train(threads=threads, prefetch=prefetch), _train())


def test_a_batch_larger_than_the_data_is_padded_with_real_examples():
    (batch,) = _train(3, batch_size=8, num_steps=1)
    assert batch["weight"].tolist() == [1.0] * 3 + [0.0] * 5
    assert set(batch["id"].tolist()) == {100, 101, 102}


@pytest.mark.parametrize("n", [8, 11])
def test_evaluation_reads_in_order_once(n):
    batches = list(pipeline.eval_batches(_examples(n), batch_size=4))
    assert len(batches) == pipeline.steps_per_epoch(n, 4)
    ids = np.concatenate([b["id"][b["weight"] > 0] for b in batches])
    assert ids.tolist() == list(range(100, 100 + n))
    assert all(b["image"].shape == (4, 2, 2, 1) and (b["epoch"] == 0).all() for b in batches)


def test_evaluation_is_shared_among_processes():
    parts = [
        list(pipeline.eval_batches(_examples(5), batch_size=4, process_index=p, process_count=2))
        for p in range(2)
    ]
    assert [b["id"].tolist() for b in parts[0]] == [[100, 101], [104, 100]]
    assert [b["weight"].tolist() for b in parts[1]] == [[1.0, 1.0], [0.0, 0.0]]


def _readers():
    return [t for t in threading.enumerate() if t.name.startswith("grain")]


def _end(threads):
    for thread in threads:
        thread.join(timeout=60)
    return not any(thread.is_alive() for thread in threads)


def test_threads_end_with_the_batches_and_when_the_caller_stops():
    assert _end(_readers())
    iterator = pipeline.train_batches(_examples(11), batch_size=2, seed=0, num_steps=1000)
    assert len(list(itertools.islice(iterator, 3))) == 3
    readers = _readers()
    assert readers
    iterator.close()
    assert _end(readers)
    _train()
    assert _end(_readers())


def test_an_error_while_reading_reaches_the_caller():
    class Broken:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            raise OSError(f"example {index} cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        next(pipeline.eval_batches(Broken(), batch_size=2))


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (0, {}, "the split is empty"),
        (5, {"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        (5, {"process_count": 3}, "batch_size: expected a multiple of 3 processes, got 4"),
        (5, {"process_count": 2, "process_index": 2}, r"process_index: expected one in 0\.\.1"),
        (5, {"start_step": 10}, r"start_step: expected one in 0\.\.9, got 10"),
    ],
)
def test_impossible_requests_raise_at_once(n, options, message):
    options = {"batch_size": 4, "seed": 0, "num_steps": 9, **options}
    with pytest.raises(ValueError, match=message):
        pipeline.train_batches(_examples(n), **options)


def test_evaluation_raises_at_once_as_well():
    with pytest.raises(ValueError, match="the split is empty"):
        pipeline.eval_batches([], batch_size=4)
    with pytest.raises(ValueError, match="a multiple of 3 processes"):
        pipeline.eval_batches(_examples(5), batch_size=4, process_count=3)
