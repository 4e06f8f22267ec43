"""The pictures of a folder's cases, made one case after the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from noisyjax.data.volumes import read_write
from noisyjax.tool import each_case, folder
from noisyjax.tool.page import page, views

# The cases that have pictures, and what these hold together: a page is to stay below 30 MB.
MOST_CASES = 300
MOST_BYTES = 24_000_000


class Labels(NamedTuple):
    """What is drawn of a case.

    Attributes:
      labels: name to class ids ``[*S]``.
      spacing: of the voxels in mm.
      region: the voxels in question.
    """

    labels: Mapping[str, UInt8[np.ndarray, "*S"]]
    spacing: Sequence[float]
    region: Bool[np.ndarray, "*S"] | None = None


def make(
    opened: folder.Folder,
    names: Sequence[str],
    labels: Callable[[str], Labels],
    *,
    facts: Mapping[str, Mapping[str, str]] | None = None,
) -> list[page.Case]:
    """Returns the pictures of cases, as many as a page holds; what cannot be read has none.

    Args:
      names: of the cases, those that matter most first.
      labels: of a case by its name; it may raise as `folder.Folder.read`.
      facts: name of a case to what stands beside its pictures.
    """
    cases: dict[str, page.Case] = {}
    left = MOST_BYTES

    def draw(name: str) -> list[views.View]:
        if left <= 0:
            return []
        try:
            drawn = labels(name)
            path = opened.cases[name].images[0]
            volume = read_write.in_colours(read_write.read(path))
            image = read_write.to_ras(volume).array
        except (OSError, ValueError) as error:
            raise folder.FolderError([str(error)]) from error
        for ids in drawn.labels.values():
            if image.shape[: ids.ndim] != ids.shape:
                raise folder.FolderError([f"{path}: expected the shape of its labels"])
        return views.views(image, drawn.labels, drawn.spacing, region=drawn.region)

    def keep(name: str, made: list[views.View]) -> None:
        nonlocal left
        if made and left > 0:
            left -= sum(len(view.picture) + sum(map(len, view.outlines.values())) for view in made)
            cases[name] = page.Case(name, made, (facts or {}).get(name, {}))

    each_case.run(names[:MOST_CASES], draw, keep, title="drawing cases")
    return list(cases.values())
