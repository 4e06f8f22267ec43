"""Metrics of one example (batches by ``jax.vmap``), and their tables on the host.

Overlap, boundaries, calibration, confusion matrices and distances of distributions are jitted;
surfaces (SciPy) and tables are plain NumPy.
"""

from noisyjax.metrics import (
    boundary,
    calibration,
    confusion,
    distribution,
    overlap,
    surface,
    tabulate,
)
