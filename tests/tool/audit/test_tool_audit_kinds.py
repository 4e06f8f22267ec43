"""What is wrong with a label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.noise import mistakes
from noisyjax.tool.audit import kinds, other_cases

_SPACING = (1.0, 1.0, 1.0)


def _truth(seed=0):
    """Two classes, no part of which is like its mirror image."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 26, 22)), 3)
    far = sum(((np.indices(noise.shape)[k] - c) / r) ** 2 for k, (c, r) in enumerate(
        [(11, 7), (9 + 3 * seed, 6), (10, 8)]))  # fmt: skip
    mask = 6 * noise / noise.std() * 0.08 - far > -1
    return np.where(mask, 1 + (np.indices(noise.shape)[0] > 11), 0).astype(np.uint8)


def _recognise(label, truth, **options):
    return kinds.recognise(label, truth, num_classes=3, spacing=_SPACING, **options)


@pytest.mark.parametrize(
    ("mistake", "overlap", "kind"),
    [
        ("erosion", 0.7, kinds.NARROW),
        ("erosion", 0.8, kinds.NARROW),
        ("dilation", 0.7, kinds.WIDE),
        ("dilation", 0.8, kinds.WIDE),
        ("shift", 0.7, kinds.SHIFTED),
        ("mirrored", 1.0, kinds.MIRRORED),
        ("exchanged", 1.0, kinds.EXCHANGED),
        ("missing", 1.0, kinds.MISSING),
    ],
)
def test_mistakes_are_recognised(mistake, overlap, kind):
    truth = _truth()
    given = {"other": jnp.asarray(truth), "num_classes": 3, "overlap": overlap}
    label = mistakes.make(mistake, jax.random.key(1), jnp.asarray(truth), **given)
    assert _recognise(np.asarray(label), truth).name == kind


def test_the_label_of_another_case():
    truth, other = _truth(), _truth(2)
    predictions = {"near": other_cases.coarse(_truth(1)), "right": other_cases.coarse(other)}
    found = other_cases.overlaps(other_cases.coarse(other), predictions, num_classes=3)
    assert found["right"] == 1.0
    made = _recognise(other, truth, others=found)
    assert (made.name, made.case, made.dice) == (kinds.ANOTHER, "right", 1.0)


def test_parts():
    truth = _truth()
    extra = truth.copy()
    extra[2:8, 20:26, 16:22] = 1
    lacking = truth.copy()
    lacking[:10] = 0
    assert _recognise(extra, truth).name == kinds.EXTRA
    assert _recognise(lacking, truth).name == kinds.MISSING
    assert _recognise(np.zeros_like(truth), truth).name == kinds.EMPTY
    assert _recognise(truth, truth).name == kinds.UNCLEAR


def test_a_step_is_found_and_undone():
    truth = _truth()
    label = kinds.moved(truth, [3, -2, 1])
    assert kinds.best_step(label, truth, 3) == [-3, 2, -1]
    assert kinds.dice(kinds.moved(label, [-3, 2, -1]), truth, 3) > 0.95
    assert not kinds.moved(truth, [0, 40, 0]).any()


def test_outlines_move_to_a_volume():
    truth = _truth()
    for volume in (50, 400, 2500):
        size = np.count_nonzero(kinds.resized(truth, volume, _SPACING))
        # Voxels that are equally far come together.
        assert volume <= size <= 1.35 * volume
    for other in (np.zeros_like(truth), np.ones_like(truth)):
        np.testing.assert_array_equal(kinds.resized(other, 9, _SPACING), other)


def test_coarse_labels_stay_small():
    large = other_cases.coarse(np.zeros((200, 90, 30), np.uint8))
    assert (large.ids.shape, large.step) == ((25, 12, 4), 8)


def test_images_of_different_steps_are_compared():
    label = np.kron(_truth(), np.ones((2, 2, 2), np.uint8))
    small, large = other_cases.coarse(label[:48, :48]), other_cases.coarse(np.pad(label, 2))
    assert (small.step, large.step) == (1, 2)
    found = other_cases.overlaps(small, {"large": large}, num_classes=3)["large"]
    assert found > 0.85
