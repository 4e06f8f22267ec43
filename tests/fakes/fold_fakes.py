"""A plan so small that its networks are trained in seconds."""

import folder_fakes
import numpy as np

from noisyjax.tool.plan import plan

SHAPE = (16, 12, 10)
CHANGES = {"progress": False, "log_every_steps": 1, "evaluate.every_epochs": 1}


def tiny_plan(**changes):
    fields = {
        "spacing": (1.0, 1.5, 2.0),
        "normalisation": ("z_score",),
        "intensities": ((0.0, 1.0, 0.5, 0.2),),
        "patch": (8, 8, 8),
        "strides": ((2, 2, 2),),
        "kernels": ((3, 3, 3), (3, 3, 3)),
        "widths": (2, 4),
        "convs_per_level": 1,
        "batch_size": 2,
        "mirror_axes": (1, 2),
        "reasons": {},
        "fingerprint": {},
        "expected": {},
    }
    return plan.Plan(**fields | changes)


def make(root, count=6, *, tests=1, **options):
    """A folder whose labels show in the images."""
    folder_fakes.make(root, count, tests=tests, shape=SHAPE, **options)
    for part, cases in (("Tr", range(count)), ("Ts", range(count, count + tests))):
        for i in cases:
            noise = np.random.default_rng(i).normal(0, 20, SHAPE)
            image = 100 * folder_fakes.label(i, SHAPE) + noise
            path = root / f"images{part}" / f"case_{i:02d}_0000.nii.gz"
            folder_fakes.save(path, image.astype(np.int16))
    return root
