"""Distances between the surfaces of segmentations and truths, measured on the host.

It is done batch after batch, so that no more than a batch of segmentations is held.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer

from noisyjax.metrics import surface
from noisyjax.train.evaluation import case_metrics


def measure(
    values: Mapping[str, np.ndarray],
    truths: Integer[np.ndarray, "B *S"],
    *,
    num_classes: int,
    spacing: tuple[float, ...],
    tolerance: float | int,
) -> dict[str, np.ndarray]:
    """Replaces the segmentations of a batch by the distances of their surfaces to the truth's.

    The values are those of `case_metrics.case_values`; spacing and the tolerance of NSD are in mm.
    In place of a segmentation there are ``hd``, ``hd95``, ``asd_pred``, ``asd_truth``, ``assd`` and
    ``nsd`` ``[B, L - 1]``, with what stood behind its name.
    """
    measured = {}
    for name, value in values.items():
        if not name.startswith(case_metrics.SEGMENTATION):
            measured[name] = value
            continue
        distances = surface.surface_metrics_of_cases(
            value, truths, num_classes=num_classes, spacing=spacing, tolerance=tolerance
        )
        suffix = name.removeprefix(case_metrics.SEGMENTATION)
        measured |= {f"{metric}{suffix}": array for metric, array in distances._asdict().items()}
    return measured
