"""One run in several processes, on one host or on many, by `jax.distributed`.

Every process drives its own devices and reads its own part of each batch. The first one, the
writer, is the only one that writes into the working directory. If a process ends before its time
the others end too; running the same commands again resumes.
"""

import contextlib
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Integer
from orbax import checkpoint as ocp

Tree = Any

# How long processes wait for each other at the start, and for a sign of life later on.
START_SECONDS = 45
HEARTBEAT_SECONDS = 30
# The others notice in a moment that one has gone, if they notice at all.
_ASK_SECONDS = 5

_FLAGS = "give --coordinator, --num_processes and --process_id, or --nodetect to train alone"


def detect(environment: Mapping[str, str]) -> str | None:
    """Tells which system has started this process as one of several, None for a process alone.

    Stricter than JAX, which also waits for others in a shell that Slurm has opened for a job of
    several tasks. The environment is to be as JAX has left it when it was imported; the result is a
    ``cluster_detection_method`` of `jax.distributed.initialize`.

    >>> detect({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:9"})
    'ompi'
    >>> detect({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}) is None
    True
    """
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        # Open MPI 5 has no such variable, and JAX reaches it through mpi4py.
        return "ompi" if "OMPI_MCA_orte_hnp_uri" in environment else "mpi4py"
    # Of the step, not of the job: srun sets it, and a shell or a batch script has one task.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return "slurm"
    if environment.get("TPU_ML_PLATFORM") == "JAX":
        hosts = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
        slices = int(environment.get("MEGASCALE_NUM_SLICES", 1))
        if hosts is not None:
            return "gketpu" if "," in hosts or slices > 1 else None
        # There JAX asks the machine's metadata, and a single host is a run of one process.
        return "gcetpu" if "TPU_SKIP_MDS_QUERY" not in environment else None
    # An indexed Job; a pod by itself has no index.
    indexed = "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment
    return "k8s" if indexed else None


def _check(coordinator: str, num_processes: int, process_id: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"coordinator: expected HOST:PORT of process 0, got {coordinator!r}")
    if num_processes < 1:
        raise ValueError(f"num_processes: expected at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise ValueError(f"process_id: expected one in 0..{num_processes - 1}, got {process_id}")


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    automatic: bool = True,
    start_seconds: int = START_SECONDS,
) -> None:
    """Joins the other processes of the run, if there are any; before any device is touched.

    Without arguments the processes find each other under Slurm (``srun``), Open MPI, in an indexed
    Job of Kubernetes and on Cloud TPU; elsewhere nothing happens.

    Args:
      coordinator: "HOST:PORT" at which process 0 can be reached by all.
      process_id: which one this is, from 0.
      automatic: whether to look for others when there are no arguments.

    Raises:
      ValueError: if only some of the arguments are given, or one is out of range.
      RuntimeError: if a system has started several processes, and they cannot find each other.
    """
    given = {
        "coordinator": coordinator, "num_processes": num_processes, "process_id": process_id,
    }  # fmt: skip
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        method = detect(os.environ) if automatic else None
        if method is None:
            return
        where, options = f"by {method}", {"cluster_detection_method": method}
    elif missing:
        raise ValueError(
            f"{', '.join(missing)}: expected all of {', '.join(given)}, or none, got None"
        )
    else:
        _check(coordinator, num_processes, process_id)
        if num_processes == 1:
            return
        where = f"as process {process_id} of {num_processes} at {coordinator}"
        options = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
            # Everything is known: JAX would ask Slurm which of the devices are meant.
            "cluster_detection_method": "deactivate",
        }
    # In advance: JAX ends a process without a word of Python's.
    _say(
        f"joining the run {where}; the others have {start_seconds} s. Ends when one of them, which "
        f"JAX calls tasks, has died or is silent for {HEARTBEAT_SECONDS} s; running the same "
        "command again resumes"
    )
    try:
        jax.distributed.initialize(
            **options,
            initialization_timeout=start_seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:
        raise RuntimeError(f"could not join the run {where} ({error}); {_FLAGS}") from error


def is_writer() -> bool:
    """Tells whether this process writes the files of the run: the first one does."""
    return jax.process_index() == 0


def writer_only(function: Callable[..., None]) -> Callable[..., None]:
    """Lets a function that writes files do so in the writer only."""

    @functools.wraps(function)
    def by_writer(*args: Any, **options: Any) -> None:
        if is_writer():
            function(*args, **options)

    return by_writer


def wait(name: str) -> None:
    """Waits until all processes have come to the point of the program that has this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def writer_first(function: Callable[[], Any], name: str) -> Any:
    """Calls a function in the writer, and then in the others, which find the files it has written.

    The name is that of this point of the program, the same in all. Returns what the function
    returns.
    """
    result = function() if is_writer() else None
    wait(name)
    return result if is_writer() else function()


def from_writer(tree: Tree | None, like: Tree) -> Tree | None:
    """Returns the writer's tree as NumPy arrays in every process, to the bit.

    The others' tree is not looked at; `like` (arrays or `jax.ShapeDtypeStruct`) is the structure
    that it has in all processes.
    """
    if jax.process_count() == 1:
        return tree
    shapes = jax.tree.leaves(like)
    ends = np.cumsum([leaf.size * leaf.dtype.itemsize for leaf in shapes], dtype=int)
    # As bytes, for it is sent by adding it to zeros, and 0.0 + -0.0 is 0.0. The first one says
    # whether there is a tree.
    content = np.zeros(1 + ends[-1], np.uint8)
    if is_writer() and tree is not None:
        leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(tree)]
        content = np.concatenate([np.ones(1, np.uint8), *map(_bytes, leaves)])
    there, *parts = np.split(multihost_utils.broadcast_one_to_all(content), [1, *(1 + ends[:-1])])
    if not there[0]:
        return None
    received = [
        part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, shapes, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), received)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def gather(
    values: Mapping[str, np.ndarray], positions: Integer[np.ndarray, "n"] | None = None
) -> dict[str, np.ndarray]:
    """Returns the rows of all processes, by name, in every process, to the bit and in order.

    Args:
      values: name to this process's rows ``[n, ...]``; n may differ between processes and be 0.
      positions: of its rows among all, ``[n]``, all different. By default those of process 0 come
        first, then those of process 1.
    """
    if jax.process_count() == 1:
        return dict(values)
    size = len(next(iter(values.values())))
    if positions is None:
        positions = np.arange(size) + (jax.process_index() << 32)
    columns = {"": np.asarray(positions, np.int64), **values}
    rows = [np.ascontiguousarray(column) for column in columns.values()]
    widths = [int(np.prod(row.shape[1:])) * row.dtype.itemsize for row in rows]
    counts = multihost_utils.process_allgather(np.array([size], np.int32))[:, 0]
    # As bytes, for the devices have no float64.
    content = np.zeros((counts.max(), sum(widths)), np.uint8)
    content[:size] = np.concatenate(
        [_bytes(row).reshape(size, width) for row, width in zip(rows, widths, strict=True)], axis=1
    )
    sent = multihost_utils.process_allgather(content)
    whole = np.concatenate([part[:count] for part, count in zip(sent, counts, strict=True)])
    parts = np.split(whole, np.cumsum(widths)[:-1], axis=1)
    gathered = {
        name: np.ascontiguousarray(part).reshape(-1).view(row.dtype).reshape(-1, *row.shape[1:])
        for name, part, row in zip(columns, parts, rows, strict=True)
    }
    order = np.argsort(gathered.pop(""))
    return {name: column[order] for name, column in gathered.items()}


@contextlib.contextmanager
def abort_all_on_error() -> Iterator[None]:
    """Ends a process that fails within the ``with`` at once, so that the others end too.

    Python's usual way out would wait for the others, who wait for this one. A process alone fails
    as usual.
    """
    try:
        yield
    except SystemExit:
        # All of them stop, and leave together.
        raise
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        me = f"process {jax.process_index()} of {jax.process_count()}"
        if isinstance(error, jax.errors.JaxRuntimeError):
            # In the others JAX ends the process while it asks, if it is process 0 that has gone.
            which = "" if is_writer() else " (process 0 unless another is named below)"
            _say(f"{me} cannot go on: another one has gone{which}, or a device has failed")
            _say(f"{_lost(error)}; running the same command again resumes")
        else:
            _say(f"{me} has failed ({type(error).__name__}), and ends the others")
        sys.stdout.flush()
        os._exit(1)


def _lost(error: Exception) -> str:
    """Returns who of the other processes has gone: those that do not answer."""
    try:
        ask = ocp.multihost.get_barrier_sync_fn()
        ask(key="noisyjax who is left", timeout_ms=1000 * _ASK_SECONDS)
    except Exception as silence:
        _, listed, names = str(silence).partition("timed out task names:")
        ids = re.findall(r"\d+", names.strip().partition("\n\n")[0]) if listed else []
        if ids:
            count = jax.process_count()
            return ", ".join(f"process {i} of {count} has died or does not answer" for i in ids)
        return f"another process has died or does not answer ({str(silence).partition('.')[0]})"
    return f"all processes are there ({str(error).partition(chr(10))[0]})"


def _say(sentence: str) -> None:
    print(f"noisyjax: {sentence}", file=sys.stderr, flush=True)
