"""The simulated annotators of a run, by their names."""

from collections.abc import Sequence
from typing import Any

from noisyjax.data.labels import frozen
from noisyjax.noise import annotators

NAMES = tuple(annotators.ANNOTATORS)


def build(
    names: Sequence[str], *, num_classes: int, spacing: Sequence[float], **options: Any
) -> frozen.Panel | None:
    """Returns the panel that is named, or None if nobody is: the source has raters of its own.

    Args:
      names: keys of `noisyjax.noise.annotators.ANNOTATORS`, R of them, in the order of the labels.
      num_classes: L.
      spacing: size of a voxel along each axis in mm, for strengths that are given in mm.
      **options: strengths, see `noisyjax.noise.annotators.panel`.

    Returns:
      ``f(key, truth [*S]) -> labels [R, *S]`` or None.

    Raises:
      ValueError: if a name is unknown.

    >>> build((), num_classes=2, spacing=(1.0, 1.0)) is None
    True
    """
    if not names:
        return None
    return annotators.panel(tuple(names), num_classes=num_classes, spacing=spacing, **options)
