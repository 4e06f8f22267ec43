"""Commands with a flag for each option of the functions in a registry."""

import functools
import importlib
from typing import Any

import click

from noisyjax.cli import literals


class _Literal(click.ParamType):
    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # A default is no text.
        return literals.value(value) if isinstance(value, str) else value


class Command(click.Command):
    """A command that also has a flag for each option of what it may be asked to do.

    What the options are say the signatures of the functions: the module is imported when they are
    asked for, and not before. The callback is given those that were set, as keywords, which are
    options of `check`, and a repeated ``-o NAME=VALUE`` sets them too.
    """

    def __init__(self, *args: Any, module: str, registry: str, **kwargs: Any):
        """Prepares it.

        Args:
          module: has `registry`, a dict by name, and ``options(name)``, the options of an entry and
            their defaults.
        """
        super().__init__(*args, **kwargs)
        self._module, self._registry = module, registry

    @functools.cached_property
    def _flags(self) -> list[click.Option]:
        module = importlib.import_module(self._module)
        owners: dict[str, dict[str, list[str]]] = {}
        for name in getattr(module, self._registry):
            for option, default in module.options(name).items():
                owners.setdefault(option, {}).setdefault(_shown(default), []).append(name)
        flags = []
        for option, by_default in owners.items():
            spelt = {f"--{option}", f"--{option.replace('_', '-')}"}
            parts = (f"of {', '.join(names)}{shown}" for shown, names in by_default.items())
            text = "; ".join(parts).capitalize() + "."
            flags.append(click.Option([option, *sorted(spelt)], type=_Literal(), help=text))
        given = click.Option(
            ["-o", "--option", "option_"],
            multiple=True,
            metavar="NAME=VALUE",
            help="The same as --NAME VALUE.",
        )
        return [*flags, given]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Returns the parameters of the command, and the flags before --help."""
        *own, last = super().get_params(ctx)
        return [*own, *self._flags, last]

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command with the options that are set."""
        flags = {flag.name for flag in self._flags} - {"option_"}
        given = dict(literals.pairs("option", ctx.params.pop("option_")))
        for name in flags:
            value = ctx.params.pop(name)
            if value is None:
                continue
            if name in given:
                raise click.UsageError(f"--{name}: expected once, got it by --option as well")
            given[name] = value
        if wrong := sorted(given.keys() & ctx.params.keys()):
            raise click.UsageError(f"--option: expected --{wrong[0]} for {wrong[0]}")
        ctx.params |= {"options": given}
        return super().invoke(ctx)


def _shown(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple | list):
        default = ",".join(map(str, default))
    return f" ({default:.4g})" if isinstance(default, float) else f" ({default})"
