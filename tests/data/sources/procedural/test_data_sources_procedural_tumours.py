"""Procedural brain tumours."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import rng
from noisyjax.data import sources
from noisyjax.data.sources.procedural import tumours
from noisyjax.noise import annotators

_SIZE = 48


@pytest.fixture(scope="module")
def loaded():
    return sources.load("tumours", count=40, size=_SIZE, seed=5)


@pytest.fixture(scope="module")
def batch(loaded):
    return loaded.examples.take(np.arange(len(loaded.examples)))


def test_examples_are_images_with_their_truth(loaded, batch):
    assert batch["image"].shape == (40, _SIZE, _SIZE, 4)
    assert batch["image"].dtype == np.float32
    assert batch["truth"].dtype == np.uint8
    assert loaded.num_classes == len(loaded.class_names) == 4
    assert loaded.spacing == (4.0, 4.0)
    assert len(set(loaded.case_names)) == 40
    # No two cases alike.
    assert len({truth.tobytes() for truth in batch["truth"]}) == 40


def test_every_channel_is_standardised_within_the_brain(batch):
    for image in batch["image"]:
        brain = (image != 0).any(axis=-1)
        assert 0.3 < brain.mean() < 0.6
        np.testing.assert_allclose(image[brain].mean(axis=0), 0.0, atol=2e-3)
        np.testing.assert_allclose(image[brain].std(axis=0), 1.0, atol=2e-3)
        np.testing.assert_array_equal(image[~brain], 0.0)


def test_the_classes_are_nested(batch):
    """The core within its rim within the oedema."""
    present = np.stack([(batch["truth"] == k).any(axis=(1, 2)) for k in range(4)])
    assert present.mean(axis=1).min() > 0.9
    whole = (batch["truth"] > 0).mean(axis=(1, 2))
    assert whole.min() > 0.02
    assert whole.max() < 0.25
    around = []
    for truth in batch["truth"]:
        core = np.isin(truth, (2, 3))
        # Around the core lies oedema, except at the surface of the brain.
        ring = ndimage.binary_dilation(core) & ~core
        around.append((truth[ring] == 1).mean())
        # The rim lies at the outline of the core.
        depth = ndimage.distance_transform_edt(core)
        if (truth == 2).any():
            assert depth[truth == 3].mean() < depth[truth == 2].mean()
    assert np.mean(around) > 0.6


def test_each_class_has_its_contrasts(batch):
    """In the mean over cases, as in the sequences: T1, T1 after contrast, T2, FLAIR."""
    brain = (batch["image"] != 0).any(axis=-1)
    means = {
        name: batch["image"][brain & (batch["truth"] == k)].mean(axis=0)
        for k, name in enumerate(tumours.CLASSES)
    }
    assert means["enhancing"][1] > means["background"][1] > means["core"][1] + 0.5
    assert means["oedema"][3] > means["core"][3]
    assert means["oedema"][3] > means["background"][3] + 0.5
    assert means["core"][2] > means["background"][2] + 0.5
    assert means["core"][0] < means["oedema"][0] < means["background"][0]


def test_intensity_alone_does_not_find_the_tumour(batch):
    """The best threshold of FLAIR, chosen with the truth of each case."""
    best = []
    for image, truth in zip(batch["image"][..., 3], batch["truth"] > 0, strict=True):
        cuts = np.quantile(image[truth], np.linspace(0.02, 0.5, 12))
        masks = [image >= cut for cut in cuts]
        best.append(max(2 * (f & truth).sum() / (f.sum() + truth.sum()) for f in masks))
    assert np.mean(best) < 0.8


def test_the_first_cases_do_not_depend_on_how_many_there_are(batch):
    few = tumours.load(count=3, size=_SIZE, seed=5).examples.take(np.arange(3))
    other = tumours.load(count=3, size=_SIZE, seed=6).examples.take(np.arange(3))
    for name in ("image", "truth"):
        np.testing.assert_array_equal(few[name], batch[name][:3])
        assert (few[name] != other[name]).any()


def test_side_by_side_equals_one_after_the_other(batch):
    keys = rng.example_keys(rng.purpose_key(5, "sample"), np.arange(2))
    images, truths = jax.jit(jax.vmap(lambda key: tumours.tumour(key, (_SIZE, _SIZE))))(keys)
    # Half precision, and a float's last bit that decides a pixel on a surface.
    np.testing.assert_allclose(batch["image"][:2], images, atol=0.01, rtol=2e-3)
    assert (batch["truth"][:2] != np.asarray(truths)).mean() < 1e-3


def test_annotators_change_their_target(batch):
    names = ("good", "over", "under", "swap")
    draw = jax.jit(jax.vmap(annotators.panel(names, num_classes=4, target=2)))
    labels = np.asarray(draw(jax.random.split(rng.root_key(0), 40), batch["truth"]))
    good, over, under, swap = np.moveaxis(labels, 1, 0)
    np.testing.assert_array_equal(good, batch["truth"])
    sizes = [(masks == 2).sum() for masks in (under, good, over)]
    assert sizes[0] < 0.7 * sizes[1]
    assert sizes[1] < 0.7 * sizes[2]
    np.testing.assert_array_equal(swap == 3, batch["truth"] == 2)


def test_volumes_are_drawn_by_the_same_function():
    volumes = tumours.load(count=2, size=16, dimensions=3, seed=1)
    drawn = volumes.examples.take(np.arange(2))
    assert drawn["image"].shape == (2, 16, 16, 16, 4)
    assert volumes.spacing == (12.0,) * 3
    assert np.isfinite(drawn["image"]).all()
    assert ((drawn["truth"] > 0).mean(axis=(1, 2, 3)) > 0.005).all()
    image, truth = jax.eval_shape(lambda: tumours.tumour(rng.root_key(0), (12, 10)))
    assert (image.shape, truth.shape) == ((12, 10, 4), (12, 10))


def test_errors():
    with pytest.raises(ValueError, match="count: expected a number > 0"):
        tumours.load(count=0)
    with pytest.raises(ValueError, match="dimensions: expected one of 2, 3, got 1"):
        tumours.load(dimensions=1)
    with pytest.raises(ValueError, match=r"shape: expected two or three sizes .* got \(4, 4\)"):
        tumours.load(size=4)
