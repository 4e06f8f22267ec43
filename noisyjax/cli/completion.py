"""What the shell completes beside the names of commands and options."""

import importlib
from collections.abc import Callable

import click
from click import shell_completion

Completion = Callable[[click.Context, click.Parameter, str], list[shell_completion.CompletionItem]]


def folders(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[shell_completion.CompletionItem]:
    """Leaves it to the shell, which knows the folders."""
    del context, parameter
    return [shell_completion.CompletionItem(incomplete, type="dir")]


def names(module: str, registry: str) -> Completion:
    """Returns what completes the names in a registry, whose module is imported then."""

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[shell_completion.CompletionItem]:
        del context, parameter
        known = getattr(importlib.import_module(module), registry)
        found = (name for name in known if name.startswith(incomplete))
        return [shell_completion.CompletionItem(name) for name in found]

    return complete
