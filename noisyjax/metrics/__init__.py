"""Metrics of one example (batches by ``jax.vmap``), and their tables on the host.

Overlap, boundaries, calibration, confusion matrices, distances of distributions and the quality of
labels are jitted; surfaces and matching (SciPy), agreement of raters, risk and coverage, and tables
are on the host.
"""

from noisyjax.metrics import (
    agreement,
    boundary,
    calibration,
    confusion,
    curvas,
    distribution,
    label_quality,
    overlap,
    risk,
    surface,
    tabulate,
)
