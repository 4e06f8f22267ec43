"""MNIST with five simulated annotators: the tables and the noise sweep of CM + trace.

    python -m noisyjax.cli.study --config=configs/mnist.py --workdir=runs/mnist \\
        --config.base.data.options.root=FOLDER
    python -m noisyjax.cli.study --config=configs/mnist.py:levels --workdir=runs/mnist-levels \\
        --config.base.data.options.root=FOLDER

Zhang et al. 2020, Tables 1 and 2 (every annotator labels every image; one random annotator per
image) and Figure 4 (growing noise). FOLDER holds MNIST's four files. 8,000 images train for one
epoch of batches of 32 (:table), or 2,000 for two (:levels); 2,000 validate; the test is the whole
test set of 10,000.

About a minute a run on one CPU core; 30 runs (:table) and 18 (:levels).

Variants:
    :table   the methods, dense and with one label per image
    :levels  majority vote and CM + trace over panels of growing noise, dense labels
"""

import ml_collections

from configs import cm_trace, study

ONE = {"data.labels_per_image": 1}
ROWS = (
    ("oracle", {"method": "oracle"}),
    ("mean", {"method": "mean"}),
    ("majority", {"method": "majority"}),
    ("global CM", {"method": "global_cm"}),
    ("no trace", {"method": "no_trace"}),
    ("CM + trace", {"method": "cm_trace"}),
    # With one label there is nothing to fuse: mean and majority are the label itself.
    ("one label: naive", {"method": "mean"} | ONE),
    ("one label: global CM", {"method": "global_cm"} | ONE),
    ("one label: no trace", {"method": "no_trace"} | ONE),
    ("one label: CM + trace", {"method": "cm_trace"} | ONE),
)


def _strength(over: float, under: float, fractures: int) -> dict:
    return {
        "data.panel_options.over": over,
        "data.panel_options.under": under,
        "data.panel_options.wrong": over,
        "data.panel_options.fractures": fractures,
    }


# The panel of :table is the second; a faithful annotator and a blank one are in all of them.
LEVELS = (
    ("slight", _strength(0.4, 0.3, 1)),
    ("paper", _strength(1.0, 0.7, 3)),
    ("strong", _strength(1.6, 0.9, 5)),
)
COLUMNS = (
    ("test_dice", "Dice", ".4f"),
    ("test_cm_rmse", "CM RMSE", ".3f"),
    ("test_ged2", "GED²", ".3f"),
    ("seconds_train", "seconds", ".0f"),
)


def get_config(variant: str = "table") -> ml_collections.ConfigDict:
    """Returns the study."""
    base = cm_trace.get_config("mnist").copy_and_resolve_references()
    with base.unlocked():
        base.data.max_train = 8000
        base.train.epochs = 1
        base.cm_trace.warmup_steps = 40
        base.cm_trace.apart_steps = 40
        base.data.max_val = 2000
        base.data.panel_options = ml_collections.ConfigDict(_plain(LEVELS[1][1]))
    if variant == "levels":
        methods = tuple(row for row in ROWS if row[0] in ("majority", "CM + trace"))
        axes = [("noise", LEVELS), ("method", methods)]
        showcases = ("strong/cm-trace/seed0",)
        with base.unlocked():
            base.data.max_train = 2000
            base.train.epochs = 2
            base.evaluate.every_epochs = 2
    elif variant == "table":
        axes = [("method", ROWS)]
        showcases = ("cm-trace/seed0", "one-label-cm-trace/seed0")
    else:
        raise ValueError(f"variant: expected table or levels, got {variant!r}")
    title = f"MNIST, five annotators: {variant}"
    config = study.new(title, base, axes, seeds=range(3), columns=COLUMNS)
    config.showcases = showcases
    if variant == "levels":
        config.plots = (("test_dice", "Dice", "noise", "method"),)
    return config


def _plain(fields: dict) -> dict:
    return {name.rpartition(".")[2]: value for name, value in fields.items()}
