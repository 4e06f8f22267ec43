"""What dataset.json says of a folder."""

import pathlib
import re
from typing import Any

from noisyjax.core import files
from noisyjax.data.folder import problem_kinds
from noisyjax.data.volumes import read_write

# The class, the last one, of voxels that are left out.
IGNORE = "ignore"

EXAMPLE = (
    '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, '
    '"file_ending": ".nii.gz"}'
)


_MOST_JSON = 2**24


def _numbered(content: Any, *, names_first: bool) -> tuple[str, ...] | None:
    """Returns the names of the numbers 0, 1, ... from a mapping, or None if it is no such one."""
    if not isinstance(content, dict) or not content:
        return None
    pairs = [pair if names_first else pair[::-1] for pair in content.items()]
    try:
        numbers = {int(number): str(name) for name, number in pairs if type(number) in (int, str)}
    except ValueError:
        return None
    if sorted(numbers) != list(range(len(pairs))):
        return None
    return tuple(numbers[i] for i in range(len(pairs)))


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


def read(
    root: pathlib.Path, problems: problem_kinds.Problems
) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...], str]:
    """Returns the content of dataset.json, classes, channels and the ending of the files.

    What is wrong with it is added to the problems; then the part, or the ending, is empty.
    """
    name = "dataset.json"
    path = root / name
    nothing = ({}, (), (), "")
    if not path.is_file():
        problems.add("no_dataset_json", file=name, want=EXAMPLE)
        return nothing
    try:
        content = files.read_json(path, most=_MOST_JSON)
    except ValueError as error:
        problems.add("bad_dataset_json", file=name, got=error, want=EXAMPLE)
        return nothing
    classes = _numbered(content.get("labels"), names_first=True)
    # Two classes, and then "ignore", if it is there.
    if (
        classes is None
        or not 2 <= len(classes) <= 256
        or len(set(classes)) < len(classes)
        or IGNORE in classes[: max(2, len(classes) - 1)]
    ):
        problems.add("bad_labels", file=name, got=f"got {content.get('labels')}")
        classes = ()
    # The Decathlon calls them modality.
    named = content.get("channel_names", content.get("modality"))
    channels = _numbered(named, names_first=False)
    if channels is None:
        problems.add("bad_channels", file=name, got=f"got {named}")
    end = content.get("file_ending", ".nii.gz")
    if not isinstance(end, str) or end not in read_write.FORMATS:
        want = ", ".join(read_write.FORMATS)
        problems.add("bad_file_ending", file=name, got=end, want=want)
        end = ""
    for key in ("training", "test"):
        for text in _paths_within(content.get(key)):
            if text.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", text):
                problems.add("unsafe_path", file=name, got=text)
    return content, classes, channels or (), end
