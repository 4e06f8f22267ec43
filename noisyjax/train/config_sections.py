"""What can be set of the methods, networks, sources, … that a config names, by their signatures."""

import functools
import inspect
from collections.abc import Callable

from noisyjax import methods, models
from noisyjax.core import checks
from noisyjax.data import augment, sources
from noisyjax.data.labels import frozen
from noisyjax.methods import adl

Options = dict[str, inspect.Parameter]


def _options(build: Callable, *given: str) -> Options:
    """Returns what a builder can be told, without what it is given by the run or is bound."""
    bound = build.keywords if isinstance(build, functools.partial) else {}
    parameters = inspect.signature(build).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in parameters if p.kind in named and p.name not in (*given, *bound)}


def network(name: str) -> Options:
    """Returns the options of a network's attributes."""
    build = checks.lookup("model.name", name, models.MODELS)
    run = ("num_classes", "axis_name", "dtype", "remat", "parent", "name")
    bound = build.keywords if isinstance(build, functools.partial) else {}
    unbound = build.func if bound else build
    parameters = _options(unbound, *run)
    return {n: p.replace(default=bound.get(n, p.default)) for n, p in parameters.items()}


def source(name: str) -> Options:
    """Returns the options of a source's `load`."""
    return _options(checks.lookup("data.name", name, sources.SOURCES), "skip_damaged")


def raters() -> Options:
    """Returns the options of a panel of simulated raters."""
    return _options(frozen.annotators.panel, "names", "num_classes", "spacing")


def augmentation() -> Options:
    """Returns the options of an augmentation."""
    return {n: p for n, p in augment.PARAMETERS.items() if n not in ("spacing", "margin")}


def strategy() -> Options:
    """Returns the options of adaptive denoising learning."""
    return _options(adl.wrap, "method", "num_examples", "steps_per_epoch", "epochs")


def family(method: str) -> str:
    """Returns the section of a method's options: the name of its file.

    >>> family("majority"), family("no_trace")
    ('fused', 'cm_trace')
    """
    entry = checks.lookup("method", method, methods.METHODS)
    return getattr(entry, "func", entry).__module__.rpartition(".")[2]


def method(name: str) -> Options:
    """Returns the options of a method's family that none of its entries binds."""
    run = ("segmenter", "num_raters", "num_classes", "regions", "axis_name")
    section = family(name)
    entries = [entry for n, entry in methods.METHODS.items() if family(n) == section]
    return {
        n: p
        for n, p in _options(methods.METHODS[name], *run).items()
        if all(n not in getattr(entry, "keywords", {}) for entry in entries)
    }
