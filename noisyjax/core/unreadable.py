"""What cannot be read for reasons that are not its own, told from what is damaged."""

import errno
import os
import pathlib
from collections.abc import Iterator

# What the system says of a file that is not there, or is of another kind: of damage.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
# Libraries say in a text what the system has told them.
_TOLD = (
    errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ELOOP, errno.ESTALE,
    errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN,
)  # fmt: skip


def is_outer(error: BaseException | None) -> bool:
    """Tells whether an error is the system's, about a file that is there.

    >>> is_outer(PermissionError(13, "denied")), is_outer(FileNotFoundError(2, "not there"))
    (True, False)
    """
    # Libraries raise it too, without a number, of what they cannot decode.
    return isinstance(error, OSError) and error.errno not in (None, *_ABSENT)


def raise_cause(error: BaseException, folder: str | os.PathLike) -> None:
    """Raises the system's error if one is the cause of another error, met in reading a folder.

    It may be in the chain of causes, or in the text of one of them; or it comes again when every
    file is read.
    """
    for cause in chain(error):
        if is_outer(cause):
            raise cause
        for code in _TOLD:
            if os.strerror(code) in str(cause):
                raise OSError(code, os.strerror(code), os.fspath(folder)) from error
    try:
        _read_all(pathlib.Path(folder))
    except OSError as cause:
        if is_outer(cause):
            raise


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and what it was raised from, the first cause last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _read_all(folder: pathlib.Path) -> None:
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                while file.read(2**20):
                    pass


def _raise(error: OSError) -> None:
    raise error
