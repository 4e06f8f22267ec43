"""Labels with gross mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.noise import mistakes

_KEY = jax.random.key(3)


def _truth():
    truth = np.zeros((16, 15), np.uint8)
    truth[3:9, 4:9] = 1
    truth[9:13, 4:9] = 2
    return truth


def _make(name, truth=None, *, other=None, num_classes=3, **options):
    truth = _truth() if truth is None else truth
    other = truth if other is None else other
    made = mistakes.make(
        name, _KEY, jnp.asarray(truth), other=jnp.asarray(other), num_classes=num_classes, **options
    )
    assert made.dtype == truth.dtype
    return np.asarray(made)


def _dice(label, truth):
    return 2 * ((label > 0) & (truth > 0)).sum() / ((label > 0).sum() + (truth > 0).sum())


@pytest.mark.parametrize("overlap", [0.7, 0.8])
@pytest.mark.parametrize("name", ["erosion", "dilation", "shift"])
def test_a_wanted_dice_is_left(name, overlap):
    label, truth = _make(name, overlap=overlap), _truth()
    assert _dice(label, truth) == pytest.approx(overlap, abs=0.04)
    sizes = {"erosion": -1, "dilation": 1, "shift": 0}
    assert np.sign((label > 0).sum() - (truth > 0).sum()) == sizes[name]


def test_mirrored_labels_are_flipped_along_one_axis():
    label = _make("mirrored")
    assert any((label == np.flip(_truth(), axis)).all() for axis in (0, 1))


def test_two_classes_are_exchanged():
    np.testing.assert_array_equal(_make("exchanged"), np.array([0, 2, 1], np.uint8)[_truth()])
    one = (_truth() > 0).astype(np.uint8)
    np.testing.assert_array_equal(_make("exchanged", one, num_classes=2), 1 - one)


def test_a_class_that_is_there_goes_missing():
    label = _make("missing")
    assert sorted(np.unique(label)) in ([0, 1], [0, 2])
    assert (label == _truth())[label > 0].all()
    # Of classes that are nowhere none is taken.
    only = np.where(_truth() == 2, 2, 0).astype(np.uint8)
    assert not _make("missing", only).any()


def test_another_label_lies_around_the_same_middle():
    other = np.array([[1, 1, 1], [1, 2, 1], [1, 1, 1]], np.uint8)
    label = _make("another", other=other)
    rows, columns = np.nonzero(label == 2)
    assert (rows.tolist(), columns.tolist()) == ([7], [7])
    assert label.sum() == other.sum()
    large = np.zeros((40, 3), np.uint8)
    large[20, 1] = 2
    assert _make("another", other=large)[8, 7] == 2


@pytest.mark.parametrize("name", mistakes.MISTAKES)
def test_jit_and_vmap_change_nothing(name):
    truth = jnp.asarray(_truth())
    keys = jax.random.split(_KEY, 3)

    def make(key):
        return mistakes.make(name, key, truth, other=truth[:7], num_classes=3)

    batched = jax.jit(jax.vmap(make))(keys)
    for key, label in zip(keys, batched, strict=True):
        np.testing.assert_array_equal(label, make(key))


def test_refusals():
    with pytest.raises(ValueError, match="name: .*mirrored"):
        _make("mirror")
    with pytest.raises(ValueError, match="num_classes"):
        _make("missing", num_classes=1)
    with pytest.raises(ValueError, match="other"):
        _make("another", other=np.zeros(3, np.uint8))
