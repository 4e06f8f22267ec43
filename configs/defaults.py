"""Every field of a training config, with its default: CM + trace on the embedded digits.

The experiments beside this file change what they need and lock the rest.
"""

import ml_collections

PANEL = ("good", "over", "under", "wrong", "blank")


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    data.name = "digits"
    data.options = ml_collections.ConfigDict()
    data.panel = PANEL
    data.panel_options = ml_collections.ConfigDict()
    data.raters = ()
    data.resample = False
    data.labels_per_image = 0
    # A key of `fusion.FUSIONS`: all labels fused judge in place of the source's truth; "" for that.
    data.gold = ""
    data.replacement = _replacement()
    data.input_noise = 0.1
    data.splits = (0.7, 0.1, 0.2)
    # Cross-validation: with k folds the given one tests, and `splits` divides the rest, (1, 0, 0)
    # or with a share for validation. 0 folds for none. A split seed of -1 is the run's seed.
    data.folds = 0
    data.fold = 0
    data.split_seed = -1
    # The first so many examples of a split, 0 for all.
    data.max_train = 0
    data.max_val = 0
    # Whether cases that cannot be read, are not finite or have another shape are left out, of every
    # split. They are looked for once, stand in `skipped.csv` and are counted in the summary.
    data.skip_damaged = False
    data.augment = ml_collections.ConfigDict()
    # Training on so many patches of this size, drawn anew in each epoch, in place of every image;
    # () for whole images. This share of them lies around a voxel that a rater labelled.
    data.patches = ml_collections.ConfigDict({"size": (), "count": 1, "foreground_share": 0.0})
    return data


def _replacement() -> ml_collections.ConfigDict:
    """Options of `noisyjax.data.labels.replace.replace`; the panel must be empty or "good"."""
    replacement = ml_collections.ConfigDict()
    # A share of the training examples whose truth is replaced, once, by a noisy label of this Dice
    # to it; kinds of `noise.replacement.KINDS`, or "rater_pool" alone, whatever the Dice.
    replacement.share = 0.0
    replacement.overlap = 1.0
    replacement.kinds = ("erosion", "dilation", "elastic")
    # Whether a larger share replaces the same examples and more.
    replacement.nested = True
    # Of the noisy labels, -1 for the run's seed.
    replacement.label_seed = -1
    return replacement


def _cm_trace() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.cm_trace.build`, chosen on the validation images of :example."""
    method = ml_collections.ConfigDict()
    method.trace_weight = 0.01
    # Updates of the first and the second stage.
    method.warmup_steps = 80
    method.frozen_segmenter_steps = 80
    method.consensus = "auto"
    method.consensus_weight = 3.0
    method.consensus_prior = 0.5
    method.min_error_rate = 0.1
    method.missing_rater_weight = 0.5
    method.min_raters_for_consensus = 4
    # Convolutions of a spatial head, rank of a low-rank one.
    method.convs = 1
    method.rank = 1
    return method


def _prob_unet() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.prob_unet.build`, as published."""
    method = ml_collections.ConfigDict()
    # Weight of the divergence of the posterior from the prior.
    method.beta = 10.0
    method.latent_size = 6
    # The prior and the posterior network.
    method.widths = (32, 64, 128, 192)
    method.convs_per_level = 3
    method.norm = "none"
    # Segmentations that a prediction draws.
    method.num_samples = 16
    return method


def _train() -> ml_collections.ConfigDict:
    train = ml_collections.ConfigDict()
    train.epochs = 10
    train.batch_size = 32
    # Pieces of a batch that each device takes one after the other, adding up gradients: they need
    # that much less memory and give the same update, but for batch statistics, which are a piece's.
    train.accumulate = 1
    train.optimizer = "adamw"
    train.learning_rate = 1e-2
    train.schedule = "cosine"
    train.warmup_steps = 0
    # What the schedule "exponential" leaves of the rate after each epoch.
    train.decay_rate = 0.96
    train.weight_decay = 1e-5
    # Of the optimisers "momentum" and "nesterov".
    train.momentum = 0.9
    # Largest norm of the gradient, 0 for no clipping.
    train.gradient_clip = 1.0
    # Factor on the learning rate of the annotators' heads.
    train.head_learning_rate = 1.0
    # Decay of the moving average of the parameters that evaluation then uses, 0 for none.
    train.ema = 0.0
    # Which examples an epoch learns from: "none" for all, "adl" for adaptive denoising learning.
    train.strategy = "none"
    return train


def _adl() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.adl.wrap`: with 1 and 0 nothing is left out."""
    strategy = ml_collections.ConfigDict()
    # Overlap of a noisy label with the clean one, and share of the noisy ones; or estimate both.
    strategy.alpha = 1.0
    strategy.beta = 0.0
    strategy.estimate = False
    return strategy


def _forward() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.forward.build`."""
    method = ml_collections.ConfigDict()
    method.target = "mean"
    # Updates of the first stage, and how many at its end show the matrix.
    method.warmup_steps = 200
    method.estimate_steps = 50
    method.quantile = 0.97
    # Rows of the matrix, if it is known.
    method.matrix = ()
    return method


def _co_teaching() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.co_teaching.build`."""
    method = ml_collections.ConfigDict()
    method.loss = "soft_dice"
    method.target = "mean"
    # Share of each batch that is left out in the end, and updates until then.
    method.forget_rate = 0.2
    method.ramp_steps = 200
    return method


def _nnunet_style() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.nnunet_style.build`."""
    method = ml_collections.ConfigDict()
    method.target = "majority"
    # Whether a prediction is the mean over all mirror images.
    method.mirror = True
    return method


def _cople_net() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.cople_net.build`."""
    method = ml_collections.ConfigDict()
    method.target = "majority"
    # Of the noise-robust Dice loss.
    method.gamma = 1.5
    method.power = 2
    # Of the teacher's average, and the losses from which on a step has no share in it.
    method.decay = 0.99
    method.quantile = 0.9
    method.window = 100
    # Of the student's learning from the teacher, at most, and updates until then.
    method.consistency_weight = 1.0
    method.ramp_steps = 200
    # Who predicts, "teacher" or "student".
    method.predictor = "teacher"
    return method


def _uma_net() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.uma_net.build`, as published where the paper has them."""
    method = ml_collections.ConfigDict()
    # The parts: off and off and off is the plain network on the mean loss of the annotations.
    method.auem = True
    method.consistency = True
    method.quality = True
    method.auxiliary = True
    # lambda and the largest alpha, and the updates until alpha is there.
    method.dice_weight = 1.0
    method.consistency_weight = 1.0
    method.ramp_steps = 1000
    # tau_a and tau_b; for breast MRI the paper has 0.15 and 0.1.
    method.confidence_threshold = 0.2
    method.agreement_threshold = 0.2
    method.two_sided = False
    method.normalised = False
    # 0 for the paper's hard split.
    method.temperature = 0.0
    # Updates in which every image counts as one of high quality (none in the paper).
    method.warmup_steps = 200
    # Levels of the AUEM; a third of the segmenter's if empty.
    method.widths = ()
    # Its uncertainties start at about the sigmoid of this.
    method.start = -2.0
    return method


def _pint() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.pint.build`."""
    method = ml_collections.ConfigDict()
    method.loss = "cross_entropy"
    method.target = "majority"
    # Passes that show the uncertainty, and the noise on their images.
    method.passes = 4
    method.input_noise = 0.1
    # How fast it turns a pixel to the pseudo label, and takes weight from an image.
    method.pixel_scale = 2.0
    method.image_scale = 1.0
    # Updates that learn from the labels alone.
    method.warmup_steps = 100
    return method


def _mr_net() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.mr_net.build`."""
    method = ml_collections.ConfigDict()
    # Share of the loss, as published.
    method.reconstruction_weight = 0.3
    # Of the attention, in voxels.
    method.blur_sigma = 2.0
    method.norm = "instance"
    return method


def _self_calib() -> ml_collections.ConfigDict:
    """Options of `noisyjax.methods.self_calib.build`, as published where the paper has them."""
    method = ml_collections.ConfigDict()
    method.recurrences = 3
    # Beside the structural similarity in windows of so many voxels.
    method.cross_entropy_weight = 0.3
    method.window = 11
    method.norm = "instance"
    return method


def get_config() -> ml_collections.ConfigDict:
    """Returns the fields with their defaults, locked."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.method = "cm_trace"
    config.parallel = "pmap"
    # Devices that share one image, each with a slab of it, where parallel is "spatial".
    config.slabs = 1
    # Of the activations, or "bfloat16"; parameters, logits, losses and the optimiser are float32.
    config.dtype = "float32"
    # Whether the backward pass computes activations again, which saves memory on accelerators.
    config.remat = False
    config.data = _data()
    config.model = ml_collections.ConfigDict({"name": "unet", "widths": (24, 48, 96)})
    config.fused = ml_collections.ConfigDict({"loss": "cross_entropy"})
    config.cm_trace = _cm_trace()
    config.separate = ml_collections.ConfigDict({"loss": "cross_entropy"})
    config.prob_unet = _prob_unet()
    config.forward = _forward()
    config.co_teaching = _co_teaching()
    config.uma_net = _uma_net()
    config.nnunet_style = _nnunet_style()
    config.cople_net = _cople_net()
    config.pint = _pint()
    config.mr_net = _mr_net()
    config.self_calib = _self_calib()
    config.adl = _adl()
    config.train = _train()
    config.evaluate = ml_collections.ConfigDict(
        {"every_epochs": 1, "batch_size": 128, "select": "val_nll", "checkpoint": "latest"}
    )
    # Whether the training split is evaluated at the end as well, against the truth, which the
    # method does not see, and against its own labels.
    config.evaluate.train = False
    # How probabilities become a mask; the first is the run's own, others are measured beside it.
    config.evaluate.decisions = ("argmax",)
    # Distances of surfaces, boundary overlap and volumes in the test report; what NSD allows in mm.
    config.evaluate.surface = False
    config.evaluate.tolerance = 1.0
    # Voxels along each axis of the windows by which large images are predicted, () for all at once;
    # and the share of a window that its neighbour covers too.
    config.evaluate.window = ()
    config.evaluate.overlap = 0.5
    config.checkpoint = ml_collections.ConfigDict({"every_epochs": 5, "keep": 2})
    config.log_every_steps = 10
    config.progress = True
    return config.lock()
