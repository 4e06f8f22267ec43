"""Methods by name: one file per family, one line per row of a results table.

`METHODS[name](segmenter, num_raters=R, num_classes=L, **options)` returns a `base.Method` of a
network of `noisyjax.models`; the family's options, with their defaults, are documented by its
`build`.
"""

import functools
import inspect
from typing import Any

from noisyjax.core import checks, class_regions
from noisyjax.methods import (
    adl,
    cm_trace,
    co_teaching,
    cople_net,
    forward,
    fused,
    mr_net,
    nnunet_style,
    pint,
    prob_unet,
    self_calib,
    separate,
    uma_net,
)
from noisyjax.methods.base import Aux, Batch, Method, Prediction, Variables

METHODS = {
    "oracle": functools.partial(fused.build, target="truth"),
    "mean": functools.partial(fused.build, target="mean"),
    "majority": functools.partial(fused.build, target="majority"),
    "staple": functools.partial(fused.build, target="staple"),
    "spatial_staple": functools.partial(fused.build, target="spatial_staple"),
    "label_sampling": functools.partial(fused.build, target="sampled"),
    "separate": functools.partial(separate.build),
    "prob_unet": functools.partial(prob_unet.build),
    "forward_correction": functools.partial(forward.build),
    "co_teaching": functools.partial(co_teaching.build),
    "nnunet_style": functools.partial(nnunet_style.build),
    "cople_net": functools.partial(cople_net.build),
    "cm_trace": functools.partial(cm_trace.build, annotators="spatial"),
    "no_trace": functools.partial(cm_trace.build, annotators="spatial", trace=False),
    "low_rank_cm": functools.partial(cm_trace.build, annotators="low_rank"),
    "global_cm": functools.partial(cm_trace.build, annotators="global"),
    "oracle_cm": functools.partial(cm_trace.build, annotators="oracle"),
    "pint": functools.partial(pint.build),
    "mr_net": functools.partial(mr_net.build),
    "self_calib": functools.partial(self_calib.build),
    "uma_net": functools.partial(uma_net.build),
}

# Which section of a config holds a method's options.
FAMILIES = {name: entry.func.__module__.rpartition(".")[2] for name, entry in METHODS.items()}


def _takes_regions(name: str) -> bool:
    return "regions" in inspect.signature(METHODS[name]).parameters


def build(
    name: str,
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    regions: class_regions.Regions | None = None,
    **options: Any,
) -> Method:
    """Builds a method of `METHODS` by its name and the options of its family.

    With regions the segmenter has a channel for each of them, in place of the classes; `ValueError`
    for methods that know classes alone.
    """
    entry = checks.lookup("method", name, METHODS)
    if regions is not None:
        if not _takes_regions(name):
            known = ", ".join(filter(_takes_regions, METHODS))
            raise ValueError(
                f"method: expected one that learns regions ({known}), for the data have some "
                f"(regions_class_order in dataset.json), got {name}, which learns classes"
            )
        options["regions"] = regions
    return entry(segmenter, num_raters=num_raters, num_classes=num_classes, **options)
