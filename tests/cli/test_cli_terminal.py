"""Texts that the encoding of a terminal does not have."""

import io
import sys

from noisyjax.cli import terminal


def test_what_cannot_be_encoded_is_escaped(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    # Some programs replace a stream by what is none.
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    terminal.escape_output()
    print("Übersicht \udcff")
    sys.stdout.flush()
    assert shown.getvalue() == rb"\xdcbersicht \udcff" + b"\n"
