"""Metrics of one example (batches by ``jax.vmap``), and their tables on the host.

Overlap, confusion matrices and distances of distributions are jitted; tables are plain NumPy.
"""

from noisyjax.metrics import confusion, distribution, overlap, report
