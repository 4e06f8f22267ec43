"""Our part of a side-by-side: trains one network on a folder for some processor seconds.

    PYTHON our_program.py FOLDER PLAN RUN SECONDS SEED METHOD

It is ``noisyjax train FOLDER --plan PLAN --out RUN --folds 1 --budget SECONDS`` with another clock.
A budget is a time by the clock; here that is the processor time of the process, so that other work
on the machine takes nothing of it, and what went by before the training counts.
"""

import sys
import time


def train(folder: str, plan: str, out: str, seconds: float, seed: int, method: str) -> None:
    """Trains until the processor time of this process is about so many seconds."""
    time.perf_counter = time.process_time
    import noisyjax

    noisyjax.train_folds(
        folder,
        out,
        plan=plan,
        folds=1,
        budget=seconds - time.process_time(),
        seed=seed,
        method=method,
        begun=lambda fold: print("training fold", fold, flush=True),
    )


if __name__ == "__main__":
    root, planned, run, budget, number, name = sys.argv[1:]
    train(root, planned, run, float(budget), int(number), name)
