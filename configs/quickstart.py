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
    config = ml_collections.ConfigDict()
    config.title = "digits, five annotators"
    config.base = cm_trace.get_config(variant)
    config.axes = (("method", METHODS),)
    with config.base.unlocked():
        config.base.progress = False
        if variant == "digits":
            config.base.data.max_train = 640
            config.base.train.epochs = 8
            config.base.cm_trace.warmup_steps = 32
            config.base.cm_trace.apart_steps = 32
    config.seeds = (0, 1) if variant == "smoke" else (0, 1, 2)
    config.columns = COLUMNS
    # The metric of the learning curves, and the runs whose annotators are drawn.
    config.curve = "val_dice"
    config.showcases = ("cm-trace/seed0",)
    # Runs at a time, each on cores of its own; 0 for one per core.
    config.workers = 0
    return config
