"""Plans the training of a folder."""

import os
from collections.abc import Callable, Sequence

from noisyjax.tool import folder
from noisyjax.tool.plan import choices, compiled_step, fingerprint


def plan(
    given: folder.Folder | str | os.PathLike,
    *,
    memory: str | int | None = None,
    raters: Sequence[str] = (),
    full: bool | None = None,
    coarse: bool = False,
    measure: Callable[..., compiled_step.Compiled] = compiled_step.measure,
) -> choices.plan.Plan:
    """Plans how a network learns from a folder, by the rules of nnU-Net (Isensee et al. 2021).

    The training cases are read once; what a step takes comes from the compiler.

    Args:
      given: a folder, or its path.
      memory: that a step may take, such as "8GB"; by default what the accelerator has, and
        4 GB of a processor's.
      raters: whose labels count; by default everyone's.
      full: whether the network is as large as nnU-Net's; by default on accelerators, where a
        processor gets a quarter of the width and steps of some seconds.
      coarse: whether voxels are made larger until a patch covers a quarter of the median case.
      measure: ``(root, plan, fingerprint) -> compiled_step.Compiled``, compiles the step of a plan.

    Raises:
      FolderError: if the folder cannot be used.
      ValueError: if an option does not fit, or no step fits the memory.
    """
    budget = compiled_step.of_device() if memory is None else compiled_step.parse(memory)
    small = not (compiled_step.on_accelerator() if full is None else full)
    opened = given if isinstance(given, folder.Folder) else folder.open_folder(given)
    found = fingerprint.take(opened, raters=raters)

    def of_plan(planned: choices.plan.Plan) -> compiled_step.Compiled:
        return measure(opened.root, planned, found)

    return choices.choose(found, choices.Budget(budget, small), measure=of_plan, coarse=coarse)
