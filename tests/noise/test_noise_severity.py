"""The severity solver on noises of every kind: continuous, in steps, with whole strengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import rng
from noisyjax.metrics import overlap
from noisyjax.noise import gaussian_field, morphology, severity


def _bars(count=4, shape=(32, 32)):
    truths = np.zeros((count, *shape), np.uint8)
    for k in range(count):
        truths[k, 4 : 20 + k, 8 : 14 + 2 * k] = 1
    return jnp.asarray(truths)


def _erode(key, truth, strength):
    del key
    return morphology.erode(truth > 0, radius=strength)


def _flip(key, truth, strength):
    """Loses every voxel with the probability `strength`."""
    return truth * (jax.random.uniform(key, truth.shape) >= strength)


def _lose_columns(key, truth, strength):
    """Needs to know its strength when it is traced."""
    del key
    assert isinstance(strength, int)
    return truth.at[:, : 8 + strength].set(0)


def test_losing_voxels_has_a_known_dice():
    # 2 (1 - s) / (2 - s) = .8 at s = 1/3.
    truths = jnp.ones((3, 64, 64), jnp.uint8)
    result = severity.solve_severity(_flip, truths, 0.8, rng.root_key(0), bounds=(0, 1))
    assert result.dice == pytest.approx(0.8, abs=1e-3)
    assert result.strength == pytest.approx(1 / 3, abs=0.02)
    assert isinstance(result.strength, float)


def test_the_reached_dice_is_that_of_the_metric_on_the_same_keys():
    truths, key = _bars(), rng.root_key(1)
    result = severity.solve_severity(_flip, truths, 0.7, key, bounds=(0, 1))
    keys = rng.example_keys(key, jnp.arange(len(truths)))
    keys = jax.vmap(lambda k: jax.random.split(k, 1)[0])(keys)
    made = jax.vmap(lambda k, t: _flip(k, t, jnp.float32(result.strength)))(keys, truths)
    counts = jax.vmap(lambda p, t: overlap.counts(p, t, 2))(made, truths)
    assert result.dice == pytest.approx(float(jnp.mean(overlap.dice(counts)[:, 1])), abs=1e-6)


def test_gaussian_field():
    def noise(key, truth, a):
        return gaussian_field.deform(key, truth, a=a)

    truths = _bars(3)
    result = severity.solve_severity(noise, truths, 0.8, rng.root_key(0), draws=4)
    assert result.dice == pytest.approx(0.8, abs=0.02)
    assert 0 < result.strength < 0.3


def test_steps_give_the_nearest_value_they_can():
    # Erosion of a 16 x 16 square by a ball: 14^2, 12^2, 10^2 of 16^2 voxels are left.
    truths = jnp.zeros((2, 32, 32), bool).at[:, 8:24, 8:24].set(True)
    for target, radius in ((0.7, 2), (0.58, 3)):
        result = severity.solve_severity(_erode, truths, target, rng.root_key(0))
        left = (16 - 2 * radius) ** 2
        assert result.dice == pytest.approx(2 * left / (left + 16**2))
        assert radius <= result.strength < np.sqrt(radius**2 + 1)


def test_whole_strengths_are_python_ints():
    truths = jnp.zeros((2, 4, 20), jnp.uint8).at[:, :, 8:18].set(1)
    # k of 10 columns lost: 2 (10 - k) / (20 - k) is .75 for 4, and .6667 for 5.
    for target, lost, dice in ((0.74, 4, 0.75), (0.66, 5, 2 / 3), (1.0, 0, 1.0)):
        measured = severity.solve_severity(
            _lose_columns, truths, target, rng.root_key(0), discrete=True
        )
        assert measured.strength == lost
        assert isinstance(measured.strength, int)
        assert measured.dice == pytest.approx(dice)


def test_fractures():
    truths = jnp.zeros((2, 16, 48), bool).at[:, 6:10, 2:46].set(True)

    def noise(key, truth, count):
        return truth & ~morphology.cuts(key, morphology.measure(truth), count=count, width=3)

    options = {"discrete": True, "bounds": (1, 4), "tolerance": 0.02}
    measured = severity.solve_severity(noise, truths, 0.94, rng.root_key(0), **options)
    assert measured.strength in (2, 3)
    assert measured.dice == pytest.approx(0.94, abs=0.02)


def test_a_parameter_named_strength_is_passed_by_name():
    def noise(key, truth, *, strength):
        return _flip(key, truth, strength)

    measured = [
        severity.solve_severity(f, _bars(), 0.8, rng.root_key(0), bounds=(0, 1))
        for f in (noise, lambda key, truth, s: _flip(key, truth, s))
    ]
    assert measured[0] == measured[1]


def test_chunks_and_draws_do_not_matter_to_the_numbers(monkeypatch):
    truths, key = _bars(), rng.root_key(2)
    options = {"bounds": (0, 1), "draws": 3}
    together = severity.solve_severity(_flip, truths, 0.6, key, **options)
    monkeypatch.setattr(severity, "_CHUNK", 3 * 32 * 32)
    assert severity._chunk(truths, 12) == 3
    assert severity.solve_severity(_flip, truths, 0.6, key, **options) == together
    other = severity.solve_severity(_flip, truths, 0.6, rng.root_key(3), **options)
    assert other != together
    assert other.strength == pytest.approx(together.strength, abs=0.05)


def test_several_classes_and_truths_without_foreground():
    # Class 2 stands in half of the truths only; the last truth is empty.
    truths = np.zeros((3, 10, 10), np.uint8)
    truths[:2, :5] = 1
    truths[0, 5:] = 2

    def noise(key, truth, strength):
        """Names class 1 right; loses class 2 at any strength above one half."""
        return jnp.where((truth == 2) & (strength > 0.5), 0, truth)

    args = (noise, truths, 0.75, rng.root_key(0))
    measured = severity.solve_severity(*args, bounds=(0, 1), num_classes=3)
    assert measured.dice == pytest.approx((0.5 + 1) / 2)
    assert measured.strength > 0.5


def test_dice_of_a_label_beside_its_truth():
    truth = jnp.array([0, 1, 1, 2, 2])
    dice = severity._dice(jnp.array([1, 1, 0, 2, 2]), truth, 4)
    assert float(dice) == pytest.approx((0.5 + 1) / 2)
    assert float(severity._dice(jnp.zeros(5, bool), truth == 1, 2)) == 0
    assert np.isnan(severity._dice(truth == 1, jnp.zeros(5, bool), 2))


def test_targets_out_of_reach_are_refused_with_what_can_be_reached():
    def weak(key, truth, strength):
        return truth.at[4:8].set(0) if strength else truth

    with pytest.raises(ValueError, match=r"target_dice: expected 0\.8.* to 1, .*from 0 to 3, got"):
        severity.solve_severity(weak, _bars(), 0.5, rng.root_key(0), discrete=True, bounds=(0, 3))
    with pytest.raises(ValueError, match=r"to 0\.6\d*, .*from 0.5 to 1, got 0\.9"):
        severity.solve_severity(_flip, _bars(), 0.9, rng.root_key(0), bounds=(0.5, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_dice": 0.0}, "target_dice: expected a number in"),
        ({"target_dice": 1.5}, "target_dice: expected a number in"),
        ({"bounds": (1, 0)}, "bounds: expected 0 <= low < high"),
        ({"draws": 0}, "draws: expected"),
        ({"num_classes": 1}, "num_classes: expected at least 2"),
        ({"truths": np.zeros((2, 4, 4), np.uint8)}, "truths: expected foreground"),
        ({"truths": np.full((2, 4, 4), 2, np.uint8)}, "truths: expected foreground"),
    ],
)
def test_impossible_arguments_are_refused(options, message):
    arguments = {"truths": _bars(), "target_dice": 0.8, "key": rng.root_key(0)} | options
    with pytest.raises(ValueError, match=message):
        severity.solve_severity(_flip, **arguments)


def test_a_dice_within_the_tolerance_is_not_searched_further():
    truths = jnp.ones((3, 8, 8), jnp.uint8)
    options = {"bounds": (0, 1), "tolerance": 0.25}
    result = severity.solve_severity(_flip, truths, 0.8, rng.root_key(0), **options)
    assert result == (0.0, 1.0)


def test_the_longest_side_of_an_image_bounds_the_search():
    def lose_rows(key, truth, strength):
        return truth.at[: 8 + strength].set(0)

    truths = jnp.zeros((2, 20, 4), jnp.uint8).at[:, 8:18].set(1)
    # 7 of 10 rows lost: 2 * 3 / 13.
    result = severity.solve_severity(lose_rows, truths, 0.46, rng.root_key(0), discrete=True)
    assert result.strength == 7


def test_mean_dice_compiles_once_for_all_strengths():
    seen = []

    def noise(key, truth, strength):
        seen.append(strength)
        return truth

    assert severity.mean_dice(noise, _bars(), [0.0, 0.5, 1.0], rng.root_key(0)) == [1.0] * 3
    assert len(seen) == 1
