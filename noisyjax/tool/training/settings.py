"""The config of one network's training, from a plan."""

import os

from noisyjax.tool.plan import plan
from noisyjax.train import config_fields


def of_plan(
    root: str | os.PathLike,
    planned: plan.Plan,
    *,
    method: str = "majority",
    seed: int = 0,
    epochs: int = 100,
    split_file: str | os.PathLike = "",
    fold: int = 0,
    changes: tuple[tuple[str, object], ...] = (),
) -> config_fields.Config:
    """Returns the config of a network that learns from a folder as planned.

    Args:
      root: the folder.
      split_file: which cases train, validate and test, a list with one object for each fold.
      changes: further fields of the config by their dotted names, with values.
    """
    config = config_fields.default()
    with config.unlocked():
        config.method = method
        config.seed = seed
        config.data.name = "folder"
        config_fields.choose(config.data.options, root=os.fspath(root), spacing=planned.spacing)
        config.data.panel = ()
        config.data.input_noise = 0.0
        config.data.splits = ()
        config.data.split_file = os.fspath(split_file)
        config.data.fold = fold
        config.data.patches.size = planned.patch
        config.data.patches.foreground_share = 1 / 3
        config.fused.loss = "cross_entropy_and_soft_dice"
        config.model.widths = planned.widths
        config.train.batch_size = planned.batch_size
        config.train.epochs = epochs
        config.train.learning_rate = 1e-3
        for name, value in changes:
            config[name] = value
    return config
