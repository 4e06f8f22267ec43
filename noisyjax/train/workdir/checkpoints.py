"""Checkpoints that are verified when they are read.

A state is stored as its leaves by name, next to the SHA-256 of each and to that of the run's
config. Orbax writes a checkpoint completely or not at all, but it returns a flipped byte or another
dtype without a word.

What is damaged is moved away, and the checkpoint before it is used. What cannot be read for reasons
that are not its own (no permission, an error of the disk, too many open files) is left alone, and
the system's error is raised.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from orbax import checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from noisyjax.core import files, unreadable
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import checkpoint_digests, lock, plain_path

Tree = Any

FOLDER = "checkpoints"
DAMAGED_FOLDER = "damaged"

_SCORE = "score"
# Where checkpoints go that are not kept: moved there at once, none is ever there by half.
_REMOVED = "removed"
# How often a reader begins again whose checkpoint a run replaces by a newer one.
_TRIES = 20


class Damaged(ValueError):
    """A checkpoint cannot be read, or is not what was written."""


def _names(tree: Tree) -> list[str]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


def _leaves(tree: Tree) -> dict[str, np.ndarray]:
    # Copied, for on a CPU a host array may share the buffer that the next step is given.
    leaves = jax.tree.leaves(jax.device_get(tree))
    return dict(zip(_names(tree), map(np.array, leaves), strict=True))


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

    Scores are read by a function of ours: one that is damaged stops Orbax.
    """

    def __init__(self, *args: Any, score: Callable[[int], float | None], **options: Any):
        self._score = score
        super().__init__(*args, **options)

    def metrics(self, step: int) -> dict[str, float]:
        score = self._score(step)
        return {_SCORE: math.inf if score is None else score}

    def _load_checkpoint_infos(self, skip_metadata_read: bool = False) -> list[Any]:
        # The times of checkpoints, which nothing goes by, stop Orbax where they are damaged.
        infos = super()._load_checkpoint_infos(skip_metadata_read=True)
        return [dataclasses.replace(info, metrics=self.metrics(info.step)) for info in infos]

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints of a run: the latest few, and the best.

    Of several processes, which all have the same state, one writes and reads; the others receive
    what it has read. So a run goes on with any other number of devices or processes.

    Use it in a ``with``: on leaving, a save that is still being written is waited for.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        keep: int,
        config: str | None = None,
        read_only: bool = False,
    ):
        """Opens a folder, which has one folder for each checkpoint, named by its step.

        Args:
          keep: how many of the latest ones to keep, beside the best.
          config: the digest of the run's config, which is written and compared; None compares none.
          read_only: for those who only restore; bad checkpoints are left where they are.
        """
        self._folder = pathlib.Path(folder).absolute()
        self._read_only = read_only
        self._config = config
        self._manager: ocp.CheckpointManager | None = None
        if not distributed.is_writer():
            return
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._clear()
        # Orbax's own "keep the best n" deletes the newest when it is not among the best.
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(get_metric_fn=lambda m: -m[_SCORE], n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=None if read_only else lambda metrics: metrics[_SCORE],
            best_mode="min",
            preservation_policy=policy,
            create=False,
            read_only=read_only,
            multiprocessing_options=_alone(),
            # What a process left behind that ended while it was writing.
            cleanup_tmp_directories=not read_only,
            todelete_subdir=None if read_only else _REMOVED,
        )
        # A reader chooses by itself.
        score = (lambda _: None) if read_only else self._score
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(plain_path.PlainPath(self._folder)).path
            names = ("state", "digest")
            self._manager = self._listing(
                lambda: _Manager(path, options=options, item_names=names, score=score)
            )
            self._close = stack.pop_all()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        if self._manager is not None:
            with self._close, files.naming(self._folder):
                self._manager.close()
                self._clear()
                if not self._read_only:
                    with contextlib.suppress(OSError):
                        (self._folder / _REMOVED).rmdir()

    def _clear(self) -> None:
        """Deletes the checkpoints that are not kept, which Orbax has moved out of the way."""
        removed = self._folder / _REMOVED
        if not self._read_only and removed.is_dir():
            # Not their folder, into which the next may be on its way.
            for path in removed.iterdir():
                shutil.rmtree(path, ignore_errors=True)

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
                lock.check(self._folder.parent)
                self._clear()
                leaves = _leaves(state)
                about = {"config": self._config, "arrays": checkpoint_digests.of_arrays(leaves)}
                known = score is not None and not math.isnan(score)
                state_args = ocp.args.StandardSave(leaves)
                self._manager.save(
                    step,
                    args=ocp.args.Composite(state=state_args, digest=ocp.args.JsonSave(about)),
                    metrics={_SCORE: float(score) if known else math.inf},
                )
            if wait and self._manager is not None:
                self._manager.wait_until_finished()
        if wait:
            distributed.wait("checkpoint")

    def read_back(self, step: int, like: Tree) -> None:
        """Waits until the checkpoint of a step is written, and reads it.

        Raises `Damaged` if it is not what was written.
        """
        if self._manager is None:
            return
        with files.naming(self._folder):
            self._manager.wait_until_finished()
        try:
            self._read(step, like)
        except Damaged as error:
            raise Damaged(
                f"{self._folder / str(step)}: the last checkpoint of the run was written, and "
                f"cannot be read back ({error}); the run is not finished, give its command again"
            ) from error

    def restore(self, like: Tree, *, which: str = "latest") -> Tree | None:
        """Reads the latest or the best checkpoint that is good, as a tree of NumPy arrays.

        A bad one is named in a warning and moved to the folder ``damaged`` beside the checkpoints,
        so that its step can be written again; then the next one is tried.

        Args:
          like: a tree of arrays or `jax.ShapeDtypeStruct`, the structure wanted.
          which: "latest" or "best".

        Returns:
          the tree, or None if there is no checkpoint at all.

        Raises:
          Damaged: if there are only bad ones, or none and some that were moved away.
          checkpoint_digests.OtherRun: if it is of a run with another config.
          OSError: if the system does not let it be read; nothing is moved.
        """
        restored = self._restore(like, which) if self._manager is not None else None
        return distributed.from_writer(restored, like)

    def best(self) -> int | None:
        """Returns the step of the best checkpoint, None where none has a score."""
        if self._manager is None:
            return None
        return next(iter(self._by_score(self.steps())), None)

    def _restore(self, like: Tree, which: str) -> Tree | None:
        for _ in range(_TRIES):
            steps = self.steps()
            try:
                return self._first_good(like, which)
            except (ValueError, OSError):
                # Beside a run that writes, what was there a moment ago may be gone.
                if not (self._read_only and self._changed(steps)):
                    raise
        raise Damaged(
            f"{self._folder}: a run replaces its checkpoints quicker than they can be read; try "
            "again when it has ended, or let it keep more (checkpoint.keep)"
        )

    def _changed(self, steps: list[int]) -> bool:
        self._listing(self._manager.reload)
        return self.steps() != steps

    def _listing(self, function: Callable[[], Any]) -> Any:
        """Calls what lists the checkpoints again, if one of them goes while it does."""
        for left in reversed(range(_TRIES)):
            try:
                return function()
            except FileNotFoundError:
                if not (left and self._read_only and self._folder.is_dir()):
                    raise
        return None

    def _first_good(self, like: Tree, which: str) -> Tree | None:
        known, steps = self.steps(), self._ordered(which)
        for step in steps:
            try:
                return self._read(step, like)
            except Damaged as error:
                if self._read_only and self._changed(known):
                    raise
                self._reject(step, str(error))
        if steps:
            raise Damaged(
                f"{self._folder}: none of the checkpoints of steps {sorted(steps)} is good; "
                "use another working directory to start again"
            )
        moved = self._folder.with_name(DAMAGED_FOLDER)
        if moved.is_dir() and any(moved.iterdir()):
            raise Damaged(
                f"{self._folder}: no checkpoint is left, those in {moved} could not be read; put "
                "back what is whole of them, or use another working directory to start again"
            )
        return None

    def _ordered(self, which: str) -> list[int]:
        self._manager.wait_until_finished()
        newest_first = self.steps()[::-1]
        if which == "latest":
            return newest_first
        if which != "best":
            raise ValueError(f"checkpoint: expected 'latest' or 'best', got {which!r}")
        known = self._by_score(newest_first)
        if newest_first and not known:
            raise ValueError("checkpoint: 'best' needs a validation, this run has none so far")
        return known

    def _by_score(self, steps: list[int]) -> list[int]:
        """Returns the steps that have a score, the best first, of equal ones the newest."""
        scores = {step: self._score(step) for step in sorted(steps, reverse=True)}
        known = [step for step, score in scores.items() if score not in (None, math.inf)]
        return sorted(known, key=scores.get)

    def _score(self, step: int) -> float | None:
        path = self._folder / str(step) / "metrics" / "metrics"
        try:
            score = json.loads(path.read_text(encoding="utf-8"))[_SCORE]
            if type(score) not in (int, float) or math.isnan(score):
                raise ValueError(f"expected a number, got {score!r}")
            return float(score)
        except OSError as error:
            if unreadable.is_outer(error):
                raise
            reason: Exception = error
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            reason = error
        # Unless it is gone, beside a run that writes.
        if path.parent.parent.is_dir():
            logging.warning("%s: %s; the checkpoint counts as one without a score", path, reason)
        return None

    def _read(self, step: int, like: Tree) -> Tree:
        try:
            return self._read_once(step, like)
        except Damaged as error:
            unreadable.raise_cause(error, self._folder / str(step))
        # Once more, for what failed may have been the moment's.
        return self._read_once(step, like)

    def _read_once(self, step: int, like: Tree) -> Tree:
        path, wanted = self._folder / str(step), jax.tree.leaves(like)
        try:
            config, expected = checkpoint_digests.read(path)
        # Damage shows up as any of a dozen exceptions of three libraries.
        except Exception as error:
            raise Damaged(f"{type(error).__name__}: {error}") from error
        checkpoint_digests.check_config(path, config, self._config)
        template = dict(zip(_names(like), wanted, strict=True))
        # Before anything of the size that is wanted is allocated.
        for name, leaf in template.items():
            form, got = checkpoint_digests.form(leaf), str(expected.get(name))
            if not got.startswith(form):
                raise Damaged(f"{name}: expected {form}, its digest says {got[:80]}")
        template = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in template.items()}
        try:
            items = ocp.args.Composite(state=ocp.args.StandardRestore(template))
            state = self._manager.restore(step, args=items).state
            actual = checkpoint_digests.of_arrays(state)
        except MemoryError:
            raise
        except Exception as error:
            raise Damaged(f"{type(error).__name__}: {error}") from error
        wrong = [name for name in template if actual[name] != expected[name]]
        if wrong or len(expected) != len(template):
            raise Damaged(f"the digest of {(wrong or ['the list of arrays'])[0]} does not match")
        return jax.tree.unflatten(jax.tree.structure(like), [state[name] for name in template])

    def _reject(self, step: int, reason: str) -> None:
        logging.warning("checkpoint %s is bad: %s", self._folder / str(step), reason)
        if self._read_only:
            return
        lock.check(self._folder.parent)
        target = self._folder.with_name(DAMAGED_FOLDER)
        target.mkdir(exist_ok=True)
        number = sum(1 for _ in target.iterdir())
        shutil.move(self._folder / str(step), target / f"{step}-{number}")
        self._manager.reload()
