"""A label of one class beside what is predicted of it."""

import numpy as np
import pytest
from scipy import ndimage

from noisyjax.tool.audit import measures

_SPACING = (1.0, 1.0)


def _disc(radius, middle=(20, 20), shape=(41, 41)):
    return np.hypot(*(np.indices(shape) - np.reshape(middle, (2, 1, 1)))) <= radius


def _blurred(mask):
    return ndimage.gaussian_filter(mask.astype(float), 1.5)


def _measure(probs, mask, spacing=_SPACING):
    return measures.measure(probs, mask, known=np.ones(mask.shape, bool), spacing=spacing)


def test_by_hand():
    probs, mask = np.array([0.9, 0.6, 0.1, 0.0]), np.array([False, True, True, False])
    # Best are the first two: (2 * 1.5 + 1) / (2 + 1.6 + 1); the label has (2 * .7 + 1) / 4.6.
    made = measures.measure(probs, mask, known=np.ones(4, bool), spacing=(2.0,))
    assert made.regret == pytest.approx(4 / 4.6 - 2.4 / 4.6)
    assert made.volume == pytest.approx(np.log(3 / 2.6))
    # |label - p| is 2.2 in all, of the best mask .6.
    assert made.surprise == pytest.approx((2.2 - 0.6) / 4.6)


def test_a_blurred_border_is_no_fault():
    mask = _disc(9)
    made = _measure(_blurred(mask), mask)
    assert made.regret < 0.01
    assert made.surprise < 0.02
    assert abs(made.volume) < 0.01
    assert abs(made.offset) < 0.1


def test_outlines_and_steps_are_measured_in_mm():
    probs = _blurred(_disc(9))
    for spacing in (_SPACING, (2.0, 2.0)):
        wide, narrow = _measure(probs, _disc(11), spacing), _measure(probs, _disc(7), spacing)
        assert wide.offset == pytest.approx(2 * spacing[0], rel=0.15)
        assert narrow.offset == pytest.approx(-2 * spacing[0], rel=0.15)
        assert wide.moved < 0.2 * spacing[0]
        away = _measure(probs, _disc(9, (23, 20)), spacing)
        assert away.moved == pytest.approx(3 * spacing[0], rel=0.15)
        assert abs(away.offset) < 0.3 * spacing[0]
    assert wide.volume > 0 > narrow.volume


def test_what_is_unknown_does_not_count():
    probs, mask = _blurred(_disc(9)), _disc(9)
    known = np.ones(mask.shape, bool)
    known[:, 25:] = False
    spoiled = mask ^ ~known
    first, second = (
        measures.measure(probs, m, known=known, spacing=_SPACING) for m in (mask, spoiled)
    )
    assert first == second


def test_empty_masks():
    none, mask = np.zeros((9, 9)), _disc(3, (4, 4), (9, 9))
    both = _measure(none, none > 0)
    assert (both.regret, both.volume, both.surprise) == (0, 0, 0)
    lost = _measure(mask.astype(float), none > 0)
    assert lost.regret > 0.9
    assert np.isnan([lost.offset, lost.far, lost.moved]).all()
    assert _measure(none, mask).volume > 0


def test_the_best_mask_has_the_largest_expected_dice():
    rng = np.random.default_rng(0)
    for _ in range(20):
        probs = rng.uniform(size=8) ** 3
        best = measures.best_mask(probs)

        def expected(mask, probs=probs):
            return (2 * probs[mask].sum() + 1) / (mask.sum() + probs.sum() + 1)

        every = [np.array(list(f"{n:08b}")) == "1" for n in range(256)]
        assert expected(best) == pytest.approx(max(map(expected, every)))


def test_an_expected_label_has_the_rater_s_volume():
    probs = np.stack([1 - _blurred(_disc(9)), 0.25 * _blurred(_disc(9))], axis=-1)
    probs = np.concatenate([probs, 3 * probs[..., 1:]], axis=-1)
    label = measures.expected_label(probs)
    assert np.unique(label).tolist() == [0, 2]
    assert (label > 0).sum() == pytest.approx(_disc(9).sum(), abs=8)
    half = measures.expected_label(probs, np.log(0.5))
    assert (half > 0).sum() == pytest.approx(_disc(9).sum() / 2, abs=8)
    assert not measures.expected_label(probs, -50.0).any()
