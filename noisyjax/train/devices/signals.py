"""Ending a run in an orderly way when the system asks for it."""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes the first request to stop, within a ``with``; the loop looks when it can.

    A second request of the same kind has its usual effect. Outside of the main thread Python cannot
    be told, and requests keep their usual effect.

    In several processes JAX takes note of SIGTERM to any of them, and has them agree on a step.

    Attributes:
      signal: the signal's number, or None as long as nobody asked.
    """

    def __init__(self):
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: Any) -> None:
        self.signal = number
        signal.signal(number, self._before[number])

    def __enter__(self) -> "StopRequest":
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reached(self, step: int) -> bool:
        """Tells whether the run is to end after a step, the same in all processes.

        To be asked after every one, with the number of updates done.
        """
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
        return self.signal is not None

    def exit_if_requested(self) -> None:
        """Ends the process if that was asked for, with 128 + the signal's number (SIGTERM: 143)."""
        if self.signal is not None:
            raise SystemExit(128 + self.signal)
