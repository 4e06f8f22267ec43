"""The whole set of metrics of a split's segmentations, beside the usual overlaps.

What JAX can do goes with the prediction (`case_values`); distances between surfaces are measured on
the host, batch after batch, so that no more than a batch of segmentations is held.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from noisyjax.metrics import boundary, overlap, surface

OVERLAPS = {
    "accuracy": overlap.accuracy,
    "precision": overlap.precision,
    "recall": overlap.recall,
    "specificity": overlap.specificity,
}

# Of every foreground class; distances in mm. Smaller is better for RVD and the distances.
NAMES = (*OVERLAPS, "rvd", *boundary.Boundary._fields, *surface.Surface._fields)

_SEGMENTATION = "segmentation"


def case_values(
    segmentation: Integer[Array, "*S"],
    truth: Integer[Array, "*S"],
    *,
    num_classes: int,
    suffix: str = "",
) -> dict[str, Array]:
    """Returns what is measured on one example together with its prediction.

    Args:
      segmentation: class ids, ``[*S]``.
      truth: class ids, ``[*S]``.
      num_classes: L.
      suffix: what is put behind every name.

    Returns:
      The `OVERLAPS`, ``rvd``, ``dbd_g``, ``dbd_m``, ``sbd`` ``[L - 1]`` of the foreground classes,
      NaN where they are 0/0, but for two empty masks, whose boundaries agree and whose volumes do
      not differ; and the segmentation, for `measure`.
    """
    counts = overlap.counts(segmentation, truth, num_classes)

    def edges(label: Integer[Array, ""]) -> boundary.Boundary:
        return boundary.boundary_overlap(segmentation == label, truth == label, empty="one")

    values = {name: measure_of(counts)[1:] for name, measure_of in OVERLAPS.items()}
    values["rvd"] = overlap.relative_volume_difference(counts)[1:]
    values |= jax.vmap(edges)(jnp.arange(1, num_classes))._asdict()
    values[_SEGMENTATION] = segmentation.astype(jnp.uint8)
    return {f"{name}{suffix}": value for name, value in values.items()}


def measure(
    values: Mapping[str, np.ndarray],
    truths: Integer[np.ndarray, "B *S"],
    *,
    num_classes: int,
    spacing: tuple[float, ...],
    tolerance: float | int,
) -> dict[str, np.ndarray]:
    """Replaces the segmentations of a batch by the distances of their surfaces to the truth's.

    Args:
      values: name to values of B examples, among them those of `case_values`.
      truths: class ids, ``[B, *S]``.
      num_classes: L.
      spacing: size of a voxel along each axis, in mm.
      tolerance: what NSD allows, in mm.

    Returns:
      The values without segmentations; for each of these ``hd``, ``hd95``, ``asd_pred``,
      ``asd_truth``, ``assd``, ``nsd`` ``[B, L - 1]``, with what stood behind its name.
    """
    measured = {}
    for name, value in values.items():
        if not name.startswith(_SEGMENTATION):
            measured[name] = value
            continue
        found = surface.surface_metrics_of_cases(
            value, truths, num_classes=num_classes, spacing=spacing, tolerance=tolerance
        )
        suffix = name.removeprefix(_SEGMENTATION)
        measured |= {f"{metric}{suffix}": array for metric, array in found._asdict().items()}
    return measured
