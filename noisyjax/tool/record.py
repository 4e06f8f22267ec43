"""What a command has written into a folder, so that running it again goes on or says it is done.

The folder holds ``COMMAND.json``: the options and what identifies the input, written before the
first result. Running the command again with the same ones goes on with what is missing; with
others it is an error that names what differs, and nothing is changed.
"""

import csv
import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import noisyjax
from noisyjax.core import files

# What a record has beside the options, in which it may differ when the command is run again.
_VERSIONS = ("jax", "numpy")

# Two threads may have a result at once.
_BEGINNING = threading.Lock()


class OtherRun(ValueError):
    """A folder holds something else than what the command would write there."""


@dataclasses.dataclass(frozen=True)
class Record:
    """The record of a command's folder; make one by `open_record`.

    Attributes:
      finished: whether the command has ended here before, without a problem.
    """

    path: pathlib.Path
    content: dict[str, Any]
    finished: bool

    @property
    def out(self) -> pathlib.Path:
        """The folder."""
        return self.path.parent

    def is_done(self, cases: Collection[str]) -> bool:
        """Whether the command has ended here with these cases, where the digest is one of each."""
        return self.finished and set(files.read_json(self.path)["digest"]) == set(cases)

    def begin(self) -> None:
        """Writes down that the work has begun, once; call it before a result is written.

        Called when the first result is known, a wrong option leaves nothing behind.
        """
        with _BEGINNING:
            if not self.path.exists():
                files.check_writable(self.out)
                self._write(finished=False, problems=(), results={})

    def end(
        self,
        problems: Sequence[str] = (),
        *,
        cases: Collection[str] | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes down that the work is done, or what was in its way; then it can be run again.

        Args:
          problems: a text each.
          cases: those that were made, where the digest is one of each case: the files of the others
            may be mended.
          results: numbers that the command came to, under names of their own.
        """
        whole = self.content["digest"]
        if cases is not None and isinstance(whole, dict):
            self.content["digest"] = {name: whole[name] for name in cases}
        self._write(finished=not problems, problems=problems, results=results or {})

    def _write(
        self, *, finished: bool, problems: Sequence[str], results: Mapping[str, Any]
    ) -> None:
        versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
        content = self.content | {"versions": versions, "finished": finished}
        files.write_json(self.path, content | {"problems": list(problems), **results})


def open_record(
    out: str | os.PathLike,
    command: str,
    *,
    source: str | os.PathLike,
    digest: str | Mapping[str, str],
    options: Mapping[str, Any],
    makes: Sequence[str],
    overwrite: bool = False,
) -> Record:
    """Opens the record of a folder that a command is to fill; nothing is written yet.

    Args:
      out: the folder; absent, empty, or begun by the same command.
      source: the folder that is read.
      digest: of its files, see `digest`; or of each case by itself, where its results do not depend
        on the others: then there may be further cases when the command is run again.
      options: all that decides on the results, in values that JSON holds.
      makes: names of the files and folders that the command may make in `out`.
      overwrite: whether what the same command made there with other options is removed.

    Raises:
      OtherRun: if the folder holds something else, or has been begun otherwise.
    """
    out = files.named("out", out).absolute()
    inside = pathlib.Path(source).resolve()
    if inside == out.resolve() or inside in out.resolve().parents:
        raise OtherRun(f"out: expected a folder outside of {source}, got {out}")
    wanted = {
        "command": command,
        "noisyjax": noisyjax.__version__,
        "input": os.fspath(inside),
        "digest": digest if isinstance(digest, str) else dict(digest),
        "options": files.plain(options),
    }
    path = out / f"{command}.json"
    if not path.exists():
        # Finder leaves hidden files anywhere.
        if out.exists() and any(not name.startswith(".") for name in os.listdir(out)):
            raise OtherRun(f"{out}: expected a new or empty folder, or one of noisyjax {command}")
        return Record(path, wanted, False)
    if overwrite:
        _remove(out, (*makes, path.name))
        return Record(path, wanted, False)
    try:
        made = files.read_json(path)
    except ValueError as error:
        raise OtherRun(f"{path}: {error}") from error
    if differing := _differing(made, wanted):
        raise OtherRun(f"out: expected another folder, or overwrite: {path} is of {differing}")
    return Record(path, wanted, made.get("finished") is True)


class Table:
    """A table of CSV that is there after every case, with a few rows for each.

    Attributes:
      rows: name of a case to its rows, without the name, which is the first column; those of an
        earlier run of the command are there.
    """

    def __init__(self, path: str | os.PathLike, header: Sequence[str]):
        self._path, self._header = pathlib.Path(path), tuple(header)
        self.rows: dict[str, list[Sequence[Any]]] = {}
        if self._path.is_file():
            try:
                with open(self._path, encoding="utf-8-sig", newline="") as file:
                    names, *rows = list(csv.reader(file)) or [[]]
            except (ValueError, csv.Error) as error:
                raise OtherRun(
                    f"{self._path}: expected the table that the command has written, got {error}; "
                    "delete it, and its cases are made again"
                ) from error
            for name, *row in rows if tuple(names) == self._header else ():
                self.rows.setdefault(name, []).append(row)

    def save(self, order: Iterable[str]) -> None:
        """Writes the rows of the cases that are named, in this order."""
        rows = [(name, *row) for name in order for row in self.rows.get(name, ())]
        files.write_text(self._path, files.to_csv(self._header, rows))


def digest(paths: Iterable[str | os.PathLike], root: str | os.PathLike) -> str:
    """Returns a SHA-256 of the names below `root` and the contents of files, in any order.

    What cannot be read counts by its name alone: it will be found where it is used.
    """
    total = hashlib.sha256()
    for name, path in sorted((os.path.relpath(path, root), path) for path in paths):
        content = ""
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{pathlib.PurePath(name).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _differing(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What a folder was made with or of that is not wanted, or ""."""
    before, now = made.get("options"), wanted["options"]
    if not isinstance(before, dict):
        return "something that is no record"
    names = [*before, *(name for name in now if name not in before)]
    parts = [f"{name}={before.get(name)!r}" for name in names if before.get(name) != now.get(name)]
    if made.get("noisyjax") != wanted["noisyjax"]:
        parts.append(f"noisyjax {made.get('noisyjax')}")
    if others := _other_files(made.get("digest"), wanted["digest"]):
        parts.append(f"other files in {made.get('input')}{others}")
    return ", ".join(parts)


def _other_files(before: Any, now: str | dict[str, str]) -> str:
    """Whether files differ, and of which cases if that is known."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return "" if before == now else " or contents"
    names = [name for name, digest in before.items() if now.get(name) != digest]
    return f": {', '.join(names[:5])}{', ...' if names[5:] else ''}" if names else ""


def _remove(out: pathlib.Path, names: Iterable[str]) -> None:
    for name in names:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
