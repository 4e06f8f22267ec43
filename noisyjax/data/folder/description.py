"""What dataset.json says of a folder."""

import pathlib
import re
from typing import Any, NamedTuple

from noisyjax.core import class_regions, files
from noisyjax.data.folder import label_ids, problem_kinds
from noisyjax.data.volumes import read_write

# The class, the last one, of voxels that are left out.
IGNORE = "ignore"

EXAMPLE = (
    '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, '
    '"file_ending": ".nii.gz"}'
)


_MOST_JSON = 2**24


class Description(NamedTuple):
    """What dataset.json says; a part that is wrong is empty.

    Attributes:
      content: all of it.
      class_names: the background first, in the order of their ids.
      class_ids: what stands for them in the files.
      channel_names: of channels 0, 1, ...
      ending: of the files.
      regions: unions of the classes, by their numbers 0, 1, ..., or None.
      soft: whether labels are probabilities of the only class of the foreground.
    """

    content: dict[str, Any]
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    channel_names: tuple[str, ...]
    ending: str
    regions: class_regions.Regions | None = None
    soft: bool = False


NOTHING = Description({}, (), (), (), "")


def _by_number(content: Any, *, names_first: bool) -> dict[int, str]:
    """Returns number to name, ascending, from a mapping; nothing if it is no such one."""
    if not isinstance(content, dict):
        return {}
    pairs = [pair if names_first else pair[::-1] for pair in content.items()]
    try:
        numbers = {int(number): str(name) for name, number in pairs if type(number) in (int, str)}
    except ValueError:
        return {}
    return dict(sorted(numbers.items())) if len(numbers) == len(pairs) else {}


def _is_old(labels: Any) -> bool:
    """Whether labels are number to name, as those of nnU-Net's first version."""
    return bool(_by_number(labels, names_first=False)) and not _by_number(labels, names_first=True)


def _classes(content: dict[str, Any], problems: problem_kinds.Problems) -> dict[int, str]:
    """Returns id to name of the classes; nothing, and a problem, if they are not in order."""
    labels = content.get("labels")
    classes = _by_number(labels, names_first=not _is_old(labels))
    names = list(classes.values())
    # Two classes, and then "ignore", if it is there.
    usable = (
        2 <= len(classes) <= 256
        and min(classes) == 0
        and max(classes) <= label_ids.MOST
        and len(set(names)) == len(names)
        and IGNORE not in names[: max(2, len(names) - 1)]
    )
    if not usable:
        problems.add("bad_labels", file="dataset.json", got=f"got {labels}")
    return classes if usable else {}


def _with_regions(labels: Any) -> tuple[Any, dict[str, list[int]]]:
    """Returns the labels as name to id, and name to ids of the regions, if some are lists of ids.

    As in nnU-Net every label is a region then. A class has the name of the region that is it alone,
    or its id. Raises `ValueError` if these are no regions.
    """
    if not isinstance(labels, dict) or not any(isinstance(own, list) for own in labels.values()):
        return labels, {}
    own = {name: ids if isinstance(ids, list) else [ids] for name, ids in labels.items()}
    whole = all(type(label) is int for ids in own.values() for label in ids)
    if not whole or not all(own.values()):
        raise ValueError(f"expected labels that are numbers, got {labels!r:.200}")
    others = [name for name, ids in own.items() if name == IGNORE or set(ids) == {0}]
    found = {name: sorted(set(ids)) for name, ids in own.items() if name not in others}
    if max(map(len, found.values()), default=0) < 2:
        return {name: ids[0] for name, ids in own.items()}, {}
    alone = {ids[0]: name for name, ids in found.items() if len(ids) == 1}
    every = sorted({label for ids in found.values() for label in ids})
    named = {alone.get(label, f"class_{label}"): label for label in every}
    return named | {name: own[name][0] for name in others}, found


def _regions(
    found: dict[str, list[int]], order: Any, class_ids: tuple[int, ...]
) -> class_regions.Regions:
    """Returns regions by numbers of classes in place of ids; `ValueError` if they are none."""
    if not isinstance(order, list) or not set(order) <= set(class_ids):
        raise ValueError(f"expected a class for each of {len(found)} regions, got {order!r:.80}")
    numbers = {label: number for number, label in enumerate(class_ids)}
    members = [[numbers[label] for label in ids] for ids in found.values()]
    content = {"names": list(found), "members": members, "order": [numbers[i] for i in order]}
    return class_regions.from_json(content)


def _paths_within(content: Any) -> list[str]:
    """Returns the texts of file lists (of the Decathlon's layout), which are not followed."""
    texts, open_items = [], [content]
    while open_items:
        item = open_items.pop()
        if isinstance(item, dict | list):
            open_items.extend(item.values() if isinstance(item, dict) else item)
        elif isinstance(item, str):
            texts.append(item)
    return texts[::-1]


def read(root: pathlib.Path, problems: problem_kinds.Problems) -> Description:
    """Reads dataset.json; what is wrong with it is added to the problems."""
    name = "dataset.json"
    path = root / name
    if not path.is_file():
        problems.add("no_dataset_json", file=name, want=EXAMPLE)
        return NOTHING
    try:
        content = files.read_json(path, most=_MOST_JSON)
    except ValueError as error:
        problems.add("bad_dataset_json", file=name, got=error, want=EXAMPLE)
        return NOTHING
    classes, regions = {}, None
    try:
        labels, found = _with_regions(content.get("labels"))
        classes = _classes({"labels": labels}, problems)
        if found and classes:
            regions = _regions(found, content.get("regions_class_order"), tuple(classes))
    except (ValueError, TypeError) as error:
        problems.add("bad_regions", file=name, got=error)
        classes = {}
    # nnU-Net's first version and the Decathlon call them modality.
    old = {
        "modality for channel_names": "channel_names" not in content and "modality" in content,
        "labels as number to name": _is_old(content.get("labels")),
    }
    if any(old.values()):
        got = " and ".join(what for what, is_so in old.items() if is_so)
        problems.add("old_dataset_json", file=name, got=got)
    named = content.get("channel_names", content.get("modality"))
    channels = _by_number(named, names_first=False)
    if not channels or list(channels) != list(range(len(channels))):
        problems.add("bad_channels", file=name, got=f"got {named}")
        channels = {}
    end = content.get("file_ending", ".nii.gz")
    if not isinstance(end, str) or end not in read_write.FORMATS:
        want = ", ".join(read_write.FORMATS)
        problems.add("bad_file_ending", file=name, got=end, want=want)
        end = ""
    for key in ("training", "test"):
        for text in _paths_within(content.get(key)):
            if text.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", text):
                problems.add("unsafe_path", file=name, got=text)
    channel_names = tuple(channels.values())
    names, ids = tuple(classes.values()), tuple(classes)
    soft = content.get("soft", False)
    if type(soft) is not bool or (soft and names and (len(names) > 2 or names[1] == IGNORE)):
        problems.add("bad_soft", file=name, got=f"got {soft!r:.80} and {len(names)} labels")
        soft = False
    return Description(content, names, ids, channel_names, end, regions, soft)
