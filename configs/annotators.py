"""Every method beside CM + trace, on simulated and on real annotators (Zhang et al. 2020).

    python -m noisyjax.cli.study --config=configs/annotators.py:mnist --workdir=runs/mnist \\
        --config.base.data.options.root=FOLDER
    python -m noisyjax.cli.study --config=configs/annotators.py:lidc --workdir=runs/lidc \\
        --config.base.data.options.path=FILE
    python -m noisyjax.cli.study --config=configs/annotators.py:bubil --workdir=runs/bubil \\
        --config.base.data.options.path=FILE
    python -m noisyjax.cli.study --config=configs/annotators.py:tumours --workdir=runs/tumours
    python -m noisyjax.cli.study --config=configs/annotators.py:noise --workdir=runs/noise \\
        --config.base.data.options.root=FOLDER
    python -m noisyjax.cli.study --config=configs/annotators.py:lambda --workdir=runs/lambda \\
        --config.base.data.options.root=FOLDER

The paper's Tables 1, 2, 4 and 5 (every annotator labels every image; one random annotator per
image), its Figures 3 to 5, 7, 14 and 15. Where each image has one label there is nothing to fuse:
mean, vote, STAPLE and label sampling are that label, and stand in the table once.

Variants, all sized for two CPU cores (about a minute a run on one of them); three seeds for :mnist
and :lidc, two for :bubil, :tumours and :noise, one for :lambda:
    :mnist    MNIST, five simulated annotators; 8,000 training images, one epoch; the whole test set
    :lidc     lung nodules, four radiologists; crops of 64; the gold standard is STAPLE's, as in the
              paper, which favours STAPLE; so Dice to each reader's own label and GED² stand beside
    :bubil    six sets of cells and aortas; trained on the labels of seven crowd workers, judged by
              the experts' gold standard; 64x64
    :tumours  procedural brain tumours, four classes, four channels, six simulated annotators
    :noise    Dice over the strength of the annotators' noise, MNIST (Figure 4)
    :lambda   learning curves over the weight of the trace, MNIST (Figure 3)
    :smoke    a handful of digits, for tests
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

ONE = {"data.labels_per_image": 1}
METHODS = (
    ("mean label", {"method": "mean"}),
    ("majority vote", {"method": "majority"}),
    ("label sampling", {"method": "label_sampling"}),
    # Its encoders have no normalisation: at the rate of the others they overflow.
    ("Prob. U-Net", {"method": "prob_unet", "train.learning_rate": 1e-3}),
    ("separate networks", {"method": "separate"}),
    ("STAPLE", {"method": "staple"}),
    ("Spatial STAPLE", {"method": "spatial_staple"}),
    ("global CM", {"method": "global_cm"}),
    ("low-rank CM", {"method": "low_rank_cm"}),
    ("CM, no trace", {"method": "no_trace"}),
    ("CM + trace", {"method": "cm_trace"}),
)
ORACLES = (
    ("known CMs", {"method": "oracle_cm"}),
    ("truth", {"method": "oracle"}),
)
_UNFUSED = ("Prob. U-Net", "separate networks", "global CM", "low-rank CM", "CM, no trace")
ONE_LABEL = (
    ("one: the label", {"method": "mean"} | ONE),
    *(
        (f"one: {name}", fields | ONE)
        for name, fields in METHODS
        if name in (*_UNFUSED, "CM + trace")
    ),
)
# Readers of a nodule in the order of what they outlined: then reader r has a meaning.
BY_SIZE = tuple(
    (f"by size: {name}", fields | {"data.options.by_size": True})
    for name, fields in METHODS
    if name in ("separate networks", "global CM", "CM + trace")
)
SETS = (
    "rat_smc_phase",
    "rabbit_smc_phase",
    "fibroblast_phase",
    "lu_melanoma_fluo",
    "wm993_melanoma_fluo",
    "aorta_mri",
)
TRACE_WEIGHTS = (0.001, 0.01, 0.1, 0.4, 0.7, 0.9)


def _strength(over: float, under: float, fractures: int) -> dict:
    return {
        "data.panel_options.over": over,
        "data.panel_options.under": under,
        "data.panel_options.wrong": over,
        "data.panel_options.fractures": fractures,
    }


# The second is the strength of :mnist; a faithful annotator and a blank one are in all of them.
LEVELS = (
    ("slight", _strength(0.4, 0.3, 1)),
    ("paper", _strength(1.0, 0.7, 3)),
    ("strong", _strength(1.6, 0.9, 5)),
)
COLUMNS = (
    ("test_dice", "Dice", ".4f"),
    ("test_label_dice", "Dice to labels", ".4f"),
    ("test_own_dice", "Dice to own label", ".4f"),
    ("test_cm_rmse", "CM RMSE", ".3f"),
    ("test_ged2", "GED²", ".3f"),
    ("fused_dice", "Dice of fused labels", ".4f"),
    ("fused_cm_rmse", "CM RMSE of fused", ".3f"),
    ("seconds_train", "seconds", ".0f"),
)
COMPARED = (COLUMNS[0], COLUMNS[4])
PAIRS = (
    ("CM + trace", "majority vote"),
    ("CM + trace", "STAPLE"),
    ("CM + trace", "Spatial STAPLE"),
    ("CM + trace", "Prob. U-Net"),
    ("CM + trace", "separate networks"),
    ("one: CM + trace", "one: the label"),
)


def _mnist() -> ml_collections.ConfigDict:
    base = config_fields.default()
    with base.unlocked():
        base.data.name = "mnist"
        config_fields.choose(base.data.options, root="data/mnist")
        # The files' own division.
        base.data.splits = ()
        base.data.max_train = 8000
        base.data.max_val = 2000
        config_fields.choose(base.data.panel_options, **_plain(LEVELS[1][1]))
        base.train.epochs = 1
        base.model.widths = (16, 32, 64)
        base.cm_trace.warmup_steps = 20
        base.cm_trace.frozen_segmenter_steps = 20
        base.prob_unet.widths = (16, 32, 64)
    return base


def _images(source: str, **options) -> ml_collections.ConfigDict:
    """Images of 64x64 and a network for them."""
    base = config_fields.default()
    with base.unlocked():
        base.data.name = source
        config_fields.choose(base.data.options, **options)
        base.data.panel = ()
        base.data.input_noise = 0.0
        base.data.splits = (0.6, 0.1, 0.3)
        flips = {"flip_axes": (0, 1), "right_angle_planes": ((0, 1),)}
        config_fields.choose(base.data.augment, **flips)
        base.model.widths = (16, 32, 64)
        base.prob_unet.widths = (16, 32, 64)
        base.train.batch_size = 8
        base.train.learning_rate = 5e-3
        base.evaluate.every_epochs = 2
        base.evaluate.batch_size = 32
        base.checkpoint.every_epochs = 1000
    return base


def _lidc() -> ml_collections.ConfigDict:
    base = _images("lidc", path="data/lidc_4raters_128.npz", crop=64, by_size=False)
    with base.unlocked():
        base.data.gold = "staple"
        base.train.epochs = 6
        # What reader r would have said has no meaning where it is another person in each image.
        base.cm_trace.missing_rater_weight = 0.0
    return base


def _bubil() -> ml_collections.ConfigDict:
    base = _images(
        "bubil", path="data/bubil_multi_annotator_128.npz", subset=SETS[0], raters="crowd", shrink=2
    )
    with base.unlocked():
        base.train.epochs = 30
        base.cm_trace.warmup_steps = 30
        base.cm_trace.frozen_segmenter_steps = 30
        base.evaluate.every_epochs = 15
    return base


def _tumours() -> ml_collections.ConfigDict:
    base = _images("tumours", count=500, size=64, seed=0)
    with base.unlocked():
        base.data.panel = ("good", "over", "under", "wrong", "blank", "swap")
        config_fields.choose(base.data.panel_options, target=2)
        base.train.epochs = 10
        base.evaluate.every_epochs = 5
    return base


def _plain(fields: dict) -> dict:
    return {name.rpartition(".")[2]: value for name, value in fields.items()}


def _rows(*names: str) -> tuple:
    return tuple(row for row in (*METHODS, *ORACLES) if row[0] in names)


def _table(
    title: str, base: ml_collections.ConfigDict, rows: tuple, *, seeds: int = 3
) -> ml_collections.ConfigDict:
    config = study_fields.new(title, base, [("method", rows)], seeds=range(seeds), columns=COLUMNS)
    config.comparisons = tuple((*column[:2], "method", PAIRS, "t") for column in COMPARED)
    return config


def _mnist_study() -> ml_collections.ConfigDict:
    rows = (*METHODS, *ORACLES, *ONE_LABEL)
    config = _table("MNIST, five simulated annotators", _mnist(), rows)
    config.showcases = ("cm-trace/seed0", "one-cm-trace/seed0")
    return config


def _lidc_study() -> ml_collections.ConfigDict:
    rows = (*METHODS, *ORACLES, *BY_SIZE, *ONE_LABEL)
    config = _table("LIDC, four radiologists", _lidc(), rows)
    config.consensus = ("dice", "label_dice")
    config.showcases = ("cm-trace/seed0", "by-size-cm-trace/seed0")
    return config


def _bubil_study() -> ml_collections.ConfigDict:
    sets = tuple((name, {"data.options.subset": name}) for name in SETS)
    axes = [("set", sets), ("method", (*METHODS, *ORACLES))]
    title = "BU-BIL, learnt from crowd workers, judged by experts"
    config = study_fields.new(title, _bubil(), axes, seeds=range(2), columns=COLUMNS)
    config.pivots = (("test_dice", "Dice", ".3f", "set"), ("test_ged2", "GED²", ".3f", "set"))
    config.showcases = ("aorta-mri/cm-trace/seed0",)
    return config


def _tumours_study() -> ml_collections.ConfigDict:
    rows = (*METHODS, *ORACLES, *ONE_LABEL)
    title = "Procedural tumours, four classes, six simulated annotators"
    config = _table(title, _tumours(), rows, seeds=2)
    config.showcases = ("cm-trace/seed0",)
    return config


def _sweep(
    title: str, base: ml_collections.ConfigDict, along: tuple, lines: tuple, seeds: int
) -> ml_collections.ConfigDict:
    """A study whose Dice and CM RMSE are drawn over the levels of the axis `along`."""
    config = study_fields.new(title, base, [along, lines], seeds=range(seeds), columns=COLUMNS)
    config.plots = tuple(
        (field, label, along[0], lines[0])
        for field, label in (("test_dice", "Dice"), ("test_cm_rmse", "CM RMSE"))
    )
    return config


def _noise_study() -> ml_collections.ConfigDict:
    base = _mnist()
    with base.unlocked():
        base.data.max_train = 4000
    rows = _rows("majority vote", "STAPLE", "CM + trace", "truth")
    title = "MNIST, annotators of growing noise"
    return _sweep(title, base, ("noise", LEVELS), ("method", rows), 2)


def _lambda_study() -> ml_collections.ConfigDict:
    base = _mnist()
    with base.unlocked():
        base.data.max_train = 1000
        base.data.max_val = 500
        base.train.epochs = 4
    weights = tuple((f"{w:g}", {"cm_trace.trace_weight": w}) for w in TRACE_WEIGHTS)
    labels = (("every label", {}), ("one label", ONE))
    title = "MNIST, CM + trace over the weight of the trace"
    return _sweep(title, base, ("lambda", weights), ("labels", labels), 1)


def _smoke_study() -> ml_collections.ConfigDict:
    rows = (*_rows("STAPLE", "CM + trace"), *ONE_LABEL[:1])
    base = config_fields.default()
    with base.unlocked():
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
    axes = [("method", rows)]
    config = study_fields.new("Digits", base, axes, seeds=(0,), columns=COLUMNS)
    config.consensus = ("dice",)
    config.showcases = ("cm-trace/seed0",)
    config.workers = 1
    return config


VARIANTS = {
    "mnist": _mnist_study,
    "lidc": _lidc_study,
    "bubil": _bubil_study,
    "tumours": _tumours_study,
    "noise": _noise_study,
    "lambda": _lambda_study,
    "smoke": _smoke_study,
}


def get_config(variant: str = "mnist") -> ml_collections.ConfigDict:
    """Returns the study."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    return VARIANTS[variant]()
