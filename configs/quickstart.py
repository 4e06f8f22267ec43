"""The first thing to run: four methods on real digits with simulated annotators.

    python -m noisyjax.cli.study --config=configs/quickstart.py --workdir=runs/quickstart

Data: scikit-learn's digits, nothing is downloaded; 640 of them train, for eight epochs. About three
minutes on two CPU cores.

Variants:
    :digits  the default
    :smoke   seconds, for tests
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

METHODS = (
    ("majority", {"method": "majority"}),
    ("mean", {"method": "mean"}),
    ("CM + trace", {"method": "cm_trace"}),
    ("oracle", {"method": "oracle"}),
)
COLUMNS = (
    ("test_dice", "Dice", ".3f"),
    ("test_cm_rmse", "CM RMSE", ".3f"),
    ("test_ged2", "GED²", ".3f"),
    ("seconds_train", "seconds", ".0f"),
)


def _digits(base: ml_collections.ConfigDict) -> None:
    base.data.max_train = 640
    base.train.epochs = 8
    base.cm_trace.warmup_steps = 32
    base.cm_trace.frozen_segmenter_steps = 32


def _smoke(base: ml_collections.ConfigDict) -> None:
    base.data.max_train = 24
    base.data.splits = (0.96, 0.02, 0.02)
    base.model.widths = (4, 8)
    base.model.convs_per_level = 1
    base.train.epochs = 2
    base.train.batch_size = 8
    base.cm_trace.warmup_steps = 2
    base.cm_trace.frozen_segmenter_steps = 1
    base.evaluate.batch_size = 16
    base.log_every_steps = 1


VARIANTS = {"digits": _digits, "smoke": _smoke}


def get_config(variant: str = "digits") -> ml_collections.ConfigDict:
    """Returns the study."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    base = config_fields.default()
    with base.unlocked():
        VARIANTS[variant](base)
    seeds = (0, 1) if variant == "smoke" else (0, 1, 2)
    config = study_fields.new(
        "digits, five annotators", base, [("method", METHODS)], seeds=seeds, columns=COLUMNS
    )
    config.showcases = ("cm-trace/seed0",)
    return config
