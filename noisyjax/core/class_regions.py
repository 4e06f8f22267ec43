"""Regions: unions of classes, which may lie in each other, as nnU-Net's `regions_class_order` has.

A network predicts each region by a sigmoid of its own. In files and arrays there are class ids all
the same: those of a prediction are written region by region, the later over the earlier.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from noisyjax.core import checks

# Sigmoids are kept so far from 0 and 1 that their logits are finite.
_LEAST = 1e-6
# By how much the written class is more probable than the next, where it would not be by itself.
_MARGIN = 1e-4


@dataclasses.dataclass(frozen=True)
class Regions:
    """G regions of the classes 0 to L - 1, of which 0, the background, is in none.

    ``ValueError`` if a segmentation without a fault would not be written back as it is, but for
    classes that are in the same regions.

    Attributes:
      names: of the regions.
      members: ids of the classes in each.
      order: the class that is written where a region is found, for each; the later regions are
        written over the earlier.

    >>> Regions(("whole", "core"), ((1, 2), (2,)), (1, 2)).num_classes
    3
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    def __post_init__(self):
        ids = {label for each in self.members for label in each}
        if not ids or ids != set(range(1, len(ids) + 1)) or not all(self.members):
            raise ValueError(f"expected regions of the classes 1, 2, ..., got {self.members}")
        if not len(self.names) == len(self.order) == len(self.members):
            raise ValueError(
                f"expected a class for each of {len(self.members)} regions, got {self.order}"
            )
        for name, label, own in zip(self.names, self.order, self.members, strict=True):
            if label not in own:
                raise ValueError(f"expected for {name} a class of {own}, got {label}")
        membership = self.membership
        back = written(membership.T, self)
        # A region that is found alone is written as a class that lies in it alone.
        wrong = [i for i in ids if (membership[:, i] != membership[:, back[i]]).any()]
        wrong += [label for label in self.order if back[label] != label]
        if wrong:
            raise ValueError(
                f"expected an order in which regions are written over those they lie in, got "
                f"{self.order}, by which class {wrong[0]} becomes {back[wrong[0]]}"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        """L."""
        return 1 + max(label for each in self.members for label in each)

    @functools.cached_property
    def membership(self) -> Float[np.ndarray, "G L"]:
        """1 where a class is in a region."""
        classes = np.arange(self.num_classes)
        return np.stack([np.isin(classes, own) for own in self.members]).astype(np.float32)

    def to_json(self) -> dict[str, list]:
        """Returns plain values, see `from_json`."""
        fields = {"names": self.names, "members": map(list, self.members), "order": self.order}
        return {name: list(values) for name, values in fields.items()}


def from_json(content: Any) -> Regions:
    """Returns the regions that plain values of `Regions.to_json` say; `ValueError` if none."""
    if not isinstance(content, dict) or content.keys() != {"names", "members", "order"}:
        raise ValueError(f"expected names, members and order, got {content!r:.80}")
    names, members, order = content["names"], content["members"], content["order"]
    lists = [names, members, order, *(members if isinstance(members, list) else ())]
    if not all(isinstance(values, list) for values in lists):
        raise ValueError(f"expected lists, got {content!r:.80}")
    numbers = [*order, *(label for each in members for label in each)]
    if not all(type(n) is int and 0 <= n < 256 for n in numbers):
        raise ValueError(f"expected classes below 256, got {content!r:.80}")
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"expected different names, got {names!r:.80}")
    return Regions(tuple(names), tuple(map(tuple, members)), tuple(order))


def of_classes(
    probs: Float[Array | np.ndarray, "*S L"], regions: Regions
) -> Float[Array | np.ndarray, "*S G"]:
    """Returns the probability of each region, the sum of those of its classes; zeros of zeros.

    >>> of_classes(jnp.array([0.5, 0.2, 0.3]), Regions(("all", "core"), ((1, 2), (2,)), (1, 2)))
    Array([0.5, 0.3], dtype=float32)
    """
    return _sums(probs, regions.membership.T)


def written(
    probs: Float[Array | np.ndarray, "*S G"], regions: Regions
) -> Int[Array | np.ndarray, "*S"]:
    """Returns class ids as nnU-Net writes them, of NumPy as well.

    They begin as background; then each region in turn sets its class where its probability is above
    one half.
    """
    ids = (probs[..., 0] > 0.5) * regions.order[0]
    xp = np if isinstance(probs, np.ndarray) else jnp
    for number, label in enumerate(regions.order[1:], 1):
        ids = xp.where(probs[..., number] > 0.5, label, ids)
    return ids.astype(xp.int32)


def in_regions(ids: Integer[Array | np.ndarray, "*S"], regions: Regions) -> Bool[Array, "G *S"]:
    """Returns where class ids are in each region; other numbers, such as 255, are in none."""
    return jnp.stack([jnp.isin(ids, np.array(own)) for own in regions.members])


def class_probs(
    probs: Float[Array | np.ndarray, "*S G"], regions: Regions
) -> Float[Array | np.ndarray, "*S L"]:
    """Returns probabilities of the classes whose most probable one is that of `written`.

    They are those of independent regions, given that these are the regions of some class: the
    softmax of the sum of the logits of a class's regions. The most probable class of it is the
    written one wherever no region is above one half that lies in one that is not, and no two are
    that exclude each other. Elsewhere the written class is made more probable, by as much as it
    takes. A class that is never written, for it has the regions of another, has probability 0.

    Args:
      probs: of each region, ``[*S, G]``, of NumPy as well: then so is the result.
    """
    xp = np if isinstance(probs, np.ndarray) else jnp
    checks.shape("probs", probs, (*probs.shape[:-1], len(regions)), like="the regions")
    ids = written(probs, regions)
    within = xp.clip(probs.astype(xp.float32), _LEAST, 1 - _LEAST)
    scores = _sums(xp.log(within) - xp.log1p(-within), regions.membership)
    # Rank by rank: JAX may be told to promote none.
    classes = np.arange(regions.num_classes).reshape((1,) * ids.ndim + (-1,))
    never = written(regions.membership.T, regions) != np.arange(regions.num_classes)
    scores = xp.where(never.reshape(classes.shape), -xp.inf, scores)
    raised = xp.exp(scores - scores.max(axis=-1, keepdims=True))
    joint = raised / raised.sum(axis=-1, keepdims=True)
    chosen = (classes == ids[..., None]).astype(xp.float32)
    lack = joint.max(axis=-1) - (joint * chosen).sum(axis=-1)
    share = xp.where(joint.argmax(axis=-1) == ids, 0.0, (lack + _MARGIN) / (1 + lack))[..., None]
    return ((1 - share) * joint + share * chosen).astype(xp.float32)


def _sums(values: Any, matrix: Float[np.ndarray, "I J"]) -> Any:
    """Multiplies by a matrix from the right, never in the fewer bits that accelerators may take."""
    if isinstance(values, np.ndarray):
        return values @ matrix
    return jnp.matmul(values, matrix, precision="highest")
