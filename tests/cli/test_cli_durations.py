"""Times on the command line."""

import pytest

from noisyjax.cli import durations


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30min", 1800), ("1.5h", 5400), (" 2 h ", 7200)]
)
def test_times_are_read(text, expected):
    assert durations.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "30", "30m", "-1s", "0s", "min", "1e3s", "nan s", "1h30min"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="expected a time above 0 such as 90s, 30min or 2h"):
        durations.seconds(text)
