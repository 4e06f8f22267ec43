"""Metrics of one example (batches by ``jax.vmap``), and their tables on the host.

Overlap, boundaries, calibration, confusion matrices, distances of distributions and the quality of
labels are jitted; surfaces (SciPy) and tables are plain NumPy.
"""

from noisyjax.metrics import (
    boundary,
    calibration,
    confusion,
    distribution,
    label_quality,
    overlap,
    surface,
    tabulate,
)
