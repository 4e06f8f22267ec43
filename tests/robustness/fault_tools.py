"""What the table of faults breaks runs with, and compares them by."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_fakes

from noisyjax.data import pipeline, source
from noisyjax.train.workdir import checkpoints, lock


def assert_same(tree, other):
    """Compares two states bit for bit."""
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for leaf, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        leaf, expected = np.asarray(leaf), np.asarray(expected)
        assert (leaf.dtype, leaf.tobytes()) == (expected.dtype, expected.tobytes())


def assert_same_numbers(summary, expected):
    """Compares two summaries but for the seconds."""
    for each in (one := dict(summary), other := dict(expected)):
        for name in ("seconds_train", "seconds_compile"):
            each.pop(name)
    np.testing.assert_equal(one, other)


def content(folder):
    """Returns all files but that of the lock."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != lock.FILE]
    return {path: path.read_bytes() for path in paths}


def flip(path):
    """Turns a bit in the middle of a file."""
    data = bytearray(path.read_bytes() or b"0")
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_off(path):
    """Leaves half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    """Leaves nothing in a file."""
    os.truncate(path, 0)


def largest(folder):
    """Returns the largest file of a folder."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=os.path.getsize)


DAMAGE = {"flip": flip, "cut off": cut_off, "empty": empty, "missing": pathlib.Path.unlink}


def state_of(folder, step, like):
    """Reads one checkpoint of a folder that is not touched."""
    with checkpoints.Checkpoints(folder, keep=2, read_only=True) as store:
        return store._read(step, like)


@contextlib.contextmanager
def small_disk(folder, mode="rw"):
    """Mounts a disk of 2 MiB; skips where that is not allowed."""
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("there is no mount to make a small disk with")
    command = ["mount", "-t", "tmpfs", "-o", f"size=2m,{mode}", "tmpfs", os.fspath(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", os.fspath(folder)], check=True)


def fill(disk, leave):
    """Fills a disk but for some bytes."""
    free = os.statvfs(disk)
    size = free.f_bavail * free.f_bsize - leave
    (disk / "filler").write_bytes(b"0" * max(size, 0))


def wait_for(path, seconds=60):
    """Waits until a file or folder is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} has not come"
        time.sleep(0.005)


def make_room(disk):
    """Takes the filling away."""
    (disk / "filler").unlink()


@contextlib.contextmanager
def few_files():
    """Lets this process open no further file."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


_HOLD = """
import fcntl, json, os, socket, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
file.truncate(0)
mine = {"host": socket.gethostname(), "pid": os.getpid(), "workdir": os.path.dirname(sys.argv[1])}
print(json.dumps(mine), file=file, flush=True)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def other_process_holding(folder):
    """Locks a workdir in another process, and yields its number."""
    command = [sys.executable, "-c", _HOLD, os.fspath(folder / lock.FILE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.stdin.close()


class FileExamples:
    """Cases in a file each, which is read whenever it is asked for."""

    def __init__(self, root):
        self._root = pathlib.Path(root)
        self._size = len(list(self._root.iterdir()))

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        path = self._root / f"case_{index:02d}.npz"
        with open(path, "rb") as file, np.load(file) as arrays:
            return dict(arrays)


def write_cases(root):
    """Writes the cases of the fake source."""
    root.mkdir(exist_ok=True)
    data = train_fakes.load()
    for index in range(len(data.examples)):
        np.savez(root / f"case_{index:02d}.npz", **data.examples[index])
    return root


def load_files(*, root):
    """The fake source, from files."""
    data = train_fakes.load()
    return source.Source(
        name="files",
        examples=FileExamples(root),
        num_classes=data.num_classes,
        class_names=data.class_names,
        spacing=data.spacing,
        has_truth=True,
        rater_names=data.rater_names,
        case_names=[f"case_{index:02d}" for index in range(len(data.examples))],
    )


def newest(workdir):
    """Returns the step of the newest checkpoint."""
    return max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdecimal())


def files_config(root, *, skip=False, epochs=3):
    """A config of it."""
    changes = {"data.name": "files", "train.epochs": epochs}
    config = train_fakes.config(options={"root": os.fspath(root)}, **changes)
    with config.unlocked():
        config.data.skip_damaged = skip
    return config


def case(root, workdir, split, position):
    """Returns the file of a case that a run trains on, validates with or tests."""
    ids = json.loads((workdir / "splits.json").read_text())["splits"][split]["ids"]
    return root / f"case_{ids[position]:02d}.npz"


def vanishing(path, step):
    """Makes a file vanish as the run is given the batch after a step."""
    batches = pipeline.train_batches

    def stream(*args, start_step=0, **options):
        for done, batch in enumerate(batches(*args, start_step=start_step, **options), start_step):
            if done == step:
                path.rename(path.with_suffix(".gone"))
            yield batch

    return stream


def hungry(name):
    """The fake method, with a function that takes 40 TB."""

    def build(segmenter=None, **sizes):
        method = train_fakes.method(segmenter, **sizes)

        def greedy(variables, *args):
            kernel = variables["params"]["segmenter"]["kernel"]
            much = jnp.sort(jax.lax.iota(jnp.float32, 10**13) * jax.lax.stop_gradient(kernel).sum())
            output = getattr(method, name)(variables, *args)
            return jax.tree.map(lambda leaf: leaf + 0 * much[0].astype(leaf.dtype), output)

        return dataclasses.replace(method, **{name: greedy})

    return build
