"""What the commands share: how they read their arguments and say what is wrong with them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import app

from noisyjax.cli import literals


def expect_flags_only(argv: Sequence[str]) -> None:
    """Raises app.UsageError for what follows the command's name without being a flag."""
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, got {argv[1:]}")


def parse(flag: str, given: Iterable[str]) -> list[tuple[str, Any]]:
    """Reads NAME=VALUE as `literals.pairs`, but that one without either raises app.UsageError."""
    try:
        return literals.pairs(flag, given)
    except ValueError as error:
        raise app.UsageError(str(error)) from error


def load_source(name: str, given: Mapping[str, Any]) -> Any:
    """Loads a data set, a `source.Source`.

    An unknown name or an option that the data set does not take raises app.UsageError.
    """
    from noisyjax.data import sources

    try:
        return sources.load(name, **given)
    except TypeError as error:
        raise app.UsageError(f"--option: {name}: {error}") from error
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
