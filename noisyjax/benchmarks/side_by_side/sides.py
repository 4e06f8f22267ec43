"""The two sides: each trains on a folder, on one core, and segments the images that test.

Both run as processes of their own, whose processor time is counted from their start on, imports
and compilation included.
"""

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from noisyjax.benchmarks.side_by_side import nnunet_program, our_program
from noisyjax.core import files, memory
from noisyjax.train.workdir import config_and_summary, lock

OURS = "noisyjax"
NNUNET = "nnunet"

_DATASET = "Dataset001_study"
_PLANS = "nnUNetPlans"
# What `our_program` prints as the training begins.
_BEGUN = "training fold"
# What numerical libraries start threads by, and nnU-Net processes.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "nnUNet_n_proc_DA": "0",
    "nnUNet_def_n_proc": "1",
    "nnUNet_compile": "f",
}


class Failed(RuntimeError):
    """A process of a side ended with an error."""


class Setup(NamedTuple):
    """What both sides need to know.

    Attributes:
      data: holds a folder for each kind of labels, see `study_folders`.
      out: where their work goes.
      nnunet_python: the Python that has nnunetv2.
      configuration: of nnU-Net's plan.
      python: the Python that has this package.
    """

    data: pathlib.Path
    out: pathlib.Path
    nnunet_python: str = sys.executable
    configuration: str = "3d_fullres"
    python: str = sys.executable


class Predicted(NamedTuple):
    """What a side has written.

    Attributes:
      minutes: of processor time that it was allowed to train.
      folder: with a segmentation of each image that tests.
      updates: of the network.
      cpu_s: seconds that training took.
      first_step_s: of them until the first update was done.
      prediction_s: seconds that segmenting took, from the start of the process.
    """

    minutes: float
    folder: pathlib.Path
    updates: int
    cpu_s: float
    first_step_s: float
    prediction_s: float


def run(
    setup: Setup, side: str, labels: str, *, seed: int, minutes: Sequence[float]
) -> Iterator[Predicted]:
    """Trains a side and yields what it predicts after each of some minutes.

    nnU-Net trains once, and its checkpoints are those of the minutes; we fit the schedule to a
    budget, and train once for each. What is trained already is not trained again.

    Args:
      side: `NNUNET`, or `OURS`, which may name a method, as in ``noisyjax:cm_trace``.
      labels: the kind, one of `study_folders.LABELS`.

    Raises:
      lock.WorkdirLocked: if another process is at the same work.
      Failed: if a process fails; it names the file with what that has said.
    """
    work = setup.out / side.replace(":", "-") / labels / f"seed{seed}"
    if side == NNUNET:
        yield from _nnunet(setup, labels, work, seed, minutes)
        return
    for each in minutes:
        with lock.held(work / f"{each:g}min"):
            method = side.partition(":")[2] or "majority"
            yield _ours(setup, labels, work / f"{each:g}min", seed, each, method)


def _nnunet(
    setup: Setup, labels: str, work: pathlib.Path, seed: int, minutes: Sequence[float]
) -> Iterator[Predicted]:
    program = (setup.nnunet_python, os.path.abspath(nnunet_program.__file__))
    raw, prepared = work.parent / "raw", work.parent / "preprocessed"
    results = work / "results"
    for folder in (raw, prepared, results):
        folder.mkdir(parents=True, exist_ok=True)
    if not (raw / _DATASET).exists():
        (raw / _DATASET).symlink_to((setup.data / labels).absolute(), target_is_directory=True)
    names = {"nnUNet_raw": raw, "nnUNet_preprocessed": prepared, "nnUNet_results": results}
    environment = {name: os.path.abspath(path) for name, path in names.items()}
    # Done once for all seeds, and no part of the time.
    done = work.parent / "prepared"
    if not done.exists():
        with lock.held(work.parent):
            command = (*program, "prepare", "1", setup.configuration)
            # The planner wants one process for augmentation at least, though it has no use for it.
            _run(command, work.parent / "prepare.log", environment | {"nnUNet_n_proc_DA": "1"})
            done.touch()
    model = results / _DATASET / f"nnUNetTrainer__{_PLANS}__{setup.configuration}"
    facts = {each: work / f"{each:g}min.json" for each in minutes}
    left = [f"{each:g}" for each, path in facts.items() if not path.exists()]
    if left:
        # Held no longer, so that checkpoints can be scored while it goes on.
        with lock.held(work):
            command = (*program, "train", _DATASET, setup.configuration, str(seed), *left)
            _run((*command, f"--out={work}"), work / "train.log", environment)
    images = setup.data / labels / "imagesTs"
    for each, path in facts.items():
        folder = work / f"{each:g}min" / "predictions"
        with lock.held(folder.parent):
            shutil.rmtree(folder, ignore_errors=True)
            command = (*program, "predict", model, nnunet_program.checkpoint(each))
            seconds = _run((*command, images, folder), folder.parent / "predict.log", environment)
            yield Predicted(each, folder, **files.read_json(path), prediction_s=seconds)


def _ours(
    setup: Setup, labels: str, work: pathlib.Path, seed: int, minutes: float, method: str
) -> Predicted:
    """Trains one network on all cases, its schedule fitted to the time, and predicts by it."""
    training, predictions, facts = work / "run", work / "predictions", work / "facts.json"
    # Nothing that was compiled before is found: the time of the compiler counts.
    compiled, planned = work / "compiled", work.parent.parent / "plan.json"
    environment = {
        "JAX_COMPILATION_CACHE_DIR": os.fspath(compiled),
        memory.VARIABLE: memory.TUNABLES["kept"],
    }
    if not planned.exists():
        # No part of the time, as nnU-Net's is none.
        command = [setup.python, "-m", "noisyjax", "plan", setup.data / labels, "--out", planned]
        _run(command, work.parent.parent / "plan.log", {})
    if not facts.exists():
        # The seconds of a run that was broken off are not known.
        for folder in (training, compiled):
            shutil.rmtree(folder, ignore_errors=True)
        command = [setup.python, os.path.abspath(our_program.__file__), setup.data / labels]
        command += [planned, training, f"{60 * minutes:g}", str(seed), method]
        begun = []
        seconds = _run(
            command,
            work / "train.log",
            environment,
            line=lambda text, cpu_s: text.startswith(_BEGUN) and begun.append(cpu_s),
        )
        updates, first = _of_network(training / "fold_0")
        content = {"updates": updates, "cpu_s": seconds, "first_step_s": begun[0] + first}
        files.write_json(facts, content)
    shutil.rmtree(predictions, ignore_errors=True)
    images = setup.data / labels / "imagesTs"
    command = [setup.python, "-m", "noisyjax", "predict", training, images, "--out", predictions]
    seconds = _run(command, work / "predict.log", environment)
    return Predicted(minutes, predictions, **files.read_json(facts), prediction_s=seconds)


def _of_network(workdir: pathlib.Path) -> tuple[int, float]:
    """Updates of a run of ours, and seconds from the start of the training to the first one."""
    summary = config_and_summary.read_summary(workdir)
    return config_and_summary.read_last(workdir).latest, summary["seconds_compile"]


def _run(
    command: Sequence[str | os.PathLike],
    log: pathlib.Path,
    environment: Mapping[str, str],
    *,
    line: Callable[[str, float], Any] = lambda text, cpu_s: None,
) -> float:
    """Runs a process on the first core that this one may use; returns its processor seconds.

    Args:
      log: receives what it prints.
      environment: further variables.
      line: is told each line as it is printed, and the processor seconds until then.
    """
    command = [os.fspath(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _start(command, {**os.environ, **_ONE_THREAD, **environment})
    said = ""
    with process.stdout, open(log, "w", encoding="utf-8") as file:
        for text in process.stdout:
            line(text, _seconds_so_far(process.pid))
            file.write(text)
            file.flush()
            said = text.strip() or said
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{' '.join(command[:3])}: failed, see {log}: {said}")
    return usage.ru_utime + usage.ru_stime


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    """Starts a process on one core, which it inherits: libraries count theirs as they start."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    finally:
        os.sched_setaffinity(0, allowed)


def _seconds_so_far(pid: int) -> float:
    """Processor seconds of a process and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
