"""Checkpoints that are verified when they are read.

A state is stored as its leaves by name, next to the SHA-256 of each. Orbax writes a checkpoint
completely or not at all, but it returns a flipped byte or another dtype without a word.
"""

import hashlib
import json
import math
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
from absl import logging
from orbax import checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from noisyjax.core import files
from noisyjax.train.devices import distributed

Tree = Any

FOLDER = "checkpoints"

_SCORE = "score"


class Damaged(RuntimeError):
    """A checkpoint cannot be read, or is not what was written."""


def _names(tree: Tree) -> list[str]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def _leaves(tree: Tree) -> dict[str, np.ndarray]:
    # Copied, for on a CPU a host array may share the buffer that the next step is given.
    leaves = jax.tree.leaves(jax.device_get(tree))
    return dict(zip(_names(tree), map(np.array, leaves), strict=True))


def digest(leaves: dict[str, np.ndarray]) -> dict[str, str]:
    """Returns name to "dtype shape SHA-256" for each array."""
    return {
        name: f"{leaf.dtype} {list(leaf.shape)} {hashlib.sha256(leaf.tobytes()).hexdigest()}"
        for name, leaf in leaves.items()
    }


def _alone() -> ocp.options.MultiprocessingOptions:
    """Lets Orbax wait for no other process."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix="writer"
    )


class _Manager(ocp.CheckpointManager):
    """Orbax's, which asks JAX in a thread of its own whether the run is to stop at an earlier step.

    JAX would take that for the step this process has come to. The training loop asks.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints of a run: the latest few, and the best.

    Of several processes, which all have the same state, one writes and reads; the others receive
    what it has read. So a run goes on with any other number of devices or processes.

    Use it in a ``with``: on leaving, a save that is still being written is waited for.
    """

    def __init__(self, folder: str | os.PathLike, *, keep: int, read_only: bool = False):
        """Opens a folder, which has one folder for each checkpoint, named by its step.

        Args:
          keep: how many of the latest ones to keep, beside the best.
          read_only: for those who only restore; bad checkpoints are left where they are.
        """
        self._folder = pathlib.Path(folder).absolute()
        self._read_only = read_only
        self._manager: ocp.CheckpointManager | None = None
        if not distributed.is_writer():
            return
        for step in self._without_score():
            self._reject(step, "its score cannot be read")
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
        # Orbax's own "keep the best n" deletes the newest when it is not among the best.
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(get_metric_fn=lambda m: -m[_SCORE], n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            # A reader chooses by itself; then Orbax need not find all scores in order.
            best_fn=None if read_only else lambda metrics: metrics[_SCORE],
            best_mode="min",
            preservation_policy=policy,
            create=False,
            read_only=read_only,
            multiprocessing_options=_alone(),
            # What a process left behind that ended while it was writing.
            cleanup_tmp_directories=not read_only,
        )
        self._manager = _Manager(self._folder, options=options, item_names=("state", "digest"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        if self._manager is not None:
            with files.naming(self._folder):
                self._manager.close()

    def steps(self) -> list[int]:
        """Returns the steps with a checkpoint, oldest first; only the writer knows them."""
        return sorted(self._manager.all_steps()) if self._manager is not None else []

    def save(self, step: int, state: Tree, *, score: float | None = None, wait: bool = False):
        """Writes a checkpoint in the background, unless there is one of this step already.

        Args:
          state: a tree of arrays; it is copied before this returns.
          score: how good it is, smaller is better; None or NaN when that is not known.
          wait: whether to return only when it is written, in all processes.
        """
        # Orbax raises what went wrong in the background at the next of these calls.
        with files.naming(self._folder):
            if self._manager is not None and step not in self.steps():
                leaves = _leaves(state)
                known = score is not None and not math.isnan(score)
                state_args = ocp.args.StandardSave(leaves)
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        state=state_args, digest=ocp.args.JsonSave(digest(leaves))
                    ),
                    metrics={_SCORE: float(score) if known else math.inf},
                )
            if wait and self._manager is not None:
                self._manager.wait_until_finished()
        if wait:
            distributed.wait("checkpoint")

    def restore(self, like: Tree, *, which: str = "latest") -> Tree | None:
        """Reads the latest or the best checkpoint that is good, as a tree of NumPy arrays.

        A bad one is named in a warning and moved to the folder ``damaged`` beside the checkpoints,
        so that its step can be written again; then the next one is tried.

        Args:
          like: a tree of arrays or `jax.ShapeDtypeStruct`, the structure wanted.
          which: "latest" or "best".

        Returns None if there is no checkpoint at all; raises `Damaged` if there are only bad ones.
        """
        restored = self._restore(like, which) if self._manager is not None else None
        return distributed.from_writer(restored, like)

    def _restore(self, like: Tree, which: str) -> Tree | None:
        steps = self._ordered(which)
        for step in steps:
            try:
                return self._read(step, like)
            except Damaged as error:
                self._reject(step, str(error))
        if steps:
            raise Damaged(
                f"{self._folder}: none of the checkpoints of steps {sorted(steps)} is good; "
                "use another working directory to start again"
            )
        return None

    def _ordered(self, which: str) -> list[int]:
        self._manager.wait_until_finished()
        newest_first = self.steps()[::-1]
        if which == "latest":
            return newest_first
        if which != "best":
            raise ValueError(f"checkpoint: expected 'latest' or 'best', got {which!r}")
        scores = {step: self._score(step) for step in newest_first}
        known = [step for step in newest_first if scores[step] not in (None, math.inf)]
        if newest_first and not known:
            raise ValueError("checkpoint: 'best' needs a validation, this run has none so far")
        return sorted(known, key=scores.get)

    def _score(self, step: int) -> float | None:
        try:
            return json.loads((self._folder / str(step) / "metrics" / "metrics").read_text())[
                _SCORE
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _without_score(self) -> list[int]:
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        steps = [int(path.name) for path in folders if path.name.isdecimal()]
        return [step for step in steps if self._score(step) is None]

    def _read(self, step: int, like: Tree) -> Tree:
        names, wanted = _names(like), jax.tree.leaves(like)
        template = {
            name: np.empty(leaf.shape, leaf.dtype) for name, leaf in zip(names, wanted, strict=True)
        }
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(template), digest=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=items)
            actual, expected = digest(restored.state), dict(restored.digest)
        except MemoryError:
            raise
        # Damage shows up as any of a dozen exceptions of three libraries.
        except Exception as error:
            raise Damaged(f"{type(error).__name__}: {error}") from error
        wrong = [name for name in names if actual[name] != expected.get(name)]
        if wrong or len(expected) != len(names):
            raise Damaged(f"the digest of {(wrong or ['the list of arrays'])[0]} does not match")
        return jax.tree.unflatten(
            jax.tree.structure(like), [restored.state[name] for name in names]
        )

    def _reject(self, step: int, reason: str) -> None:
        logging.warning("checkpoint %s is bad: %s", self._folder / str(step), reason)
        if self._read_only:
            return
        target = self._folder.parent / "damaged"
        target.mkdir(exist_ok=True)
        number = sum(1 for _ in target.iterdir())
        shutil.move(self._folder / str(step), target / f"{step}-{number}")
        if self._manager is not None:
            self._manager.reload()
