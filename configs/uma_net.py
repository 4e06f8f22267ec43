"""UMA-Net beside its baselines, on simulated and on real annotators (Wang et al. 2023).

    python -m noisyjax.cli.study --config=configs/uma_net.py:digits --workdir=runs/uma
    python -m noisyjax.cli.study --config=configs/uma_net.py:lidc --workdir=runs/uma_lidc \
        --config.base.data.options.path=FILE

The five simulated annotators of the paper each have one noise, as strong as makes their mean Dice
to the truth 0.8 (LN) or 0.7 (HN), see `LEVELS`.

Variants, all sized for two CPU cores (a minute or less a run on one of them), three seeds:
    :digits              every method at both levels (Table II), handwritten digits
    :digits_ablation     which part of UMA-Net does what, HN (Table V)
    :digits_annotations  two to five annotators, HN (Table I)
    :lidc, :lidc_ablation, :lidc_annotations
                         the same on lung nodules, 200 to train; the truth is the vote of their four
                         readers
    :readers             nodules as their four readers labelled them, judged by STAPLE of the four
    :bubil               cells and aortas, learnt from seven crowd workers, judged by the experts'
                         gold standard; in so few updates that the QAM never acts
    :smoke               a handful of digits, for tests
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

NOISES = ("erode_or_dilate", "shift", "reverse_square", "polygonise", "erase")
# With these strengths the mean Dice of each annotator to the truth is 0.8 at the level LN (low
# noise) and 0.7 at HN (high noise). Found, on the first images, by
#
#     python -m noisyjax.cli.fit_noise --dice=0.8 --dice=0.7 --source=digits --images=250
#     ... --source=mnist --option=root=data/mnist --images=250
#     ... --source=lidc --option=path=lidc_4raters_128.npz --option=crop=64 --option=vote=True \
#         --images=250
#     ... --source=bubil --option=path=bubil_multi_annotator_128.npz --option=shrink=2 \
#         --option=subset=rat_smc_phase ... --images=50
#
# The last has one ``--option=subset`` for each of the five sets of photographs (all but
# ``aorta_mri``): 232 images that count as one data set.
#
# Source -> level -> noise -> strength:
LEVELS = {
    "digits": {
        "LN": {
            "erode_or_dilate": 3.484,
            "shift": 1.797,
            "reverse_square": 11.38,
            "polygonise": 0.09961,
            "erase": 0.1992,
        },
        "HN": {
            "erode_or_dilate": 4.781,
            "shift": 2.719,
            "reverse_square": 13.94,
            "polygonise": 0.1426,
            "erase": 0.3008,
        },
    },
    "lidc": {
        "LN": {
            "erode_or_dilate": 3.062,
            "shift": 1.734,
            "reverse_square": 6.938,
            "polygonise": 0.1997,
            "erase": 0.1992,
        },
        "HN": {
            "erode_or_dilate": 4.25,
            "shift": 2.625,
            "reverse_square": 9.312,
            "polygonise": 0.248,
            "erase": 0.3008,
        },
    },
    "bubil": {
        "LN": {
            "erode_or_dilate": 3.5,
            "shift": 2.094,
            "reverse_square": 12.25,
            "polygonise": 0.1309,
            "erase": 0.2012,
        },
        "HN": {
            "erode_or_dilate": 5.188,
            "shift": 3.438,
            "reverse_square": 15.81,
            "polygonise": 0.188,
            "erase": 0.3027,
        },
    },
    "mnist": {
        "LN": {
            "erode_or_dilate": 1.773,
            "shift": 0.7422,
            "reverse_square": 6.5,
            "polygonise": 0.06836,
            "erase": 0.2012,
        },
        "HN": {
            "erode_or_dilate": 2.375,
            "shift": 1.109,
            "reverse_square": 8.25,
            "polygonise": 0.09814,
            "erase": 0.3047,
        },
    },
}
# Table I: which annotators there are, from 1.
SETS = ((1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4, 5), (1, 3), (1, 4), (1, 5))

_VOTE = {"method": "majority"}
# As nnU-Net trains.
_NNUNET = {
    "method": "nnunet_style",
    "model.name": "nnunet_style",
    "train.optimizer": "nesterov",
    "train.momentum": 0.99,
    "train.learning_rate": 1e-2,
    "train.schedule": "poly",
    "train.weight_decay": 3e-5,
    "train.gradient_clip": 12.0,
}
BASELINES = (
    ("U-Net (MV)", _VOTE),
    ("U-Net (mean label)", {"method": "mean"}),
    ("nnU-Net style (MV)", _NNUNET),
    # Its own network drops between none and half of the features, level by level; three levels do
    # with one share.
    (
        "COPLE-Net (MV)",
        {"method": "cople_net", "model.name": "cople_net", "model.dropout": 0.2},
    ),
    # Its uncertainty is the variance of stochastic passes.
    ("PINT (MV)", {"method": "pint", "model.dropout": 0.2}),
    ("MR-Net", {"method": "mr_net"}),
    ("Self-Calib", {"method": "self_calib"}),
)
_FULL = {"method": "uma_net"}
UMA = (("UMA-Net", _FULL),)
_NO_QAM = _FULL | {f"uma_net.{part}": False for part in ("quality", "auxiliary")}
WITHOUT_QAM = (("UMA-Net without QAM", _NO_QAM),)
TRUTH = (("U-Net (truth)", {"method": "oracle"}),)
ABLATION = (
    BASELINES[0],
    (
        "AUEM",
        _FULL | {f"uma_net.{part}": False for part in ("consistency", "quality", "auxiliary")},
    ),
    ("+ consistency", _NO_QAM),
    ("+ QAM", _FULL | {"uma_net.auxiliary": False}),
    ("+ auxiliary predictor", _FULL),
)
COLUMNS = (
    ("test_dice", "Dice", ".4f"),
    ("test_jaccard", "Jaccard", ".4f"),
    ("test_assd", "ASD", ".3f"),
    ("test_hd95", "HD95", ".2f"),
    ("rater_dice", "Dice of the annotators", ".3f"),
    ("seconds_train", "seconds", ".0f"),
)
CROWD_SETS = (
    "rat_smc_phase",
    "rabbit_smc_phase",
    "fibroblast_phase",
    "lu_melanoma_fluo",
    "wm993_melanoma_fluo",
    "aorta_mri",
)


def _base(source: str, **options) -> ml_collections.ConfigDict:
    base = config_fields.default()
    with base.unlocked():
        base.data.name = source
        config_fields.choose(base.data.options, **options)
        base.data.panel = ()
        base.data.input_noise = 0.0
        base.model.widths = (16, 32, 64)
        base.model.dropout = 0.0
        base.fused.loss = "cross_entropy_and_soft_dice"
        # Before, hardly an image is of high quality, and none would teach the primary predictor.
        base.uma_net.warmup_steps = 400
        base.uma_net.ramp_steps = 300
        base.train.batch_size = 16
        base.train.optimizer = "adam"
        base.train.schedule = "exponential"
        base.train.learning_rate = 2e-3
        base.train.weight_decay = 0.0
        base.evaluate.batch_size = 32
        base.evaluate.every_epochs = 5
        base.evaluate.surface = True
        base.checkpoint.every_epochs = 1000
    return base


def _digits() -> ml_collections.ConfigDict:
    base = _base("digits")
    with base.unlocked():
        base.data.input_noise = 0.1
        base.data.max_train = 600
        base.data.max_val = 100
        base.train.epochs = 16
    return base


def _lidc(**options) -> ml_collections.ConfigDict:
    base = _base("lidc", path="data/lidc_4raters_128.npz", crop=64, **options)
    with base.unlocked():
        base.data.splits = (0.6, 0.1, 0.3)
        base.data.max_train = 200
        flips = {"flip_axes": (0, 1), "right_angle_planes": ((0, 1),)}
        config_fields.choose(base.data.augment, **flips)
        base.train.epochs = 30
        base.train.batch_size = 8
        # Nodules are small beside their images: of the training cases, whose scores lie about 2.2
        # and 0.9 then, these thresholds leave three quarters in each.
        base.uma_net.confidence_threshold = 2.3
        base.uma_net.agreement_threshold = 1.3
    return base


def _level(source: str, level: str) -> dict:
    return {
        "data.panel": NOISES,
        "data.panel_options.strengths": LEVELS[source][level],
    }


def _simulated(
    title: str, base: ml_collections.ConfigDict, level: str, axes: list
) -> ml_collections.ConfigDict:
    """A study whose annotators have the five noises, if its levels say nothing else."""
    with base.unlocked():
        fields = _level(base.data.name, level)
        base.data.panel = fields["data.panel"]
        base.data.panel_options.strengths = fields["data.panel_options.strengths"]
    return study_fields.new(title, base, axes, seeds=range(3), columns=COLUMNS)


def _comparison(title: str, base: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    levels = tuple((level, _level(base.data.name, level)) for level in ("LN", "HN"))
    axes = [("noise", levels), ("method", (*BASELINES, *UMA, *TRUTH))]
    config = _simulated(f"{title}, five simulated annotators", base, "HN", axes)
    pairs = tuple(("UMA-Net", name) for name, _ in BASELINES)
    config.comparisons = (("test_dice", "Dice", "method", pairs, "t"),)
    config.showcases = ("hn/uma-net/seed0",)
    return config


def _ablation(title: str, base: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    axes = [("method", ABLATION)]
    config = _simulated(f"{title}, the parts of UMA-Net, HN", base, "HN", axes)
    config.showcases = ("auxiliary-predictor/seed0",)
    return config


def _annotations(title: str, base: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    sets = tuple(
        (" ".join(map(str, chosen)), {"data.panel": tuple(NOISES[i - 1] for i in chosen)})
        for chosen in SETS
    )
    axes = [("annotators", sets), ("method", (BASELINES[0], *UMA))]
    config = _simulated(f"{title}, two to five annotators, HN", base, "HN", axes)
    config.pivots = (("test_dice", "Dice", ".3f", "method"),)
    return config


def _readers() -> ml_collections.ConfigDict:
    base = _lidc()
    with base.unlocked():
        base.data.gold = "staple"
    axes = [("method", (*BASELINES, *UMA, *WITHOUT_QAM, *TRUTH))]
    title = "LIDC, four radiologists"
    config = study_fields.new(title, base, axes, seeds=range(3), columns=COLUMNS)
    config.showcases = ("uma-net/seed0",)
    return config


def _bubil() -> ml_collections.ConfigDict:
    base = _base(
        "bubil",
        path="data/bubil_multi_annotator_128.npz",
        subset=CROWD_SETS[0],
        raters="crowd",
        shrink=2,
    )
    with base.unlocked():
        base.data.splits = (0.6, 0.1, 0.3)
        flips = {"flip_axes": (0, 1), "right_angle_planes": ((0, 1),)}
        config_fields.choose(base.data.augment, **flips)
        base.train.epochs = 60
        base.evaluate.every_epochs = 30
    sets = tuple((name, {"data.options.subset": name}) for name in CROWD_SETS)
    axes = [("set", sets), ("method", (*BASELINES, *UMA, *TRUTH))]
    title = "BU-BIL, learnt from crowd workers, judged by experts"
    config = study_fields.new(title, base, axes, seeds=range(2), columns=COLUMNS)
    config.pivots = (("test_dice", "Dice", ".3f", "set"),)
    return config


def _smoke() -> ml_collections.ConfigDict:
    base = _digits()
    with base.unlocked():
        base.data.max_train = 24
        base.data.splits = (0.96, 0.02, 0.02)
        base.model.widths = (4, 8)
        base.train.epochs = 2
    config = _ablation("Digits", base)
    config.axes = (("method", ABLATION[::4]),)
    config.seeds = (0,)
    config.workers = 1
    return config


_TITLES = {"digits": "Digits", "lidc": "LIDC nodules"}
_STUDIES = {"": _comparison, "ablation": _ablation, "annotations": _annotations}
_OTHERS = {"readers": _readers, "bubil": _bubil, "smoke": _smoke}
VARIANTS = (*(f"{s}_{t}".rstrip("_") for s in _TITLES for t in _STUDIES), *_OTHERS)


def get_config(variant: str = "digits") -> ml_collections.ConfigDict:
    """Returns the study."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    if variant in _OTHERS:
        return _OTHERS[variant]()
    source, _, kind = variant.partition("_")
    base = _digits() if source == "digits" else _lidc(vote=True)
    return _STUDIES[kind](_TITLES[source], base)
