"""``noisyjax plan``."""

import os
from typing import Any

import click

# Fields that are sizes along the axes, or lists of such.
_SIZES = ("spacing", "patch", "strides", "kernels")


@click.command(epilog="Example: noisyjax plan FOLDER --out plan.json --memory 8GB")
@click.argument("folder")
@click.option(
    "--out", default="plan.json", show_default=True, metavar="FILE", help="Where the plan goes."
)
@click.option(
    "--memory", metavar="SIZE", help="That a step may take; by default the device's, 4GB of a CPU."
)
@click.option(
    "-r", "--rater", "raters", multiple=True, help="Whose labels count; repeatable; all by default."
)
@click.option(
    "--full/--small",
    default=None,
    help="nnU-Net's size of network, or one for a CPU; by default as the device is.",
)
@click.option("--coarse", is_flag=True, help="Larger voxels, if patches would see too little.")
@click.option("--overwrite", is_flag=True, help="Replace another plan.")
def plan(folder: str, out: str, overwrite: bool, **options: Any) -> None:
    """Plan how a network learns from FOLDER: voxels, intensities, patch, network.

    plan.json says why each choice was made, and may be edited before training.
    """
    import noisyjax
    from noisyjax.cli import outcome, tables
    from noisyjax.tool.plan import plan

    if not overwrite:
        plan.check_free(out, folder)
    planned = noisyjax.plan(folder, **options)
    known = plan.keep(out, planned, overwrite=overwrite)
    tables.show([("", ("choice", "value", "reason"), _rows(planned))])
    state = "was planned so already" if known else "written"
    outcome.end(f"{os.path.abspath(out)}: {state}", planned.fingerprint["left_out"])


def _rows(planned: Any) -> list[tuple[str, str, str]]:
    """Returns a row for each choice: its name, value and reason."""
    rows = []
    for name, value in planned._asdict().items():
        if name in planned.reasons:
            rows.append((name.replace("_", " "), _shown(value, name), planned.reasons[name]))
    expected = (f"{name.replace('_', ' ')} {value:g}" for name, value in planned.expected.items())
    return [*rows, ("expected", ", ".join(expected), "of a step on zeros")]


def _shown(value: Any, name: str = "") -> str:
    """Returns sizes as 40 x 56, others and lists of them with commas."""
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, int | float) else str(value)
    if not value or not isinstance(value[0], int | float):
        return ", ".join(_shown(one, name) for one in value) or "none"
    return (" x " if name in _SIZES else " ").join(map(_shown, value))
