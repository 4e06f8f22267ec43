"""The config of one network's training, from a plan."""

import os
from collections.abc import Mapping
from typing import Any

from noisyjax import methods
from noisyjax.core import checks
from noisyjax.data import sources
from noisyjax.tool.plan import plan
from noisyjax.train import config_fields

# nnU-Net's changes of patches, smaller and rarer where they move voxels; mirroring is added where
# the plan allows it.
_AUGMENT = {
    "rotation": 15.0,
    "rotation_probability": 0.3,
    "scale": 0.2,
    "scale_probability": 0.3,
    "intensity_scale": 0.25,
    "intensity_scale_probability": 0.15,
    "contrast": 0.25,
    "contrast_probability": 0.15,
    "intensity_noise": 0.1,
    "intensity_noise_probability": 0.15,
    "smoothing": 1.0,
    "smoothing_probability": 0.15,
    "low_resolution": 0.5,
    "low_resolution_probability": 0.15,
    "gamma": 0.5,
    "gamma_probability": 0.3,
    "inverted_gamma": 0.5,
    "inverted_gamma_probability": 0.1,
}


def of_plan(
    root: str | os.PathLike,
    planned: plan.Plan,
    *,
    method: str = "majority",
    seed: int = 0,
    epochs: int = 100,
    validate_every: int = 10,
    changes: Mapping[str, Any] | None = None,
) -> config_fields.Config:
    """Returns the config of a network that learns from a folder as planned.

    Args:
      root: the folder.
      method: one of `methods.METHODS`; of those that learn one target it is the sum of the
        cross-entropy and the Dice loss.
      validate_every: so many epochs.
      changes: further fields of the config by their dotted names, with values.

    Raises:
      ValueError: if a change is of a field that no run has.
    """
    checks.one_of("method", method, methods.METHODS)
    config = config_fields.default()
    with config.unlocked():
        config.method = method
        config.seed = seed
        _data(config, root, planned)
        _network(config, planned, method)
        config.train.batch_size = planned.batch_size
        config.train.epochs = epochs
        config.train.optimizer = "adamw"
        config.train.learning_rate = 1e-2
        config.train.weight_decay = 1e-2
        config.train.schedule = "cosine"
        config.train.warmup_share = 0.05
        config.train.ema = 0.99
        config.evaluate.every_epochs = validate_every
        config.evaluate.window = planned.patch
        config.evaluate.batch_size = planned.batch_size
        for name, value in (changes or {}).items():
            _change(config, name, value)
    return config


def _data(config: config_fields.Config, root: str | os.PathLike, planned: plan.Plan) -> None:
    config.data.name = "folder"
    config_fields.choose(
        config.data.options,
        root=os.fspath(root),
        spacing=planned.spacing,
        normalise=planned.normalisation,
        intensities=planned.intensities,
        interpolation="cubic",
        box="nonzero",
    )
    raters = tuple(planned.fingerprint.get("raters", ()))
    if raters != (sources.folder.ONLY_RATER,):
        config.data.raters = raters
    config.data.panel = ()
    config.data.input_noise = 0.0
    # Those of the folder, or of the workdir.
    config.data.splits = ()
    config.data.patches.size = planned.patch
    config.data.patches.foreground_share = 1 / 3
    config_fields.choose(config.data.augment, flip_axes=planned.mirror_axes, **_AUGMENT)


def _network(config: config_fields.Config, planned: plan.Plan, method: str) -> None:
    config_fields.choose(
        config.model,
        "unet",
        widths=planned.widths,
        strides=planned.strides,
        kernels=planned.kernels,
        convs_per_level=planned.convs_per_level,
    )
    if methods.FAMILIES[method] == "fused":
        config.fused.loss = "cross_entropy_and_soft_dice"


def _change(config: config_fields.Config, name: str, value: Any) -> None:
    *path, last = name.split(".")
    section = config
    for part in path:
        section = section.get(part) if isinstance(section, config_fields.Config) else None
    if not isinstance(section, config_fields.Config) or last not in section:
        raise ValueError(f"{name}: no run reads this field, got {value!r}")
    section[last] = value
