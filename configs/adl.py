r"""Masks of which a share is wrong: RAR-U-Net, adaptive denoising learning and its relatives.

Table 5 of the paper on RAR-U-Net, without and with adaptive denoising learning (ADL), over the
proportion of noisy masks and their level (Dice to the clean ones), its Table 4 (which part of the
network does what) and its Tables 2 and 3 (distances and boundaries), on slices through real
anatomy. A noisy mask is eroded, dilated or elastically deformed, once, until it has that level.

    python -m noisyjax.cli.study --config=configs/adl.py:hippocampus --workdir=runs/adl \
        --config.base.data.options.path=msd_hippocampus_130.npz

Variants:
    :hippocampus  130 MR volumes, every third slice with a large hippocampus, 64x64; subject-wise
                  splits; two networks
    :vertebrae    slices through the vertebrae of two CT volumes, ``options.root`` is their folder
    :cord         slices through the spinal cord of two MR volumes, likewise
    :lidc         856 lung nodules, ``options.path``; the truth is STAPLE's of four readers
    :phantoms     slices of procedural organs, nothing is needed
    :networks     Table 4: every switch of RAR-U-Net, and the networks of Table 1, on clean masks of
                  :hippocampus, with every metric
    :relatives    co-teaching, robust losses and forward correction beside ADL, on the slices of
                  :hippocampus, 75 % of level 0.68
    :paper        Table 5 as published: widths 32 to 512, 256x256 vertebrae, 50 epochs, learning
                  rate 1e-5, batches of 8; for a GPU
    :smoke        a handful of digits, for tests

All but :paper are sized for two CPU cores: widths 8 to 64, 12 epochs (the spine 100), about a
minute a run. Networks end in two softmax outputs instead of one sigmoid.
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

LEVELS = (
    ("75 %, 0.68", {"data.replacement.share": 0.75, "data.replacement.overlap": 0.68}),
    ("50 %, 0.77", {"data.replacement.share": 0.5, "data.replacement.overlap": 0.77}),
    ("25 %, 0.85", {"data.replacement.share": 0.25, "data.replacement.overlap": 0.85}),
    ("25 %, 0.55", {"data.replacement.share": 0.25, "data.replacement.overlap": 0.55}),
)
NETWORKS = (
    ("U-Net", {}),
    ("Residual", {"model.residual_encoders": True}),
    ("Attention", {"model.attention_decoders": True}),
    ("Dense", {"model.dense_stages": True}),
)
_GIVEN = {"train.strategy": "adl"}
# The cells of Table 5, and those of them that are run here.
CELLS = (
    ("75 %, 0.68", "U-Net"),
    ("75 %, 0.68", "Residual"),
    ("75 %, 0.68", "Attention"),
    ("50 %, 0.77", "U-Net"),
    ("50 %, 0.77", "Attention"),
    ("25 %, 0.85", "Residual"),
    ("25 %, 0.85", "Dense"),
    ("25 %, 0.55", "U-Net"),
    ("25 %, 0.55", "Residual"),
)
TWO_NETWORKS = tuple(cell for cell in CELLS if cell[1] in ("U-Net", "Residual"))
STRATEGIES = (
    ("all masks", {}),
    ("ADL", _GIVEN),
    ("ADL, estimated", _GIVEN | {"adl.estimate": True}),
)
# Each with its own loss in the place of the Dice loss.
RELATIVES = (
    ("Dice loss", {}),
    ("ADL", _GIVEN),
    ("cross-entropy", {"fused.loss": "cross_entropy"}),
    ("generalised cross-entropy", {"fused.loss": "generalised_cross_entropy"}),
    ("bootstrapping, soft", {"fused.loss": "soft_bootstrap"}),
    ("bootstrapping, hard", {"fused.loss": "hard_bootstrap"}),
    ("forward correction", {"method": "forward_correction"}),
    # As ADL, it is told the share.
    ("co-teaching", {"method": "co_teaching", "co_teaching.forget_rate": 0.75}),
)
_SWITCHES = {
    "RE": "residual_encoders",
    "RC": "residual_connections",
    "AD": "attention_decoders",
}
# The seven rows of Table 4 in their order, and the one that it leaves out.
ROWS = ("", "RE", "RC", "AD", "RE AD", "RE RC", "RE RC AD", "RC AD")
COLUMNS = (
    ("test_jaccard", "IOU", ".4f"),
    ("test_recall", "recall", ".4f"),
    ("test_dice", "Dice", ".4f"),
    ("noise_auc", "AUC", ".3f"),
    ("noise_estimated_rate", "estimated share", ".3f"),
    ("noise_precision", "precision", ".3f"),
    ("seconds_train", "seconds", ".0f"),
)
METRICS = (
    ("test_dice", "Dice", ".4f"),
    ("test_jaccard", "IOU", ".4f"),
    ("test_accuracy", "accuracy", ".4f"),
    ("test_precision", "precision", ".4f"),
    ("test_recall", "recall", ".4f"),
    ("test_specificity", "specificity", ".4f"),
    ("test_hd", "HD", ".2f"),
    ("test_assd", "ASSD", ".3f"),
    ("test_rvd", "RVD", ".3f"),
    ("test_dbd_g", "DBD_G", ".4f"),
    ("test_dbd_m", "DBD_M", ".4f"),
    ("test_sbd", "SBD", ".4f"),
    ("parameters", "parameters", ",.0f"),
)


def _base(source: str, **options) -> ml_collections.ConfigDict:
    base = config_fields.default()
    with base.unlocked():
        base.data.name = source
        config_fields.choose(base.data.options, **options)
        base.data.panel = ("good",)
        base.data.input_noise = 0.0
        base.data.splits = (0.7, 0.1, 0.2)
        config_fields.choose(base.data.augment, right_angle_planes=((0, 1),))
        base.method = "mean"
        base.fused.loss = "soft_dice"
        config_fields.choose(base.model, "rar_unet", widths=(8, 16, 32, 64))
        base.model.update(dict.fromkeys((*_SWITCHES.values(), "dense_stages"), False))
        base.model.dropout = 0.0
        base.train.epochs = 12
        base.train.batch_size = 8
        base.train.learning_rate = 2e-3
        base.evaluate.batch_size = 32
        base.evaluate.surface = True
        base.checkpoint.every_epochs = 1000
    return base


def _source(variant: str) -> ml_collections.ConfigDict:
    if variant == "hippocampus":
        return _base(
            "hippocampus_slices",
            path="data/msd_hippocampus_130.npz",
            every=3,
            least=200,
            square=True,
        )
    if variant in ("vertebrae", "cord"):
        base = _base("spine_slices", root="data", structure=variant, size=64)
        with base.unlocked():
            # So few slices that an epoch has eight updates.
            base.train.epochs = 100
        return base
    if variant == "lidc":
        return _base("lidc", path="data/lidc_4raters_128.npz", crop=64, vote=True)
    base = _base("phantoms", organ="kidney", count=60, size=32, seed=0)
    with base.unlocked():
        base.model.widths = (4, 8, 16)
        config_fields.choose(base.data.augment, right_angle_planes=((0, 1),))
    return base


def _study(
    title: str, base: ml_collections.ConfigDict, axes: list, columns: tuple, seeds: int = 3
) -> ml_collections.ConfigDict:
    return study_fields.new(title, base, axes, seeds=range(seeds), columns=columns)


def _grid(variant: str, cells: tuple) -> ml_collections.ConfigDict:
    """Table 5: ADL is told the share and the level that were drawn."""
    levels, networks = dict(LEVELS), dict(NETWORKS)
    rows = tuple(
        (f"{level}, {network}", {**levels[level], **_told(levels[level]), **networks[network]})
        for level, network in cells
    )
    axes = [("masks", rows), ("strategy", STRATEGIES)]
    config = _study(f"Adaptive denoising learning, {variant}", _source(variant), axes, COLUMNS)
    pairs = (("ADL", "all masks"), ("ADL, estimated", "all masks"))
    config.comparisons = tuple((*column[:2], "strategy", pairs, "t") for column in COLUMNS[:2])
    config.showcases = ("75-0.68-u-net/adl-estimated/seed0",)
    return config


def _told(fields: dict) -> dict:
    share, overlap = (fields[f"data.replacement.{name}"] for name in ("share", "overlap"))
    return {"adl.beta": share, "adl.alpha": overlap}


def _relatives() -> ml_collections.ConfigDict:
    levels = tuple((name, {**fields, **_told(fields)}) for name, fields in LEVELS[:1])
    axes = [("noise", levels), ("strategy", RELATIVES)]
    return _study("Learning with a share of wrong masks", _source("hippocampus"), axes, COLUMNS)


def _networks() -> ml_collections.ConfigDict:
    rows = tuple(
        (row or "U-Net", {f"model.{_SWITCHES[part]}": True for part in row.split()}) for row in ROWS
    )
    axes = [("network", (*rows, ("Dense", {"model.dense_stages": True})))]
    return _study("Networks, clean masks", _source("hippocampus"), axes, METRICS)


def _paper() -> ml_collections.ConfigDict:
    config = _grid("vertebrae", CELLS)
    config.title = "Adaptive denoising learning, as published"
    with config.base.unlocked():
        config.base.data.options.size = 256
        config.base.model.widths = (32, 64, 128, 256, 512)
        config.base.model.dropout = 0.1
        config.base.train.epochs = 50
        config.base.train.optimizer = "adam"
        config.base.train.schedule = "constant"
        config.base.train.learning_rate = 1e-5
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _grid("hippocampus", CELLS[:1])
    config.title = "Digits"
    config.axes = (config.axes[0], ("strategy", STRATEGIES[::2]))
    config.base = _base("digits")
    with config.base.unlocked():
        config.base.data.max_train = 24
        config.base.data.splits = (0.96, 0.02, 0.02)
        config.base.model.widths = (4, 8)
        config.base.train.epochs = 2
        config.base.progress = False
    config.comparisons = ()
    config.seeds = (0,)
    config.workers = 1
    return config


def get_config(variant: str = "hippocampus") -> ml_collections.ConfigDict:
    """Returns the study."""
    special = {"networks": _networks, "relatives": _relatives, "paper": _paper, "smoke": _smoke}
    if variant in special:
        return special[variant]()
    sources = ("hippocampus", "vertebrae", "cord", "lidc", "phantoms")
    if variant not in sources:
        known = ", ".join((*sources, *special))
        raise ValueError(f"variant: expected one of {known}, got {variant!r}")
    one_network = tuple((level, "U-Net") for level, _ in LEVELS)
    return _grid(variant, TWO_NETWORKS if variant == "hippocampus" else one_network)
