"""The pool of raters: its shares, its faults one by one, and the reported statistics.

NOISYJAX_POOL_CASES=390 measures the statistics on all 130 hippocampi, three times each.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import rng
from noisyjax.data import patches
from noisyjax.noise import rater_pool

_CASES = int(os.environ.get("NOISYJAX_POOL_CASES", "40"))
_SIZE = (36, 56, 40)


# One rater for each fault.
_CAREFUL = rater_pool.Rater(1, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_FAULTS = {
    "none": _CAREFUL,
    "bent": _CAREFUL._replace(wobble=1.0),
    "wide": _CAREFUL._replace(wide=1.0, gain=0.3, loss=0.2),
    "narrow": _CAREFUL._replace(wide=0.0, gain=0.3, loss=0.2),
    "extra": _CAREFUL._replace(extra=1.0, extra_size=0.15),
    "missing": _CAREFUL._replace(missing=1.0, missing_size=0.2),
}


def _disc():
    y, x = np.indices((32, 40))
    return jnp.asarray(((y - 15) ** 2 / 64 + (x - 19) ** 2 / 144 < 1).astype(np.uint8))


@pytest.fixture(scope="module")
def faulty():
    """f(key, truth, rater), jitted, of the raters of `_FAULTS` with sizes that do not vary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rater_pool, "RATERS", tuple(_FAULTS.values()))
        patch.setattr(rater_pool, "_SPREAD", 0.0)
        draw = jax.jit(lambda key, truth, rater: rater_pool.annotate(key, truth, rater=rater))
        # Traced while the table is another.
        draw(jax.random.key(0), _disc(), jnp.int32(0))
    return draw


@pytest.fixture(scope="module")
def draw(faulty):
    """f(fault, seed) -> label of a disc, bool."""

    def drawn(fault, seed=0):
        label = faulty(jax.random.key(seed), _disc(), jnp.int32([*_FAULTS].index(fault)))
        return np.asarray(label) > 0

    return drawn


def test_the_table_divides_the_cases_as_reported():
    cases = sorted(rater.cases for rater in rater_pool.RATERS)
    assert len(cases) == 12
    assert sum(cases) == 202
    assert cases[-3:] == [31, 59, 82]
    assert max(cases[:-3]) < 10
    for rater in rater_pool.RATERS:
        assert all(0 <= chance <= 1 for chance in rater[1:])


def test_cases_are_assigned_by_their_shares_and_one_by_one():
    ids, key = np.arange(20_000), rng.root_key(0)
    raters = np.asarray(jax.jit(rater_pool.assign)(key, ids))
    shares = np.array([rater.cases for rater in rater_pool.RATERS]) / 202
    result = np.bincount(raters, minlength=12) / len(ids)
    np.testing.assert_array_less(np.abs(result - shares), 4 * np.sqrt(shares / len(ids)))
    np.testing.assert_array_equal(rater_pool.assign(key, ids[[7, 3]]), raters[[7, 3]])


TRUTH = np.asarray(_disc()) > 0


def test_a_careful_rater_draws_the_truth_and_another_bends_it(draw):
    np.testing.assert_array_equal(draw("none"), TRUTH)
    bent = draw("bent")
    assert np.any(bent & ~TRUTH)
    assert np.any(TRUTH & ~bent)


def test_wide_and_narrow_outlines_have_the_wanted_volume(draw):
    wide, narrow = draw("wide"), draw("narrow")
    assert wide.sum() == round(1.3 * TRUTH.sum())
    assert wide[TRUTH].all()
    assert narrow.sum() == round(0.8 * TRUTH.sum())
    assert not narrow[~TRUTH].any()


def test_a_further_structure_is_always_at_the_same_end(draw):
    first, second = draw("extra", 0), draw("extra", 1)
    assert first.sum() == TRUTH.sum() + round(0.15 * TRUTH.sum())
    np.testing.assert_array_equal(first, second)
    assert first[TRUTH].all()
    # On one side of the middle.
    offsets = np.argwhere(first & ~TRUTH) - np.argwhere(TRUTH).mean(axis=0)
    assert np.all(offsets @ offsets.mean(axis=0) > 0)


def test_a_missing_end_differs_from_case_to_case(draw):
    first, second = draw("missing", 0), draw("missing", 1)
    for label in (first, second):
        assert label.sum() == TRUTH.sum() - round(0.2 * TRUTH.sum())
        assert not label[~TRUTH].any()
    assert np.any(first != second)


def test_vmap_changes_nothing_and_neither_dtype_nor_emptiness_change(faulty):
    keys, raters = jax.random.split(jax.random.key(3), 3), jnp.array([2, 1, 5], jnp.int32)
    truths = jnp.stack([_disc(), jnp.zeros_like(_disc()), 2 * _disc()])
    result = jax.vmap(faulty)(keys, truths, raters)
    assert result.dtype == jnp.uint8
    assert set(np.unique(result)) == {0, 1}
    assert not result[1].any()
    for key, truth, rater, label in zip(keys, truths, raters, result):
        np.testing.assert_array_equal(label, faulty(key, truth, rater))
    shape = jax.eval_shape(faulty, keys[0], truths[0] > 0, raters[0])
    assert shape.dtype == bool


def test_arguments_that_cannot_be():
    with pytest.raises(ValueError, match="rater: expected one of 0, .*, got 12"):
        rater_pool.annotate(jax.random.key(0), _disc(), rater=12)
    with pytest.raises(ValueError, match="truth: expected 2 or 3 axes"):
        rater_pool.annotate(jax.random.key(0), _disc()[0], rater=0)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_the_reported_statistics_on_hippocampi(real_data):
    labels = np.load(real_data / "msd_hippocampus_130.npz")["label"] > 0
    # Each rater has their share of the cases, so that the draw of raters adds no scatter.
    positions = np.arange(_CASES)
    shares = np.cumsum([rater.cases for rater in rater_pool.RATERS]) / 202
    raters = np.searchsorted(shares, ((positions * 0.6180339887) % 1))
    truths = labels[positions % len(labels)]
    truths = [patches.around(mask, patches.centre_of_mass(mask), _SIZE) for mask in truths]

    @jax.jit
    def count(keys, truths, raters):
        def one(case):
            key, truth, rater = case
            label = rater_pool.annotate(key, truth, rater=rater)
            return jnp.stack(
                [jnp.sum(label & truth), jnp.sum(label & ~truth), jnp.sum(truth & ~label)]
            )

        return jax.lax.map(one, (keys, truths, raters))

    keys = rng.example_keys(rng.root_key(0), positions)
    counts = np.asarray(count(keys, jnp.asarray(np.stack(truths)), jnp.asarray(raters)))
    kept, deleted, added = counts.astype(float).T
    dice = 2 * kept / (2 * kept + deleted + added)
    result = {
        "dice": dice.mean(),
        "sd": dice.std(ddof=1),
        "below 0.8": (dice < 0.8).mean(),
        "false discoveries": (deleted / (kept + deleted)).mean(),
        "deleted : added": deleted.sum() / added.sum(),
        "kept": kept.sum() / (kept + added).sum(),
    }
    print(result)
    assert result["dice"] == pytest.approx(0.87, abs=0.025)
    assert result["sd"] == pytest.approx(0.08, abs=0.02)
    assert result["below 0.8"] == pytest.approx(45 / 202, abs=0.12)
    assert result["false discoveries"] == pytest.approx(0.20, abs=0.04)
    assert result["deleted : added"] == pytest.approx(3887 / 699, rel=0.35)
    assert result["kept"] == pytest.approx(0.9504, abs=0.02)
