"""Every field of a run's config: its default, what it may be, and what it means.

Methods, networks, sources, augmentations, simulated raters and the strategy have sections whose
fields are the options of what is built, read from its signature: a default exists once. What of
them depends on the chosen name (``model``, ``data.options``) is unset until it is chosen.

`default` makes a config to be changed, `resolve` the config of a run from it: checked, complete,
and without the sections that the run does not read.
"""

import inspect
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import ml_collections

from noisyjax import methods, models
from noisyjax.core import checks
from noisyjax.data import sources
from noisyjax.data.labels import frozen, fuse
from noisyjax.methods import base
from noisyjax.train import config_sections, optimiser
from noisyjax.train.devices import parallelism

Config = ml_collections.ConfigDict

# What can stand around a method while it is trained.
STRATEGIES = ("none", "adl")


def _any(name: str, value: Any) -> None:
    """Accepts every value: ConfigDict itself holds its type."""


def _range(interval: str) -> Callable[[str, Any], None]:
    """Returns the check of a number against an interval such as ``"[0, 1)"``."""
    low, high = (float(end) for end in interval[1:-1].split(","))

    def check(name: str, value: float | int) -> None:
        above = low <= value if interval[0] == "[" else low < value
        below = value <= high if interval[-1] == "]" else value < high
        if not (above and below):
            raise ValueError(f"{name}: expected a number in {interval}, got {value}")

    return check


def _one_of(names: Iterable[str]) -> Callable[[str, Any], None]:
    return lambda name, value: checks.one_of(name, value, names)


def _several(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | int | float):
        raise ValueError(f"{name}: expected several in brackets, got {value!r}")
    return tuple(value)


def _each_of(names: Iterable[str]) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        for one in _several(name, value):
            checks.one_of(name, one, names)

    return check


def _sizes(name: str, value: Any) -> None:
    sizes = _several(name, value)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"{name}: expected whole numbers > 0, got {sizes}")


def _shares(name: str, value: Any) -> None:
    shares = _several(name, value)
    fits = len(shares) == 3 and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6
    if shares and not (fits and shares[0] > 0):
        raise ValueError(
            f"{name}: expected three that add up to 1 (training, validation, test), the first "
            f"above 0, got {shares}"
        )


class Field(NamedTuple):
    """A field of every config.

    Attributes:
      default: its value unless an experiment says otherwise.
      check: ``(name, value)``, raises `ValueError` for a value that can mean nothing.
      resumable: whether it may differ when a run is taken up again: it changes how a run is shown
        or spread, not what comes out.
    """

    default: Any
    check: Callable[[str, Any], None]
    resumable: bool = False


_COUNT = _range("[0, inf)")
_POSITIVE = _range("[1, inf)")

FIELDS = {
    "seed": Field(0, _any),
    "method": Field("cm_trace", _one_of(methods.METHODS)),
    "parallel": Field("pmap", _one_of(parallelism.KINDS), resumable=True),
    # Devices that share one image, each with a slab of it, where parallel is "spatial".
    "spatial_shards": Field(1, _POSITIVE, resumable=True),
    # Of the activations; parameters, logits, losses and the optimiser are float32.
    "dtype": Field("float32", _one_of(("float32", "bfloat16"))),
    # Whether the backward pass computes activations again, which saves memory on accelerators.
    "remat": Field(False, _any, resumable=True),
    "log_every_steps": Field(10, _POSITIVE, resumable=True),
    "progress": Field(True, _any, resumable=True),
    # ---- the data: source, raters, labels, splits
    "data.name": Field("digits", _one_of(sources.SOURCES)),
    # Simulated raters, in the order of their labels; () for the source's own, or some of them.
    "data.panel": Field(("good", "over", "under", "wrong", "blank"), _each_of(frozen.NAMES)),
    "data.raters": Field((), _several),
    # Whether the panel labels anew in each epoch, in place of once.
    "data.resample": Field(False, _any),
    # Raters that are kept of each training image, drawn at random; 0 for all.
    "data.labels_per_image": Field(0, _COUNT),
    # A fusion: all labels fused judge in place of the source's truth; "" for that.
    "data.gold": Field("", _one_of(("", *fuse.NAMES))),
    # A share of the training examples whose truth is replaced, once, by a noisy label of this Dice
    # to it; kinds of `noise.replacement.KINDS`, or "rater_pool" alone, whatever the Dice. The panel
    # must be empty or "good".
    "data.replacement.share": Field(0.0, _range("[0, 1]")),
    "data.replacement.overlap": Field(1.0, _range("(0, 1]")),
    "data.replacement.kinds": Field(("erosion", "dilation", "elastic"), _several),
    # Whether a larger share replaces the same examples and more.
    "data.replacement.nested": Field(True, _any),
    # Of the noisy labels, -1 for the run's seed.
    "data.replacement.label_seed": Field(-1, _any),
    # Standard deviation of the Gaussian noise on the images.
    "data.input_noise": Field(0.1, _COUNT),
    # Shares for training, validation and test; () for the source's own division.
    "data.splits": Field((0.7, 0.1, 0.2), _shares),
    # A file that names the cases of each part, in place of `splits` (see `noisyjax.data.splits`);
    # of a list, as in nnU-Net's splits_final.json, the one of `fold`. The workdir keeps a copy.
    "data.split_file": Field("", _any),
    # Cross-validation: with k folds the given one tests, and `splits` divides the rest, (1, 0, 0)
    # or with a share for validation. 0 folds for none. A split seed of -1 is the run's seed.
    "data.folds": Field(0, _COUNT),
    "data.fold": Field(0, _COUNT),
    "data.split_seed": Field(-1, _any),
    # The first so many examples of a split, 0 for all.
    "data.max_train": Field(0, _COUNT),
    "data.max_val": Field(0, _COUNT),
    # Whether cases that cannot be read, are not finite or have another shape are left out, of every
    # split. They are looked for once, stand in `skipped.csv` and are counted in the summary.
    "data.skip_damaged": Field(False, _any),
    # Training on so many patches of this size, drawn anew in each epoch, in place of every image;
    # () for whole images. This share of them lies around a voxel that a rater labelled.
    "data.patches.size": Field((), _sizes),
    "data.patches.count": Field(1, _POSITIVE),
    "data.patches.foreground_share": Field(0.0, _range("[0, 1]")),
    # ---- the network; its options stand beside the name
    "model.name": Field("unet", _one_of(models.MODELS)),
    # ---- training
    "train.epochs": Field(10, _POSITIVE),
    "train.batch_size": Field(32, _POSITIVE),
    # Microbatches that each device takes one after the other, adding up gradients: they need that
    # much less memory and give the same update, but for batch statistics, which are a microbatch's.
    "train.accumulate": Field(1, _POSITIVE),
    "train.optimizer": Field("adamw", _one_of(optimiser.OPTIMISERS)),
    "train.learning_rate": Field(1e-2, _range("(0, inf)")),
    "train.schedule": Field("cosine", _one_of(optimiser.SCHEDULES)),
    # The longer of a number of steps and a share of the run.
    "train.warmup_steps": Field(0, _COUNT),
    "train.warmup_share": Field(0.0, _range("[0, 1)")),
    # What the schedule "exponential" leaves of the rate after each epoch.
    "train.decay_rate": Field(0.96, _range("(0, 1]")),
    "train.weight_decay": Field(1e-5, _COUNT),
    "train.momentum": Field(0.9, _range("[0, 1)")),  # of "momentum" and "nesterov"
    # Largest norm of the gradient, 0 for no clipping.
    "train.gradient_clip": Field(1.0, _COUNT),
    # Factor on the learning rate of the annotators' heads.
    "train.head_learning_rate": Field(1.0, _COUNT),
    # Decay of the moving average of the parameters that evaluation then uses, 0 for none.
    "train.ema": Field(0.0, _range("[0, 1)")),
    # Which examples an epoch learns from: "none" for all, "adl" for adaptive denoising learning.
    "train.strategy": Field("none", _one_of(STRATEGIES)),
    # ---- evaluation
    "evaluate.every_epochs": Field(1, _POSITIVE),
    "evaluate.batch_size": Field(128, _POSITIVE, resumable=True),
    # What "best" means, and which checkpoint is tested.
    "evaluate.select": Field("val_nll", _any),
    "evaluate.checkpoint": Field("latest", _one_of(("latest", "best"))),
    # Whether the training split is evaluated at the end as well, against the truth, which the
    # method does not see, and against its own labels.
    "evaluate.train": Field(False, _any),
    # How probabilities become a mask; the first is the run's own, others are measured beside it.
    "evaluate.decisions": Field(("argmax",), _each_of(base.DECISIONS)),
    # In the test report too: surfaces and volumes; what is beside all raters; what NSD allows [mm].
    "evaluate.surface": Field(False, _any),
    "evaluate.raters": Field(False, _any),
    "evaluate.tolerance": Field(1.0, _COUNT),
    # Voxels along each axis of the windows by which large images are predicted, () for all at once;
    # and the share of a window that its neighbour covers too.
    "evaluate.window": Field((), _sizes),
    "evaluate.overlap": Field(0.5, _range("[0, 1)")),
    # ---- checkpoints; so many of the latest are kept, and the best
    "checkpoint.every_epochs": Field(5, _POSITIVE, resumable=True),
    "checkpoint.keep": Field(2, _POSITIVE, resumable=True),
}
# Kind of a default -> what is accepted, and what it is called.
_KINDS = (
    (bool, bool, "True or False"),
    (int, numbers.Integral, "a whole number"),
    (float, numbers.Real, "a number"),
    (str, str, "a text"),
)
# Options of sources that say where the data are. What they are is known by their content.
LOCATIONS = tuple(f"data.options.{name}" for name in ("root", "path", "cache", "download"))
RESUMABLE = (*(name for name, field in FIELDS.items() if field.resumable), *LOCATIONS)


def _unset(options: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Returns fields that hold None until they are set, by the types of the options."""
    plain = (bool, int, float, str, tuple)
    kinds = {n: p.annotation if p.annotation in plain else object for n, p in options.items()}
    return {n: ml_collections.config_dict.placeholder(kind) for n, kind in kinds.items()}


def _union(each: Iterable[config_sections.Options]) -> config_sections.Options:
    """Returns options by name; one that has several types takes any."""
    union: config_sections.Options = {}
    for name, parameter in (item for options in each for item in options.items()):
        if name in union and union[name].annotation != parameter.annotation:
            parameter = parameter.replace(annotation=object)
        union[name] = parameter
    return union


def default() -> Config:
    """Returns every field with its default, locked: CM + trace on the embedded digits."""
    config = Config()
    for name, field in FIELDS.items():
        *path, last = name.split(".")
        section = config
        for part in path:
            section[part] = section.get(part, Config())
            section = section[part]
        section[last] = field.default
    config.model.update(_unset(_union(map(config_sections.network, models.MODELS))))
    config.model.widths = (24, 48, 96)
    config.data.options = Config(_unset(_union(map(config_sections.source, sources.SOURCES))))
    config.data.panel_options = Config(_unset(config_sections.raters()))
    config.data.augment = Config(_unset(config_sections.augmentation()))
    for name in methods.METHODS:
        config[config_sections.family(name)] = Config(
            {n: p.default for n, p in config_sections.method(name).items()}
        )
    config.adl = Config({n: p.default for n, p in config_sections.strategy().items()})
    return config.lock()


def choose(section: Config, name: str | None = None, **options: Any) -> None:
    """Sets the options of a section of `default`'s config, and unsets all others.

    The section is ``config.model`` (with the network's name), ``config.data.options``,
    ``config.data.panel_options`` or ``config.data.augment``.

    >>> config = default()
    >>> choose(config.model, "highres3dnet")
    >>> config.model.name, config.model.widths
    ('highres3dnet', None)
    """
    unset = dict.fromkeys(section)
    if name is not None:
        options["name"] = name
    unknown = sorted(set(options) - set(unset))
    if unknown:
        raise ValueError(f"expected options among {', '.join(unset)}, got {unknown}")
    for field, value in (unset | options).items():
        section[field] = value


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, Config) else value


def _section(
    name: str, given: Mapping[str, Any], options: config_sections.Options, *, what: str
) -> dict[str, Any]:
    """Completes the options of what was chosen: those that are set, and the others' defaults."""
    chosen = {n: _plain(value) for n, value in given.items() if value is not None}
    unknown = sorted(set(chosen) - set(options))
    if unknown:
        raise ValueError(
            f"{name}.{unknown[0]}: expected an option of {what} ({', '.join(options) or 'none'}), "
            f"got {chosen[unknown[0]]!r}"
        )
    complete = {}
    for option, parameter in options.items():
        value = chosen.get(option, parameter.default)
        if value is inspect.Parameter.empty:
            raise ValueError(f"{name}.{option}: expected a value, for {what} needs one, got none")
        if value is not None:
            _check_kind(f"{name}.{option}", value, _example(parameter))
            complete[option] = value
    return complete


def _example(parameter: inspect.Parameter) -> Any:
    """Returns a value of the kind that an option has: its default, or one of its type."""
    kind, default = parameter.annotation, parameter.default
    if kind in (bool, int, float, str):
        return kind()
    return default if isinstance(default, bool | float) else None


def value(config: Any, name: str) -> Any:
    """Returns a field by its dotted name, or None where it is absent."""
    for part in name.split("."):
        config = config.get(part) if isinstance(config, Mapping | Config) else None
    return config


def _check_kind(name: str, value: Any, default: Any) -> None:
    """Raises unless a value is a truth value, number or text where the default is one."""
    for kind, accepted, words in _KINDS:
        if type(default) is kind:
            number = kind in (int, float) and isinstance(value, bool)
            if number or not isinstance(value, accepted):
                raise ValueError(f"{name}: expected {words}, got {value!r}")


def resolve(config: Config) -> Config:
    """Returns the config of a run, locked: checked, complete, and only what the run reads.

    What is absent has its default; a resolved config stays as it is.

    Raises:
      ValueError: naming the field, what was expected and what came. What depends on the data is
        checked where the data are read.

    >>> resolve(Config({"train": {"epochs": 0}}))
    Traceback (most recent call last):
    ...
    ValueError: train.epochs: expected a number in [1, inf), got 0
    """
    _refuse_unknown(config)
    flat = {}
    for name, field in FIELDS.items():
        given = value(config, name)
        flat[name] = field.default if given is None else _plain(given)
        _check_kind(name, flat[name], field.default)
        field.check(name, flat[name])
    if flat["data.fold"] and not (flat["data.folds"] or flat["data.split_file"]):
        wanted = "0 where data.folds is 0 and there is no data.split_file"
        raise ValueError(f"data.fold: expected {wanted}, got {flat['data.fold']}")
    method, source, network = (flat[name] for name in ("method", "data.name", "model.name"))
    sections = {
        "model": (config_sections.network(network), network),
        "data.options": (config_sections.source(source), source),
        config_sections.family(method): (config_sections.method(method), method),
    }
    if flat["data.panel"]:
        sections["data.panel_options"] = (config_sections.raters(), "data.panel")
    augmented = value(config, "data.augment") or {}
    if any(given is not None for given in augmented.values()):
        sections["data.augment"] = (config_sections.augmentation(), "augment")
    if flat["train.strategy"] == "adl":
        sections["adl"] = (config_sections.strategy(), "adl")
    resolved = {"data": {"options": {}, "panel_options": {}, "augment": {}}}
    for name, (options, what) in sections.items():
        own = {n: v for n, v in (value(config, name) or {}).items() if f"{name}.{n}" not in FIELDS}
        for option, one in _section(name, own, options, what=what).items():
            flat[f"{name}.{option}"] = one
    for name, one in flat.items():
        *path, last = name.split(".")
        section = resolved
        for part in path:
            section = section.setdefault(part, {})
        section[last] = one
    if "model.widths" in flat:
        _sizes("model.widths", flat["model.widths"])
    return Config(resolved).lock()


def _refuse_unknown(config: Config) -> None:
    """Raises for a field that no run reads."""
    open_sections = {"model", "data.options", "data.panel_options", "data.augment", "adl"}
    open_sections |= {config_sections.family(name) for name in methods.METHODS}

    def look(tree: Any, prefix: str) -> None:
        for name, inner in tree.items():
            full = f"{prefix}{name}"
            if full in FIELDS:
                continue
            known = any(field.startswith(f"{full}.") for field in FIELDS)
            if not known and full not in open_sections:
                raise ValueError(f"{full}: no run reads this field, got {inner!r}")
            if not isinstance(inner, Mapping | Config):
                raise ValueError(f"{full}: expected a section, got {inner!r}")
            if full not in open_sections:
                look(inner, f"{full}.")

    look(config, "")
