"""The first thing to run: four methods on real digits with simulated annotators.

    python -m noisyjax.cli.study --config=configs/quickstart.py --workdir=runs/quickstart

Data: scikit-learn's digits, nothing is downloaded; 640 of them train, for eight epochs. About three
minutes on two CPU cores.

Variants:
    :digits  the default
    :smoke   seconds, for tests
"""

import ml_collections

from configs import cm_trace
from noisyjax.studies import study_fields

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


def get_config(variant: str = "digits") -> ml_collections.ConfigDict:
    """Returns the study."""
    base = cm_trace.get_config(variant)
    with base.unlocked():
        if variant == "digits":
            base.data.max_train = 640
            base.train.epochs = 8
            base.cm_trace.warmup_steps = 32
            base.cm_trace.frozen_segmenter_steps = 32
    seeds = (0, 1) if variant == "smoke" else (0, 1, 2)
    config = study_fields.new(
        "digits, five annotators", base, [("method", METHODS)], seeds=seeds, columns=COLUMNS
    )
    config.showcases = ("cm-trace/seed0",)
    return config
