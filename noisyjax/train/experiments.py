"""From a config to the things of a run: examples, method, and what is done on the device."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import logging
from jaxtyping import Array, Int

from noisyjax import methods, models
from noisyjax.core import checks
from noisyjax.data import augment, damaged, patches, pipeline, source, sources, splits
from noisyjax.data.labels import assemble, frozen, replace
from noisyjax.methods import adl, base, sliding_window
from noisyjax.train import config_sections
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import data_facts

Config = ml_collections.ConfigDict
Batch = dict[str, Array]

SPLITS_FILE = "splits.json"
REPLACED_FILE = "replaced.csv"
SKIPPED_FILE = "skipped.csv"
# The raters' labels are the truth.
_TRUTH_AS_LABEL = ("good",)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a run works with.

    Attributes:
      data: the source.
      examples: split to its labelled examples; empty splits are absent.
      rater_names: R different names.
      method: the method.
      transform: ``(batch, key) -> batch``, the part of the input pipeline that runs on the device.
      parts: split to the ids of its cases, with those that are left out.
      contents: what each of these cases holds, by its id.
      skipped: split to the number of its cases that are left out because they cannot be used; None
        for a run that stops at such a case.
    """

    data: source.Source
    examples: dict[str, assemble.Labelled]
    rater_names: tuple[str, ...]
    method: base.Method
    transform: Callable[[Batch, Array], Batch]
    parts: dict[str, Int[np.ndarray, "..."]]
    contents: dict[int, source.Content]
    skipped: dict[str, int] | None = None

    def example_batch(self) -> Batch:
        """Returns a training batch of one, to take shapes from."""
        batches = pipeline.eval_batches(self.examples["train"], batch_size=1, threads=0)
        return jax.tree.map(jnp.asarray, next(batches))

    def facts(self) -> data_facts.DataFacts:
        """Returns what has to be known of the data where they are not."""
        batch = self.example_batch()
        used = {part: examples.ids.tolist() for part, examples in self.examples.items()}
        return data_facts.DataFacts(
            class_names=self.data.class_names,
            rater_names=self.rater_names,
            spacing=self.data.spacing,
            num_examples=len(self.examples["train"]),
            batch={n: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for n, leaf in batch.items()},
            about=self.data.about,
            cases={part: tuple(map(self.data.case_name, ids)) for part, ids in used.items()},
            contents={
                part: source.digest({str(i): "/".join(self.contents[i]) for i in ids})
                for part, ids in used.items()
            },
        )


@distributed.writer_only
def keep(experiment: Experiment, folder: str | os.PathLike) -> None:
    """Writes what is fixed for a whole run: its division, and which labels have been replaced.

    A division that is there stays, but for one that does not say what its cases hold.
    """
    path, data = pathlib.Path(folder) / SPLITS_FILE, experiment.data
    if not path.exists() or splits.changes(path, data, experiment.contents) is None:
        splits.save(path, experiment.parts, data, contents=experiment.contents)
    train = experiment.examples["train"]
    if train.replacement is not None:
        replaced = path.with_name(REPLACED_FILE)
        replace.save(replaced, train.replacement, data=data, ids=train.ids)


def _division(
    config: Config, data: source.Source, folder: pathlib.Path | None
) -> dict[str, Int[np.ndarray, "..."]]:
    """Returns split to ids: those of the run's folder, of a file of its own, or new ones."""
    path = folder / SPLITS_FILE if folder else None
    if path and path.exists():
        parts = splits.load(path, data, fold=config.data.fold)
        if not len(parts.get("train", ())):
            raise ValueError(f"{path}: train: expected cases, got none")
        return parts
    if config.data.split_file:
        parts = splits.load(config.data.split_file, data, fold=config.data.fold)
    else:
        parts = splits.of_source(
            data,
            seed=config.seed if config.data.split_seed < 0 else config.data.split_seed,
            fractions=tuple(config.data.splits),
            folds=config.data.folds,
            fold=config.data.fold,
        )
    for name, most in (("train", config.data.max_train), ("val", config.data.max_val)):
        if most:
            parts[name] = parts[name][:most]
    return parts


def _contents(
    data: source.Source, parts: dict[str, np.ndarray], folder: pathlib.Path | None, *, strict: bool
) -> dict[int, source.Content]:
    """Returns what the cases of a division hold, and compares it with what a run began with.

    Raises `ValueError` if they hold something else; unless strict, a warning will do where none
    that was trained on tests.
    """
    contents = {}
    for example_id in map(int, np.concatenate(list(parts.values()))):
        try:
            contents[example_id] = source.content(data, example_id)
        except source.UnreadableCase:
            # It is left out, or stops the run, when it is labelled.
            contents[example_id] = source.Content("", "")
    path = folder / SPLITS_FILE if folder else None
    changed = splits.changes(path, data, contents) if path and path.exists() else None
    if changed and any(changed):
        got = f"{path}: expected the data that the run began with, got {changed}"
        if strict or changed.trained:
            raise ValueError(f"{got}; put them back, or choose another workdir")
        logging.warning("%s: what is measured is of these", got)
    return contents


def _without_damaged(
    data: source.Source,
    parts: dict[str, np.ndarray],
    folder: pathlib.Path | None,
    *,
    read_only: bool,
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Leaves out the cases that cannot be used: those of the run's folder, or those found now.

    Returns (split to the ids that are left, split to the number of those that are not).
    """
    path = folder / SKIPPED_FILE if folder else None
    if path and path.exists():
        errors = damaged.load(path, data)
    else:
        errors = damaged.find(data, np.concatenate(list(parts.values())))
        if path and not read_only:
            damaged.save(path, errors, parts, data)
    for example_id, error in errors.items():
        logging.warning("left out: %s: %s", data.case_name(example_id), error)
    left = damaged.without(parts, errors)
    return left, {split: len(ids) - len(left[split]) for split, ids in parts.items()}


def _panel_names(config: Config) -> tuple[str, ...]:
    """Returns who labels the examples: the truth is the label that replacements replace."""
    names = tuple(config.data.panel)
    if not config.data.replacement.share:
        return names
    if names not in ((), _TRUTH_AS_LABEL) or config.data.raters:
        raise ValueError(
            "data.replacement: replaces the truth as the label of one rater, expected data.panel "
            f"to be () or {_TRUTH_AS_LABEL} and data.raters to be (), "
            f"got {names} and {tuple(config.data.raters)}"
        )
    if config.data.resample:
        raise ValueError("data.replacement: labels are replaced once, expected no data.resample")
    return _TRUTH_AS_LABEL


def _rater_names(config: Config, data: source.Source) -> tuple[str, ...]:
    names = _panel_names(config) or tuple(config.data.raters or data.rater_names)
    if not names:
        raise ValueError(f"data.panel: expected names, for {data.name} has no raters of its own")
    if config.data.panel and config.data.raters:
        raise ValueError(
            f"data.raters: expected none beside data.panel, got {tuple(config.data.raters)}"
        )
    for name in config.data.raters:
        checks.one_of("data.raters", name, data.rater_names)
    if len(set(names)) == len(names):
        return names
    return tuple(f"{name}_{rater}" for rater, name in enumerate(names))


def _label(
    config: Config,
    data: source.Source,
    parts: dict[str, np.ndarray],
    panel: frozen.Panel | None,
    method: base.Method,
) -> dict[str, assemble.Labelled]:
    """Returns each split's labelled examples."""
    settings = config.data
    return assemble.assemble(
        data,
        parts,
        panel=panel,
        seed=config.seed,
        raters=tuple(settings.raters),
        labels_per_image=settings.labels_per_image,
        input_noise=float(settings.input_noise),
        gold=settings.gold,
        target=method.target,
        replacement=settings.replacement.to_dict() if settings.replacement.share else None,
        train_truth=method.needs_truth or settings.resample or config.evaluate.train,
    )


def _transform(
    config: Config, panel: frozen.Panel | None, spacing: tuple[float, ...], method: base.Method
) -> Callable[[Batch, Array], Batch]:
    """Returns what happens to a batch in the step: fresh labels, augmentation, then patches."""
    if config.data.resample and panel is None:
        raise ValueError("data.resample: a fresh draw of labels needs a panel of annotators")
    if config.data.resample and config.data.gold:
        raise ValueError("data.gold: a fresh draw of labels is made from the truth, got both")
    if config.data.resample and method.target:
        raise ValueError(f"data.resample: {config.method} fuses the labels once, before training")
    change = augment.build({"spacing": spacing, **config.data.augment.to_dict()})
    pieces = _patches(config)

    def transform(batch: Batch, key: Array) -> Batch:
        if config.data.resample:
            batch = frozen.resample_labels(batch, panel=panel, seed=key)
        if not method.needs_truth:
            batch = {name: array for name, array in batch.items() if name != "truth"}
        batch = augment.augment_batch(batch, transform=change, seed=key) if change else batch
        return patches.sample_batch(batch, seed=key, **pieces) if pieces else batch

    return transform


def _patches(config: Config) -> dict[str, Any]:
    """Returns the options of `patches.sample_batch`, none if whole images are trained on."""
    options = config.data.patches.to_dict()
    if not options["size"]:
        return {}
    if config.train.strategy != "none" and options["count"] != 1:
        raise ValueError(
            f"data.patches.count: the strategy {config.train.strategy} remembers one loss per "
            f"example, expected 1, got {options['count']}"
        )
    return options


def build_method(config: Config, *, num_raters: int, num_classes: int, **model: Any) -> base.Method:
    """Builds the method that a config names.

    `model` is further options of the network. Raises `ValueError` if a name is unknown, or the
    network cannot recompute its activations.
    """
    options = config.model.to_dict()
    if config.dtype != "float32":
        options["dtype"] = jnp.dtype(config.dtype)
    if config.remat:
        if not models.has_option(options["name"], "remat"):
            raise ValueError(f"remat: {config.model.name} has no such option, expected False")
        options["remat"] = True
    segmenter = models.build(options.pop("name"), num_classes, **options, **model)
    family = config_sections.family(config.method)
    settings = config[family].to_dict() if family in config else {}
    return methods.build(
        config.method, segmenter, num_raters=num_raters, num_classes=num_classes, **settings
    )


def with_strategy(config: Config, method: base.Method, *, num_examples: int) -> base.Method:
    """Builds the strategy that a config names around a method, for N training examples.

    Returns the method that is to be trained. Raises `ValueError` if the labels do not stay as they
    are.
    """
    if config.train.strategy == "none":
        return method
    if config.data.resample:
        raise ValueError(
            "data.resample: the strategy adl remembers an example by its loss, expected labels "
            "that stay, got a fresh draw in each epoch"
        )
    return adl.wrap(
        method,
        num_examples=num_examples,
        steps_per_epoch=pipeline.steps_per_epoch(num_examples, config.train.batch_size),
        epochs=config.train.epochs,
        **config.adl.to_dict(),
    )


def with_windows(config: Config, method: base.Method) -> base.Method:
    """Lets a method predict window by window, if a config asks for windows; it trains as before.

    Raises `ValueError` if the windows or their overlap are out of range.
    """
    window = tuple(config.evaluate.window)
    if not window:
        return method
    return sliding_window.wrap(method, window=window, overlap=config.evaluate.overlap)


def build(
    config: Config,
    folder: str | os.PathLike | None = None,
    *,
    axis_name: str | None = None,
    read_only: bool = False,
) -> Experiment:
    """Builds what a config of `config_fields.resolve` describes.

    Args:
      folder: the working directory, of whose division it is if there is one (`keep` puts it
        there); None for none.
      axis_name: the device axis, for batch statistics.
      read_only: whether to write nothing, and to take cases whose images or labels have changed
        since the run began, with a warning.

    Raises:
      ValueError: if the config does not fit together, or the data do not fit the config or are not
        those that the run began with.
    """
    folder = pathlib.Path(folder) if folder else None
    options = config.data.options.to_dict()
    data = sources.load(config.data.name, skip_damaged=config.data.skip_damaged, **options)
    names = _rater_names(config, data)
    method = build_method(
        config, num_raters=len(names), num_classes=data.num_classes, axis_name=axis_name
    )
    panel = frozen.panel(
        _panel_names(config),
        num_classes=data.num_classes,
        spacing=data.spacing,
        **config.data.panel_options.to_dict(),
    )
    transform = _transform(config, panel, data.spacing, method)
    parts = _division(config, data, folder)
    contents = _contents(data, parts, folder, strict=not read_only)
    used, skipped = parts, None
    if config.data.skip_damaged:
        # Not before, for it leaves a file in the folder.
        find = functools.partial(_without_damaged, data, parts, folder, read_only=read_only)
        used, skipped = distributed.writer_first(find, SKIPPED_FILE)
    examples = _label(config, data, used, panel, method)
    method = with_strategy(config, method, num_examples=len(examples["train"]))
    method = with_windows(config, method)
    return Experiment(data, examples, names, method, transform, parts, contents, skipped)


def warn_about_raters(experiment: Experiment, variables: Any, batch: Any) -> None:
    """Warns if a method models individual raters where there are none.

    Variables and batch may be shapes only.
    """
    if experiment.data.persistent_raters:
        return
    prediction = jax.eval_shape(experiment.method.predict, variables, batch["image"])
    if prediction.cms is not None:
        logging.warning(
            "%s: rater r is not the same person in every example, so a confusion matrix per rater "
            "has no meaning; a fused target would",
            experiment.data.name,
        )
