"""A long run that is killed again and again, against one that is left alone.

    python -m tests.robustness.soak --steps=2000 --kills=20

A tiny network is trained in child processes. One run is never touched, and its memory is measured
as it goes. Another is killed (SIGKILL) at random moments, also while it starts, evaluates or writes
a checkpoint, and taken up again each time. Both must come to the same parameters, bit for bit.
"""

import argparse
import ctypes
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
PER_EPOCH = 4
RSS_FILE = "rss.txt"


class Soak(NamedTuple):
    """The outcome of a soak.

    Attributes:
      same: whether the final states and the numbers of both are equal in every bit.
      kills: how often the run was killed.
      steps_at_kill: the last step that stood in ``metrics.jsonl`` each time.
      rss: KiB in memory, of the untouched run.
      steps: the step of each of these.
      seconds: of the untouched run.
    """

    same: bool
    kills: int
    steps_at_kill: list[int]
    rss: np.ndarray
    steps: np.ndarray
    seconds: float

    @property
    def slope(self) -> float:
        """KiB per 1,000 steps over the second half of the run, by least squares."""
        half = self.steps >= self.steps[-1] / 2
        return float(1000 * np.polyfit(self.steps[half], self.rss[half], 1)[0])


def _resident() -> int:
    # What is free goes back to the system first, so that only what is kept counts.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def child(workdir: str, steps: int, checkpoint_every: int) -> None:
    """Trains, writes the memory every few steps, and the state at the end."""
    sys.path.insert(0, os.fspath(FAKES))
    import jax
    import train_fakes

    from noisyjax import train
    from noisyjax.data import pipeline

    jax.config.update("jax_num_cpu_devices", 2)
    train_fakes.install(pytest.MonkeyPatch())
    batches = pipeline.train_batches

    def measured(*args, start_step=0, **options):
        with open(pathlib.Path(workdir) / RSS_FILE, "a", encoding="ascii") as file:
            stream = batches(*args, start_step=start_step, **options)
            for step, batch in enumerate(stream, start_step):
                if step % max(steps // 200, 1) == 0:
                    file.write(f"{step} {_resident()}\n")
                yield batch

    pipeline.train_batches = measured
    config = train_fakes.config(**{
        "train.epochs": steps // PER_EPOCH,
        "evaluate.every_epochs": 2 * checkpoint_every,
        "checkpoint.every_epochs": checkpoint_every,
        "log_every_steps": 5,
    })  # fmt: skip
    state, summary = train.train_and_evaluate(config, workdir)
    leaves = jax.tree.leaves(jax.device_get(state))
    numbers = [value for name, value in summary.items() if not name.startswith("seconds")]
    np.savez(pathlib.Path(workdir) / "final.npz", *leaves, np.array(numbers))


def _start(workdir: pathlib.Path, steps: int, every: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.robustness.soak", "--child", os.fspath(workdir)]
    # Compiled once; shared with nobody, for a killed process may leave half an entry.
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": os.fspath(workdir.parent / "cache")}
    with open(workdir / "log.txt", "ab") as log:
        return subprocess.Popen(
            [*command, f"--steps={steps}", f"--checkpoint_every={every}"],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _last_step(workdir: pathlib.Path) -> int:
    path = workdir / "metrics.jsonl"
    for line in reversed(path.read_text().splitlines() if path.exists() else ()):
        try:
            return json.loads(line)["step"]
        except json.JSONDecodeError:
            continue
    return 0


def _wait(process: subprocess.Popen, workdir: pathlib.Path) -> None:
    if process.wait():
        raise RuntimeError((workdir / "log.txt").read_text()[-3000:])


def soak(
    folder: str | os.PathLike, *, steps: int, kills: int, seed: int, checkpoint_every: int = 5
) -> Soak:
    """Trains both runs.

    Args:
      folder: where the runs are put.
      steps: updates of a run.
      kills: how often the second run is killed; with 0 there is none.
      seed: of the moments; half of the kills come when a step is reached, chosen at random over the
        run, so that it gets on, the others after a random time from the start of the process.
      checkpoint_every: so many epochs of 4 steps; twice as many from one evaluation to the next.

    Returns:
      The outcome.
    """
    alone, killed = (pathlib.Path(folder) / name for name in ("alone", "killed"))
    for workdir in (alone, killed):
        workdir.mkdir(parents=True)
    begun = time.monotonic()
    _wait(_start(alone, steps, checkpoint_every), alone)
    seconds = time.monotonic() - begun

    draw = random.Random(seed)
    targets = sorted(draw.randrange(9 * steps // 10) for _ in range(kills - kills // 2))
    plans = [("step", target) for target in targets]
    for _ in range(kills // 2):
        plans.insert(draw.randrange(len(plans) + 1), ("seconds", draw.uniform(0.5, 4.5)))
    steps_at_kill = []
    for kind, when in plans:
        with _start(killed, steps, checkpoint_every) as process:
            start = time.monotonic()
            while process.poll() is None:
                now = time.monotonic() - start if kind == "seconds" else _last_step(killed)
                if now >= when:
                    # A moment more, which may fall anywhere within a step.
                    time.sleep(draw.uniform(0, 0.05))
                    break
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        if process.returncode == -signal.SIGKILL:
            steps_at_kill.append(_last_step(killed))
        elif process.returncode:
            raise RuntimeError((killed / "log.txt").read_text()[-3000:])
    rows = np.loadtxt(alone / RSS_FILE, dtype=np.int64)
    memory = {"rss": rows[:, 1], "steps": rows[:, 0], "seconds": seconds}
    if not kills:
        return Soak(True, 0, [], **memory)
    _wait(_start(killed, steps, checkpoint_every), killed)
    with np.load(alone / "final.npz") as one, np.load(killed / "final.npz") as other:
        same = one.files == other.files and all(
            (one[n].dtype, one[n].tobytes()) == (other[n].dtype, other[n].tobytes())
            for n in one.files
        )
    return Soak(same, len(steps_at_kill), steps_at_kill, **memory)


def main() -> None:
    """Runs a soak and prints its outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="updates of a run")
    parser.add_argument("--kills", type=int, default=20, help="how often a run is killed")
    parser.add_argument("--checkpoint_every", type=int, default=5, help="epochs of 4 steps")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.steps, given.checkpoint_every)
        return
    with tempfile.TemporaryDirectory() as folder:
        report = soak(
            folder,
            steps=given.steps,
            kills=given.kills,
            seed=given.seed,
            checkpoint_every=given.checkpoint_every,
        )
    print(f"{given.steps} steps in {report.seconds:.0f} s, a checkpoint every "
          f"{PER_EPOCH * given.checkpoint_every}")  # fmt: skip
    if given.kills:
        print(f"killed {report.kills} times, after the steps {report.steps_at_kill}")
        print(f"final state and numbers bit-equal to the run left alone: {report.same}")
    first, half, last = report.rss[0], report.rss[len(report.rss) // 2], report.rss[-1]
    print(f"resident: {first} KiB at the start, {half} in the middle, {last} at the end")
    print(f"slope over the second half: {report.slope:+.1f} KiB per 1,000 steps")
    sys.exit(not report.same)


if __name__ == "__main__":
    main()
