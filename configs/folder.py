"""Training on a folder of one's own images and labels, in nnU-Net's raw layout.

    python -m noisyjax.cli.check_folder --root=FOLDER
    python -m noisyjax.cli.train --config=configs/folder.py --workdir=runs/folder \\
        --config.data.options.root=FOLDER
    python -m noisyjax.cli.predict --workdir=runs/folder --images=IMAGES --output=SEGMENTATIONS

The first command lists what is wrong with the folder and shows its layout. The second trains the
majority vote of the raters in ratersTr, or on labelsTr if there are none, and tests against the
truth in labelsTr or labelsTs; where there is none, ``--config.data.gold=staple`` tests against the
raters' labels fused. ``--config.method=cm_trace`` models the raters. The third segments images of
any size that have no labels, such as those of imagesTs; of the run it takes the folder
``runs/folder`` alone, on any machine.

Data: `noisyjax.data.sources.folder`; its options are those of ``config.data.options``.
``normalise`` is "z_score" for MR and photos; CT wants "ct_window" with ``window``, or "bone" with
``cut``. Whole images come to one size: ``size`` cuts or fills each up around its middle, ``box``
and ``spacing`` come before it. Cases of real size are learnt from by ``:patches``: they keep their
own sizes, in a store of which no more is read than a patch (``cache`` names its folder), and
images are predicted window by window.

Variants:
    :whole     the default
    :patches   two patches of 64 x 64 x 64 voxels at once, a third of them around labelled voxels,
               one of each case in an epoch; three levels of 16, 32, 64 features
    :smoke     a tiny network and two epochs, for tests
"""

import ml_collections

from noisyjax.train import config_fields


def _whole(config: ml_collections.ConfigDict) -> None:
    """The default as it is."""


def _patches(config: ml_collections.ConfigDict) -> None:
    config.data.patches.size = (64, 64, 64)
    config.data.patches.foreground_share = 1 / 3
    config.model.widths = (16, 32, 64)
    config.train.epochs = 400
    config.evaluate.every_epochs = 20


def _smoke(config: ml_collections.ConfigDict) -> None:
    config.model.widths = (4, 8)
    config.train.epochs = 2
    config.cm_trace.warmup_steps = 2
    config.cm_trace.frozen_segmenter_steps = 1
    config.evaluate.every_epochs = 2
    config.log_every_steps = 1
    config.progress = False


VARIANTS = {"whole": _whole, "patches": _patches, "smoke": _smoke}


def get_config(variant: str = "whole") -> ml_collections.ConfigDict:
    """Returns the config of a variant."""
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
    config = config_fields.default()
    with config.unlocked():
        config.method = "majority"
        config.data.name = "folder"
        config_fields.choose(config.data.options, root="data/folder")
        config.data.panel = ()
        config.data.input_noise = 0.0
        # The source's own division.
        config.data.splits = ()
        config.fused.loss = "cross_entropy_and_soft_dice"
        config.model.widths = (16, 32, 64, 128)
        config.train.batch_size = 2
        config.train.epochs = 100
        config.train.learning_rate = 1e-3
        config.evaluate.every_epochs = 5
        config.evaluate.batch_size = 2
        VARIANTS[variant](config)
    return config
