"""Sums over the voxels of an image, slab after slab where it is large.

What is made of a volume on the way to a sum, masks of each class or logarithms, takes many times
its memory. Of a slab it takes little, and the sums are added.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

# Voxels that are summed at once.
MOST = 2**18


def summed(
    sums: Callable[..., Any], *arrays: Shaped[Array, "..."], leading: Sequence[int] = ()
) -> Any:
    """Returns ``sums(*arrays)``; of more than `MOST` voxels the sum of what it is of slabs of them.

    Args:
      sums: of arrays to a tree of sums over voxels. A slab has some rows of the first spatial axis.
      arrays: ``[*B, *S, ...]`` with the same S; the first one ends with its spatial axes.
      leading: the number of axes B of each array; none without.

    >>> summed(lambda mask: mask.sum(), jnp.array([[True, False], [True, True]]))
    Array(3, dtype=int32)
    """
    first = leading or (0,) * len(arrays)
    space = arrays[0].shape[first[0] :]
    if math.prod(space) <= MOST:
        return sums(*arrays)
    rows = max(1, MOST // math.prod(space[1:]))
    count, rest = divmod(space[0], rows)

    def of_slab(start: Any, size: int) -> Any:
        return sums(
            *(
                jax.lax.dynamic_slice_in_dim(array, start, size, axis)
                for array, axis in zip(arrays, first, strict=True)
            )
        )

    def add(number: Any, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, of_slab(number * rows, rows))

    total = jax.lax.fori_loop(1, count, add, of_slab(0, rows))
    return jax.tree.map(jnp.add, total, of_slab(count * rows, rest)) if rest else total
