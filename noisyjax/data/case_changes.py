"""What has become of a run's cases: other names, other images, other labels."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from noisyjax.data import source


class Case(NamedTuple):
    """A case as it was when it got its number.

    Attributes:
      part: "train", "val" or "test"; "" for none.
    """

    name: str
    part: str
    content: source.Content


class Changes(NamedTuple):
    """Names of the cases of which something is not what it was.

    Attributes:
      images: those with another image.
      labels: those with another truth or other labels.
      trained: those that validate or test by an image that a run trained on.
    """

    images: list[str]
    labels: list[str]
    trained: list[str]

    def __str__(self) -> str:
        """Says what has changed; "" for nothing."""
        told = {
            "other images of": self.images,
            "other labels of": self.labels,
            "images that were trained on, as": self.trained,
        }
        return "; ".join(f"{what} {listed(names)}" for what, names in told.items() if names)


def listed(names: Sequence[str]) -> str:
    """Lists names, the first few of many.

    >>> listed(["a", "b"]), listed(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def of_names(before: Mapping[int, Case], data: source.Source) -> str:
    """Says which cases of a source are not those that had these numbers; "" if all are.

    A case that was renamed is known by its image.
    """
    now = {i: data.case_name(i) for i in range(len(data.examples))}
    if {i: case.name for i, case in before.items()} == now:
        return ""
    numbers = {name: i for i, name in now.items()}
    gone = {case.name: case.content for _, case in sorted(before.items())}
    new = [name for name in numbers if name not in gone]
    gone = {name: content for name, content in gone.items() if name not in numbers}
    renamed = _renamed(gone, {name: numbers[name] for name in new}, data)
    told = {
        "renamed": [f"{old} is {name}" for old, name in renamed.items()],
        "removed": [name for name in gone if name not in renamed],
        "added": [name for name in new if name not in renamed.values()],
    }
    return (
        "; ".join(f"{len(names)} {how}: {listed(names)}" for how, names in told.items() if names)
        or "in another order"
    )


def _renamed(
    gone: Mapping[str, source.Content], new: Mapping[str, int], data: source.Source
) -> dict[str, str]:
    """Returns the old name of a case to its new one."""
    images = {content.image: name for name, content in gone.items() if content.image}
    renamed = {}
    for name, number in new.items() if images else ():
        try:
            old = images.get(source.content(data, number).image)
        except source.UnreadableCase:
            continue
        if old is not None:
            renamed[old] = name
    return renamed


def of_contents(before: Mapping[int, Case], now: Mapping[int, source.Content]) -> Changes:
    """Compares what cases hold by their numbers; of both, those that are known."""
    trained = {case.content.image for case in before.values() if case.part == "train"} - {""}
    changes = Changes([], [], [])
    for number, content in sorted(now.items()):
        name, part, old = before.get(number, Case("", "", source.Content("", "")))
        images = old.image and content.image and old.image != content.image
        if images:
            changes.images.append(name)
        if old.labels and content.labels and old.labels != content.labels:
            changes.labels.append(name)
        if images and part in ("val", "test") and content.image in trained:
            changes.trained.append(name)
    return changes
