"""The authors' public example, ten seeds, with and without its faithful annotator.

    python -m noisyjax.cli.study --config=configs/example.py --workdir=runs/example \\
        --config.base.data.options.path=mnist_annotators.npz

Zhang et al. 2020 publish 100 digits with the labels of four simulated annotators, one of whom is
the truth. 70 images train, 10 validate, 20 test; batches of 5. A panel that holds the truth is
easy to be right about by accident, so the same is shown without the faithful one.

Data: the example as one npz file, see `noisyjax.data.sources.annotators_npz`. About half a minute
a run on one CPU core; 70 runs.

Variants:
    :whole  the default
    :smoke  one seed of two rows, seconds, for tests
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

FOUR = {"data.raters": ("gt", "over", "under", "wrong")}
THREE = {"data.raters": ("over", "under", "wrong")}
ROWS = (
    ("oracle", {"method": "oracle"} | FOUR),
    ("four: majority", {"method": "majority"} | FOUR),
    ("four: mean", {"method": "mean"} | FOUR),
    ("four: CM + trace", {"method": "cm_trace"} | FOUR),
    ("three: majority", {"method": "majority"} | THREE),
    ("three: mean", {"method": "mean"} | THREE),
    ("three: CM + trace", {"method": "cm_trace"} | THREE),
)
COLUMNS = (
    ("test_dice", "Dice", ".3f"),
    ("test_cm_rmse", "CM RMSE", ".3f"),
    ("test_trace_gt", "trace gt", ".3f"),
    ("test_trace_over", "trace over", ".3f"),
    ("test_trace_under", "trace under", ".3f"),
    ("test_trace_wrong", "trace wrong", ".3f"),
    ("seconds_train", "seconds", ".0f"),
)


def _smoke(base: ml_collections.ConfigDict) -> None:
    base.model.widths = (4, 8)
    base.model.convs_per_level = 1
    base.train.epochs = 1
    base.cm_trace.warmup_steps = 1
    base.cm_trace.frozen_segmenter_steps = 1
    base.evaluate.every_epochs = 1


def get_config(variant: str = "whole") -> ml_collections.ConfigDict:
    """Returns the study."""
    if variant not in ("whole", "smoke"):
        raise ValueError(f"variant: expected one of whole, smoke, got {variant!r}")
    base = config_fields.default()
    with base.unlocked():
        base.data.name = "annotators_npz"
        config_fields.choose(base.data.options, path="data/mnist_annotators.npz")
        base.data.panel = ()
        base.data.input_noise = 0.0
        base.data.splits = ()
        base.train.epochs = 20
        base.train.batch_size = 5
        # Four epochs each.
        base.cm_trace.warmup_steps = 56
        base.cm_trace.frozen_segmenter_steps = 56
        base.evaluate.every_epochs = 5
        base.checkpoint.every_epochs = 20
        if variant == "smoke":
            _smoke(base)
    rows, seeds = (ROWS[2:4], range(1)) if variant == "smoke" else (ROWS, range(10))
    title = "100 digits of the authors' example"
    config = study_fields.new(title, base, [("method", rows)], seeds=seeds, columns=COLUMNS)
    names = ("four-cm-trace/seed0", "three-cm-trace/seed0")
    config.showcases = names[:1] if variant == "smoke" else names
    return config
