"""Segmentation and annotators' confusion matrices from noisy labels: CM + trace.

Zhang et al., Disentangling Human Error from the Ground Truth in Segmentation of Medical Images,
NeurIPS 2020, and the baselines of its tables.

    python -m noisyjax.cli.train --config=configs/cm_trace.py:digits --workdir=runs/digits

Variants:
    :digits   1,797 real 8x8 digits enlarged to 32x32, shipped with scikit-learn (the default)
    :mnist    MNIST, ``--config.data.options.root=FOLDER`` holds its four files
    :example  the 100 images of the authors' public example with their four annotators,
              ``--config.data.options.path=FILE``; batches of 5, 20 of their 40 epochs
    :smoke    a handful of digits, two epochs; seconds, for tests

The method is another field: ``--config.method=oracle`` (the truth as label), ``mean``,
``majority``, ``staple``, ``spatial_staple``, ``label_sampling``, ``separate`` (a network per
annotator), ``prob_unet``, ``cm_trace``, ``no_trace``, ``global_cm``, ``low_rank_cm``,
``oracle_cm``, ``forward_correction``, ``co_teaching``. ``--config.train.strategy=adl`` leaves out
the examples of highest loss.
"""

import ml_collections

from noisyjax.train import config_fields

PANEL = config_fields.FIELDS["data.panel"].default


def _digits(config: ml_collections.ConfigDict) -> None:
    """The default as it is."""


def _mnist(config: ml_collections.ConfigDict) -> None:
    config.data.name = "mnist"
    config_fields.choose(
        config.data.options, root="data/mnist", download=False, seed=0, val_fraction=0.2
    )
    config.data.splits = ()
    config.train.epochs = 2


def _example(config: ml_collections.ConfigDict) -> None:
    config.data.name = "annotators_npz"
    config_fields.choose(config.data.options, path="data/mnist_annotators.npz")
    config.data.panel = ()
    config.data.input_noise = 0.0
    config.data.splits = ()
    config.train.epochs = 20
    config.train.batch_size = 5
    # Four epochs each.
    config.cm_trace.warmup_steps = 56
    config.cm_trace.frozen_segmenter_steps = 56
    config.evaluate.every_epochs = 5
    config.checkpoint.every_epochs = 20


def _smoke(config: ml_collections.ConfigDict) -> None:
    config.data.max_train = 24
    config.data.splits = (0.96, 0.02, 0.02)
    config.model.widths = (4, 8)
    config.model.convs_per_level = 1
    config.train.epochs = 2
    config.train.batch_size = 8
    config.cm_trace.warmup_steps = 2
    config.cm_trace.frozen_segmenter_steps = 1
    config.prob_unet.widths = (4, 8)
    config.forward.warmup_steps = 3
    config.forward.estimate_steps = 1
    config.co_teaching.ramp_steps = 3
    config.evaluate.batch_size = 16
    config.log_every_steps = 1
    config.progress = False


VARIANTS = {"digits": _digits, "mnist": _mnist, "example": _example, "smoke": _smoke}


def get_config(variant: str = "digits") -> ml_collections.ConfigDict:
    """Returns the config of a variant."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    config = config_fields.default()
    with config.unlocked():
        VARIANTS[variant](config)
    return config
