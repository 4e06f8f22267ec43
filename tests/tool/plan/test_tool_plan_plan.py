"""A plan in a file: as it was written, and what is said of one that was edited wrongly."""

import json
import re

import pytest

from noisyjax.tool.plan import plan

_PLAN = plan.Plan(
    spacing=(0.8, 0.8, 5.0),
    normalisation=("ct", "z_score"),
    intensities=((-20.0, 134.0, 85.6, 24.7), (0.0, 1.0, 0.0, 1.0)),
    patch=(16, 16, 6),
    strides=((2, 2, 1), (2, 2, 2)),
    kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
    widths=(8, 16, 32),
    convs_per_level=2,
    batch_size=2,
    mirror_axes=(0, 2),
    reasons={"patch": "the median case"},
    fingerprint={"cases": 3, "raters": {"ännä": 2}},
    expected={"memory_gib": 0.5, "parameters": 100},
)


def test_a_plan_comes_back_as_it_was(tmp_path):
    path = tmp_path / "plan.json"
    plan.save(path, _PLAN)
    assert plan.load(path) == _PLAN
    lines = path.read_text(encoding="utf-8").splitlines()
    assert '  "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3]],' in lines
    assert '    "raters": {' in lines
    assert '      "ännä": 2' in lines


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("patch", None, "patch: expected a list of two or three whole numbers > 0, got nothing"),
        ("patch", [16, 16.5, 6], "patch: expected a list of two or three whole numbers"),
        ("patch", [16, 16], "patch: expected one for each of 3 axes, got [16, 16]"),
        ("patch", [16, 18, 6], "patch: expected a multiple of 4 along axis 1"),
        ("spacing", [1.0, 0, 1.0], "spacing: expected a list of two or three numbers > 0, got [1"),
        ("spacing", "fine", "spacing: expected a list of two or three numbers > 0, got 'fine'"),
        ("normalisation", ["ct", "minmax"], "normalisation: expected a list of names for the"),
        ("normalisation", [], "normalisation: expected one for each channel, got none"),
        ("intensities", [[0, 1, 0, 1]], "intensities: expected one for each of 2 channels, got 1"),
        ("intensities", [[1, 0, 0, 1]] * 2, "intensities: expected low < high and a standard"),
        ("widths", [], "widths: expected one for each level, got none"),
        ("widths", [8, 16], "strides: expected 1 lists of 3 for 2 widths, got [[2, 2, 1]"),
        ("strides", [[2, 2, 1], [3, 2, 2]], "strides: expected a list of [1 or 2 along each axis]"),
        ("kernels", [[3, 3, 3]] * 2, "kernels: expected 3 lists of 3 for 3 widths"),
        ("kernels", [[3, 3, 2]] * 3, "kernels: expected 1 or 3"),
        ("batch_size", True, "batch_size: expected a whole number > 0, got True"),
        ("mirror_axes", [0, 0], "mirror_axes: expected different axes below 3, got [0, 0]"),
        ("mirror_axes", [3], "mirror_axes: expected a list of the numbers of axes"),
        ("reasons", {"patch": 1}, "reasons: expected an object of texts"),
        ("expected", {"memory_gib": "1"}, "expected: expected an object of numbers"),
        ("depth", 3, "depth: expected one of the fields spacing, normalisation,"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, field, value, message):
    path = tmp_path / "plan.json"
    plan.save(path, _PLAN)
    content = json.loads(path.read_text())
    content |= {field: value}
    if value is None:
        del content[field]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="^" + re.escape(f"{path}: {message}")):
        plan.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="expected an object in braces, got a list"):
        plan.load(path)
