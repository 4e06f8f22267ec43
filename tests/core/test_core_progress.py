"""The progress bar."""

import io
import math
import time

from rich import console

from noisyjax.core import progress


def test_bar_shows_the_numbers_and_keeps_them():
    stream = io.StringIO()
    screen = console.Console(file=stream, force_terminal=True, width=120)
    with progress.Progress(10, done=2, shown=True, console=screen) as bar:
        bar.update(3, {"loss": 0.25})
        bar.update(5, {"Dice": 0.75, "loss": math.nan})
    shown = stream.getvalue()
    assert "5/10" in shown
    assert "loss 0.25  Dice 0.75" in shown


def test_bar_can_be_switched_off():
    stream = io.StringIO()
    screen = console.Console(file=stream, force_terminal=True)
    with progress.Progress(10, shown=False, console=screen) as bar:
        bar.update(3, {"loss": 0.25})
    assert stream.getvalue() == ""


def _shown(seconds):
    stream = io.StringIO()
    screen = console.Console(file=stream, force_terminal=True, width=120)
    with progress.Progress(2, shown=True, console=screen, after=0.2) as bar:
        bar.update(1, {})
        time.sleep(seconds)
    return stream.getvalue()


def test_bar_is_left_out_where_the_work_is_short():
    assert _shown(0.0) == ""
    assert "1/2" in _shown(0.5)
