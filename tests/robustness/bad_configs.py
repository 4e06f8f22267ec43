"""Configs that do not fit together, and config files that are none."""

import functools
import json
import math
import sys
import warnings
from unittest import mock

import jax
import numpy as np
from absl import flags
from bad_inputs import group
from ml_collections import config_flags

from configs import (
    adl,
    annotators,
    cm_trace,
    folder,
    gaussian_threshold,
    noise_ratio,
    uma_net,
)
from noisyjax import methods, models
from noisyjax.data import source, sources
from noisyjax.data.labels import frozen
from noisyjax.data.sources import digits
from noisyjax.methods import sliding_window
from noisyjax.train import config_fields, experiments, optimiser
from noisyjax.train.workdir import config_and_summary, data_facts


def _changed(name, value):
    """Makes the default config with a field changed, in a run's empty folder."""

    def make(_):
        config = config_fields.default()
        config.unlock()
        *sections, field = name.split(".")
        section = config
        for part in sections:
            section = section[part]
        with section.ignore_type():
            section[field] = value
        return config

    return make


def _row(name, value, match):
    return f"{name} = {value!r:.40}", _changed(name, value), match


_FIELDS = [
    _row("method", "majorty", "method: expected one of .*'majority'.*, got 'majorty'"),
    _row("parallel", "threads", "parallel: expected one of .*'pmap'.*, got 'threads'"),
    _row("data.name", "digit", "data.name: expected one of .*'digits'.*, got 'digit'"),
    _row("data.panel", ("good", "evil"), "data.panel: expected one of .*'good'.*, got 'evil'"),
    _row("data.panel", "good", "data.panel: expected several in brackets, got 'good'"),
    _row("data.gold", "best", "data.gold: expected one of .*'staple'.*, got 'best'"),
    _row("data.splits", (0.5, 0.1, 0.1), r"data.splits: expected three .*, got \(0.5, 0.1, 0.1\)"),
    _row("data.splits", (0.0, 0.5, 0.5), "data.splits: expected .* the first above 0, got"),
    _row("data.splits", (1.5, -0.5, 0.0), "data.splits: expected three that add up to 1"),
    _row("data.folds", -1, r"data.folds: expected a number in \[0, inf\), got -1"),
    _row("data.fold", 2, "data.fold: expected 0 where data.folds is 0 .*, got 2"),
    _row("data.max_train", -1, r"data.max_train: expected a number in \[0, inf\), got -1"),
    _row("data.labels_per_image", -2, r"data.labels_per_image: expected a number in \[0, inf\)"),
    _row("data.input_noise", math.nan, r"data.input_noise: expected a number in .*, got nan"),
    _row("data.replacement.share", 1.5, r"data.replacement.share: expected .*\[0, 1\], got 1.5"),
    _row("data.replacement.overlap", 0.0, r"data.replacement.overlap: expected .*\(0, 1\], got 0"),
    _row("data.patches.size", (8, 0), r"data.patches.size: expected whole numbers > 0, got \(8, 0"),
    _row("data.patches.count", 0, r"data.patches.count: expected a number in \[1, inf\), got 0"),
    _row("data.patches.foreground_share", 2.0, r"data.patches.foreground_share: .*\[0, 1\], got 2"),
    _row("model.name", "u-net", "model.name: expected one of .*'unet'.*, got 'u-net'"),
    _row("model.widths", (24, -48), r"model.widths: expected whole numbers > 0, got \(24, -48\)"),
    _row("model.widths", (24.0,), r"model.widths: expected whole numbers > 0, got \(24.0,\)"),
    _row("train.epochs", 0, r"train.epochs: expected a number in \[1, inf\), got 0"),
    _row("train.batch_size", 0, r"train.batch_size: expected a number in \[1, inf\), got 0"),
    _row("train.learning_rate", math.nan, "train.learning_rate: expected a number .*, got nan"),
    _row("train.learning_rate", -0.1, r"train.learning_rate: expected a number in \(0, inf\)"),
    _row("train.optimizer", "adamax", "train.optimizer: expected one of .*'adam'.*, got 'adamax'"),
    _row("train.schedule", "cos", "train.schedule: expected one of .*'cosine'.*, got 'cos'"),
    _row("train.strategy", "all", "train.strategy: expected one of 'none', 'adl', got 'all'"),
    _row("train.momentum", 1.0, r"train.momentum: expected a number in \[0, 1\), got 1"),
    _row("train.decay_rate", 0.0, r"train.decay_rate: expected a number in \(0, 1\], got 0"),
    _row("train.ema", 1.0, r"train.ema: expected a number in \[0, 1\), got 1.0"),
    _row("evaluate.decisions", ("best",), "evaluate.decisions: expected one of .*, got 'best'"),
    _row("evaluate.checkpoint", "bset", "evaluate.checkpoint: expected one of 'latest', 'best'"),
    _row("evaluate.batch_size", -1, r"evaluate.batch_size: expected a number in \[1, inf\)"),
    _row("evaluate.every_epochs", 0, r"evaluate.every_epochs: expected a number in \[1, inf\)"),
    _row("evaluate.window", (0, 8), "evaluate.window: expected whole numbers > 0"),
    _row("evaluate.overlap", 1.0, r"evaluate.overlap: expected a number in \[0, 1\), got 1.0"),
    _row("checkpoint.keep", 0, r"checkpoint.keep: expected a number in \[1, inf\), got 0"),
    _row("data.folds", 1, "fold: expected 0 <= fold < folds and 2 to 1797 folds, got 0 of 1"),
    _row("data.raters", ("anna",), "data.raters: expected none beside data.panel, got .*'anna'"),
    _row("cm_trace.consensus", "ask", "consensus: expected one of .*, got 'ask'"),
]


# Read once for all rows.
load_digits = functools.cache(digits.load)


def _build(config):
    with mock.patch.dict(sources.SOURCES, digits=load_digits):
        experiments.build(config_fields.resolve(config), "run")


def _with(**fields):
    """Makes the default config with several fields changed."""

    def make(folder):
        config = config_fields.default()
        with config.unlocked(), config.data.ignore_type(), config.train.ignore_type():
            config.update_from_flattened_dict({n.replace("__", "."): v for n, v in fields.items()})
        return config

    return make


_TOGETHER = [
    (
        "an unknown loss",
        _with(method="majority", fused__loss="dyce"),
        "loss: expected one of .*'cross_entropy'.*, got 'dyce'",
    ),
    (
        "a fresh draw without a panel",
        _with(data__resample=True, data__panel=()),
        "data.panel: expected names, for digits has no raters of its own",
    ),
    (
        "a fresh draw and a gold standard",
        _with(data__resample=True, data__gold="staple"),
        "data.gold: a fresh draw of labels is made from the truth, got both",
    ),
    (
        "replaced labels of a panel",
        _with(data__replacement__share=0.5),
        r"data.replacement: .* expected data.panel to be \(\)",
    ),
    (
        "ADL with patches",
        _with(train__strategy="adl", data__patches__size=(8, 8), data__patches__count=2),
        "data.patches.count: the strategy adl remembers one loss per example, expected 1, got 2",
    ),
    (
        "a fold beyond the folds",
        _with(data__folds=3, data__fold=3, data__splits=()),
        "fold: expected 0 <= fold < folds .*, got 3 of 3",
    ),
]


def _assign(change):
    def call(_):
        config = config_fields.default()
        change(config)

    return call


def _set_unknown(config):
    config.train.leaning_rate = 0.1


def _set_text(config):
    config.train.batch_size = "many"


_VARIANTS = (adl, annotators, cm_trace, folder, gaussian_threshold, noise_ratio, uma_net)


def _config_file(text, name="config.py"):
    def make(folder):
        if text is not None:
            (folder / name).write_text(text)
        return name

    return make


def _load_config_file(name):
    # What another test has loaded by this name would lend its functions.
    sys.modules.pop("config_config", None)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        values(["train", f"--config={name}"])
    return values.config.seed


def _run_folder(**files):
    """Makes the folder of a run of others."""

    def make(folder):
        run = folder / "run"
        run.mkdir()
        for name, text in files.items():
            (run / f"{name}.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        return run

    return make


def _shapes_of(norm):
    network = models.build("unet", 2, widths=(4, 8), norm=norm)
    jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))


def _nothing(_):
    return None


ROWS = [
    *group("config", _build, [*_FIELDS, *_TOGETHER]),
    *[
        row
        for module in _VARIANTS
        for row in group(
            f"config file {module.__name__}",
            lambda _, module=module: module.get_config("unheard"),
            [("an unknown variant", _nothing, "variant: expected .*, got 'unheard'")],
        )
    ],
    *group(
        "config",
        _assign(_set_unknown),
        [("an unknown field", _nothing, "leaning_rate")],
        error=AttributeError,
    ),
    *group(
        "config",
        _assign(_set_text),
        [("a text for a number", _nothing, "batch_size")],
        error=TypeError,
    ),
    *group(
        "config file",
        _load_config_file,
        [("absent", _config_file(None), "config.py")],
        error=OSError,
    ),
    *group(
        "config file",
        _load_config_file,
        [("not Python", _config_file("epochs = = 3\n"), r"invalid syntax \(config.py")],
        error=SyntaxError,
    ),
    *group(
        "config file",
        _load_config_file,
        [("without get_config", _config_file("epochs = 3\n"), "get_config")],
        error=AttributeError,
    ),
    *group(
        "config.json of a run",
        config_and_summary.load_config,
        [
            ("truncated", _run_folder(config='{"seed": 0, "da'), "config.json: expected .*got"),
            ("a list", _run_folder(config="[1, 2]"), "config.json: expected .*got .*list"),
            ("a number", _run_folder(config="7"), "config.json: expected .*got .*int"),
            ("UTF-16", _run_folder(config='{"seed": 0}'.encode("utf-16")), "config.json: expected"),
        ],
    ),
    *group(
        "source.json of a run",
        data_facts.read,
        [
            ("truncated", _run_folder(source='{"batch": {'), "source.json: expected the facts"),
            ("a list", _run_folder(source="[]"), "source.json: expected the facts"),
            (
                "of a dtype that is none",
                _run_folder(
                    source=json.dumps({"batch": {"image": {"shape": [1], "dtype": "spoon"}}})
                ),
                "source.json: expected the facts",
            ),
        ],
    ),
    *group(
        "registry",
        lambda name: sources.load(name),
        [("unknown source", lambda _: "mnits", "source: expected one of .*'mnist', .*'mnits'")],
    ),
    *group(
        "registry",
        lambda name: methods.build(name, None, num_raters=2, num_classes=2),
        [("unknown method", lambda _: "cm", "method: expected one of .*'cm_trace'.*, got 'cm'")],
    ),
    *group(
        "registry",
        lambda name: models.build(name, 2),
        [("unknown model", lambda _: "vnet", "model: expected one of .*'unet'.*, got 'vnet'")],
    ),
    *group(
        "registry",
        _shapes_of,
        [("unknown norm", lambda _: "bach", "norm: expected one of .*'batch'.*, got 'bach'")],
    ),
    *group(
        "registry",
        lambda names: frozen.panel(names, num_classes=2, spacing=(1.0, 1.0)),
        [("unknown annotator", lambda _: ("evil",), "names: expected one of .*, got 'evil'")],
    ),
    *group(
        "optimiser",
        lambda rate: optimiser.schedule("cosine", learning_rate=rate, total_steps=9),
        [("a rate of NaN", lambda _: math.nan, "learning_rate: expected a number >= 0, got nan")],
    ),
    *group(
        "optimiser",
        lambda decay: optimiser.build("adamw", 0.1, weight_decay=decay),
        [("a decay below zero", lambda _: -1.0, "weight_decay: expected a number >= 0, got -1")],
    ),
    *group(
        "windows",
        lambda extent: sliding_window.layout(extent, 8),
        [("larger than the image", lambda _: 4, "extent: expected at least the window's 8")],
    ),
    *group(
        "source",
        lambda names: source.Source("toy", (), 2, names, (1.0, 1.0), has_truth=False),
        [("names of other classes", lambda _: ("organ",), "toy: expected 2 class names, got")],
    ),
]
