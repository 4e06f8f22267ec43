"""Which library's kernels XLA puts into a program for a CPU.

XLA has kernels of its own and those of YNNPACK, which it prefers wherever it can. YNNPACK's sums
and matrix products are quicker, but many of its convolutions keep to one core and are not: with
them the step of a small 2-D U-Net took half as long again on two cores. So its sums and products
are asked for alone.
"""

import functools
import os
from collections.abc import Mapping

import jax

_OPTION = "xla_cpu_experimental_ynn_fusion_type"
_KINDS = "LIBRARY_FUSION_TYPE_REDUCE,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


@functools.cache
def options(platform: str) -> Mapping[str, str]:
    """The compiler options of `jax.jit` for training and prediction.

    Args:
      platform: of the devices, such as "cpu".

    Returns:
      The options; none for accelerators, where XLA_FLAGS names the option already, or where this
      version of XLA does not know it.
    """
    if platform != "cpu" or _OPTION in os.environ.get("XLA_FLAGS", ""):
        return {}
    known = {_OPTION: _KINDS}
    try:
        jax.jit(lambda: 0, compiler_options=known).lower().compile()
    except jax.errors.JaxRuntimeError:
        # The option is experimental: without it programs are slower and otherwise the same.
        return {}
    return known
