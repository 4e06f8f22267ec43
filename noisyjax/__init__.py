"""noisyjax: train and judge medical image segmentation when the labels are wrong.

The functions and classes named here are imported when they are used, so that importing the package
is quick and touches no device. `__init__.pyi` says the same to type checkers.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that it is in.
_HOMES = {
    "audit": "noisyjax.tool.audit.audit",
    "consensus": "noisyjax.tool.consensus.fuse",
    "evaluate": "noisyjax.tool.evaluation.evaluate",
    "load_run": "noisyjax.tool.saved_run",
    "open_folder": "noisyjax.tool.folder",
    "plan": "noisyjax.tool.plan.planner",
    "predict_folder": "noisyjax.tool.training.predict_folder",
    "raters": "noisyjax.tool.raters.compare",
    "simulate": "noisyjax.tool.simulation.simulate",
    "train_folds": "noisyjax.tool.training.train_folds",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Imports a public function when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
