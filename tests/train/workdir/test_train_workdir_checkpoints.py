import errno
import json
import logging
import os
import pathlib
import shutil
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisyjax.train import train_state
from noisyjax.train.workdir import checkpoint_digests, checkpoints

KERNEL = np.random.default_rng(0).integers(0, 2**30, (16, 16), np.uint32).view(np.float32)


def state_at(step):
    params = {"conv": {"kernel": jnp.asarray(KERNEL), "bias": jnp.full(3, step, jnp.float32)}}
    state = train_state.create({"params": params}, optax.adam(0.1), ema=True)
    return state._replace(step=jnp.asarray(step, jnp.int32))


def fill(folder, scores, keep=2):
    with checkpoints.Checkpoints(folder, keep=keep) as store:
        for step, score in scores.items():
            store.save(step, state_at(step), score=score)
        return store


def reopen(folder, **options):
    return checkpoints.Checkpoints(folder, keep=2, **options)


def largest_file(folder):
    files = [p for p in pathlib.Path(folder).rglob("*") if p.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip_a_bit(folder):
    """Changes one bit in the middle of the stored kernel, which no compression can shorten."""
    wanted = np.asarray(KERNEL).tobytes()
    for path in pathlib.Path(folder, "state").rglob("*"):
        content = bytearray(path.read_bytes()) if path.is_file() else b""
        if wanted in content:
            content[content.index(wanted) + len(wanted) // 2] ^= 1
            path.write_bytes(content)
            return
    raise AssertionError("the kernel was not found")


def truncate(folder):
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def truncate_the_largest(folder):
    path = largest_file(folder)
    os.truncate(path, path.stat().st_size // 2)


def remove_the_state(folder):
    for path in pathlib.Path(folder, "state").rglob("*"):
        if path.is_file():
            path.unlink()


def assert_same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_a_state_comes_back_as_it_was(tmp_path):
    fill(tmp_path, {3: None})
    with reopen(tmp_path) as store:
        restored = store.restore(jax.eval_shape(lambda: state_at(3)))
    assert_same(restored, state_at(3))
    assert isinstance(restored, train_state.TrainState)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(restored))


def test_no_checkpoint_is_no_state(tmp_path):
    with reopen(tmp_path / "empty") as store:
        assert store.restore(state_at(0)) is None
        assert store.restore(state_at(0), which="best") is None


def test_the_latest_and_the_best_are_kept_across_runs(tmp_path):
    fill(tmp_path, {1: 0.5, 2: 0.1, 3: 0.4, 4: None})
    fill(tmp_path, {5: 0.3, 6: float("nan"), 7: 0.2})
    with reopen(tmp_path) as store:
        assert store.steps() == [2, 6, 7]
        assert int(store.restore(state_at(0)).step) == 7
        assert int(store.restore(state_at(0), which="best").step) == 2


def test_what_is_not_kept_is_never_there_by_half(tmp_path, monkeypatch):
    fill(tmp_path, {1: None, 2: None})
    deleted, delete = [], shutil.rmtree

    def killed(path, **options):
        deleted.append(pathlib.Path(path).relative_to(tmp_path).as_posix())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with reopen(tmp_path) as store:
            store.save(3, state_at(3), wait=True)
            store.save(4, state_at(4), wait=True)
            assert store.steps() == [3, 4]
            # As a process leaves it that is killed while it deletes.
            delete(tmp_path / "removed" / "1" / "state")
            patch.setattr(shutil, "rmtree", delete)
    assert deleted[0] == "removed/1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


def test_best_needs_a_score(tmp_path):
    fill(tmp_path, {1: None})
    with reopen(tmp_path) as store:
        with pytest.raises(ValueError, match="'best' needs a validation"):
            store.restore(state_at(0), which="best")
        with pytest.raises(ValueError, match="expected 'latest' or 'best', got 'last'"):
            store.restore(state_at(0), which="last")


def test_saving_a_step_twice_keeps_the_first(tmp_path):
    with checkpoints.Checkpoints(tmp_path, keep=2) as store:
        store.save(1, state_at(1))
        store.save(1, state_at(5), wait=True)
        assert_same(store.restore(state_at(0)), state_at(1))


def test_what_is_saved_is_a_copy(tmp_path):
    state = {"x": np.zeros(100_000, np.float32)}
    with checkpoints.Checkpoints(tmp_path, keep=2) as store:
        store.save(1, state)
        state["x"][:] = 1
    with reopen(tmp_path) as store:
        assert store.restore(state)["x"].sum() == 0


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, truncate_the_largest, remove_the_state])
def test_a_bad_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, damage):
    folder = tmp_path / "checkpoints"
    fill(folder, {1: 0.1, 2: 0.2, 3: 0.3})
    damage(folder / "3")
    with reopen(folder) as store, caplog.at_level(logging.WARNING, logger="absl"):
        assert_same(store.restore(state_at(0)), state_at(2))
        assert f"checkpoint {folder / '3'} is bad" in caplog.text
        assert store.steps() == [1, 2]
        store.save(3, state_at(3), wait=True)
        assert_same(store.restore(state_at(0)), state_at(3))
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_a_reader_moves_nothing(tmp_path):
    fill(tmp_path / "c", {1: None, 2: None})
    truncate(tmp_path / "c" / "2" / "state")
    with reopen(tmp_path / "c", read_only=True) as store:
        assert int(store.restore(state_at(0)).step) == 1
    assert (tmp_path / "c" / "2").is_dir()
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("name", ["a [2]", "q?*[!x]", "#1 %41 ~", "ü", "y" * 250, "line\nline"])
def test_any_path_will_do(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    fill(folder, {1: 0.2, 2: 0.1, 3: 0.3, 4: 0.4})
    with reopen(folder) as store:
        assert store.steps() == [2, 3, 4]
        assert_same(store.restore(state_at(0)), state_at(4))
        assert_same(store.restore(state_at(0), which="best"), state_at(2))
    assert not (folder.parent / "damaged").exists()


def test_beside_a_writer_the_newest_is_read(tmp_path, caplog):
    fill(tmp_path, {1: 0.3}, keep=1)
    for step, which in ((2, "latest"), (3, "best")):
        with reopen(tmp_path, read_only=True) as reader:
            fill(tmp_path, {step: 0.3 - 0.1 * (step - 1)}, keep=1)
            assert int(reader.restore(state_at(0), which=which).step) == step
    assert "is bad" not in caplog.text


def test_a_checkpoint_that_goes_while_they_are_listed_is_no_error(tmp_path, monkeypatch):
    fill(tmp_path, {1: None})
    load, calls = checkpoints._Manager._load_checkpoint_infos, []

    def going(manager, *args, **options):
        calls.append(args)
        if len(calls) % 2:
            raise FileNotFoundError(errno.ENOENT, "gone")
        return load(manager, *args, **options)

    monkeypatch.setattr(checkpoints._Manager, "_load_checkpoint_infos", going)
    with reopen(tmp_path, read_only=True) as reader:
        assert int(reader.restore(state_at(0)).step) == 1
    with pytest.raises(FileNotFoundError), reopen(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users of Unix")
def test_without_permission_nothing_is_moved():
    # Not in pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        folder = pathlib.Path(place) / "c"
        fill(folder, {1: None, 2: None})
        root, hidden = os.geteuid() == 0, folder / "2" / "state"
        with reopen(folder) as store:
            hidden.chmod(0)
            try:
                if root:
                    # Who may read everything.
                    os.seteuid(65534)
                with pytest.raises(PermissionError):
                    store.restore(state_at(0))
            finally:
                if root:
                    os.seteuid(0)
                hidden.chmod(0o700)
            assert store.steps() == [1, 2]
            assert_same(store.restore(state_at(0)), state_at(2))
        assert not (folder.parent / "damaged").exists()


@pytest.mark.parametrize("text", ['{"sco', '{"score": "0.1"}', "[" * 10**5, '{"score": null}', ""])
def test_a_damaged_score_costs_the_score_alone(tmp_path, caplog, text):
    fill(tmp_path / "c", {1: 0.1, 2: 0.2, 3: 0.3})
    (tmp_path / "c" / "1" / "metrics" / "metrics").write_text(text)
    for read_only in (True, False):
        with reopen(tmp_path / "c", read_only=read_only) as store:
            assert_same(store.restore(state_at(0)), state_at(3))
            assert_same(store.restore(state_at(0), which="best"), state_at(2))
            assert store.best() == 2
    assert f"{tmp_path}/c/1/metrics/metrics: " in caplog.text
    assert not (tmp_path / "damaged").exists()


def test_a_checkpoint_knows_its_config(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "c", keep=2, config="one") as store:
        store.save(1, state_at(1))
    for config in ("one", None):
        with reopen(tmp_path / "c", config=config) as store:
            assert_same(store.restore(state_at(0)), state_at(1))
    with (
        reopen(tmp_path / "c", config="other") as store,
        pytest.raises(checkpoint_digests.OtherRun, match=f"{tmp_path}/c/1: .*another config"),
    ):
        store.restore(state_at(0))
    assert (tmp_path / "c" / "1").is_dir()


def test_what_is_read_back_is_what_was_written(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "c", keep=2) as store:
        store.save(1, state_at(1))
        store.read_back(1, state_at(0))
        truncate_the_largest(tmp_path / "c" / "1" / "state")
        with pytest.raises(checkpoints.Damaged, match=f"{tmp_path}/c/1: .*cannot be read back"):
            store.read_back(1, state_at(0))


def test_the_digest_of_files_is_of_names_and_contents(tmp_path):
    assert checkpoint_digests.of_files(tmp_path / "absent") == ""
    known = set()
    for name, content in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        folder = tmp_path / f"{name}{content.decode()}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        known.add(checkpoint_digests.of_files(folder))
    assert len(known) == 3


def test_the_time_of_a_checkpoint_is_of_no_matter(tmp_path):
    fill(tmp_path / "c", {1: None, 2: None})
    about = tmp_path / "c/1/_CHECKPOINT_METADATA"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"commit_timestamp_nsecs": "x"}))
    for read_only in (True, False):
        with reopen(tmp_path / "c", read_only=read_only) as store:
            assert_same(store.restore(state_at(0)), state_at(2))


def test_what_the_digest_does_not_say_is_not_allocated(tmp_path):
    fill(tmp_path / "c", {1: None})
    wrong = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2**60,), leaf.dtype), state_at(0))
    with (
        reopen(tmp_path / "c", read_only=True) as store,
        pytest.raises(
            checkpoints.Damaged, match=r"expected \w+ \[1152921504606846976\] , its digest"
        ),
    ):
        store._read(1, wrong)


def test_another_dtype_or_shape_is_not_cast(tmp_path):
    fill(tmp_path / "c", {1: None})
    with reopen(tmp_path / "c", read_only=True) as store:
        wrong = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), state_at(0))
        with pytest.raises(checkpoints.Damaged, match="none of the checkpoints of steps"):
            store.restore(wrong)
        with pytest.raises(checkpoints.Damaged):
            store.restore({"other": jnp.ones(3)})


def test_if_all_are_bad_nothing_starts_anew(tmp_path):
    folder = tmp_path / "c"
    fill(folder, {1: None, 2: None})
    for step in ("1", "2"):
        truncate(folder / step / "state")
    with reopen(folder) as store, pytest.raises(checkpoints.Damaged, match=r"steps \[1, 2\]"):
        store.restore(state_at(0))


def test_digest_tells_dtype_shape_and_content_apart():
    zero = checkpoint_digests.of_arrays({"a": np.zeros((2, 3), np.float32)})
    assert zero == checkpoint_digests.of_arrays({"a": np.zeros((2, 3), np.float32)})
    for other in (
        np.zeros((3, 2), np.float32),
        np.zeros((2, 3), np.int32),
        -np.zeros((2, 3), "f4"),
    ):
        assert checkpoint_digests.of_arrays({"a": other}) != zero
