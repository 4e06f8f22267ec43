r"""Label noise by Gaussian displacement fields, and thresholds that are best for Dice.

Nordström et al. 2023, section 5, Table 1 and Figure 3: networks are trained with cross-entropy (CE)
or soft Dice (SD) on labels that a field of strength a has moved, once and for all epochs. CE is
asked twice, with the threshold 1/2 and with the Dice-optimal one. Reported is the Dice to the noisy
labels of the test cases, as in the paper, and to their clean labels.

    python -m noisyjax.cli.study --config=configs/gaussian_threshold.py:hippocampus \
        --workdir=runs/threshold --config.base.data.options.path=msd_hippocampus_130.npz

Variants:
    :hippocampus  the 130 MR volumes of the Medical Segmentation Decathlon, patches of 32x56x40
                  voxels of 1 mm around the hippocampus, five folds, sized for two CPU cores: U-Net
                  of 8-16-32 features, 12 epochs, learning rate 3e-3; about two minutes a run on one
                  core, 40 runs
    :phantoms     procedural kidneys, aortas and esophagi (nothing is downloaded), five folds of 16
                  cases, the same small network; 120 runs
    :paper        the paper's protocol on the phantoms: five folds of 80 cases, 64^3 voxels,
                  features 16-32-64-128-256, 100 epochs, batch 1, Adam 1e-4, augmentation; for a GPU
    :smoke        a few tiny phantoms; seconds, for tests

Departures of :paper from the paper: the data, the schedule (poly to zero in place of a division by
5 on plateaus), the last network in place of that with the best training Dice, and b = 0.15 sqrt(2),
which is what the authors' listing computes.
"""

import ml_collections

from noisyjax.studies import study_fields
from noisyjax.train import config_fields

A = ("0", "0.01", "0.02", "0.03")
LOSSES = (
    ("cross-entropy", {"fused.loss": "cross_entropy"}),
    ("soft Dice", {"fused.loss": "soft_dice"}),
)
ORGANS = tuple((organ, {"data.options.organ": organ}) for organ in ("kidney", "aorta", "esophagus"))
FOLDS = tuple((f"fold {fold}", {"data.fold": fold}) for fold in range(5))

_HALF = {"noisy": "test_label_dice", "clean": "test_dice"}
_BEST = {"noisy": "test_label_dice@dice", "clean": "test_dice@dice"}
METHODS = (
    ("CE, 1/2", "cross-entropy", _HALF),
    ("SD, 1/2", "soft Dice", _HALF),
    ("CE, Dice-optimal", "cross-entropy", _BEST),
)
PAIRS = (
    ("SD, 1/2", "CE, 1/2"),
    ("CE, Dice-optimal", "CE, 1/2"),
    ("CE, Dice-optimal", "SD, 1/2"),
)
COLUMNS = (
    ("noisy", "Dice to noisy labels", ".4f"),
    ("clean", "Dice to clean labels", ".4f"),
    ("seconds_train", "seconds", ".0f"),
)


def _levels(names: tuple[str, ...], side: int) -> tuple:
    return tuple((a, {"data.panel_options.a": side * float(a)}) for a in names)


def _base() -> ml_collections.ConfigDict:
    config = config_fields.default()
    with config.unlocked():
        # One annotator, so the mean label is their label.
        config.method = "mean"
        config.data.panel = ("gaussian",)
        config_fields.choose(config.data.panel_options, a=0.0, b=0.15 * 2**0.5)
        config.data.input_noise = 0.0
        config.data.splits = (1.0, 0.0, 0.0)
        config.data.folds = 5
        config.data.split_seed = 0
        config_fields.choose(config.model, "unet", widths=(8, 16, 32))
        config.train.epochs = 12
        config.train.batch_size = 1
        config.train.optimizer = "adam"
        config.train.learning_rate = 3e-3
        config.train.schedule = "poly"
        config.evaluate.every_epochs = 1000
        config.evaluate.batch_size = 4
        config.evaluate.decisions = ("accuracy", "dice")
        config.checkpoint.every_epochs = 1000
        config.checkpoint.keep = 1
    return config


def _phantoms(config: ml_collections.ConfigDict, *, count: int, size: int) -> None:
    config.data.name = "phantoms"
    config_fields.choose(config.data.options, organ="kidney", count=count, size=size, seed=0)


def get_config(variant: str = "hippocampus") -> ml_collections.ConfigDict:
    """Returns the study."""
    base, side = _base(), 1
    noise, folds = A, FOLDS
    with base.unlocked():
        if variant == "hippocampus":
            base.data.name = "hippocampus"
            config_fields.choose(base.data.options, path="", merge=True, patch=(32, 56, 40))
            # As shares of the paper's patches, 64 voxels; here of 1 mm.
            config_fields.choose(
                base.data.panel_options, a=0.0, b=64 * 0.15 * 2**0.5, millimetres=True
            )
            side = 64
        elif variant == "phantoms":
            _phantoms(base, count=80, size=48)
        elif variant == "paper":
            _phantoms(base, count=400, size=64)
            base.model.widths = (16, 32, 64, 128, 256)
            base.train.epochs = 100
            base.train.learning_rate = 1e-4
            config_fields.choose(
                base.data.augment, probability=0.5, shift=4.0, rotation=15.0, smoothing=1.0
            )
        elif variant == "smoke":
            _phantoms(base, count=6, size=16)
            base.model.widths = (2, 4)
            base.train.epochs = 1
            base.data.folds = 3
            noise, folds = A[3:], FOLDS[:2]
        else:
            known = "hippocampus, phantoms, paper or smoke"
            raise ValueError(f"variant: expected {known}, got {variant!r}")
    axes = [("a", _levels(noise, side)), ("loss", LOSSES), ("fold", folds)]
    if variant in ("phantoms", "paper"):
        axes = [("organ", ORGANS), *axes]
    config = study_fields.new(f"thresholds: {variant}", base, axes, seeds=(0,), columns=COLUMNS)
    config.repeats = ("fold",)
    config.readouts = (("method", "loss", METHODS),)
    config.pivots = tuple((*column, "method") for column in COLUMNS[:2])
    config.comparisons = tuple((*column[:2], "method", PAIRS, "t") for column in COLUMNS[:2])
    config.plots = tuple((*column[:2], "a", "method") for column in COLUMNS[:2])
    config.curve = "train_loss"
    return config
