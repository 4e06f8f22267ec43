r"""How the share of noisy cases hurts a 3-D network (Yu et al. 2020, on mandibles in CT).

    python -m noisyjax.cli.study --config=configs/noise_ratio.py:hippocampus --workdir=runs/ratio \
        --config.base.data.options.path=msd_hippocampus_130.npz

A share of the training cases carries the label of a careless rater, one of a pool of twelve
(`noisyjax.noise.rater_pool`), in place of the truth; each case has one such label in all runs.
Validation and test cases are the same in all runs and keep the truth. A seed chooses the noisy
cases, those of a smaller share among those of a larger one, and anew for each share with
``--config.base.data.replacement.nested=False``; it also starts the network. The model is the
checkpoint of the least validation loss of a hundred. It is judged on the test cases, on the
training cases by the labels that it learnt from, and on the training cases by the truth.

Variants:
    :hippocampus   130 MR volumes, 60 to train, 10 to validate, 60 to test; ``options.path``
    :highres3dnet  the same with the paper's network, a quarter as wide, and four ratios
    :mandible      procedural jaws in CT-like volumes, nothing is needed
    :folder        one's own volumes in nnU-Net's layout, ``options.root``
    :paper         the same as :folder, with the sizes of the paper: HighRes3DNet in full, patches
                   of 96^3, batches of one, 600 epochs of 180 cases, six repeats; for a GPU
    :smoke         a few small phantoms, for tests

All but :paper are sized for two CPU cores: three repeats, a 3-D U-Net of 8 to 32 features, a
thousand updates of six patches of 16x24x16 voxels. On one of them a run of :hippocampus takes two
and a half minutes, one of :highres3dnet or :mandible about eight.
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

RATIOS = (0, 10, 20, 30, 40, 50, 60, 100)
COLUMNS = (
    ("test_dice", "Dice", ".4f"),
    ("test_false_positive_rate", "FPR", ".5f"),
    ("test_false_discovery_rate", "FDR", ".4f"),
    ("train_label_dice", "Dice, training, own labels", ".4f"),
    ("train_dice", "Dice, training, truth", ".4f"),
    ("tested_step", "step", ".0f"),
    ("seconds_train", "seconds", ".0f"),
)
_HIGHRES3DNET = {"name": "highres3dnet", "widths": (16, 32, 64), "head": 80}


def _base(source: str, options: dict) -> ml_collections.ConfigDict:
    base = config_fields.default()
    with base.unlocked():
        base.method = "mean"
        base.data.name = source
        config_fields.choose(base.data.options, **options)
        base.data.panel = ("good",)
        base.data.input_noise = 0.0
        base.data.split_seed = 0
        base.data.splits = (60 / 130, 10 / 130, 60 / 130)
        base.data.replacement.kinds = ("rater_pool",)
        base.data.replacement.label_seed = 0
        base.data.patches.size = (16, 24, 16)
        base.model.widths = (8, 16, 32)
        base.train.epochs = 100
        base.train.batch_size = 6
        base.train.optimizer = "adam"
        base.train.schedule = "constant"
        base.train.learning_rate = 2e-3
        base.train.weight_decay = 0.0
        base.train.gradient_clip = 0.0
        base.evaluate.batch_size = 2
        base.evaluate.checkpoint = "best"
        base.evaluate.train = True
        base.checkpoint.every_epochs = 1000
    return base


def _study(title: str, base: ml_collections.ConfigDict, *, ratios=RATIOS, repeats: int = 3):
    levels = tuple((f"{r} %", {"data.replacement.share": r / 100}) for r in ratios)
    config = study_fields.new(
        title, base, [("ratio", levels)], seeds=range(repeats), columns=COLUMNS
    )
    config.curve = "val_nll"
    config.reports = ("noise_ratio",)
    return config


def _hippocampus() -> ml_collections.ConfigDict:
    options = {"path": "data/msd_hippocampus_130.npz", "patch": (32, 56, 40)}
    base = _base("hippocampus", options)
    return _study("Hippocampus, a share of noisy cases", base)


def _highres3dnet() -> ml_collections.ConfigDict:
    base = _hippocampus().base
    with base.unlocked():
        config_fields.choose(base.model, **(_HIGHRES3DNET | {"widths": (4, 8, 16), "head": 20}))
        base.train.batch_size = 3
        base.train.epochs = 50
    title = "Hippocampus, a share of noisy cases, HighRes3DNet"
    return _study(title, base, ratios=(0, 20, 50, 100))


def _mandible() -> ml_collections.ConfigDict:
    options = {"organ": "mandible", "count": 130, "size": 64, "seed": 0}
    base = _base("phantoms", options)
    with base.unlocked():
        base.data.patches.foreground_share = 0.5
    return _study("Procedural mandibles, a share of noisy cases", base)


def _folder() -> ml_collections.ConfigDict:
    base = _base("folder", {"root": "data/folder"})
    with base.unlocked():
        base.data.splits = ()
    return _study("A share of noisy cases", base)


def _paper() -> ml_collections.ConfigDict:
    base = _folder().base
    with base.unlocked():
        base.data.options.normalise = "bone"
        base.data.options.spacing = (1.17, 1.17, 3.0)
        base.data.options.size = (256, 256, 128)
        base.data.patches.size = (96, 96, 96)
        config_fields.choose(base.model, **_HIGHRES3DNET)
        base.train.learning_rate = 1e-4
        base.train.batch_size = 1
        base.train.epochs = 600
        base.evaluate.every_epochs = 6
        base.evaluate.batch_size = 1
        base.evaluate.window = (96, 96, 96)
    return _study("A share of noisy cases, as published", base, repeats=6)


def _smoke() -> ml_collections.ConfigDict:
    base = _base("phantoms", {"organ": "kidney", "count": 10, "size": 16, "seed": 0})
    with base.unlocked():
        base.data.splits = (0.4, 0.2, 0.4)
        base.data.patches.size = (8, 8, 8)
        base.model.widths = (2, 4)
        base.train.epochs = 2
    config = _study("Procedural kidneys", base, ratios=(0, 100), repeats=2)
    config.workers = 1
    return config


VARIANTS = {
    "hippocampus": _hippocampus,
    "highres3dnet": _highres3dnet,
    "mandible": _mandible,
    "folder": _folder,
    "paper": _paper,
    "smoke": _smoke,
}


def get_config(variant: str = "hippocampus") -> ml_collections.ConfigDict:
    """Returns the study."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    return VARIANTS[variant]()
