"""Voxels that are ignored have no vote: the rest is fused as if it were alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.core import ignored
from noisyjax.fusion import patterns

_CLASSES, _RATERS, _REST = 3, 4, 6


def _labels():
    """Of four raters; the last third is ignored by all, two other voxels by one each."""
    truth = np.repeat(np.array([0, 1, 2, 1, 0, 2, 0, 1, 2], np.uint8), 8).reshape(9, 8)
    draw = np.random.default_rng(0)
    wrong = draw.integers(0, _CLASSES, (_RATERS, *truth.shape)).astype(np.uint8)
    labels = np.where(draw.uniform(size=wrong.shape) < 0.3, wrong, truth[None])
    labels[:, _REST:] = ignored.IGNORE
    labels[0, 0, 0] = labels[1, 1, 1] = ignored.IGNORE
    return labels


_ALL = {
    "mean": lambda labels: fusion.mean(labels, _CLASSES),
    "majority": lambda labels: jax.nn.one_hot(fusion.majority(labels, _CLASSES), _CLASSES),
    **{
        name: lambda labels, fuse=fuse: fuse(labels, _CLASSES).probs
        for name, fuse in fusion.FUSIONS.items()
    },
    "pooled": lambda labels: fusion.pooled_staple(labels[None], _CLASSES).probs[0],
}


@pytest.mark.parametrize("name", _ALL)
def test_the_rest_is_fused_as_if_it_were_alone(name):
    labels = jnp.asarray(_labels())
    whole, rest = np.asarray(_ALL[name](labels)), np.asarray(_ALL[name](labels[:, :_REST]))
    np.testing.assert_allclose(whole[:_REST], rest, atol=1e-5)
    np.testing.assert_allclose(rest.sum(-1), 1, rtol=1e-5)
    assert (whole[_REST:] == 0).all()
    assert (ignored.argmax(whole)[_REST:] == ignored.IGNORE).all()


@pytest.mark.parametrize("name", ["staple", "simple", "jaccard_median"])
def test_patterns_counted_on_the_host_give_the_same(name):
    labels = _labels()
    codes = patterns.encode_on_host(labels, _CLASSES)
    tally = patterns.tally([codes], num_raters=_RATERS, num_classes=_CLASSES)
    fuse = getattr(fusion, f"{name}_of_patterns")
    spread = patterns.spread(fuse(tally.votes, tally.counts, _CLASSES).probs, tally, codes)
    np.testing.assert_allclose(spread, _ALL[name](jnp.asarray(labels)), atol=1e-5)
    assert (spread[_REST:] == 0).all()
