"""Gross mistakes in a label, as an audit is to find them: what goes wrong, not how raters draw.

A contour far too narrow, too wide or beside the object; a label that was stored mirrored, with two
classes exchanged or without one of them; the label of another case. Each is a function of a key,
the truth and another case's truth. Dilation and erosion act on the whole foreground, see
`noisyjax.noise.replacement`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer, Key

from noisyjax.core import arrays, checks
from noisyjax.noise import replacement

Truth = Integer[Array, "*S"]
Other = Integer[Array, "*T"]


def _replaced(
    kind: str, key: Key[Array, ""], truth: Truth, other: Other, num_classes: int, overlap: Any
) -> Truth:
    kinds = {"kinds": (kind,), "num_classes": num_classes}
    return replacement.replace(key, truth, overlap=overlap, **kinds).label


def mirrored(
    key: Key[Array, ""], truth: Truth, other: Other, num_classes: int, overlap: Any
) -> Truth:
    """The label flipped along an axis that is drawn, as of a file read in another orientation."""
    axis = jax.random.randint(key, (), 0, truth.ndim)
    flips = [functools.partial(jnp.flip, axis=number) for number in range(truth.ndim)]
    return jax.lax.switch(axis, flips, truth)


def exchanged(
    key: Key[Array, ""], truth: Truth, other: Other, num_classes: int, overlap: Any
) -> Truth:
    """The label with two of its classes exchanged: of two classes, foreground and background."""
    first, second = _two_classes(key, truth, num_classes)
    back = jnp.where(truth == second, first, truth)
    return jnp.where(truth == first, second, back).astype(truth.dtype)


def missing(
    key: Key[Array, ""], truth: Truth, other: Other, num_classes: int, overlap: Any
) -> Truth:
    """The label without one of its classes, which is background."""
    lost = _present(key, truth, num_classes)[0]
    return jnp.where(truth == lost, arrays.BACKGROUND, truth).astype(truth.dtype)


def another(
    key: Key[Array, ""], truth: Truth, other: Other, num_classes: int, overlap: Any
) -> Truth:
    """The other case's label, its middle on the middle of the image, cut and filled to its size."""
    label = other
    for axis, (wanted, size) in enumerate(zip(truth.shape, other.shape, strict=True)):
        lack, surplus = max(wanted - size, 0), max(size - wanted, 0)
        before = surplus // 2
        label = jax.lax.slice_in_dim(label, before, before + min(wanted, size), axis=axis)
        widths = [(0, 0)] * truth.ndim
        widths[axis] = (lack // 2, lack - lack // 2)
        label = jnp.pad(label, widths, constant_values=arrays.BACKGROUND)
    return label.astype(truth.dtype)


def _present(key: Key[Array, ""], truth: Truth, num_classes: int) -> Integer[Array, "C"]:
    """The classes but the background in an order that is drawn, those in the truth first."""
    classes = jnp.arange(1, num_classes)
    absent = ~jax.vmap(lambda number: jnp.any(truth == number))(classes)
    return classes[jnp.lexsort((jax.random.uniform(key, classes.shape), absent))]


def _two_classes(key: Key[Array, ""], truth: Truth, num_classes: int) -> Any:
    order = _present(key, truth, num_classes)
    return order[0], order[1] if num_classes > 2 else jnp.asarray(arrays.BACKGROUND, order.dtype)


# name -> f(key, truth [*S], other case's truth, L, Dice) -> label [*S]; only the first three ask
# for a Dice.
MISTAKES: dict[str, Callable[..., Truth]] = {
    "erosion": functools.partial(_replaced, "erosion"),
    "dilation": functools.partial(_replaced, "dilation"),
    "shift": functools.partial(_replaced, "shift"),
    "mirrored": mirrored,
    "exchanged": exchanged,
    "missing": missing,
    "another": another,
}


def make(
    name: str,
    key: Key[Array, ""],
    truth: Truth,
    *,
    other: Other,
    num_classes: int,
    overlap: float | int | Array = 0.7,
) -> Truth:
    """Returns the label of a case with a mistake, ``[*S]``, dtype of the truth.

    Args:
      name: in `MISTAKES`.
      truth: class ids, ``[*S]``.
      other: of another case, of any size.
      num_classes: L.
      overlap: the Dice of the foreground that erosion, dilation and shift leave, in (0, 1].

    >>> truth = jnp.array([[0, 1, 1, 2]], jnp.uint8)
    >>> make("exchanged", jax.random.key(0), truth, other=truth, num_classes=3)
    Array([[0, 2, 2, 1]], dtype=uint8)
    """
    mistake = checks.lookup("name", name, MISTAKES)
    checks.ids("truth", truth)
    checks.ids("other", other)
    checks.rank("other", other, truth.ndim)
    checks.at_least("num_classes", num_classes, 2)
    return mistake(key, truth, other, num_classes, overlap)
