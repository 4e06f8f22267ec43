"""noisyjax: train and judge medical image segmentation when the labels are wrong.

The functions and classes named here are imported when they are used, so that importing the package
is quick and touches no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "consensus": "noisyjax.tool.consensus",
    "evaluate": "noisyjax.tool.evaluate",
    "load_run": "noisyjax.tool.saved_run",
    "open_folder": "noisyjax.tool.folder",
    "raters": "noisyjax.tool.raters",
    "simulate": "noisyjax.tool.simulate",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from noisyjax.tool.consensus import consensus as consensus
    from noisyjax.tool.evaluate import evaluate as evaluate
    from noisyjax.tool.folder import open_folder as open_folder
    from noisyjax.tool.raters import raters as raters
    from noisyjax.tool.saved_run import load_run as load_run
    from noisyjax.tool.simulate import simulate as simulate


def __getattr__(name: str) -> Any:
    """Imports a public function when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
