"""What dataset.json says of single cases: whose they are, and what they count in training."""

import math
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

from noisyjax.data.folder import problem_kinds


def patients(
    content: Any,
    names: Collection[str],
    parts: Sequence[Collection[str]],
    problems: problem_kinds.Problems,
) -> dict[str, str]:
    """Returns case to patient, and notes cases that are not there and patients in both parts.

    Args:
      names: of all cases.
      parts: of the cases that train, and of those that test.
    """
    whole = isinstance(content, dict)
    if not whole or not all(isinstance(patient, str) for patient in content.values()):
        problems.add("bad_patients", file="dataset.json", got=f"got {content!r:.60}")
        return {}
    content = _known(content, names, "patients", problems)
    each = [{content.get(name) for name in part} for part in parts]
    for patient in sorted(set.intersection(*each) - {None}):
        problems.add("divided_patient", file="dataset.json", got=patient)
    return content


def weights(
    content: Any, names: Collection[str], problems: problem_kinds.Problems
) -> dict[str, float]:
    """Returns case to weight, and notes cases that are not there."""
    if not isinstance(content, dict) or not all(
        type(weight) in (int, float) and 0 < weight < math.inf for weight in content.values()
    ):
        problems.add("bad_weights", file="dataset.json", got=f"got {content!r:.60}")
        return {}
    content = _known(content, names, "weights", problems)
    return {name: float(weight) for name, weight in content.items()}


def _known(
    content: dict[str, Any], names: Collection[str], field: str, problems: problem_kinds.Problems
) -> dict[str, Any]:
    content = {unicodedata.normalize("NFC", name): value for name, value in content.items()}
    for name in sorted(set(content) - set(names)):
        problems.add("unknown_case", case=name, file="dataset.json", got=name, want=field)
    return content
