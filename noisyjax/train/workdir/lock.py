"""One run at a time in a working directory.

The kernel holds the lock for the process: it is gone with it, however that ends, so that a run that
was killed leaves none behind. It is the system's lock, not the file, that counts; what the file
says is for people.
"""

import contextlib
import errno
import json
import os
import pathlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from noisyjax.core import files

try:
    import fcntl
except ImportError:
    # Not a Unix.
    fcntl = None

FILE = "run.lock"

# What file systems answer that have no locks.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


# Of this process: the working directory to its file that is locked.
_HELD: dict[pathlib.Path, Any] = {}


class WorkdirLocked(RuntimeError):
    """Another process trains in the working directory."""


class WorkdirReplaced(RuntimeError):
    """What lies at the working directory's path is not what the run has locked."""


@contextlib.contextmanager
def held(folders: str | os.PathLike | Sequence[str | os.PathLike]) -> Iterator[None]:
    """Keeps other runs out of one or several working directories within a ``with``; makes them.

    Where the file system has no locks a warning says so, and nothing is kept out.

    Raises:
      WorkdirLocked: if another process trains in one of them, or this one already does.
      OSError: if one of them cannot be written to.
    """
    folders = [folders] if isinstance(folders, str | os.PathLike) else folders
    with contextlib.ExitStack() as stack:
        for folder in folders:
            folder = pathlib.Path(folder).absolute()
            files.check_writable(folder)
            file = stack.enter_context(open(folder / FILE, "a+", encoding="utf-8"))
            _take(file, folder)
            _HELD[folder] = file
            stack.callback(_HELD.pop, folder)
        yield


def check(folder: str | os.PathLike) -> None:
    """Raises unless a working directory is still the one that this process holds, if it holds one.

    To be called before each write: a folder that was moved, and another one put in its place, would
    receive what is not its own.

    Raises:
      WorkdirReplaced: if the file at its path is not the one that is locked.
    """
    folder = pathlib.Path(folder).absolute()
    if folder not in _HELD:
        return
    try:
        same = os.path.samestat(os.stat(folder / FILE), os.fstat(_HELD[folder].fileno()))
    except FileNotFoundError:
        same = False
    if not same:
        raise WorkdirReplaced(
            f"{folder}: expected the working directory that this run has locked, got another one, "
            "or none, at its path; nothing more is written. Give the same command again, with the "
            "workdir where it is now"
        )


def _take(file: Any, folder: pathlib.Path) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "this system has no flock")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkdirLocked(
            f"{folder}: expected no other run in this working directory, got {_holder(file)}; "
            "wait until it ends, stop it, or choose another workdir"
        ) from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        logging.warning(
            "%s: cannot be locked (%s): see to it that no other run trains there", folder, error
        )
        return
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "workdir": os.fspath(folder)}
    with files.naming(folder / FILE):
        file.truncate(0)
        file.write(json.dumps(mine) + "\n")
        file.flush()


def _holder(file: Any) -> str:
    try:
        file.seek(0)
        holder = json.loads(file.read())
        return f"process {holder['pid']} on {holder['host']}, which trains in {holder['workdir']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "one whose name cannot be read"
