"""Boundary overlap against the golden file and values worked out by hand."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from noisyjax.metrics import boundary

_OVERLAP = jax.jit(boundary.boundary_overlap, static_argnames=("radius", "outside", "empty"))


@pytest.mark.parametrize("outside", ["background", "ignored"])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_golden(golden, radius, outside):
    with np.load(golden / "boundary.npz") as file:
        assert len(file["case_names"]) == 16
        for case in range(16):
            pred, truth = file[f"c{case:02d}_pred"], file[f"c{case:02d}_gt"]
            result = _OVERLAP(pred, truth, radius=radius, outside=outside)
            for name, value in result._asdict().items():
                expected = file[f"{name}_r{radius}_{outside}"][case]
                np.testing.assert_allclose(value, expected, rtol=1e-5, err_msg=f"{case} {name}")


def _by_sets(pred, truth, radius):
    """The definition, by sets of voxels; outside is background."""
    m, g = ({tuple(x) for x in np.argwhere(mask)} for mask in (pred, truth))
    inside = set(itertools.product(*map(range, pred.shape)))

    def ball(x):
        return {y for y in inside if sum(abs(a - b) for a, b in zip(x, y, strict=True)) <= radius}

    def dice(x):
        near = ball(x)
        return 2 * len(g & m & near) / (len(g & near) + len(m & near))

    def edge(mask):
        steps = [s * e for s in (-1, 1) for e in np.eye(pred.ndim, dtype=int)]
        return [x for x in mask if any(tuple(np.add(x, s)) not in mask for s in steps)]

    of_g, of_m = [[dice(x) for x in edge(mask)] for mask in (g, m)]
    return np.mean(of_g), np.mean(of_m), np.mean(of_g + of_m)


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 4)])
@pytest.mark.parametrize("radius", [1, 2])
def test_equals_the_definition(shape, radius):
    draw = np.random.default_rng(len(shape))
    pred, truth = draw.random((2, *shape)) < 0.6
    result = _OVERLAP(pred, truth, radius=radius)
    np.testing.assert_allclose(result, _by_sets(pred, truth, radius), rtol=1e-5)


def test_the_symmetric_value_is_not_the_mean_of_the_directed_ones():
    truth = jnp.zeros((7, 7), bool).at[1:6, 1:6].set(True)
    pred = jnp.zeros((7, 7), bool).at[1, 1].set(True)
    result = _OVERLAP(pred, truth)
    # At the corner: one of its three voxels of the truth and one of the prediction's.
    np.testing.assert_allclose(result.dbd_m, 2 * 1 / (3 + 1), rtol=1e-6)
    # Its two neighbours on the boundary have four voxels of the truth in reach, one of them hit.
    np.testing.assert_allclose(result.dbd_g, (0.5 + 2 * 2 / (4 + 1)) / 16, rtol=1e-6)
    np.testing.assert_allclose(result.sbd, (2 * 0.5 + 2 * 2 / 5) / 17, rtol=1e-6)


@pytest.mark.parametrize(
    ("empty", "none", "own"), [("nan", np.nan, np.nan), ("one", 1.0, 0.0), ("zero", 0.0, 0.0)]
)
def test_empty_masks(empty, none, own):
    nothing = jnp.zeros((4, 4), bool)
    something = nothing.at[1, 2].set(True)
    np.testing.assert_array_equal(_OVERLAP(nothing, nothing, empty=empty), [none] * 3)
    np.testing.assert_array_equal(_OVERLAP(nothing, something, empty=empty), [0.0, own, 0.0])
    np.testing.assert_array_equal(_OVERLAP(something, nothing, empty=empty), [own, 0.0, 0.0])


def test_vmap_equals_loop_and_jit_equals_eager():
    draw = np.random.default_rng(3)
    preds, truths = jnp.asarray(draw.integers(0, 2, (2, 3, 5, 6), dtype=np.uint8))
    together = jax.jit(jax.vmap(boundary.boundary_overlap))(preds, truths)
    for case in range(3):
        alone = _OVERLAP(preds[case], truths[case])
        for value, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(value[case], one, rtol=1e-6)
    eager = boundary.boundary_overlap(preds[2], truths[2])
    np.testing.assert_allclose(eager, alone, rtol=1e-6)


def test_errors_name_the_argument():
    mask = jnp.ones((3, 3), bool)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="truth"):
        boundary.boundary_overlap(mask, mask[:2])
    with pytest.raises(ValueError, match="radius: expected a number > 0, got 0"):
        boundary.boundary_overlap(mask, mask, radius=0)
    with pytest.raises(ValueError, match="outside: expected one of 'background', 'ignored'"):
        boundary.boundary_overlap(mask, mask, outside="object")
    with pytest.raises(ValueError, match="empty: expected one of 'one', 'nan', 'zero'"):
        boundary.boundary_overlap(mask, mask, empty="inf")
