"""Files that are there completely or not at all."""

import contextlib
import csv
import functools
import io
import json
import math
import os
import pathlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:
    # Not a Unix.
    fcntl = None

# The names of files and folders that are being written.
_UNFINISHED = re.compile(r"\.noisyjax-[0-9a-f]{16}(\..*)?", re.DOTALL)
_LONGEST_SUFFIX = 16


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Adds a file's name to an error of the system that has none, as of a disk that is full."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def named(argument: str, path: str | os.PathLike) -> pathlib.Path:
    """Returns a path; raises ValueError for an empty one, which would be the current folder.

    >>> named("out", "")
    Traceback (most recent call last):
    ...
    ValueError: out: expected the name of a folder, got an empty one
    """
    if not os.fspath(path):
        raise ValueError(f"{argument}: expected the name of a folder, got an empty one")
    return pathlib.Path(path)


def check_writable(folder: str | os.PathLike) -> None:
    """Raises unless files can be written into a folder, which is made if it is not there.

    It is tried out: permissions do not tell of a disk that is full or mounted for reading only.

    Raises:
      OSError: of the system's kind; it names the folder and the cause.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
            file.flush()
    except OSError as error:
        raise type(error)(
            error.errno,
            f"expected a folder that can be written to, got: {error.strerror}",
            os.fspath(folder),
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a name to write to beside a path, and moves what was written there at the end.

    Yields that name, of an empty file. A reader never sees half a file, and after an error the old
    one stands as it was. The folder is made if it is not there; the suffix stays, for writers that
    go by it. What processes that were killed left in the folder goes.

    Raises:
      OSError: of the system's kind, for which the file is the path.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(os.path.abspath(path.parent))
    try:
        with naming(path), _reserved(path) as unfinished:
            yield unfinished
            os.replace(unfinished, path)
    except OSError as error:
        if _UNFINISHED.fullmatch(os.path.basename(os.fspath(error.filename or ""))):
            error.filename, error.filename2 = os.fspath(path), None
        raise


@contextlib.contextmanager
def _reserved(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a file beside a path for the time of a ``with``, locked so that it is not swept."""
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    while True:
        # Drawn, for containers may share a folder, the host's name and the number of the process.
        unfinished = path.with_name(f".noisyjax-{secrets.token_hex(8)}{suffix}")
        with open(unfinished, "xb") as file:
            if not _locked(file.fileno(), wait=True):
                file.close()
            elif not os.fstat(file.fileno()).st_nlink:
                # It was swept before it had its lock.
                continue
            try:
                yield unfinished
                return
            finally:
                unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(
    path: str | os.PathLike, *, stays: Callable[[pathlib.Path], bool]
) -> Iterator[pathlib.Path]:
    """Gives a new folder beside a path to write into, which becomes that path at the end.

    A reader never sees half of it. What processes that were killed left goes, as in `replacing`.

    Args:
      stays: tells of a folder that is there by then, of a process that was quicker or of before,
        whether it stays in place of the new one.

    Raises:
      OSError: of the system's kind.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(os.path.abspath(path.parent))
    with naming(path), _reserved_folder(path) as unfinished:
        yield unfinished
        while True:
            try:
                os.rename(unfinished, path)
                return
            except OSError:
                if not path.is_dir():
                    raise
            if stays(path):
                return
            with _reserved_folder(path) as damaged, contextlib.suppress(FileNotFoundError):
                os.rename(path, damaged / path.name)


@contextlib.contextmanager
def _reserved_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a folder beside a path for the time of a ``with``, locked so that it is not swept."""
    while True:
        unfinished = path.with_name(f".noisyjax-{secrets.token_hex(8)}")
        unfinished.mkdir()
        try:
            # Where there are no locks a folder cannot be opened either.
            held = None if fcntl is None else os.open(unfinished, os.O_RDONLY)
        except FileNotFoundError:
            # Another process, which has just begun, swept it before it was opened.
            continue
        try:
            if held is not None and _locked(held, wait=True) and not os.fstat(held).st_nlink:
                # It was swept before it had its lock.
                continue
            yield unfinished
            return
        finally:
            if held is not None:
                os.close(held)
            shutil.rmtree(unfinished, ignore_errors=True)


def _locked(file: int, *, wait: bool) -> bool:
    """Locks what is open; false where another process has the lock, or there are none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


@functools.cache
def _sweep(folder: str) -> None:
    """Removes what killed processes did not finish in a folder, once in a process."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _UNFINISHED.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _sweep_one(entry)


def _sweep_one(entry: os.DirEntry) -> None:
    """Removes a file or folder, but for one that a process is writing: its lock goes with it."""
    folder = entry.is_dir(follow_symlinks=False)
    held = os.open(entry.path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        if _locked(held, wait=False):
            shutil.rmtree(entry.path) if folder else os.unlink(entry.path)
    finally:
        os.close(held)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text as it is, in UTF-8; what that has not, as of names of files, is escaped."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Returns a table as CSV, one line each.

    >>> to_csv(("case", "dice"), [("a, b", 0.5)])
    'case,dice\n"a, b",0.5\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _pairs(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} twice")
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text}")
    return number


def read_json(path: str | os.PathLike, *, most: int = 2**28, lists: bool = False) -> Any:
    """Reads an object of JSON of at most so many bytes that others may have written.

    It is in UTF-8, with or without a byte-order mark.

    Args:
      lists: whether a list will do as well.

    Raises:
      ValueError: if the file is too large, no JSON in UTF-8 or no object, or if a name stands twice
        in an object, a number is not finite or half a character stands in a text; it says what
        there is in place of that.
    """
    size = os.path.getsize(path)
    if size > most:
        raise ValueError(f"expected at most {most} bytes of JSON, got {size}")
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        content = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_float=_finite,
            parse_constant=_finite,
        )
        if re.search(r"\\u[dD][89a-fA-F]", text):
            # Halves of characters that no file or terminal takes.
            json.dumps(content, ensure_ascii=False).encode(errors="surrogateescape")
    except RecursionError as error:
        raise ValueError("expected JSON, got one that is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"expected JSON in UTF-8, got {error}") from error
    if not isinstance(content, dict | list if lists else dict):
        raise ValueError(f"expected an object in braces, got a {type(content).__name__}")
    return content


def plain(value: Any) -> Any:
    """Returns a value as what JSON can hold, as in `write_json`: dicts, lists, numbers and texts.

    >>> plain({"window": (3, np.int32(5)), "bias": float("inf")})
    {'window': [3, 5], 'bias': 'inf'}
    """
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes nested dicts, lists, numbers, NumPy values and named tuples as strict JSON.

    NaN becomes null, and infinite numbers the strings "inf" and "-inf".
    """
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
