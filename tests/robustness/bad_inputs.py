"""The table of malformed inputs: what each is, how it is made, what is called and what it says."""

import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Make = Callable[[pathlib.Path], Any]

MARKER = "EXECUTED"


class Bad(NamedTuple):
    """A malformed input.

    Attributes:
      name: what is wrong with it.
      make: makes it in an empty folder and returns what is given to `call`.
      call: what must refuse it.
      error: the exact type of the exception.
      match: what its message says, a regular expression: the thing, what was expected, what came.
      bounded: whether it is refused in little memory, whatever it claims or unpacks to.
    """

    name: str
    make: Make
    call: Callable[[Any], Any]
    error: type[Exception]
    match: str
    bounded: bool = False


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (MARKER,)


def file(name: str, content: bytes) -> Make:
    """Makes a file of some bytes."""

    def make(folder):
        (folder / name).write_bytes(content)
        return str(folder / name)

    return make


def group(
    what: str,
    call: Callable[[Any], Any],
    rows: Iterable[tuple[str, Make, str]],
    *,
    error: type[Exception] = ValueError,
    bounded: bool = False,
) -> list[Bad]:
    """Returns rows (name, make, match) that the same call must refuse by the same exception."""
    return [Bad(f"{what}: {name}", make, call, error, match, bounded) for name, make, match in rows]


def table() -> list[Bad]:
    """Returns all of them."""
    import bad_arrays
    import bad_configs
    import bad_files
    import bad_folders
    import bad_losses
    import bad_predictions
    import bad_volumes

    parts = (
        bad_configs,
        bad_losses,
        bad_arrays,
        bad_volumes,
        bad_files,
        bad_folders,
        bad_predictions,
    )
    return [row for part in parts for row in part.ROWS]
