"""The plan of a training: what is read from ``plan.json``, which a person may edit."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from noisyjax.core import files
from noisyjax.data.volumes import normalisations
from noisyjax.tool import record

# Bytes that a plan may have.
_MOST = 2**22


class Plan(NamedTuple):
    """How cases are prepared and what network learns from them.

    Axes are to the right, the front and the top; rows and columns for images.

    Attributes:
      spacing: voxels of the prepared cases, in mm.
      normalisation: of each channel, one of `normalisations.NORMALISATIONS`.
      intensities: of each channel (low, high, mean, standard deviation) of the foreground, which
        the normalisation "ct" reads.
      patch: voxels of a patch along each axis; images that are all smaller are learnt from whole.
      strides: of each level of the network but the finest, along each axis.
      kernels: of each level, finest first, along each axis.
      widths: channels of each level.
      convs_per_level: convolutions of each level, of the encoder and of the decoder.
      batch_size: patches of an update.
      mirror_axes: along which mirroring exchanges no classes.
      reasons: why each of these is what it is, in a word.
      fingerprint: what was found in the folder.
      expected: "memory_gib", "seconds_per_step" and "parameters", as far as they were measured.
    """

    spacing: tuple[float, ...]
    normalisation: tuple[str, ...]
    intensities: tuple[tuple[float, float, float, float], ...]
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    convs_per_level: int
    batch_size: int
    mirror_axes: tuple[int, ...]
    reasons: Mapping[str, str]
    fingerprint: Mapping[str, Any]
    expected: Mapping[str, float]


def save(path: str | os.PathLike, plan: Plan) -> None:
    """Writes a plan, at once or not at all, a list on a line."""
    files.write_text(path, _text(files.plain(plan)) + "\n")


def load(path: str | os.PathLike) -> Plan:
    """Reads a plan that a person may have edited.

    Raises:
      ValueError: for what is no plan; it names the file and the field.
    """
    try:
        content = files.read_json(path, most=_MOST)
        return of_json(content)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def of_json(content: Mapping[str, Any]) -> Plan:
    """Returns the plan that an object of JSON describes; `ValueError` names a field that is wrong.

    >>> of_json({"patch": [8, 8]})
    Traceback (most recent call last):
    ...
    ValueError: spacing: expected a list of two or three numbers > 0, got nothing
    """
    if unknown := [name for name in content if name not in Plan._fields]:
        known = ", ".join(Plan._fields)
        raise ValueError(f"{unknown[0]}: expected one of the fields {known}")
    fields = {}
    for name, (words, read) in _FIELDS.items():
        try:
            fields[name] = read(content[name])
        except (KeyError, TypeError, ValueError) as error:
            got = "nothing" if name not in content else f"{content[name]!r:.80}"
            raise ValueError(f"{name}: expected {words}, got {got}") from error
    plan = Plan(**fields)
    _check_together(plan)
    return plan


def check_free(path: str | os.PathLike, source: str | os.PathLike) -> None:
    """Raises unless a plan of the folder `source` may go to a file that holds a plan, or is new.

    Raises:
      OtherRun: if the file lies in the folder, or is no plan.
    """
    path = files.named("out", path).absolute()
    inside = pathlib.Path(source).resolve()
    if inside in path.resolve().parents:
        raise record.OtherRun(f"out: expected a file outside of {source}, got {path}")
    if path.exists():
        try:
            load(path)
        except (OSError, ValueError) as error:
            raise record.OtherRun(f"out: expected a new file or a plan, got {error}") from error


def keep(path: str | os.PathLike, plan: Plan, *, overwrite: bool = False) -> bool:
    """Writes a plan where there is none; returns whether it was there already.

    Plans that differ in nothing but the time of a step are one.

    Raises:
      OtherRun: if another plan is there that is not to be overwritten.
    """
    if not overwrite and os.path.exists(path):
        there = load(path)
        differing = [name for name in Plan._fields if _fixed(there, name) != _fixed(plan, name)]
        if differing:
            raise record.OtherRun(
                f"out: expected another file, or overwrite: {os.fspath(path)} is a plan with "
                f"another {', '.join(differing)}"
            )
        return True
    save(path, plan)
    return False


def _fixed(plan: Plan, name: str) -> Any:
    """Returns a field as a file holds it, without what differs from run to run."""
    value = files.plain(getattr(plan, name))
    if name == "expected":
        return {key: number for key, number in value.items() if key != "seconds_per_step"}
    return value


def _text(value: Any, indent: str = "") -> str:
    """Returns JSON in which every object but the innermost lists has a line for each item."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + "  "
    lines = [
        f"{inner}{json.dumps(k, ensure_ascii=False)}: {_text(v, inner)}" for k, v in value.items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError("no number")
    return float(value)


def _positive(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError("not above 0")
    return float(value)


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError("no such number")
        return value

    return read


def _several(read: Callable[[Any], Any], lengths: tuple[int, ...] = ()) -> Callable[[Any], tuple]:
    def several(value: Any) -> tuple:
        if lengths and len(_list(value)) not in lengths:
            raise ValueError("another length")
        return tuple(read(item) for item in _list(value))

    return several


def _normalisation(value: Any) -> str:
    if value not in normalisations.NORMALISATIONS:
        raise ValueError("unknown")
    return value


def _object_of(kinds: type | tuple[type, ...]) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(v, kinds) for v in value.values()):
            raise TypeError("no such object")
        return value

    return read


_AXES = (2, 3)
_MOST_SIDE = 2**16
_STRIDE = _several(_whole(1, 2), _AXES)
_KERNEL = _several(_whole(1, 3), _AXES)
# Field -> what it is to be, and what reads it.
_FIELDS = {
    "spacing": ("a list of two or three numbers > 0", _several(_positive, _AXES)),
    "normalisation": (
        f"a list of names for the channels, each one of {', '.join(normalisations.NORMALISATIONS)}",
        _several(_normalisation),
    ),
    "intensities": (
        "a list of [low, high, mean, standard deviation] for each channel",
        _several(_several(_number, (4,))),
    ),
    "patch": ("a list of two or three whole numbers > 0", _several(_whole(1, _MOST_SIDE), _AXES)),
    "strides": (
        "a list of [1 or 2 along each axis] for each level but the finest",
        _several(_STRIDE),
    ),
    "kernels": ("a list of [1 or 3 along each axis] for each level", _several(_KERNEL)),
    "widths": ("a list of whole numbers > 0", _several(_whole(1, 2**16))),
    "convs_per_level": ("a whole number > 0", _whole(1, 16)),
    "batch_size": ("a whole number > 0", _whole(1, 2**20)),
    "mirror_axes": ("a list of the numbers of axes, from 0", _several(_whole(0, 2))),
    "reasons": ("an object of texts", _object_of(str)),
    "fingerprint": ("an object", _object_of(object)),
    "expected": ("an object of numbers", _object_of((int, float))),
}


def _check_together(plan: Plan) -> None:
    """Raises `ValueError` unless the fields of a plan fit each other."""
    axes, levels = len(plan.spacing), len(plan.widths)
    if not plan.normalisation:
        raise ValueError("normalisation: expected one for each channel, got none")
    if len(plan.intensities) != len(plan.normalisation):
        raise ValueError(
            f"intensities: expected one for each of {len(plan.normalisation)} channels, "
            f"got {len(plan.intensities)}"
        )
    for name, (low, high, _, deviation) in zip(plan.normalisation, plan.intensities, strict=True):
        if name == "ct" and not (low < high and deviation > 0):
            raise ValueError(
                "intensities: expected low < high and a standard deviation > 0 for ct, got "
                f"{[low, high]} and {deviation}"
            )
    if len(plan.patch) != axes:
        raise ValueError(f"patch: expected one for each of {axes} axes, got {list(plan.patch)}")
    if not levels:
        raise ValueError("widths: expected one for each level, got none")
    for name, count in (("strides", levels - 1), ("kernels", levels)):
        rows = getattr(plan, name)
        if len(rows) != count or any(len(row) != axes for row in rows):
            raise ValueError(
                f"{name}: expected {count} lists of {axes} for {levels} widths, got "
                f"{[list(row) for row in rows]!r:.80}"
            )
    if any(size not in (1, 3) for row in plan.kernels for size in row):
        raise ValueError(f"kernels: expected 1 or 3, got {[list(row) for row in plan.kernels]}")
    for axis, side in enumerate(plan.patch):
        factor = math.prod(row[axis] for row in plan.strides)
        if side % factor:
            raise ValueError(
                f"patch: expected a multiple of {factor} along axis {axis}, which the strides "
                f"divide it by, got {side}"
            )
    if len(set(plan.mirror_axes)) != len(plan.mirror_axes) or any(
        axis >= axes for axis in plan.mirror_axes
    ):
        raise ValueError(
            f"mirror_axes: expected different axes below {axes}, got {list(plan.mirror_axes)}"
        )
