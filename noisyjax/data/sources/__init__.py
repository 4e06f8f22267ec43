"""The data sets that can be named in a config."""

from typing import Any

from noisyjax.core import checks
from noisyjax.data import source
from noisyjax.data.sources import (
    annotators_npz,
    bubil,
    ct_patches,
    digits,
    folder,
    hippocampus,
    hippocampus_slices,
    lidc,
    mnist,
    spine_slices,
)
from noisyjax.data.sources.procedural import phantoms, tumours

SOURCES = {
    "annotators_npz": annotators_npz.load,
    "bubil": bubil.load,
    "ct_patches": ct_patches.load,
    "digits": digits.load,
    "folder": folder.load,
    "hippocampus": hippocampus.load,
    "hippocampus_slices": hippocampus_slices.load,
    "lidc": lidc.load,
    "mnist": mnist.load,
    "phantoms": phantoms.load,
    "spine_slices": spine_slices.load,
    "tumours": tumours.load,
}

# Those with a file for each case, which may be damaged by itself.
_FILES = ("folder",)


def load(name: str, *, skip_damaged: bool = False, **options: Any) -> source.Source:
    """Loads a data set of `SOURCES` by its name, with the options of its own `load`.

    With `skip_damaged`, a case that cannot be used fails when it is read, so that it can be left
    out, in place of the whole data set. An unknown name raises ValueError.

    >>> load("digits").class_names
    ('background', 'digit')
    """
    load_by_name = checks.lookup("source", name, SOURCES)
    if skip_damaged and name in _FILES:
        options["skip_damaged"] = True
    return load_by_name(**options)
