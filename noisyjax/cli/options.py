"""What the commands share: how they read their arguments and say what is wrong with them."""

import ast
import contextlib
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import app

import noisyjax
from noisyjax.cli import literals, shipped_configs


def expect_flags_only(argv: Sequence[str]) -> None:
    """Raises app.UsageError for what follows the command's name without being a flag."""
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, got {argv[1:]}")


def run(main: Callable[[list[str]], Any]) -> None:
    """Runs a command with a config as `app.run`; one without such a field is a message.

    The configs that come with the package are found from any working directory.
    """
    shipped_configs.offer()
    app.run(main, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(shipped_configs.found(argv))
    except (AttributeError, KeyError, IndexError, OSError) as error:
        text = str(error.args[0] if len(error.args) == 1 else error)
        # That of a KeyError may be one within quotes.
        with contextlib.suppress(ValueError, SyntaxError):
            text = str(ast.literal_eval(text))
        print(f"{argv[0]}: --config: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(1)


@contextlib.contextmanager
def one_message() -> Iterator[None]:
    """Turns errors that say what was wrong with what was given into app.UsageError.

    These are the system's, and values that this package itself refuses; a library's own keep their
    traceback.
    """
    try:
        yield
    except OSError as error:
        raise app.UsageError(str(error)) from error
    except ValueError as error:
        if not _is_ours(error):
            raise
        raise app.UsageError(str(error)) from error
    except RuntimeError as error:
        # Imported late, as by the commands.
        from noisyjax.data import source
        from noisyjax.train.workdir import lock

        told = (lock.WorkdirLocked, lock.WorkdirReplaced, source.UnreadableCase)
        if not isinstance(error, told):
            raise
        raise app.UsageError(str(error)) from error


def _is_ours(error: Exception) -> bool:
    raised = pathlib.Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return pathlib.Path(noisyjax.__file__).parent in raised.parents


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
