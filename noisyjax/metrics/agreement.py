"""How far raters agree beyond chance, pixel by pixel and in volumes, in float64 on the host.

Pixels count by the raters who gave them a label: absent raters (`rater_mask`) and pixels without a
label (id 255) do not. The coefficients follow from whole numbers, which can be added over images
(pooling is not the same as the mean over images)::

    sums = agreement.sums(labels, num_classes)
    sums = jax.tree.map(np.add, sums, others)                   # + would join the tuples
    kappa = agreement.fleiss_kappa_of_sums(sums)

All depend on how much background there is: give a region (`where`), and state it. Pixels are not
independent, so for errors draw images anew.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int32, Int64, Integer

from noisyjax.core import checks, ignored

Labels = Integer[Array, "R *S"] | Integer[np.ndarray, "R *S"]
Raters = Bool[Array, "R"] | Bool[np.ndarray, "R"]
Pixels = Bool[Array, "*S"] | Bool[np.ndarray, "*S"]

# Pixels are counted in pieces, which stay in the processor's cache.
_PIECE = 2**18


class AgreementSums(NamedTuple):
    """What is added over the pixels of an image, and over images; whole numbers.

    Attributes:
      pixels: how many have 0, 1, ..., R labels, ``[R + 1]``.
      agreeing: ordered pairs of raters who gave such pixels the same class, ``[R + 1]``.
      given: how often each class was given, ``[L]``, at pixels with two labels or more.
      both: ordered pairs of raters who both gave a pixel the class, ``[L]``.
      either: those of which at least one did, ``[L]``, both having labelled the pixel.
    """

    pixels: Int64[np.ndarray, "R+1"]
    agreeing: Int64[np.ndarray, "R+1"]
    given: Int64[np.ndarray, "L"]
    both: Int64[np.ndarray, "L"]
    either: Int64[np.ndarray, "L"]


def sums(
    labels: Labels,
    num_classes: int,
    *,
    rater_mask: Raters | None = None,
    where: Pixels | None = None,
) -> AgreementSums:
    """Adds up what the coefficients of one image are made of.

    Args:
      labels: class ids, ``[R, *S]``, 255 where none was given; other ids that are no class raise
        ValueError.
      rater_mask: who labelled the image, ``[R]``.
      where: the pixels that count, ``[*S]``.

    >>> sums(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 255]]), 2).pixels
    array([0, 0, 1, 2])
    """
    count = len(labels)
    pixels, agreeing = np.zeros((2, count + 1), np.int64)
    given, both, either = np.zeros((3, num_classes), np.int64)
    for piece in _pieces(labels, num_classes, rater_mask, where):
        number = _votes(piece != num_classes)
        pairs, pairs_alike = number * (number - 1), np.zeros_like(number)
        for index in range(num_classes):
            votes = _votes(piece == index)
            alike, rest = votes * (votes - 1), number - votes
            pairs_alike += alike
            given[index] += np.sum(votes, where=number > 1, dtype=np.int64)
            both[index] += np.sum(alike, dtype=np.int64)
            either[index] += np.sum(pairs - rest * (rest - 1), dtype=np.int64)
        pixels += np.bincount(number, minlength=count + 1)
        # In float64, which counts exactly up to 2**53.
        of_number = np.bincount(number, weights=pairs_alike, minlength=count + 1)
        agreeing += of_number.astype(np.int64)
    return AgreementSums(pixels, agreeing, given, both, either)


def _votes(marked: Bool[np.ndarray, "R P"]) -> Int32[np.ndarray, "P"]:
    votes = np.zeros(marked.shape[1], np.int32)
    # Row by row, which is several times as fast as a sum over the first axis.
    for row in marked:
        votes += row
    return votes


def _pieces(
    labels: Labels, num_classes: int, rater_mask: Raters | None, where: Pixels | None
) -> Iterator[Int32[np.ndarray, "R P"]]:
    """Yields the labels of some pixels after the other, L where a rater gave none."""
    checks.ids("labels", labels)
    checks.masks(rater_mask=rater_mask, where=where)
    checks.at_least("num_classes", num_classes, 2)
    flat = np.asarray(labels).reshape(len(labels), -1)
    if where is not None:
        checks.shape("where", where, labels.shape[1:], like="labels")
        flat = flat[:, np.asarray(where).reshape(-1)]
    present = np.ones(len(labels), bool)
    if rater_mask is not None:
        checks.shape("rater_mask", rater_mask, labels.shape[:1], like="labels")
        present = np.asarray(rater_mask)
    for start in range(0, flat.shape[1], _PIECE):
        piece = flat[:, start : start + _PIECE].astype(np.int32)
        unknown = (piece == ignored.IGNORE) | ~present[:, None]
        wrong = ~unknown & ((piece < 0) | (piece >= num_classes))
        if wrong.any():
            raise ValueError(
                f"labels: expected classes in 0..{num_classes - 1} or {ignored.IGNORE}, "
                f"got {piece[wrong][0]}"
            )
        piece[unknown] = num_classes
        yield piece


def fleiss_kappa_of_sums(added: AgreementSums) -> float:
    """Returns Fleiss' kappa of the sums over one or more images, see `fleiss_kappa`."""
    number = np.arange(len(added.pixels))[2:]
    observed = np.sum(added.agreeing[2:] / (number * (number - 1)))
    share = _ratio(added.given, added.given.sum())
    # As a sum of products: 1 - sum p^2 would round to 1 or 0 where one class is everywhere.
    by_chance_apart = np.sum(share * (1 - share))
    disagreement = 1 - _ratio(observed, added.pixels[2:].sum())
    return float(1 - _ratio(disagreement, by_chance_apart))


def fleiss_kappa(
    labels: Labels,
    num_classes: int,
    *,
    rater_mask: Raters | None = None,
    where: Pixels | None = None,
) -> float:
    """Returns Fleiss' kappa, the agreement of raters beyond chance, at most 1.

    A class is as probable by chance as its share of all labels. Pixels with fewer than two labels
    leave; NaN if none is left, or all labels are of one class.

    Args:
      labels: class ids, ``[R, *S]``, 255 where none was given.
      rater_mask: who labelled the image, ``[R]``.
      where: the pixels that count, ``[*S]``.

    References:
      Fleiss, Measuring nominal scale agreement among many raters, 1971.

    >>> round(fleiss_kappa(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]]), 2), 4)
    0.55
    """
    return fleiss_kappa_of_sums(sums(labels, num_classes, rater_mask=rater_mask, where=where))


def krippendorff_alpha_of_sums(added: AgreementSums) -> float:
    """Returns Krippendorff's alpha of the sums over images, see `krippendorff_alpha`."""
    number = np.arange(len(added.pixels))[2:]
    disagreement = number * (number - 1) * added.pixels[2:] - added.agreeing[2:]
    total = float(added.given.sum())
    observed = _ratio(np.sum(disagreement / (number - 1)), total)
    by_chance = _ratio(np.sum(added.given * (total - added.given)), total * (total - 1))
    return float(1 - _ratio(observed, by_chance))


def krippendorff_alpha(
    labels: Labels,
    num_classes: int,
    *,
    rater_mask: Raters | None = None,
    where: Pixels | None = None,
) -> float:
    """Returns Krippendorff's alpha of nominal classes, the agreement beyond chance, at most 1.

    It allows for missing labels and small numbers. Pixels with fewer than two labels leave; NaN if
    none is left, or all labels are of one class.

    Args:
      labels: class ids, ``[R, *S]``, 255 where none was given.
      rater_mask: who labelled the image, ``[R]``.
      where: the pixels that count, ``[*S]``.

    References:
      Krippendorff, Computing Krippendorff's alpha-reliability, 2011.

    >>> round(krippendorff_alpha(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]]), 2), 4)
    0.6
    """
    added = sums(labels, num_classes, rater_mask=rater_mask, where=where)
    return krippendorff_alpha_of_sums(added)


def rater_tables(
    labels: Labels,
    num_classes: int,
    *,
    rater_mask: Raters | None = None,
    where: Pixels | None = None,
) -> Int64[np.ndarray, "R R L L"]:
    """Counts where one rater gave class i and another class j, ``[R, R, L, L]``.

    The tables can be added over images in which the raters are the same persons. Arguments are
    those of `cohen_kappa`.

    >>> rater_tables(np.array([[1, 1, 0], [1, 0, 255]]), 2)[0, 1]
    array([[0, 0],
           [1, 1]])
    """
    count = len(labels)
    sides = num_classes + 1
    tables = np.zeros((count, count, sides, sides), np.int64)
    for piece in _pieces(labels, num_classes, rater_mask, where):
        for q in range(count):
            for r in range(q, count):
                counted = np.bincount(piece[q] * sides + piece[r], minlength=sides**2)
                tables[q, r] += counted.reshape(sides, sides)
    # The last row and column are of pixels that one of the two did not label.
    tables = tables[..., :-1, :-1]
    later = np.triu_indices(count, 1)
    tables[later[::-1]] = tables[later].transpose(0, 2, 1)
    return tables


def cohen_kappa_of_tables(tables: Integer[np.ndarray, "R R L L"]) -> Float[np.ndarray, "R R"]:
    """Returns Cohen's kappa of tables that are added over images, see `cohen_kappa`."""
    total = tables.sum(axis=(-2, -1)).astype(np.float64)
    first, second = tables.sum(axis=-1), tables.sum(axis=-2)
    disagreement = 1 - _ratio(np.trace(tables, axis1=-2, axis2=-1), total)
    chances = (_ratio(side, total[..., None]) for side in (first, second))
    by_chance = 1 - np.sum(np.prod(list(chances), axis=0), axis=-1)
    kappa = 1 - _ratio(disagreement, by_chance)
    np.fill_diagonal(kappa, np.nan)
    return kappa


def cohen_kappa(
    labels: Labels,
    num_classes: int,
    *,
    rater_mask: Raters | None = None,
    where: Pixels | None = None,
) -> Float[np.ndarray, "R R"]:
    """Returns Cohen's kappa (1960) of each two raters, unweighted, ``[R, R]``.

    Of the pixels that both labelled. NaN on the diagonal, for absent raters, and where both gave
    one and the same class everywhere.

    Args:
      labels: class ids, ``[R, *S]``, 255 where none was given.
      rater_mask: who labelled the image, ``[R]``.
      where: the pixels that count, ``[*S]``.

    >>> cohen_kappa(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]]), 2).round(4)
    array([[nan, 1. , 0.4],
           [1. , nan, 0.4],
           [0.4, 0.4, nan]])
    """
    options = {"rater_mask": rater_mask, "where": where}
    return cohen_kappa_of_tables(rater_tables(labels, num_classes, **options))


def conformity_index_of_sums(added: AgreementSums) -> Float[np.ndarray, "L"]:
    """Returns each class's conformity index of the sums over images, see `conformity_index`."""
    return _ratio(added.both, added.either)


def conformity_index(
    labels: Labels,
    *,
    index: int = 1,
    rater_mask: Raters | None = None,
    where: Pixels | None = None,
) -> float:
    """Returns the generalised conformity index of one class, in ``[0, 1]``.

    It is what each two raters share, added over pairs, over what either marked; larger pairs count
    more than in the mean of their IoU. Pixels count for the pairs that labelled them. NaN if nobody
    marked anything.

    Args:
      labels: class ids, ``[R, *S]``, 255 where none was given.
      index: the class that is compared.
      rater_mask: who labelled the image, ``[R]``.
      where: the pixels that count, ``[*S]``.

    References:
      Kouwenhoven et al., Measuring the similarity of target volume delineations independent of the
      number of observers, 2009.

    >>> conformity_index(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]))
    0.5
    """
    checks.ids("labels", labels)
    ids = np.asarray(labels)
    ids = np.where(ids == ignored.IGNORE, ignored.IGNORE, (ids == index).astype(np.int64))
    added = sums(ids, 2, rater_mask=rater_mask, where=where)
    return float(conformity_index_of_sums(added)[1])


def icc(volumes: Float[np.ndarray, "n R"] | Float[Array, "n R"]) -> float:
    """Returns the intra-class correlation ICC(2,1) of raters' volumes ``[n, R]``, at most 1.

    Images and raters are both drawn at random, a bias of a rater counts as disagreement, and it is
    that of single raters. An image that a rater did not label (NaN) leaves: drop raters who are
    seldom there first. NaN with fewer than two images or raters, or if all volumes are equal.

    References:
      Shrout and Fleiss, Intraclass correlations: uses in assessing rater reliability, 1979.

    >>> round(icc(np.array([[10.0, 12.0], [20.0, 21.0], [30.0, 33.0]])), 4)
    0.9783
    """
    checks.rank("volumes", volumes, 2)
    table = np.asarray(volumes, np.float64)
    table = table[~np.isnan(table).any(axis=1)]
    images, raters = table.shape
    if min(images, raters) < 2:
        return float("nan")
    of_images = table.mean(axis=1, keepdims=True) - table.mean()
    of_raters = table.mean(axis=0, keepdims=True) - table.mean()
    rest = table - table.mean() - of_images - of_raters
    between_images = raters * np.sum(of_images**2) / (images - 1)
    between_raters = images * np.sum(of_raters**2) / (raters - 1)
    error = np.sum(rest**2) / ((images - 1) * (raters - 1))
    below = between_images + (raters - 1) * error + raters * (between_raters - error) / images
    return float(_ratio(between_images - error, below))


def _ratio(
    above: np.ndarray | np.number | float, below: np.ndarray | np.number | float
) -> Float[np.ndarray, "..."]:
    """Returns a quotient that is NaN where nothing is below."""
    known = np.asarray(below) != 0
    return np.where(known, above / np.where(known, below, 1.0), np.nan)
