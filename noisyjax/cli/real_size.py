"""Measures training on cases of real size: whether memory stays, and whether reading is hidden.

    python -m noisyjax.cli.real_size --cases=10,100 --size=256,256,160 --folder=runs/real_size

Cases are made, each with two raters; for each number of them the patches of ``configs/folder.py``
are trained on in a process of its own, whose largest resident memory is printed. Then steps whose
patches are read from the store are timed beside steps on a batch that is there.
"""

import pathlib

from absl import app, flags
from rich import console, table

from noisyjax.benchmarks import real_size


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_list("cases", ["10", "100"], "Numbers of cases.")
    flags.DEFINE_list("size", ["256", "256", "160"], "Voxels of a case.")
    flags.DEFINE_string("folder", "runs/real_size", "Where cases, store and runs go.")
    flags.DEFINE_integer("steps", 5, "Steps of a timed block; 0 to time none.")
    flags.DEFINE_multi_string("option", [], "Further flags of noisyjax.cli.train.")


def main(_: list[str]) -> int:
    """Measures, and prints a table."""
    given = flags.FLAGS
    base = pathlib.Path(given.folder).absolute()
    # Two of the cases are held out.
    numbers = _whole("cases", given.cases, least=3)
    size = _whole("size", given.size, least=1)
    if len(size) != 3:
        raise app.UsageError(f"--size: expected three numbers, got {given.size}")
    out = console.Console()
    shown = table.Table(title=f"Training on patches of cases of {' x '.join(given.size)}")
    for heading in ("cases", "store GiB", "peak GiB", "of the first", "minutes"):
        shown.add_column(heading, justify="right")
    first = None
    for cases in numbers:
        data = real_size.make_folder(base / f"data{cases}", cases, size)
        cost = real_size.train(data, base / f"cases{cases}", cases, given.option)
        first = first or cost.peak_gib
        row = (cost.store_gib, cost.peak_gib, cost.peak_gib / first, cost.minutes)
        shown.add_row(str(cases), *(f"{number:.2f}" for number in row))
    out.print(shown)
    if given.steps:
        seconds = real_size.step_seconds(base / f"cases{cases}" / "run", steps=given.steps)
        ratio = seconds["read"] / seconds["held"]
        out.print(
            f"A step: {seconds['read']:.3f} s with patches that are read, {seconds['held']:.3f} s "
            f"on a batch that is there, {ratio:.2f} times."
        )
    return 0


def _whole(name: str, texts: list[str], *, least: int) -> tuple[int, ...]:
    """Returns the numbers of a flag."""
    if not texts or not all(text.isdecimal() and int(text) >= least for text in texts):
        raise app.UsageError(f"--{name}: expected whole numbers from {least}, got {texts}")
    return tuple(map(int, texts))


if __name__ == "__main__":
    define_flags()
    app.run(main)
