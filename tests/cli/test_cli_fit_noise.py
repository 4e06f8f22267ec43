"""The command that fits noise to raters, given what it cannot use."""

import re

import refusals

from noisyjax.cli import fit_noise

_REFUSED = [
    (("--source=lidc",), "--option: lidc: .*path"),
    (("--source=digits", "--option=size"), "expected NAME=VALUE, got .*size"),
    (("--source=digits", "--option=sise=3"), "--option: digits: .*sise"),
]


def test_what_does_not_fit_is_named():
    lines = refusals.messages("fit_noise", [arguments for arguments, _ in _REFUSED])
    for line, (_, message) in zip(lines, _REFUSED, strict=True):
        assert re.search(message, line), line


def test_every_combination_of_options_is_loaded():
    given = [("crop", 64), ("subset", "rat"), ("vote", True), ("subset", "aorta_mri")]
    common = {"crop": 64, "vote": True}
    assert fit_noise._combinations(given) == [
        {**common, "subset": subset} for subset in ("rat", "aorta_mri")
    ]
    assert fit_noise._combinations([]) == [{}]
