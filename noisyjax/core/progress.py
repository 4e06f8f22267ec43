"""The progress bar: loss, Dice, images per second and time left."""

import math
import threading
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
        after: float = 0.0,
    ):
        """Prepares the bar.

        Args:
          total: number of steps.
          done: those done before.
          console: where it is shown, by default on stderr.
          after: seconds until it is; what ends earlier shows none.
        """
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
        self._after = after
        self._timer: threading.Timer | None = None

    def __enter__(self) -> "Progress":
        if self._after:
            self._timer = threading.Timer(self._after, self._bar.start)
            self._timer.daemon = True
            self._timer.start()
        else:
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        # Stopping a bar that was never shown would print an empty line.
        if self._bar.live.is_started:
            self._bar.stop()

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """Moves the bar; a number that is shown stays until it is given again."""
        self._numbers |= {k: v for k, v in numbers.items() if not math.isnan(v)}
        text = "  ".join(f"{name} {value:.4g}" for name, value in self._numbers.items())
        self._bar.update(self._task, completed=step, numbers=text)
