"""Outlines of masks of two axes: traced, drawn anew through some of their points, and filled.

An outline runs over the sides between foreground and background pixels, the foreground on its
right hand. The outlines of a mask are closed curves that visit every such side once, so the next
side of each side says all. Everything below works on all sides of an image at once, without a loop
over outlines or points.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from noisyjax.core import checks

# Points of the spline between two sides. It turns so slowly that it then passes at most two rows.
_SAMPLES = 4
_ROWS = 2
# The equations of the spline are solved by Jacobi's method, which halves the error at each step.
_STEPS = 24
# Of the random numbers that choose the points.
_BITS = 24


def redraw(
    key: Key[Array, ""], mask: Bool[Array, "H W"], *, points: Int[Array, ""] | int
) -> Bool[Array, "H W"]:
    """Fills the closed cubic splines through random points of the outlines of a mask ``[H, W]``.

    The points are the middles of sides of pixels. The spline is the periodic interpolating one over
    the lengths of the chords; what lies inside of an odd number of splines is foreground.

    Args:
      points: number of points of each outline, at least 3; may be traced. An outline has all of its
        points if it has fewer; with all points the mask is returned. With the same key more points
        contain the fewer.

    >>> mask = jnp.zeros((8, 8), bool).at[2:6, 3:7].set(True)
    >>> jax.jit(redraw)(jax.random.key(0), mask, points=16).sum()
    Array(16, dtype=int32)
    """
    checks.masks(mask=mask)
    following, given = _following(mask)
    start, length, order = _outlines(following, given)
    y, x = (values[order] for values in _middles(mask.shape))
    knots = _draw_knots(key, start, length, points)
    # Or else the compiler computes the curve anew for every use of it.
    curve = jax.lax.optimization_barrier(_spline(jnp.stack([y, x]), knots, start, length))
    valid = jnp.arange(len(order)) < jnp.sum(given)
    # The first point of the side that follows on the outline closes the gap to it.
    after = _after(start, length)
    ends = jnp.concatenate([curve[..., 1:], curve[:, after, :1]], axis=-1)
    return _fill(curve, ends, valid, mask.shape)


def _following(mask: Bool[Array, "H W"]) -> tuple[Int[Array, "E"], Bool[Array, "E"]]:
    """The next side of every side on an outline, and which sides are on one; others follow self.

    Sides are numbered row by row: first those above and below pixels ``[H + 1, W]``, then those
    left and right of them ``[H, W + 1]``. Pixels that share a corner are connected: there the
    outline turns left.
    """
    height, width = mask.shape
    flat = jnp.arange((height + 1) * width).reshape(height + 1, width)
    upright = flat.size + jnp.arange(height * (width + 1)).reshape(height, width + 1)

    def beside(array, down, right, like):
        """What stands so far down and to the right of every side; beyond the image nothing does."""
        rows, columns = like.shape
        return jnp.pad(array, 1)[1 + down :, 1 + right :][:rows, :columns]

    def course(like, here, there, ahead, turns):
        """The next sides of those with foreground here and none there, if `like` is on one."""
        pixels = [beside(mask, *at, like) for at in (here, there, *ahead)]
        left, straight, right = (beside(sides, *at, like) for sides, *at in turns)
        to = jnp.where(pixels[2], left, jnp.where(pixels[3], straight, right))
        return pixels[0] & ~pixels[1], to

    # Pixels below and above, the two ahead on the left and right hand, and the sides to turn to.
    east = course(
        flat, (0, 0), (-1, 0), ((-1, 1), (0, 1)), ((upright, -1, 1), (flat, 0, 1), (upright, 0, 1))
    )
    west = course(
        flat, (-1, 0), (0, 0), ((0, -1), (-1, -1)),
        ((upright, 0, 0), (flat, 0, -1), (upright, -1, 0)),
    )  # fmt: skip
    south = course(
        upright, (0, -1), (0, 0), ((1, 0), (1, -1)), ((flat, 1, 0), (upright, 1, 0), (flat, 1, -1))
    )
    north = course(
        upright, (0, 0), (0, -1), ((-1, -1), (-1, 0)),
        ((flat, 0, -1), (upright, -1, 0), (flat, 0, 0)),
    )  # fmt: skip
    following, given = [], []
    for sides, (one, to_one), (other, to_other) in ((flat, east, west), (upright, south, north)):
        following.append(jnp.where(one, to_one, jnp.where(other, to_other, sides)).reshape(-1))
        given.append((one | other).reshape(-1))
    return jnp.concatenate(following), jnp.concatenate(given)


def _middles(shape: tuple[int, int]) -> tuple[Float[Array, "E"], Float[Array, "E"]]:
    """Rows and columns of the middles of all sides; pixels have whole numbers."""
    height, width = shape
    rows, columns = jnp.indices((height + 1, width), jnp.float32)
    more_rows, more_columns = jnp.indices((height, width + 1), jnp.float32)
    y = jnp.concatenate([(rows - 0.5).reshape(-1), more_rows.reshape(-1)])
    x = jnp.concatenate([columns.reshape(-1), (more_columns - 0.5).reshape(-1)])
    return y, x


def _outlines(
    following: Int[Array, "E"], given: Bool[Array, "E"]
) -> tuple[Int[Array, "E"], Int[Array, "E"], Int[Array, "E"]]:
    """Puts the sides in positions outline by outline, each in the order of its course.

    Returns:
      ``(start, length, order)``: where the outline of each position starts, how long it is, and the
      side that stands at each position. Positions that are left over are outlines of length 1.
    """
    sides = jnp.arange(len(following))

    # The least side within 1, 2, 4, ... steps, and the number of steps to it.
    def double(step, search):
        far, least, steps = search
        better = least[far] < least
        steps = jnp.where(better, 2**step + steps[far], steps)
        return far[far], jnp.where(better, least[far], least), steps

    rounds = max(1, math.ceil(math.log2(len(following))))
    search = (following, sides, jnp.zeros_like(sides))
    _, least, steps = jax.lax.fori_loop(0, rounds, double, search)
    length = 1 + steps[following[least]]
    leads = given & (least == sides)
    start = (jnp.cumsum(jnp.where(leads, length, 0)) - length)[least]
    position = start + jnp.where(steps == 0, 0, length - steps)
    position = jnp.where(given, position, len(sides))
    return (
        sides.at[position].set(start, mode="drop"),
        jnp.ones_like(sides).at[position].set(length, mode="drop"),
        jnp.zeros_like(sides).at[position].set(sides, mode="drop"),
    )


def _after(start: Int[Array, "E"], length: Int[Array, "E"]) -> Int[Array, "E"]:
    """The next position on the same outline."""
    positions = jnp.arange(len(start)) + 1
    return jnp.where(positions == start + length, start, positions)


def _draw_knots(
    key: Key[Array, ""],
    start: Int[Array, "E"],
    length: Int[Array, "E"],
    points: Int[Array, ""] | int,
) -> Bool[Array, "E"]:
    """Which positions are points of the spline: the least random numbers of the outline."""
    numbers = (jax.random.bits(key, start.shape, jnp.uint32) >> (32 - _BITS)).astype(jnp.int32)
    wanted = jnp.minimum(points, length)

    # The largest bound of each outline below which there are too few, from its first bit on; on
    # CPU far faster than sorting.
    def refine(step, bound):
        trial = bound + (1 << (_BITS - 1 - step))
        below = jnp.zeros_like(start).at[start].add((numbers < trial).astype(jnp.int32))
        return jnp.where(below[start] < wanted, trial, bound)

    return numbers <= jax.lax.fori_loop(0, _BITS, refine, jnp.zeros_like(start))


def _spline(
    values: Float[Array, "n E"],
    knots: Bool[Array, "E"],
    start: Int[Array, "E"],
    length: Int[Array, "E"],
) -> Float[Array, "n E samples"]:
    """Points of the periodic cubic splines through the knots, from each position on."""
    positions = jnp.arange(len(start))
    # The knot at or before every position, and the one behind it, going round the outline.
    last = jax.lax.cummax(jnp.where(knots, positions, -1))
    final = last[start + length - 1]
    previous = jnp.where(last >= start, last, final)
    first = jax.lax.cummin(jnp.where(knots, positions, len(start)), reverse=True)
    upcoming = _after(start, length)
    following = jnp.where(
        (upcoming > start) & (first[upcoming] < start + length), first[upcoming], first[start]
    )
    preceding = previous[jnp.where(positions == start, start + length - 1, positions - 1)]

    chord = jnp.maximum(jnp.linalg.norm(values[:, following] - values, axis=0), 1e-6)
    slopes = (values[:, following] - values) / chord[None]
    bend = 6 * (slopes - slopes[:, preceding])
    before = chord[preceding]
    diagonal = 2 * (before + chord)

    def solve(_, second):
        sides = before[None] * second[:, preceding] + chord[None] * second[:, following]
        return (bend - sides) / diagonal[None]

    second = jax.lax.fori_loop(0, _STEPS, solve, jnp.zeros_like(values))
    # Between two knots the parameter grows by the same amount from side to side.
    ends = following[previous]
    gone = jnp.where(previous > positions, positions - previous + length, positions - previous)
    whole = jnp.where(ends > previous, ends - previous, ends - previous + length)
    b = (gone[:, None] + jnp.arange(_SAMPLES)[None] / _SAMPLES) / whole[:, None]
    a = 1 - b
    curved = jnp.square(chord[previous])[:, None] / 6

    def weigh(y, m):
        straight = a * y[previous][:, None] + b * y[ends][:, None]
        bent = (a**3 - a) * m[previous][:, None] + (b**3 - b) * m[ends][:, None]
        return straight + bent * curved

    return jax.vmap(weigh)(values, second)


def _fill(
    starts: Float[Array, "2 E samples"],
    ends: Float[Array, "2 E samples"],
    valid: Bool[Array, "E"],
    shape: tuple[int, int],
) -> Bool[Array, "H W"]:
    """Pixels whose middles lie inside of an odd number of closed curves, made of short pieces."""
    height, width = shape
    (y, x), (y_end, x_end) = starts, ends
    low, high = jnp.ceil(jnp.minimum(y, y_end)), jnp.ceil(jnp.maximum(y, y_end))
    slope = (x_end - x) / jnp.where(y_end == y, 1.0, y_end - y)
    crossings = jnp.zeros((height, width + 1), jnp.int32)
    for step in range(_ROWS):
        row = low + step
        crosses = valid[:, None] & (row < high) & (row >= 0) & (row < height)
        column = jnp.clip(jnp.ceil(x + slope * (row - y)), 0, width)
        # Rows and columns of pieces that do not cross are any that are there.
        index = [jnp.where(crosses, part, 0).astype(jnp.int32) for part in (row, column)]
        crossings = crossings.at[tuple(index)].add(crosses.astype(jnp.int32))
    return jnp.cumsum(crossings, axis=1)[:, :width] % 2 == 1
