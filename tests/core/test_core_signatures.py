"""Options read from signatures."""

import pytest

from noisyjax.core import signatures


def _blur(image, *, sigma=2.0, order=1, mode="edge", circular=False, centre=None): ...


_DEFAULTS = {"sigma": 2.0, "order": 1, "mode": "edge", "circular": False, "centre": None}


def test_options_are_the_parameters_by_name():
    assert signatures.options(_blur) == _DEFAULTS
    assert list(signatures.options(_blur, without=("sigma", "mode"))) == [
        "order",
        "circular",
        "centre",
    ]


@pytest.mark.parametrize(
    "given",
    [
        {},
        _DEFAULTS,
        {"sigma": 3},
        {"sigma": (1.0, 2)},
        {"order": [1, 2]},
        {"centre": 0.5},
        {"centre": [1.0, 2.0]},
    ],
)
def test_values_of_the_kind_of_the_default_are_right(given):
    signatures.check("blur", given, _DEFAULTS)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"sigm": 1}, "^sigm: blur has no such option, expected one of sigma, order"),
        ({"sigma": "2"}, "^sigma: expected a number, got '2'"),
        ({"sigma": True}, "^sigma: expected a number, got True"),
        ({"sigma": ()}, r"^sigma: expected a number, got \(\)"),
        ({"order": 1.5}, "^order: expected a whole number, got 1.5"),
        ({"mode": 1}, "^mode: expected a name, got 1"),
        ({"circular": 1}, "^circular: expected true or false, got 1"),
        ({"centre": "middle"}, "^centre: expected a number, got 'middle'"),
    ],
)
def test_other_values_are_named(given, match):
    with pytest.raises(ValueError, match=match):
        signatures.check("blur", given, _DEFAULTS)
