"""Sums slab after slab."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import slabs


def _sums(mask, values):
    return {"both": jnp.sum(values * mask[None], axis=(1, 2)), "pixels": jnp.sum(mask)}


_MASK = jnp.arange(7 * 3).reshape(7, 3) % 4 == 0
_VALUES = jnp.arange(2 * 7 * 3).reshape(2, 7, 3)


# Rows at once: one where a row is longer than a slab, three and a rest of one, all but one, all.
@pytest.mark.parametrize("most", [1, 3, 9, 18, 20, 21])
def test_slabs_add_up_to_the_whole(monkeypatch, most):
    monkeypatch.setattr(slabs, "MOST", most)
    found = slabs.summed(_sums, _MASK, _VALUES, leading=(0, 1))
    np.testing.assert_array_equal(found["both"], (_VALUES * _MASK[None]).sum(axis=(1, 2)))
    assert found["pixels"] == _MASK.sum()


def test_a_slab_is_no_larger_than_said(monkeypatch):
    monkeypatch.setattr(slabs, "MOST", 9)
    seen = []

    def sums(mask):
        seen.append(mask.shape)
        return jnp.sum(mask)

    slabs.summed(sums, _MASK)
    assert set(seen) == {(3, 3), (1, 3)}


def test_jit_and_vmap_change_nothing(monkeypatch):
    monkeypatch.setattr(slabs, "MOST", 6)
    masks = jnp.stack([_MASK, ~_MASK])

    def one(mask):
        return slabs.summed(_sums, mask, _VALUES, leading=(0, 1))

    each = [one(mask) for mask in masks]
    for several in (jax.vmap(one)(masks), jax.jit(jax.vmap(one))(masks)):
        for index, alone in enumerate(each):
            jax.tree.map(
                lambda a, b, index=index: np.testing.assert_array_equal(a[index], b),
                several,
                alone,
            )
