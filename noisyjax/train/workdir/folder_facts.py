"""What a run of the source ``folder`` knows of its files: how further images are read."""

from collections.abc import Mapping
from typing import Any

from noisyjax.core import checks, class_regions
from noisyjax.data.volumes import normalisations, preprocess, read_write

_NUMBER = "a number"
_KINDS = {
    "a text": str,
    _NUMBER: (int, float),
    "two numbers": list,
    "a whole number": int,
    "a text or a list of such": (str, list),
    "lists of four numbers": list,
}
_PREPARATION = {
    "normalisation": "a text or a list of such",
    "cut": _NUMBER,
    "window": "two numbers",
    "intensities": "lists of four numbers",
    "interpolation": "a text",
    "box": "a text",
    "margin": "a whole number",
}


def check(about: Mapping[str, Any]) -> None:
    """Raises `ValueError`, which names the field, unless `DataFacts.about` is that of a folder."""
    for name in ("file_ending", "channel_names", "preparation", "grid_tolerance"):
        if name not in about:
            raise ValueError(f"about.{name}: expected a value, got none")
    checks.one_of("about.file_ending", about["file_ending"], list(read_write.FORMATS))
    channels, options = about["channel_names"], about["preparation"]
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise ValueError(f"about.channel_names: expected a list of texts, got {channels!r:.80}")
    if not channels:
        raise ValueError("about.channel_names: expected a channel, got none")
    _check_kind("about.grid_tolerance", about["grid_tolerance"], _NUMBER)
    if not isinstance(options, Mapping) or options.keys() != _PREPARATION.keys():
        raise ValueError(
            f"about.preparation: expected {', '.join(_PREPARATION)}, got {options!r:.80}"
        )
    for name, words in _PREPARATION.items():
        _check_kind(f"about.preparation.{name}", options[name], words)
    names = options["normalisation"]
    for name in (names,) if isinstance(names, str) else names:
        checks.one_of("about.preparation.normalisation", name, normalisations.NORMALISATIONS)
    checks.one_of(
        "about.preparation.interpolation", options["interpolation"], preprocess.INTERPOLATIONS
    )


def regions(about: Mapping[str, Any], num_classes: int) -> class_regions.Regions | None:
    """Returns the regions that a run predicts, or None; `ValueError` if they do not fit."""
    if "regions" not in about:
        return None
    try:
        found = class_regions.from_json(about["regions"])
    except ValueError as error:
        raise ValueError(f"about.regions: {error}") from None
    if found.num_classes != num_classes:
        raise ValueError(
            f"about.regions: expected regions of {num_classes} classes, got {found.num_classes}"
        )
    return found


def _check_kind(name: str, value: Any, words: str) -> None:
    fits = isinstance(value, _KINDS[words]) and not isinstance(value, bool)
    if words == "two numbers" and fits:
        fits = _are_numbers(value, 2)
    if words == "lists of four numbers" and fits:
        fits = all(_are_numbers(channel, 4) for channel in value)
    if not fits:
        raise ValueError(f"{name}: expected {words}, got {value!r:.80}")


def _are_numbers(value: Any, count: int) -> bool:
    is_list = isinstance(value, list) and len(value) == count
    return is_list and all(type(number) in (int, float) for number in value)
