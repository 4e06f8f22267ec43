r"""Trains the cells of a study as jobs: on this machine some at a time, or as a Slurm array.

Example:
  python -m launch.sweep --config=configs/quickstart.py --workdir=runs/quickstart --workers=2
  python -m launch.sweep --config=configs/quickstart.py --workdir=/shared/runs/quickstart \
      --cluster=slurm --minutes=240 --gpus_per_cell=1 --slurm=partition=gpu

Run from the repository's root; `pip install -e '.[launch]'` brings submitit. Finished cells are
left out, so running it again goes on where it stopped. On SIGTERM or Ctrl-C cells on this machine
save a checkpoint and end, the second time at once; a Slurm job goes on without being watched. Two
minutes before --minutes are over a cell saves a checkpoint and is queued again, on Slurm and here.
A study trains its cells by itself too, on one machine; this is for more machines, and for cells
that shall end and start on their own.
"""

import collections
import contextlib
import os
import pathlib
import platform
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import ml_collections
import submitit
from absl import app, flags, logging
from ml_collections import config_flags

from noisyjax.cli import options, train
from noisyjax.core import memory, user_cache
from noisyjax.studies import grid, study
from noisyjax.train.workdir import config_and_summary

# The signal with which submitit says that a job's time is nearly up.
_TIME_UP = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
# For a checkpoint, before the time is up.
_SECONDS_TO_SAVE = 120


class Work:
    """One job: the training of a cell.

    submitit writes it to a file and calls it in a process of its own.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        folder: str,
        *,
        compiled: str,
        cores: Sequence[int] = (),
    ):
        self.config, self.folder = config, folder
        self.compiled, self.cores = compiled, list(cores)

    def __call__(self) -> None:
        """Trains; when the time is up, queues itself again."""
        requeue = signal.getsignal(_TIME_UP)
        time_up = []

        def note(number: int, frame: object) -> None:
            time_up.append((number, frame))
            signal.raise_signal(signal.SIGTERM)

        def end(number: int, _: object) -> None:
            raise SystemExit(128 + number)

        # While it trains, training has a handler of its own, which saves a checkpoint first.
        signal.signal(signal.SIGTERM, end)
        signal.signal(_TIME_UP, note)
        try:
            self._train()
        except SystemExit:
            if not time_up:
                raise
            requeue(*time_up[0])

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Returns what is to run next: the same, for training goes on from its checkpoint."""
        return submitit.helpers.DelayedSubmission(self)

    def _train(self) -> None:
        if self.cores:
            os.sched_setaffinity(0, self.cores)
        # By host, for what one CPU's compiler wrote another may not run.
        user_cache.keep_programs(str(pathlib.Path(self.compiled) / platform.node()))
        study.train_cell(self.config, self.folder)


def define_flags() -> None:
    """Defines the flags: those of training, and where and how many cells run."""
    train.define_flags()
    flags.DEFINE_enum("cluster", "local", ["local", "slurm"], "Where the cells run.")
    flags.DEFINE_integer(
        "workers",
        0,
        "Cells at a time; 0 for the config's number, else as many as there are cores here, and 256 "
        "on Slurm.",
        lower_bound=0,
    )
    flags.DEFINE_integer("gpus_per_cell", 0, "GPUs of each cell.", lower_bound=0)
    flags.DEFINE_integer(
        "cpus_per_cell", 4, "Cores of each cell on Slurm; here they are shared out.", lower_bound=1
    )
    flags.DEFINE_integer(
        "minutes", 1440, "Time limit of a cell until it is queued again.", lower_bound=3
    )
    flags.DEFINE_integer("max_timeouts", 100, "How often a cell may be queued again.")
    flags.DEFINE_multi_string(
        "slurm", [], "NAME=VALUE: another parameter of submitit's SlurmExecutor, e.g. qos=long."
    )
    flags.DEFINE_bool("wait", True, "On Slurm, wait for the cells and say how they ended.")
    flags.DEFINE_bool("dry_run", False, "Print what would run, and run nothing.")


def slurm_parameters(title: str, workers: int) -> dict[str, object]:
    """Returns what the flags say as parameters of `submitit.SlurmExecutor`.

    Raises:
      app.UsageError: if an entry of --slurm is not NAME=VALUE.
    """
    given = flags.FLAGS
    parameters = {
        "job_name": title,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": given.cpus_per_cell,
        "time": given.minutes,
        "signal_delay_s": _SECONDS_TO_SAVE,
        "array_parallelism": workers,
        "additional_parameters": {"requeue": True},
    }
    if given.gpus_per_cell:
        parameters["gpus_per_node"] = given.gpus_per_cell
    return parameters | dict(options.parse("slurm", given.slurm))


def run_here(
    works: Sequence[Work],
    folder: str | os.PathLike,
    *,
    workers: int,
    minutes: int,
    max_timeouts: int = 0,
    gpus_per_cell: int = 0,
) -> Iterator[tuple[Work, submitit.Job]]:
    """Keeps some jobs running on this machine, each on its share of the cores and GPUs.

    Args:
      works: what is to run.
      folder: where submitit writes jobs and logs.
      workers: jobs at a time.
      minutes: time limit of a job.
      max_timeouts: how often a job is started again when its time is up.
      gpus_per_cell: GPUs of each.

    Yields:
      Each with its job as it ends.

    Raises:
      SystemExit: on SIGTERM or SIGINT, with 128 + its number, once those that ran have ended.
    """
    executor = submitit.LocalExecutor(folder, max_num_timeout=max_timeouts)
    executor.update_parameters(
        timeout_min=minutes, signal_delay_s=_SECONDS_TO_SAVE, gpus_per_node=gpus_per_cell
    )
    cores, gpus = grid.core_shares(workers), _gpu_shares(workers, gpus_per_cell)
    free, waiting = list(range(workers)), collections.deque(works)
    running: dict[int, tuple[Work, submitit.Job]] = {}
    told = 0
    with _requests() as asked:
        while running or (waiting and not asked):
            while free and waiting and not asked:
                slot, work = free.pop(0), waiting.popleft()
                work.cores = sorted(cores[slot])
                executor.update_parameters(visible_gpus=gpus[slot])
                running[slot] = work, _submit_shielded(executor, work)
            if told < len(asked):
                told += 1
                for _, job in running.values():
                    # Its number is that of submitit's process, which passes it on.
                    os.kill(int(job.job_id), signal.SIGTERM)
            for slot, (work, job) in list(running.items()):
                if job.done():
                    del running[slot]
                    free.append(slot)
                    yield work, job
            time.sleep(0.1)
    if asked:
        raise SystemExit(128 + asked[0])


@contextlib.contextmanager
def _requests() -> Iterator[list[int]]:
    """Notes SIGTERM and SIGINT within a ``with``."""
    # That of training looks for JAX's devices, which are the cells'.
    asked: list[int] = []
    both = signal.SIGTERM, signal.SIGINT
    before = {n: signal.signal(n, lambda number, _: asked.append(number)) for n in both}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gpu_shares(workers: int, each: int) -> list[list[int]]:
    # Those of the machine are not counted: that would take hold of them.
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = [int(gpu) for gpu in named.split(",")] if named else list(range(workers * each))
    if len(gpus) < workers * each:
        raise ValueError(
            f"workers times gpus_per_cell: expected at most the {len(gpus)} of "
            f"CUDA_VISIBLE_DEVICES={named}, got {workers * each}"
        )
    return [gpus[worker * each : (worker + 1) * each] for worker in range(workers)]


def _submit_shielded(executor: submitit.LocalExecutor, work: Work) -> submitit.Job:
    # Ctrl-C reaches all processes of a terminal; submitit's would give cells a second to end.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return executor.submit(work)
    finally:
        signal.signal(signal.SIGINT, before)


def run_on_slurm(
    works: Sequence[Work],
    folder: str | os.PathLike,
    parameters: Mapping[str, object],
    *,
    max_timeouts: int,
    wait: bool,
) -> Iterator[tuple[Work, submitit.Job]]:
    """Submits an array of jobs.

    Args:
      works: what is to run.
      folder: where submitit writes jobs and logs; all nodes see it.
      parameters: those of `submitit.SlurmExecutor`.
      max_timeouts: how often a job is queued again when its time is up.
      wait: whether to watch them until they have ended.

    Yields:
      Each with its job as it ends, if they are watched.
    """
    executor = submitit.SlurmExecutor(folder, max_num_timeout=max_timeouts)
    executor.update_parameters(**parameters)
    with executor.batch():
        jobs = [executor.submit(work) for work in works]
    print(f"submitted {jobs[0].job_id} to {jobs[-1].job_id}, logs in {jobs[0].paths.folder.parent}")
    left = list(zip(works, jobs, strict=True)) if wait else []
    while left:
        ended = [pair for pair in left if pair[1].done()]
        left = [pair for pair in left if pair not in ended]
        yield from ended
        if left:
            time.sleep(10)


def _finished(work: Work) -> bool:
    """Returns whether a cell has been trained, or raises `ValueError` if its run is another."""
    return config_and_summary.finished(work.config, work.folder) is not None


def _works(
    config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> tuple[list[Work], list[str]]:
    """Returns the jobs that are still to run, and the folders that cannot; prints which."""
    works, refused = [], []
    compiled = os.fspath(workdir / ".compiled")
    for cell in grid.cells(config):
        work = Work(cell.config, os.fspath(workdir / cell.folder), compiled=compiled)
        try:
            done = _finished(work)
        except ValueError as error:
            refused.append(work.folder)
            print(f"failed {cell.folder}: {error}")
            continue
        print(f"{'finished' if done else 'to do'} {cell.folder}")
        if not done:
            works.append(work)
    return works, refused


def _say(work: Work, job: submitit.Job, workdir: pathlib.Path) -> list[str]:
    """Prints how a job ended; returns its folder if it is not finished."""
    name = os.path.relpath(work.folder, workdir)
    if _finished(work):
        print(f"finished {name}")
        return []
    log = job.paths.stderr
    if job.paths.result_pickle.exists():
        lines = log.read_text(errors="replace").splitlines()
        print(f"failed {name}: {lines[-1]}\n  log: {log}")
    else:
        print(f"ended {name}: before it had finished, by a signal or for want of memory")
    return [work.folder]


def _study_command() -> str:
    config = flags.FLAGS["config"]
    changes = config_flags.get_override_values(config).items()
    return shlex.join(
        [
            *("python", "-m", "noisyjax.cli.study"),
            f"--config={config_flags.get_config_filename(config)}",
            *(f"--config.{name}={value}" for name, value in changes),
            f"--workdir={flags.FLAGS.workdir}",
        ]
    )


def main(argv: list[str]) -> int:
    """Runs the cells of the study that the flags name; returns 1 if one failed."""
    options.expect_flags_only(argv)
    given = flags.FLAGS
    logging.set_verbosity(logging.ERROR)
    # For the jobs; this process computes nothing.
    if memory.TUNABLES[given.allocator]:
        os.environ.setdefault(memory.VARIABLE, memory.TUNABLES[given.allocator])
    config, workdir = given.config, config_and_summary.absolute(given.workdir)
    on_slurm = given.cluster == "slurm"
    workers = given.workers or config.workers or (256 if on_slurm else grid.num_cores())
    if given.gpus_per_cell and not (on_slurm or given.workers):
        raise app.UsageError("--gpus_per_cell: expected --workers beside it, got none")
    parameters = slurm_parameters(grid.slug(config.title), workers) if on_slurm else {}
    works, failed = _works(config, workdir)
    for name, value in parameters.items():
        print(f"slurm {name}={value}")
    print(f"{len(works)} jobs to run, {workers} at a time, {given.cluster}")
    if given.dry_run:
        return 0
    # One per call: submitit numbers jobs here by their processes, and these numbers come again.
    folder = workdir / ".submitit" / time.strftime("%Y%m%d-%H%M%S") / "%j"
    common = {"max_timeouts": given.max_timeouts}
    if not works:
        ended = ()
    elif on_slurm:
        ended = run_on_slurm(works, folder, parameters, wait=given.wait, **common)
    else:
        ended = run_here(
            works,
            folder,
            workers=workers,
            minutes=given.minutes,
            gpus_per_cell=given.gpus_per_cell,
            **common,
        )
    for work, job in ended:
        failed += _say(work, job, workdir)
    if failed:
        print(f"{len(failed)} not finished; the same command runs them again")
    print(f"tables and figures, once all cells are finished:\n  {_study_command()}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    define_flags()
    app.run(main)
