"""Helpers of other folders' tests."""

import pathlib
import sys

for _folder in ("data", "train"):
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / _folder))
