"""The configs that come with the package, found from any working directory.

In a checkout they lie in ``configs/`` beside the package, and in an installation where the wheel
has put them.
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import types
from collections.abc import Sequence

import noisyjax

NAME = "configs"
_INSTALLED = "share/noisyjax/configs"
_FLAGS = ("--config", "-config")


def folder() -> pathlib.Path | None:
    """Returns the folder of the configs, None where a copy of the package has none."""
    beside = pathlib.Path(noisyjax.__file__).parents[1]
    try:
        installed = importlib.metadata.files("noisyjax") or []
    except importlib.metadata.PackageNotFoundError:
        installed = []
    listed = [file for file in installed if file.parent.as_posix().endswith(_INSTALLED)]
    # The last one is where `pip install --target` puts them.
    places = [beside / NAME, *(file.locate().parent for file in listed[:1]), beside / _INSTALLED]
    there = (pathlib.Path(os.path.abspath(place)) for place in places)
    return next((place for place in there if (place / "cm_trace.py").exists()), None)


def found(argv: Sequence[str]) -> list[str]:
    """Returns arguments with the paths of our configs in ``--config=configs/NAME.py:VARIANT``.

    Any other argument, and a path at which there is a file, stays as it is.
    """
    out: list[str] = []
    for argument in argv:
        flag, equals, given = argument.partition("=")
        if equals and flag in _FLAGS:
            argument = f"{flag}={_found(given)}"
        elif out and out[-1] in _FLAGS:
            argument = _found(argument)
        out.append(argument)
    return out


def _found(given: str) -> str:
    path, colon, variant = given.partition(":")
    inner, shipped = pathlib.PurePath(path), folder()
    ours = shipped is not None and inner.parent == pathlib.PurePath(NAME)
    if os.path.exists(path) or not (ours and (shipped / inner.name).exists()):
        return given
    return f"{shipped / inner.name}{colon}{variant}"


def offer() -> None:
    """Lets config files import them as `configs`, unless there is something else of that name."""
    shipped = folder()
    if shipped is not None and importlib.util.find_spec(NAME) is None:
        package = types.ModuleType(NAME)
        package.__path__ = [os.fspath(shipped)]
        sys.modules[NAME] = package
