"""All noises of the library by name, as functions of a key and the truth of one case.

Those of a simulated annotator act on one class, `target`; gaussian, elastic, replacement and swap
on all of them.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt8

from noisyjax.core import arrays, checks, rng, signatures
from noisyjax.noise import (
    annotation,
    annotators,
    elastic,
    gaussian_field,
    morphology,
    rater_pool,
    replacement,
)

Truth = UInt8[Array, "*S"]

# The share of the longest side over which an elastic field is smooth unless another is given.
_SMOOTHNESS = 1 / 8
_WEAKEST = annotators.Settings(2, 1, 0, 0, 0, 0, 1, 0, 1, False, None, {})


class Given(NamedTuple):
    """What a noise is told of the case.

    Attributes:
      spacing: of the voxels in mm, or None where the noise does not ask.
    """

    num_classes: int
    spacing: tuple[float, ...] | None = None


def _annotate(
    name: str, key: Key[Array, ""], truth: Truth, given: Given, target: int, **strengths: Any
) -> Truth:
    """The label of an annotator of `annotators`; strengths may be traced."""
    checks.one_of("target", target, range(1, given.num_classes))
    for option, value in strengths.items():
        if not isinstance(value, jax.Array):
            checks.positive(option, value, or_zero=option != "fracture_width")
    if "strength" in strengths:
        strengths = {"strengths": {name: strengths["strength"]}}
    settings = _WEAKEST._replace(num_classes=given.num_classes, target=target, **strengths)
    shape = morphology.measure(truth == target)
    return annotators.ANNOTATORS[name](key, truth, shape, settings).astype(truth.dtype)


def good(key: Key[Array, ""], truth: Truth, given: Given) -> Truth:
    """The truth."""
    return truth


def over(
    key: Key[Array, ""], truth: Truth, given: Given, *, over: Any = 1.0, target: int = 1
) -> Truth:
    """The target class made thicker by this share of half its mean thickness."""
    return _annotate("over", key, truth, given, target, over=over)


def under(
    key: Key[Array, ""], truth: Truth, given: Given, *, under: Any = 0.7, target: int = 1
) -> Truth:
    """The target class made thinner by this share of half its mean thickness."""
    return _annotate("under", key, truth, given, target, under=under)


def wrong(
    key: Key[Array, ""],
    truth: Truth,
    given: Given,
    *,
    wrong: Any = 1.0,
    fractures: int = 3,
    fracture_width: Any = 1.5,
    target: int = 1,
) -> Truth:
    """The target class made thicker and broken by cuts of a width in voxels."""
    cuts = {"fractures": fractures, "fracture_width": fracture_width}
    return _annotate("wrong", key, truth, given, target, wrong=wrong, **cuts)


def blank(key: Key[Array, ""], truth: Truth, given: Given) -> Truth:
    """Background everywhere."""
    return jnp.full_like(truth, arrays.BACKGROUND)


def swap(key: Key[Array, ""], truth: Truth, given: Given) -> Truth:
    """Every class named as the next; of two classes, foreground and background exchanged."""
    return _annotate("swap", key, truth, given, 1)


def gaussian(
    key: Key[Array, ""],
    truth: Truth,
    given: Given,
    *,
    a: Any = 0.02,
    b: Any = gaussian_field.DEFAULT_B,
    millimetres: bool = False,
) -> Truth:
    """The truth moved by a Gaussian field of strength a and smoothness b, shares of the side."""
    if millimetres:
        size = {"shape": truth.shape, "spacing": given.spacing}
        b = gaussian_field.from_millimetres(b, **size)
        if isinstance(a, jax.Array):
            a = a * jnp.array(gaussian_field.from_millimetres(1.0, **size))
        else:
            a = gaussian_field.from_millimetres(a, **size)
    return gaussian_field.deform(key, truth, a=a, b=b)


def bend(
    key: Key[Array, ""],
    truth: Truth,
    given: Given,
    *,
    amplitude: Any = 2.0,
    smoothness: Any = None,
) -> Truth:
    """The truth moved by an elastic field, amplitude and smoothness in voxels."""
    smooth = _SMOOTHNESS * max(truth.shape) if smoothness is None else smoothness
    return elastic.elastic(key, truth, amplitude=amplitude, smoothness=smooth)


def erode(
    key: Key[Array, ""], truth: Truth, given: Given, *, radius: Any = 1.0, target: int = 1
) -> Truth:
    """The target class eroded by a ball of a radius in voxels."""
    checks.one_of("target", target, range(1, given.num_classes))
    mask = truth == target
    lost = mask & ~morphology.erode(mask, radius=radius, border_value=1)
    return jnp.where(lost, arrays.BACKGROUND, truth).astype(truth.dtype)


def dilate(
    key: Key[Array, ""], truth: Truth, given: Given, *, radius: Any = 1.0, target: int = 1
) -> Truth:
    """The target class dilated by a ball of a radius in voxels."""
    checks.one_of("target", target, range(1, given.num_classes))
    grown = morphology.dilate(truth == target, radius=radius)
    return jnp.where(grown, target, truth).astype(truth.dtype)


def replaced(
    key: Key[Array, ""],
    truth: Truth,
    given: Given,
    *,
    overlap: Any = 0.8,
    kinds: tuple[str, ...] | list[str] = ("erosion", "dilation", "elastic"),
) -> Truth:
    """The foreground eroded, dilated or bent until its Dice to the truth is this overlap."""
    options = {"overlap": overlap, "kinds": tuple(kinds), "num_classes": given.num_classes}
    return replacement.replace(key, truth, **options).label.astype(truth.dtype)


def pool(key: Key[Array, ""], truth: Truth, given: Given, *, rater: int | None = None) -> Truth:
    """One organ as a rater of the pool draws it; None: another one in each case."""
    if given.num_classes != 2:
        raise ValueError(f"rater_pool: expected labels of 2 classes, got {given.num_classes}")
    if rater is not None:
        checks.one_of("rater", rater, range(len(rater_pool.RATERS)))
    rater_key, label_key = jax.random.split(key)
    if rater is None:
        (rater,) = rater_pool.assign(rater_key, jnp.zeros(1, jnp.int32))
    return rater_pool.annotate(label_key, truth, rater=rater).astype(truth.dtype)


class Noise(NamedTuple):
    """A noise.

    Attributes:
      draw: ``f(key, truth [*S], given, **options) -> label [*S]``.
      strength: its option that says how strong it is, or "".
    """

    draw: Callable[..., Any]
    strength: str = ""


def _of_annotation(name: str) -> Callable[..., Any]:
    def draw(
        key: Key[Array, ""], truth: Truth, given: Given, *, strength: Any = None, target: int = 1
    ) -> Truth:
        return _annotate(name, key, truth, given, target, strength=strength)

    draw.__doc__ = annotation.NOISES[name].__doc__
    return draw


NOISES = {
    "good": Noise(good),
    "over": Noise(over, "over"),
    "under": Noise(under, "under"),
    "wrong": Noise(wrong, "wrong"),
    "blank": Noise(blank),
    "swap": Noise(swap),
    "gaussian": Noise(gaussian, "a"),
    "elastic": Noise(bend, "amplitude"),
    "erode": Noise(erode, "radius"),
    "dilate": Noise(dilate, "radius"),
    **{name: Noise(_of_annotation(name), "strength") for name in annotation.NOISES},
    "replacement": Noise(replaced, "overlap"),
    "rater_pool": Noise(pool),
}


def options(name: str) -> dict[str, Any]:
    """Returns the options of a noise and their defaults."""
    return signatures.options(checks.lookup("noise", name, NOISES).draw)


def draw(
    name: str,
    key: Key[Array, ""],
    truth: UInt8[np.ndarray, "*S"],
    *,
    num_classes: int,
    spacing: tuple[float, ...] | None,
    chosen: Mapping[str, Any],
) -> UInt8[np.ndarray, "*S"]:
    """Draws one label; compiled once for every size and set of options."""
    asked = chosen.get("millimetres", False)
    given = Given(num_classes, spacing if asked else None)
    hashable = tuple((n, tuple(v) if isinstance(v, list) else v) for n, v in chosen.items())
    return np.asarray(_compiled(name, given, hashable)(key, truth))


def draw_traced(
    name: str,
    key: Key[Array, ""],
    truth: Truth,
    strength: Any,
    *,
    given: Given,
    chosen: Mapping[str, Any],
) -> Truth:
    """Draws one label of a strength that may be traced."""
    noise = checks.lookup("noise", name, NOISES)
    return noise.draw(key, truth, given, **{**chosen, noise.strength: strength})


@functools.lru_cache(maxsize=64)
def _compiled(name: str, given: Given, chosen: tuple) -> Callable[..., Any]:
    return jax.jit(lambda key, truth: NOISES[name].draw(key, truth, given, **dict(chosen)))


def check(
    name: str, shape: tuple[int, ...], *, num_classes: int, chosen: Mapping[str, Any]
) -> None:
    """Raises a ValueError unless a noise can be drawn with these options, by tracing it."""
    signatures.check(name, chosen, options(name))
    strength = NOISES[name].strength
    if strength and ({**options(name), **chosen})[strength] is None:
        raise ValueError(f"{strength}: expected one for the noise {name!r}, or a wanted dice")
    given = Given(num_classes, (1.0,) * len(shape))
    truth = jax.ShapeDtypeStruct(shape, jnp.uint8)
    one = functools.partial(NOISES[name].draw, given=given, **chosen)
    try:
        jax.eval_shape(one, rng.root_key(0), truth)
    except TypeError as error:
        # Several numbers where there can be one.
        raise ValueError(f"{name}: expected other options, got {dict(chosen)}") from error
