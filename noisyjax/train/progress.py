"""The progress bar: loss, Dice, images per second and time left."""

import math
from collections.abc import Mapping

from rich import console as consoles
from rich import progress as bars


class Progress:
    """A progress bar over the steps of a run or other work, or nothing when it is switched off."""

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        shown: bool,
        name: str = "training",
        console: consoles.Console | None = None,
    ):
        """Prepares the bar; `done` counts the steps before, the console is by default stderr."""
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[numbers]}"),
            bars.TimeRemainingColumn(),
            console=console or consoles.Console(stderr=True),
            disable=not shown,
            # A faster bar costs processor time that the training could use.
            refresh_per_second=2,
        )
        self._task = self._bar.add_task(name, total=total, completed=done, numbers="")
        self._numbers: dict[str, float] = {}

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """Moves the bar; a number that is shown stays until it is given again."""
        self._numbers |= {k: v for k, v in numbers.items() if not math.isnan(v)}
        text = "  ".join(f"{name} {value:.4g}" for name, value in self._numbers.items())
        self._bar.update(self._task, completed=step, numbers=text)
