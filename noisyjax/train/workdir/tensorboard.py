"""TensorBoard's events, written at once: no thread, no queue, and no name by the clock.

The writer of tensorboardX leaves the writing to a thread. When that meets a full disk it ends, and
the training waits for it forever. It also names its files by the time of day, by which TensorBoard
sorts them.
"""

import contextlib
import os
import pathlib
import struct
import time
from collections.abc import Mapping

from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2

from noisyjax.core import files

_NAME = "events.out.tfevents."


class EventsWriter:
    """Appends numbers to a file that is named by the step at which this part of the run began.

    What an earlier part of the run wrote after that step is taken back: files are removed that
    began there or later, and TensorBoard is told of the steps in those before.
    """

    def __init__(self, folder: str | os.PathLike, *, step: int = 0):
        """Opens a file in a folder, which is made if absent, for a run that starts from a step."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{_NAME}*"):
            began = path.name.removeprefix(_NAME)
            # Other writers' names end with a time and a host.
            if began.isdecimal() and int(began) >= step:
                path.unlink()
        self._path = folder / f"{_NAME}{step:010d}"
        self._file = self._path.open("wb")
        first = [event_pb2.Event(file_version="brain.Event:2")]
        if step:
            log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            first.append(event_pb2.Event(step=step + 1, session_log=log))
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            for event in first:
                self._write(event)
            stack.pop_all()

    def close(self) -> None:
        """Closes the file."""
        with files.naming(self._path):
            self._file.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by name for a step, which is the number of updates done."""
        for name, value in values.items():
            # Put in afterwards: the function complains of NaN, which is what is undefined.
            row = summary.scalar(name, 0.0)
            row.value[0].simple_value = value
            self._write(event_pb2.Event(step=step, summary=row))

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        content = event.SerializeToString()
        size = struct.pack("<Q", len(content))
        parts = (size, _checksum(size), content, _checksum(content))
        with files.naming(self._path):
            self._file.write(b"".join(parts))
            self._file.flush()


def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", record_writer.masked_crc32c(content))
