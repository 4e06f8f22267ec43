"""Simulated annotators, and panels of them.

Zhang et al. 2020, Appendix A.1: annotators who segment too much, too little, wrongly or not at
all, beside one who is right. In multi-class images the morphology acts on one target class, and a
further annotator exchanges the classes in a cycle. The annotator of Nordström et al. 2023 moves
every boundary by a random smooth field. Those of `noisyjax.noise.annotation` (Wang et al., UMA-Net)
each have one noise, which acts on the target class.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Integer, Key, UInt8

from noisyjax.core import arrays, checks, ignored, rng
from noisyjax.noise import annotation, gaussian_field, morphology

Truth = Integer[Array, "*S"]
Shape = morphology.Shape
Strength = float | int | Sequence[float | int]


class Settings(NamedTuple):
    """The strengths of a panel; see `panel`."""

    num_classes: int
    target: int
    over: float
    under: float
    wrong: float
    fractures: int
    fracture_width: float
    a: Strength
    b: Strength
    millimetres: bool
    spacing: Sequence[float] | None
    strengths: Mapping[str, float]


def good(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """The truth."""
    return truth


def over(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """The target class made thicker; it grows into the other classes."""
    return jnp.where(morphology.thicken(shape, amount=settings.over), settings.target, truth)


def under(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """The target class made thinner; what it loses becomes background."""
    lost = shape.mask & ~morphology.thin(shape, amount=settings.under)
    return jnp.where(lost, arrays.BACKGROUND, truth)


def wrong(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """The target class made thicker and broken by cuts across its own centre line."""
    cuts = morphology.cuts(
        key,
        shape,
        count=settings.fractures,
        width=settings.fracture_width,
        extension=settings.wrong * shape.radius + _CUT_EXTENSION,
    )
    thick = morphology.thicken(shape, amount=settings.wrong)
    grown = jnp.where(thick, settings.target, truth)
    return jnp.where(thick & cuts, arrays.BACKGROUND, grown)


def blank(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """Background everywhere."""
    return jnp.full_like(truth, arrays.BACKGROUND)


def swap(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """Every class named as the next: 1 as 2, ..., L-1 as 1; with two classes 0 and 1 exchanged."""
    if settings.num_classes == 2:
        return 1 - truth
    return jnp.where(truth == arrays.BACKGROUND, truth, truth % (settings.num_classes - 1) + 1)


def gaussian(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
    """The truth moved by a Gaussian displacement field."""
    a, b = settings.a, settings.b
    if settings.millimetres:
        to_fractions = functools.partial(
            gaussian_field.from_millimetres, shape=truth.shape, spacing=settings.spacing
        )
        a, b = to_fractions(a), to_fractions(b)
    return gaussian_field.deform(key, truth, a=a, b=b)


def _with_noise(name: str) -> Callable[[Key[Array, ""], Truth, Shape, Settings], Truth]:
    """The annotator whose mask of the target class has one of the noises of `annotation`."""

    def annotate(key: Key[Array, ""], truth: Truth, shape: Shape, settings: Settings) -> Truth:
        noise, strength = annotation.NOISES[name], settings.strengths[name]
        drawn = noise(key, shape.mask, strength=strength)
        lost = shape.mask & ~drawn
        return jnp.where(drawn, settings.target, jnp.where(lost, arrays.BACKGROUND, truth))

    return annotate


# name -> f(key, truth [*S], shape of the target class, settings) -> label [*S]
ANNOTATORS = {
    "good": good,
    "over": over,
    "under": under,
    "wrong": wrong,
    "blank": blank,
    "swap": swap,
    "gaussian": gaussian,
    **{name: _with_noise(name) for name in annotation.NOISES},
}

# A cut ends this many voxels beyond the thickened stroke, as in Morpho-MNIST.
_CUT_EXTENSION = 0.5


def panel(
    names: Sequence[str],
    *,
    num_classes: int = 2,
    target: int = 1,
    over: float | int = 1.0,
    under: float | int = 0.7,
    wrong: float | int = 1.0,
    fractures: int = 3,
    fracture_width: float | int = 1.5,
    a: Strength = 0.02,
    b: Strength = gaussian_field.DEFAULT_B,
    millimetres: bool = False,
    spacing: Sequence[float] | None = None,
    strengths: Mapping[str, float | int] | None = None,
) -> Callable[[Key[Array, ""], Truth], UInt8[Array, "R *S"]]:
    """Returns the function that draws the labels of a panel of simulated annotators.

    Args:
      names: one of `ANNOTATORS` per rater; a name may stand several times.
      target: the class on which over, under and wrong act.
      over: thickening of "over", as a share of half the mean thickness.
      under: thinning of "under", likewise.
      wrong: thickening of "wrong", likewise.
      fractures: number of cuts through the label of "wrong".
      fracture_width: their width in voxels.
      a: standard deviation of the displacement of "gaussian", as a share of the side.
      b: its correlation length, likewise; see `noisyjax.noise.gaussian_field`.
      millimetres: whether a and b are in mm instead; then `spacing` is needed.
      spacing: size of a voxel along each axis, in mm.
      strengths: the strength of each annotator that is named after one of the noises of
        `noisyjax.noise.annotation`, by that name.

    Returns:
      ``f(key, truth [*S]) -> labels [R, *S]`` uint8, for one example, any number of spatial axes.
      Rater r draws from ``rng.rater_keys(key, R)[r]``. The function is pure: jit it, vmap it over
      examples. Where the truth is 255 so are the labels; they are drawn as if it were background.

    Raises:
      ValueError: if a strength is negative or missing, or the target is no class of the foreground.

    >>> import jax
    >>> draw = panel(("good", "over", "blank"))
    >>> truth = jnp.zeros((5, 5), jnp.uint8).at[2].set(1)
    >>> draw(jax.random.key(0), truth).sum((1, 2))
    Array([ 5, 15,  0], dtype=uint32)
    """
    if not names:
        raise ValueError(f"names: expected at least one of {list(ANNOTATORS)}, got none")
    checks.one_of("target", target, range(1, num_classes))
    for name, value in (("over", over), ("under", under), ("wrong", wrong)):
        checks.positive(name, value, or_zero=True)
    checks.positive("fractures", fractures, or_zero=True)
    checks.positive("fracture_width", fracture_width)
    if millimetres and spacing is None:
        raise ValueError("spacing: needed when a and b are in millimetres")
    strengths = dict(strengths or {})
    for name in strengths:
        checks.one_of("strengths", name, annotation.NOISES)
        checks.positive(f"strengths: {name}", strengths[name], or_zero=True)
    for name in names:
        if name in annotation.NOISES and name not in strengths:
            raise ValueError(f"strengths: expected one for {name!r}, got {strengths}")
    settings = Settings(
        num_classes, target, over, under, wrong, fractures, fracture_width,
        a, b, millimetres, spacing, strengths,
    )  # fmt: skip
    annotators = [checks.lookup("names", name, ANNOTATORS) for name in names]

    def draw(key: Key[Array, ""], truth: Truth) -> UInt8[Array, "R *S"]:
        shape = morphology.measure(truth == target)
        known = ignored.known(truth)
        seen = jnp.where(known, truth, arrays.BACKGROUND)
        labels = [
            jnp.where(known, annotate(rater_key, seen, shape, settings), truth)
            for annotate, rater_key in zip(annotators, rng.rater_keys(key, len(annotators)))
        ]
        return jnp.stack(labels).astype(jnp.uint8)

    return draw
