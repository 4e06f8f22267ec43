"""Ending a run in an orderly way when the system asks for it."""

import signal
import threading
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes the first request to stop, within a ``with``; the loop looks when it can.

    A second request of the same kind has its usual effect. Outside of the main thread Python cannot
    be told, and requests keep their usual effect.

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
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def obey(self) -> None:
        """Ends the process if that was asked for, with the code expected: 143 for SIGTERM.

        Raises:
          SystemExit: with 128 + the signal's number.
        """
        if self.signal is not None:
            raise SystemExit(128 + self.signal)
