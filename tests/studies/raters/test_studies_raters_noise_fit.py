"""Raters simulated with known noise are recovered, and simulated alike."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import rng
from noisyjax.data import source
from noisyjax.noise import gaussian_field
from noisyjax.studies.raters import noise_fit

A, B = 0.03, 0.2


@pytest.fixture(scope="module")
def data():
    y, x = np.mgrid[:48, :48]
    radii = np.linspace(9, 15, 6)
    truths = jnp.asarray([(y - 23) ** 2 + (x - 25) ** 2 < r * r for r in radii], jnp.uint8)
    draw = jax.vmap(
        lambda key, truth: jax.vmap(lambda k: gaussian_field.deform(k, truth, a=A, b=B))(
            rng.rater_keys(key, 5)
        )
    )
    labels = np.array(jax.jit(draw)(rng.example_keys(rng.root_key(7), np.arange(6)), truths))
    masks = np.ones((6, 5), bool)
    # One rater did not look, another found nothing: neither is compared.
    masks[0, 1], labels[1, 2] = False, 0
    return source.Source(
        name="discs",
        examples=source.ArrayExamples(
            np.zeros((6, 48, 48, 1), np.float32), labels=labels, rater_masks=masks
        ),
        num_classes=2,
        class_names=("background", "disc"),
        spacing=(1.0, 1.0),
        has_truth=False,
        rater_names=tuple("abcde"),
    )


def test_pairwise_dice_by_hand():
    labels = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]])
    # Pairs: 1/2, 1, 1/2.
    np.testing.assert_allclose(noise_fit.pairwise_dice(labels), 2 / 3, rtol=1e-6)


def test_the_consensus_lies_between():
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[0, 5:15, 4:16] = 1
    labels[1, 5:15, 8:16] = 1
    mask = np.asarray(noise_fit.consensus(jnp.asarray(labels)))
    assert mask[10, 6] == 1
    assert mask[10, 5] == 0
    assert not mask[:5].any()
    assert not mask[15:].any()


def test_simulated_raters_agree_as_much_as_the_given_ones(data):
    result = noise_fit.fit(rng.root_key(0), data, range(6))
    assert result.images == 6
    assert abs(result.real_dice - result.simulated_dice) < 0.03
    assert result.a == pytest.approx(A, rel=0.3)


def test_sources_without_raters_or_images_are_refused(data):
    with pytest.raises(ValueError, match="discs: has no raters"):
        noise_fit.fit(rng.root_key(0), dataclasses.replace(data, rater_names=()), range(2))
    with pytest.raises(ValueError, match="discs: expected images that two raters labelled"):
        noise_fit.fit(rng.root_key(0), data, ())


def test_labels_of_volumes_are_those_of_raters_who_gave_some(data):
    # Three raters of a volume whose sides are none of them three; the second did not look.
    labels = np.zeros((1, 3, 2, 4, 5), np.uint8)
    labels[:, :, 1, 2, :2] = [[[1, 2], [1, 1], [0, 1]]]
    examples = source.ArrayExamples(
        np.zeros((1, 2, 4, 5, 1), np.float32),
        labels=labels,
        rater_masks=np.array([[True, False, True]]),
    )
    volumes = dataclasses.replace(data, examples=examples, spacing=(1.0,) * 3)
    ((index, given),) = noise_fit._labels(volumes, [0])
    assert index == 0
    assert given.shape == (2, 2, 4, 5)
    np.testing.assert_array_equal(given[:, 1, 2, :2], [[1, 1], [0, 1]])
