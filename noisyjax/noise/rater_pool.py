"""A pool of twelve raters who draw one organ carelessly, each in their own way.

It stands for the dosimetrists of a study of noisy annotations (mandibles in 202 CT volumes), whose
labels are not public. What is reported of them: one rater drew 82 of the cases, two 59 and 31 and
nine fewer than ten each; their labels have a Dice of 0.87 with a standard deviation of 0.08 to the
corrected ones, and 45 of the 202 cases less than 0.80; of 14,097 voxels the correction kept 13,398,
deleted 3,887 more from the rater's label and added 699, so a rater draws far too much rather than
too little. Three causes are named: incomplete labels, another definition of the organ (with teeth),
and inaccurate outlines.

The pool is ours. A rater is a row of `RATERS`, a fixed mixture of four faults:

* the outline is bent by a Gaussian field (`noisyjax.noise.gaussian_field`);
* the whole of it is too wide or, less often, too narrow;
* a further structure at one end of the organ is included, always at the same end by one rater;
* the last part of another end is missing.

Sizes are shares of the organ's volume, and lengths shares of its thickness, so that organs of all
sizes suffer alike. With the reported shares of the cases the constants give, on the 130 hippocampi
of the Medical Segmentation Decathlon, each drawn three times, beside what is reported:

==================  ==============  ===============
Dice                0.866 +- 0.079  0.87 +- 0.08
cases below 0.80    0.16            45 / 202 = 0.22
false discoveries   0.188           0.20 +- 0.13
kept / volume       0.949           0.950
deleted : added     4.9             5.6
==================  ==============  ===============

``NOISYJAX_POOL_CASES=390 pytest tests/noise/test_noise_rater_pool.py -rP`` prints them again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key

from noisyjax.core import checks, ignored, rng
from noisyjax.noise import gaussian_field, morphology, replacement

Truth = Integer[Array, "*S"] | Bool[Array, "*S"]


class Rater(NamedTuple):
    """How one rater draws.

    Attributes:
      cases: how many of the 202 cases are the rater's.
      wide: the probability that an outline is too wide; else it is too narrow.
      gain: mean volume that a wide outline adds, as a share of the organ's.
      loss: mean volume that a narrow one leaves out, likewise.
      wobble: standard deviation of the outline's displacement along each axis, as a share of half
        the organ's mean thickness.
      extra: the probability that a further structure is included.
      extra_size: its mean volume, as a share of the organ's.
      missing: the probability that an end is missing.
      missing_size: its mean volume, likewise.
    """

    cases: float
    wide: float
    gain: float
    loss: float
    wobble: float
    extra: float
    extra_size: float
    missing: float
    missing_size: float


# Fitted by hand until the statistics above came out.
RATERS = (
    Rater(82, 0.90, 0.19, 0.08, 0.12, 0.30, 0.25, 0.45, 0.07),
    Rater(59, 0.90, 0.11, 0.08, 0.12, 0.50, 0.27, 0.45, 0.08),
    Rater(31, 0.90, 0.36, 0.10, 0.20, 0.30, 0.25, 0.40, 0.08),
    Rater(5, 0.95, 0.40, 0.08, 0.20, 0.30, 0.20, 0.20, 0.08),
    Rater(4, 0.90, 0.10, 0.06, 0.10, 0.10, 0.10, 0.10, 0.06),
    Rater(4, 0.30, 0.10, 0.15, 0.15, 0.00, 0.10, 0.40, 0.12),
    Rater(3, 0.80, 0.20, 0.10, 0.30, 0.20, 0.15, 0.20, 0.08),
    Rater(3, 0.90, 0.15, 0.08, 0.10, 0.90, 0.40, 0.10, 0.06),
    Rater(3, 0.90, 0.60, 0.10, 0.25, 0.30, 0.25, 0.20, 0.08),
    Rater(3, 0.85, 0.15, 0.08, 0.15, 0.10, 0.10, 0.80, 0.15),
    Rater(3, 0.95, 0.25, 0.08, 0.12, 0.30, 0.20, 0.20, 0.08),
    Rater(2, 0.50, 0.12, 0.12, 0.20, 0.20, 0.15, 0.30, 0.10),
)

# Standard deviation of the logarithm of all sizes, from case to case of one rater.
_SPREAD = 0.85
# No structure or end is larger than this share of the organ.
_LARGEST = 0.9
# How far a further structure may stick out, in half mean thicknesses of the organ.
_REACH = 1.0


def assign(
    key: Key[Array, ""], ids: Integer[Array, "N"] | Integer[np.ndarray, "N"]
) -> Int[Array, "N"]:
    """Draws who labels each case: an index of `RATERS` for each of the ids, ``[N]`` int32.

    The draws are independent, so that a case's rater does not depend on which other cases there
    are; the raters' shares of the cases are those of `RATERS` in the mean.

    >>> assign(jax.random.key(0), jnp.arange(6)).shape
    (6,)
    """
    chances = jnp.array([rater.cases for rater in RATERS], jnp.float32)
    keys = rng.example_keys(key, ids)
    return jax.vmap(lambda k: jax.random.categorical(k, jnp.log(chances)))(keys).astype(jnp.int32)


def annotate(key: Key[Array, ""], truth: Truth, *, rater: int | Int[Array, ""]) -> Truth:
    """Draws how a rater of the pool labels one case.

    Args:
      truth: anything but 0 is the organ, ``[*S]``, two or three axes. If empty, it stays so; what
        is 255 stays so as well, and is no organ.
      rater: an index of `RATERS`; may be traced.

    Returns:
      The organ as drawn, ``[*S]`` in the dtype of `truth`, 0 and 1.
    """
    checks.rank("truth", truth, (2, 3))
    if isinstance(rater, int):
        checks.one_of("rater", rater, range(len(RATERS)))
    habits = Rater(*jnp.array(RATERS, jnp.float32).T[:, rater])
    bend_key, side_key, extra_key, missing_key = jax.random.split(key, 4)
    known = ignored.known(truth)
    organ = (truth != 0) & known
    volume = jnp.sum(organ)

    radius = morphology.measure(organ).radius
    a = habits.wobble * radius / jnp.array(truth.shape, jnp.float32)
    bent = gaussian_field.deform(bend_key, organ, a=a)

    chance_key, size_key = jax.random.split(side_key)
    wide = jax.random.bernoulli(chance_key, habits.wide)
    gain = _size(size_key, habits.gain) * volume
    loss = _size(size_key, habits.loss) * volume
    size = jnp.sum(bent) + jnp.where(wide, gain, -loss)
    shape = morphology.measure(bent)
    label = replacement.first_voxels(-shape.depth, bent, jnp.round(size))

    # What a rater takes for the organ is always the same.
    end = _direction(rng.root_key(rater), truth.shape)
    room = (shape.depth >= -_REACH * radius) & ~label
    label |= _end(extra_key, room, end, habits.extra, habits.extra_size, volume)
    end_key, missing_key = jax.random.split(missing_key)
    end = _direction(end_key, truth.shape)
    label &= ~_end(missing_key, label, end, habits.missing, habits.missing_size, volume)
    return jnp.where(known, (label & jnp.any(organ)).astype(truth.dtype), truth)


def _size(key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
    """A log-normal share of this mean."""
    factor = jnp.exp(_SPREAD * jax.random.normal(key) - _SPREAD**2 / 2)
    return jnp.minimum(mean * factor, _LARGEST)


def _direction(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "*S"]:
    """How far every voxel lies in a random direction."""
    steps = jax.random.normal(key, (len(shape),))
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, shape), indexing="ij"))
    return jnp.tensordot(steps / jnp.linalg.norm(steps), grid.astype(jnp.float32), axes=1)


def _end(
    key: Key[Array, ""],
    mask: Bool[Array, "*S"],
    along: Float[Array, "*S"],
    chance: Float[Array, ""],
    mean: Float[Array, ""],
    volume: Int[Array, ""],
) -> Bool[Array, "*S"]:
    """With some chance the end of a mask in one direction, and else nothing."""
    chance_key, size_key = jax.random.split(key)
    size = jnp.round(_size(size_key, mean) * volume)
    size = jnp.where(jax.random.bernoulli(chance_key, chance), size, 0)
    levels = jnp.where(mask, -along, jnp.inf)
    return mask & replacement.first_voxels(levels, mask, size)
