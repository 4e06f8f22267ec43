"""Makes small folders of images and labels."""

import json

import numpy as np

from noisyjax.data.volumes import read_write

SHAPE = (8, 7, 6)
# Towards the left and the back, moved, of unequal spacing.
AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])
AFFINE[:3, 3] = (10.0, 20.0, -30.0)
CLASSES = {"background": 0, "organ": 1, "lesion": 2}


def image(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(-500, 1500, shape).astype(np.int16)


def label(seed, shape=SHAPE):
    made = np.zeros(shape, np.uint8)
    middle = tuple(slice(1 + (seed + axis) % 2, n - 2) for axis, n in enumerate(shape))
    made[middle] = 1
    made[tuple(n // 2 for n in shape)] = 2
    return made


def save(path, array, affine=AFFINE):
    read_write.write(path, read_write.Volume(array, affine, array.ndim))


def describe(root, *, end=".nii.gz", **fields):
    content = {"channel_names": {"0": "CT"}, "labels": CLASSES, "file_ending": end, **fields}
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content))


def make(root, count=4, *, raters=(), truth=True, tests=0, end=".nii.gz", shape=SHAPE, seed=0):
    """A clean folder; of several raters, each but the first lacks a case."""
    describe(root, end=end)
    for part, cases in (("Tr", range(count)), ("Ts", range(count, count + tests))):
        for i in cases:
            name = f"case_{i:02d}"
            pixels = image(seed + i, shape)
            if len(shape) == 2 or end == ".tif":
                pixels = (pixels % 256).astype(np.uint8)
            save(root / f"images{part}" / f"{name}_0000{end}", pixels)
            if truth:
                save(root / f"labels{part}" / f"{name}{end}", label(i, shape))
            for r, rater in enumerate(raters):
                if part == "Tr" and (r == 0 or i != r):
                    path = root / f"raters{part}" / rater / f"{name}{end}"
                    save(path, label(i + r, shape))
    return root
