"""Cells and aortas outlined by experts and by crowd workers (Boston University, BU-BIL).

Gurari et al. 2015, How to Collect Segmentations for Biomedical Images? A Benchmark Evaluating the
Performance of Experts, Crowdsourced Non-Experts, and Algorithms (WACV).

The gold standard is fused from experts' masks. In some sets it is one expert's mask, pixel for
pixel; learning from that mask and being tested on the gold standard would be learning from the
truth.
"""

import numpy as np
from jaxtyping import Bool, UInt8

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.sources import archive

SETS = {
    "rat_smc_phase": "cell",
    "rabbit_smc_phase": "cell",
    "fibroblast_phase": "cell",
    "lu_melanoma_fluo": "cell",
    "wm993_melanoma_fluo": "cell",
    "aorta_mri": "aorta",
}
RATERS = ("experts", "crowd", "all")


def copies(
    labels: UInt8[np.ndarray, "N R H W"], gold: UInt8[np.ndarray, "N H W"]
) -> Bool[np.ndarray, "N R"]:
    """Returns ``[N, R]``, whether a mask is the gold standard itself, pixel for pixel."""
    return (labels == gold[:, np.newaxis]).all(axis=(2, 3))


def _read(path: str, subset: str) -> archive.Arrays:
    layout = {
        "image": "uint8 N H W",
        "gold_packed": "uint8 N H packed",
        "experts_packed": "uint8 N R H packed",
        "expert_valid": "bool N R",
        "expert_name": "text R",
        "crowd_packed": "uint8 N C H packed",
        "name": "text N",
    }
    keys = {f"{subset}__{key}": value for key, value in layout.items()}
    arrays = archive.read(path, keys, content="cells outlined by experts and crowd workers")
    arrays = {key.removeprefix(f"{subset}__"): value for key, value in arrays.items()}
    width = arrays["image"].shape[-1]
    for key in ("gold", "experts", "crowd"):
        arrays[key] = archive.unpack(
            path, f"{subset}__{key}_packed", arrays[f"{key}_packed"], width
        )
    return arrays


def _block_means(path: str, values: UInt8[np.ndarray, "... H W"], side: int) -> np.ndarray:
    """Returns the mean over blocks of side x side pixels, ``[..., H / side, W / side]``."""
    height, width = values.shape[-2:]
    if height % side or width % side:
        raise ValueError(
            f"{path}: shrink: expected a divisor of the images' size {(height, width)}, got {side}"
        )
    blocks = values.reshape(*values.shape[:-2], height // side, side, width // side, side)
    return blocks.mean(axis=(-3, -1), dtype=np.float32)


def load(
    *,
    path: str,
    subset: str,
    raters: str = "experts",
    keep_copies: bool = False,
    shrink: int = 1,
) -> source.Source:
    """Loads one of the six sets.

    Args:
      path: the ``.npz`` file; with a prefix ``SUBSET__`` each: ``image`` ``[N, H, W]`` uint8;
        ``gold_packed``, ``experts_packed`` and ``crowd_packed`` ``[N, (R,) H, W / 8]`` uint8
        (``numpy.packbits`` along the last axis); ``expert_valid`` ``[N, R]`` bool;
        ``expert_name`` ``[R]``; ``name`` ``[N]``.
      subset: a key of `SETS`.
      raters: whose labels: those of the ``"experts"``, of the ``"crowd"``, or ``"all"``. Crowd
        workers differ from image to image, so that with them the raters are not persistent.
      keep_copies: whether to keep masks that equal the gold standard. If not, the rater mask hides
        them, and a rater of whom nothing is left is dropped. Whole masks are compared, before
        they shrink.
      shrink: factor by which images and masks shrink; 1 leaves them. A pixel is the mean of a block
        of so many pixels along each side, of a mask 1 where at least half of the block is.

    Returns:
      The source: images in [0, 1]; the gold standard is the truth; the rater mask tells who
      labelled an image; no splits.

    Raises:
      FileNotFoundError, ValueError: as `archive.read`, or if the set or the raters are unknown, an
        image is left without a label, or the size is no multiple of `shrink`.
    """
    structure = checks.lookup("subset", subset, SETS)
    checks.one_of("raters", raters, RATERS)
    checks.positive("shrink", shrink)
    arrays = _read(path, subset)
    gold, experts, crowd = arrays["gold"], arrays["experts"], arrays["crowd"]
    names = [str(name) for name in arrays["expert_name"]]
    names += [f"crowd {r + 1}" for r in range(crowd.shape[1])]
    labels = np.concatenate([experts, crowd], axis=1)
    given = np.concatenate([arrays["expert_valid"], np.ones(crowd.shape[:2], bool)], axis=1)
    if not keep_copies:
        given &= ~copies(labels, gold)
    num_experts = experts.shape[1]
    asked = np.arange(len(names)) < num_experts
    asked = {"experts": asked, "crowd": ~asked, "all": asked | True}[raters]
    kept = np.flatnonzero(asked & given.any(axis=0))
    if not given[:, kept].any(axis=1).all():
        raise ValueError(
            f"{path}: {subset}: expected a label of one of the {raters} for each image, got none "
            f"for {np.flatnonzero(~given[:, kept].any(axis=1))[:5].tolist()}"
        )
    images, labels = arrays["image"], labels[:, kept]
    if shrink > 1:
        images = _block_means(path, images, shrink)
        gold, labels = (
            (_block_means(path, masks, shrink) >= 0.5).astype(np.uint8) for masks in (gold, labels)
        )
    return source.Source(
        name=f"bubil-{subset}",
        examples=source.ArrayExamples(
            images[..., np.newaxis],
            truths=gold,
            labels=labels,
            rater_masks=given[:, kept],
            scale=1 / 255,
        ),
        num_classes=2,
        class_names=("background", structure),
        spacing=(1.0, 1.0),
        has_truth=True,
        rater_names=tuple(names[r] for r in kept),
        persistent_raters=raters == "experts",
        case_names=tuple(f"{subset}-{name}" for name in arrays["name"]),
    )
