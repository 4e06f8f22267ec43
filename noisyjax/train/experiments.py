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
from noisyjax.core import checks, class_regions
from noisyjax.data import (
    augment,
    patch_batches,
    patches,
    pipeline,
    source,
    sources,
    splits,
)
from noisyjax.data.labels import assemble, cache, frozen, labelled, replace
from noisyjax.methods import adl, base, sliding_window
from noisyjax.train import config_sections, used_cases
from noisyjax.train.devices import distributed
from noisyjax.train.workdir import data_facts

Config = ml_collections.ConfigDict
Batch = dict[str, Array]

REPLACED_FILE = "replaced.csv"
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
      pieces: how patches of training examples are drawn, or None for whole images.
      window: by which images are predicted, () for all at once; see `evaluation.own_voxels`.
      parts: split to the ids of its cases, with those that are left out.
      contents: what each of these cases holds, by its id.
      skipped: split to the number of its cases that are left out because they cannot be used; None
        for a run that stops at such a case.
    """

    data: source.Source
    examples: dict[str, labelled.Labelled]
    rater_names: tuple[str, ...]
    method: base.Method
    transform: Callable[[Batch, Array], Batch]
    pieces: patches.Draw | None
    seed: int
    window: tuple[int, ...]
    parts: dict[str, Int[np.ndarray, "..."]]
    contents: dict[int, source.Content]
    skipped: dict[str, int] | None = None

    @property
    def draw(self) -> Callable[[np.ndarray, int], Batch] | None:
        """Returns ``(indices, epoch) -> batch`` of patches of training examples, if it has some."""
        if self.pieces is None:
            return None
        return functools.partial(
            patch_batches.draw, self.examples["train"], self.pieces, seed=self.seed
        )

    def example_batch(self) -> Batch:
        """Returns a training batch of one example, to take shapes from."""
        options = {"batch_size": 1, "threads": 0}
        if self.draw is None:
            batches = pipeline.eval_batches(self.examples["train"], **options)
        else:
            options |= {"seed": 0, "num_steps": 1, "draw": self.draw}
            batches = pipeline.train_batches(self.examples["train"], **options)
        batch = jax.tree.map(jnp.asarray, next(batches))
        if self.pieces is None:
            return batch
        first = jax.tree.map(lambda array: array[:1], batch)
        return patch_batches.without_margin(first, self.pieces)

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
    path, data = pathlib.Path(folder) / used_cases.SPLITS_FILE, experiment.data
    if not path.exists() or splits.changes(path, data, experiment.contents) is None:
        splits.save(path, experiment.parts, data, contents=experiment.contents)
    train = experiment.examples["train"]
    if train.replacement is not None:
        replaced = path.with_name(REPLACED_FILE)
        replace.save(replaced, train.replacement, data=data, ids=train.ids)


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


def _is_soft(config: Config, data: source.Source, method: base.Method) -> bool:
    """Whether the labels' probabilities are learnt: the labels themselves, by their mean."""
    drawn = _panel_names(config) or config.data.replacement.share
    return data.soft and method.soft and not drawn


def _label(
    config: Config,
    data: source.Source,
    parts: dict[str, np.ndarray],
    panel: frozen.Panel | None,
    method: base.Method,
) -> dict[str, labelled.Labelled]:
    """Returns each split's labelled examples."""
    settings = config.data
    # Where the cases are kept on the disk, so is what is made of them for parts.
    parted = len(settings.patches.size) > 0
    folder = data.examples.cache if parted and isinstance(data.examples, source.OfFiles) else ""
    return assemble.assemble(
        data,
        parts,
        panel=panel,
        seed=config.seed,
        raters=tuple(settings.raters),
        labels_per_image=settings.labels_per_image,
        input_noise=float(settings.input_noise),
        gold=settings.gold,
        target=assemble.SOFT if _is_soft(config, data, method) else method.target,
        replacement=settings.replacement.to_dict() if settings.replacement.share else None,
        train_truth=method.needs_truth or settings.resample or config.evaluate.train,
        parts=parted,
        kept_in=cache.OnDisk(os.path.join(folder, "labels"), len(data.spacing)) if folder else None,
        drawn_by={"names": list(settings.panel), **settings.panel_options.to_dict()},
    )


def _transform(
    config: Config,
    panel: frozen.Panel | None,
    spacing: tuple[float, ...],
    method: base.Method,
    pieces: patches.Draw | None,
) -> Callable[[Batch, Array], Batch]:
    """Returns what happens to a batch in the step: fresh labels, augmentation, margins cut off."""
    if config.data.resample and panel is None:
        raise ValueError("data.resample: a fresh draw of labels needs a panel of annotators")
    if config.data.resample and config.data.gold:
        raise ValueError("data.gold: a fresh draw of labels is made from the truth, got both")
    if config.data.resample and method.target:
        raise ValueError(f"data.resample: {config.method} fuses the labels once, before training")
    if config.data.resample and pieces:
        raise ValueError("data.resample: raters label whole images, expected no data.patches.size")
    margin = pieces.margin if pieces else ()
    change = augment.build({"spacing": spacing, "margin": margin, **config.data.augment.to_dict()})

    def transform(batch: Batch, key: Array) -> Batch:
        if config.data.resample:
            batch = frozen.resample_labels(batch, panel=panel, seed=key)
        if not method.needs_truth:
            batch = {name: array for name, array in batch.items() if name != "truth"}
        if change:
            # It cuts the margin off as well: no more is moved than what is kept.
            return augment.augment_batch(batch, transform=change, seed=key)
        return patch_batches.without_margin(batch, pieces) if pieces else batch

    return transform


def _patches(config: Config, spacing: tuple[float, ...]) -> patches.Draw | None:
    """Returns how patches are drawn, None if whole images are trained on."""
    options = config.data.patches.to_dict()
    if not options["size"]:
        return None
    if config.train.strategy != "none" and options["count"] != 1:
        raise ValueError(
            f"data.patches.count: the strategy {config.train.strategy} remembers one loss per "
            f"example, expected 1, got {options['count']}"
        )
    if len(options["size"]) != len(spacing):
        raise ValueError(
            f"data.patches.size: expected one for each of {len(spacing)} axes, "
            f"got {tuple(options['size'])}"
        )
    moves = {n: v for n, v in config.data.augment.to_dict().items() if n in patches.MOVES}
    margin = patches.reach(options["size"], spacing=spacing, **moves)
    return patches.Draw(**{**options, "size": tuple(options["size"]), "margin": margin})


def build_method(
    config: Config,
    *,
    num_raters: int,
    num_classes: int,
    regions: class_regions.Regions | None = None,
    **model: Any,
) -> base.Method:
    """Builds the method that a config names, of the classes or of regions of them.

    `model` is further options of the network. Raises `ValueError` if a name is unknown, the network
    cannot recompute its activations, or the method learns no regions.
    """
    options = config.model.to_dict()
    if config.dtype != "float32":
        options["dtype"] = jnp.dtype(config.dtype)
    if config.remat:
        if not models.has_option(options["name"], "remat"):
            raise ValueError(f"remat: {config.model.name} has no such option, expected False")
        options["remat"] = True
    channels = num_classes if regions is None else len(regions)
    segmenter = models.build(options.pop("name"), channels, **options, **model)
    family = config_sections.family(config.method)
    settings = config[family].to_dict() if family in config else {}
    return methods.build(
        config.method,
        segmenter,
        num_raters=num_raters,
        num_classes=num_classes,
        regions=regions,
        **settings,
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
    data: source.Source | None = None,
) -> Experiment:
    """Builds what a config of `config_fields.resolve` describes.

    Args:
      folder: the working directory, of whose division it is if there is one (`keep` puts it
        there); None for none.
      axis_name: the device axis, for batch statistics.
      read_only: whether to write nothing, and to take cases whose images or labels have changed
        since the run began, with a warning.
      data: the source; by default the one that the config names is loaded.

    Raises:
      ValueError: if the config does not fit together, or the data do not fit the config or are not
        those that the run began with.
    """
    folder = pathlib.Path(folder) if folder else None
    if data is None:
        options = config.data.options.to_dict()
        data = sources.load(config.data.name, skip_damaged=config.data.skip_damaged, **options)
    if config.data.patches.size:
        data = source.at_own_sizes(data)
    names = _rater_names(config, data)
    sizes = {"num_raters": len(names), "num_classes": data.num_classes}
    method = build_method(config, regions=data.regions, axis_name=axis_name, **sizes)
    panel = frozen.panel(
        _panel_names(config),
        num_classes=data.num_classes,
        spacing=data.spacing,
        **config.data.panel_options.to_dict(),
    )
    pieces = _patches(config, data.spacing)
    transform = _transform(config, panel, data.spacing, method, pieces)
    parts = used_cases.division(config, data, folder)
    contents = used_cases.contents_of(data, parts, folder, strict=not read_only)
    used, skipped = parts, None
    if config.data.skip_damaged:
        # Not before, for it leaves a file in the folder.
        find = functools.partial(
            used_cases.without_damaged, data, parts, folder, read_only=read_only
        )
        used, skipped = distributed.writer_first(find, used_cases.SKIPPED_FILE)
    examples = _label(config, data, used, panel, method)
    method = with_strategy(config, method, num_examples=len(examples["train"]))
    window = tuple(config.evaluate.window)
    if source.judged_on_files(data):
        window = window or (pieces.size if pieces else examples["train"].extent(0))
    else:
        method, window = with_windows(config, method), ()
    return Experiment(
        data=data,
        examples=examples,
        rater_names=names,
        method=method,
        transform=transform,
        pieces=pieces,
        seed=config.seed,
        window=window,
        parts=parts,
        contents=contents,
        skipped=skipped,
    )


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
