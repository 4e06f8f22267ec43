"""Augmentation: image and labels move alike, by amounts that depend on (seed, id, epoch)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import rng
from noisyjax.data import augment, patch_batches, patches

EVERYTHING = {
    "flip_axes": (0, 1),
    "right_angle_planes": ((0, 1),),
    "rotation": 20.0,
    "shift": (1.5, 2.0),
    "scale": 0.2,
    "intensity_scale": 0.1,
    "intensity_shift": 0.1,
    "intensity_noise": 0.05,
    "gamma": 0.3,
    "contrast": 0.2,
    "inverted_gamma": 0.3,
    "smoothing": 0.7,
    "low_resolution": 0.4,
}


def _example(shape=(8, 8), raters=2, seed=0):
    random = np.random.default_rng(seed)
    image = random.uniform(size=(*shape, 1)).astype(np.float32)
    labels = np.stack([image[..., 0] > t for t in np.linspace(0.3, 0.7, raters)])
    return {
        "image": jnp.asarray(image),
        "labels": jnp.asarray(labels, jnp.uint8),
        "truth": jnp.asarray(image[..., 0] > 0.5, jnp.uint8),
        "id": jnp.int32(3),
    }


def _blob(shape):
    """A smooth image whose half-intensity contour is smooth as well."""
    random = np.random.default_rng(1)
    image = ndimage.gaussian_filter(random.normal(size=shape), 3.0)
    image = (image - image.min()) / (image.max() - image.min())
    image *= np.prod(np.meshgrid(*[np.hanning(s) for s in shape], indexing="ij"), axis=0)
    return jnp.asarray(image[..., None] / image.max(), jnp.float32)


def test_nothing_is_built_when_every_option_is_off():
    defaults = {name: parameter.default for name, parameter in augment.PARAMETERS.items()}
    assert augment.build(defaults) is None
    assert augment.build({}) is None
    assert augment.build({"shift": (0.0, 0.0), "spacing": (1.0, 2.0), "probability": 0.5}) is None
    assert augment.build({"flip_axes": (0,)}) is not None


def test_nothing_changes_when_every_option_is_off():
    example = _example()
    image, labels = augment.augment(jax.random.key(0), example["image"], example["labels"])
    assert labels.dtype == jnp.uint8
    np.testing.assert_array_equal(image, example["image"])
    np.testing.assert_array_equal(labels, example["labels"])


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 6), {"flip_axes": (0, 1), "right_angle_planes": ((0, 1),)}),
        ((3, 4, 4), {"flip_axes": (0, 2), "right_angle_planes": ((1, 2),)}),
    ],
)
def test_flips_and_right_angles_move_image_labels_and_truth_alike(shape, options):
    example = _example(shape)
    transform = jax.jit(augment.build(options))
    seen = set()
    for seed in range(12):
        result = transform(jax.random.key(seed), example)
        image = np.asarray(result["image"][..., 0])
        np.testing.assert_array_equal(result["truth"], image > 0.5)
        np.testing.assert_array_equal(result["labels"][0], image > 0.3)
        np.testing.assert_array_equal(result["labels"][1], image > 0.7)
        np.testing.assert_array_equal(np.sort(image.ravel()), np.sort(example["image"].ravel()))
        seen.add(image.tobytes())
    assert len(seen) > 3


@pytest.mark.parametrize(("shape", "shift"), [((40, 36), 3.0), ((16, 20, 18), (1.0, 2.0, 2.0))])
def test_free_moves_keep_labels_on_the_image(shape, shift):
    image = _blob(shape)
    example = {"image": image, "labels": (image[..., 0] > 0.5).astype(jnp.uint8)[None]}
    transform = jax.jit(augment.build({"rotation": 25.0, "shift": shift, "scale": 0.15}))
    for seed in range(3):
        moved = transform(jax.random.key(seed), example)
        interpolated = np.asarray(moved["image"][..., 0] > 0.5)
        label = np.asarray(moved["labels"][0], bool)
        assert (label != np.asarray(example["labels"][0])).sum() > 10
        dice = 2 * (interpolated & label).sum() / (interpolated.sum() + label.sum())
        # Nearest and linear differ within half a voxel of the border only.
        assert dice > 0.9


def test_intensity_changes_leave_labels_alone():
    example = _example((32, 32))
    transform = augment.build({"intensity_scale": 0.2, "intensity_shift": 0.3})
    result = transform(jax.random.key(1), example)
    slope, intercept = np.polyfit(example["image"].ravel(), result["image"].ravel(), 1)
    assert 0.8 <= slope <= 1.2
    assert -0.3 <= intercept <= 0.3
    assert slope != pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(
        result["image"], slope * example["image"] + intercept, rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(result["labels"], example["labels"])
    noisy = augment.build({"intensity_noise": 0.2})(jax.random.key(1), example)
    assert abs(float(jnp.std(noisy["image"] - example["image"])) - 0.2) < 0.02
    np.testing.assert_array_equal(noisy["truth"], example["truth"])


def test_switching_a_change_on_leaves_the_others_as_they_were():
    example = _example()
    flips = jax.jit(augment.build({"flip_axes": (0, 1)}))
    more = jax.jit(augment.build({"flip_axes": (0, 1), "intensity_noise": 0.1}))
    for seed in range(4):
        key = jax.random.key(seed)
        np.testing.assert_array_equal(flips(key, example)["labels"], more(key, example)["labels"])


def test_vmap_changes_nothing():
    transform = jax.jit(augment.build(EVERYTHING))
    examples = [_example(seed=s) for s in range(3)]
    keys = jax.random.split(jax.random.key(0), 3)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *examples)
    mapped = jax.jit(jax.vmap(transform))(keys, stacked)
    for i in range(3):
        alone = transform(keys[i], examples[i])
        np.testing.assert_allclose(mapped["image"][i], alone["image"], atol=1e-5)
        # The last digit of a coordinate decides which voxel is nearest.
        assert (mapped["labels"][i] != alone["labels"]).mean() < 0.02
        assert alone["labels"].dtype == jnp.uint8
        assert alone["truth"].shape == (8, 8)


def test_jit_changes_nothing():
    options = {"flip_axes": (1,), "right_angle_planes": ((0, 1),), "intensity_shift": 0.1}
    transform, example = augment.build(options), _example()
    eager, jitted = (f(jax.random.key(2), example) for f in (transform, jax.jit(transform)))
    np.testing.assert_allclose(jitted["image"], eager["image"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(jitted["labels"], eager["labels"])
    assert (eager["image"] != example["image"]).any()


def test_a_batch_is_changed_by_seed_id_and_epoch_alone():
    transform = augment.build({"flip_axes": (0, 1), "intensity_noise": 0.1})
    examples = [{**_example(seed=s), "id": jnp.int32(10 + s)} for s in range(3)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *examples)
    batch = {**batch, "weight": jnp.ones(3), "epoch": jnp.int32(4)}
    apply = jax.jit(lambda b, s: augment.augment_batch(b, transform=transform, seed=s))
    result = apply(batch, 7)
    assert result.keys() == batch.keys()
    key = rng.example_key(rng.purpose_key(7, "augment"), 11, epoch=5)
    np.testing.assert_allclose(
        result["image"][1], transform(key, examples[1])["image"], rtol=0, atol=1e-6
    )
    order = jnp.array([2, 0, 1])
    other = jax.tree.map(lambda x: x[order] if x.ndim else x, batch)
    other["epoch"] = jnp.full(3, 4, jnp.int32)
    reordered = apply(other, 7)
    for name in ("image", "labels", "truth"):
        np.testing.assert_allclose(reordered[name], result[name][order], rtol=0, atol=1e-6)
    for changed in (apply({**batch, "epoch": jnp.int32(5)}, 7), apply(batch, 8)):
        assert (changed["image"] != result["image"]).any(axis=(1, 2, 3)).all()


def test_a_batch_without_truth_stays_without():
    example = _example()
    del example["truth"]
    transform = augment.build({"flip_axes": (0,)})
    assert transform(jax.random.key(0), example).keys() == example.keys()


def test_gradients_through_the_augmentation_are_finite():
    example = _example()
    transform = augment.build(EVERYTHING)

    def total(image):
        return jnp.sum(transform(jax.random.key(0), {**example, "image": image})["image"] ** 2)

    assert jnp.isfinite(jax.jit(jax.grad(total))(1e6 * example["image"])).all()


def test_an_example_is_changed_with_the_probability_given():
    example = _example()
    transform = jax.jit(
        jax.vmap(augment.build({"intensity_shift": 1.0, "probability": 0.25}), (0, None))
    )
    images = transform(jax.random.split(jax.random.key(0), 400), example)["image"]
    changed = np.asarray(images) != np.asarray(example["image"])
    share = changed.any(axis=(1, 2, 3)).mean()
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 400)


def test_examples_that_are_not_chosen_lose_their_margin_all_the_same():
    example = _example((8, 10))
    options = {**EVERYTHING, "right_angle_planes": (), "margin": (1, 2), "probability": 0.0}
    result = jax.jit(augment.build(options))(jax.random.key(0), example)
    np.testing.assert_array_equal(result["image"], example["image"][1:-1, 2:-2])
    np.testing.assert_array_equal(result["labels"], example["labels"][:, 1:-1, 2:-2])
    np.testing.assert_array_equal(result["truth"], example["truth"][1:-1, 2:-2])


def test_a_batch_of_patches_loses_its_margin_and_the_number_of_the_patch():
    example = {**_example((9, 8, 10)), "rater_mask": jnp.array([True, False])}
    labels = example["labels"]
    example["target"] = jax.nn.one_hot(labels[0], 2)
    batch = jax.tree.map(lambda array: jnp.stack([array] * 3), example)
    batch |= {"draw": jnp.array([0, 1, 0]), "epoch": jnp.int32(0)}
    options = {"rotation": 20.0, "flip_axes": (2,), "contrast": 0.3, "margin": (2, 1, 1)}
    transform = augment.build(options)
    result = jax.jit(lambda b: augment.augment_batch(b, transform=transform, seed=0))(batch)
    assert "draw" not in result
    how = patches.Draw((5, 6, 8), (2, 1, 1))
    cut = patch_batches.without_margin(batch, how)
    assert jax.tree.map(jnp.shape, result) == jax.tree.map(jnp.shape, cut)
    # The same example and patch, and another patch of it.
    jax.tree.map(lambda a: np.testing.assert_array_equal(a[0], a[2]) if a.ndim else None, result)
    assert (result["image"][0] != result["image"][1]).any()
    np.testing.assert_array_equal(result["target"][..., 1], result["labels"][:, 0])


def test_probabilities_out_of_range_are_refused():
    for name in ("probability", "rotation_probability", "contrast_probability"):
        transform = augment.build({"rotation": 10.0, "contrast": 0.2, name: -0.5})
        with pytest.raises(ValueError, match=rf"{name}: expected a number in \[0, 1\], got -0.5"):
            transform(jax.random.key(0), _example())


def test_voxels_left_out_of_a_fused_target_move_with_those_of_the_labels():
    example = _example((10, 10), raters=1)
    labels = example["labels"].at[0, 3:5].set(255)
    example |= {"labels": labels, "target": jax.nn.one_hot(labels[0], 2)}
    moved = jax.jit(augment.build({**EVERYTHING, "margin": (1, 1)}))(jax.random.key(1), example)
    assert (moved["labels"] == 255).any()
    np.testing.assert_array_equal(moved["target"], jax.nn.one_hot(moved["labels"][0], 2))


def test_an_unknown_option_is_named():
    with pytest.raises(ValueError, match=r"augment: expected options among .*got \['zoom'\]"):
        augment.build({"zoom": 1.0})


def test_a_fused_target_moves_with_the_labels():
    example = _example(raters=1)
    probs = jnp.where(example["labels"][0] > 0, 0.9, 0.2)
    example["target"] = jnp.stack([1 - probs, probs], axis=-1)
    transform = jax.jit(augment.build(EVERYTHING))
    moved = transform(jax.random.key(2), example)
    assert (moved["labels"] != example["labels"]).any()
    without = {name: array for name, array in example.items() if name != "target"}
    for name, array in transform(jax.random.key(2), without).items():
        np.testing.assert_array_equal(moved[name], array)
    np.testing.assert_allclose(moved["target"].sum(-1), 1, rtol=1e-6)
    # What came in from outside has no foreground, everything else kept its probability.
    foreground = np.asarray(moved["target"][..., 1])
    inside = foreground > 0
    expected = np.where(moved["labels"][0] > 0, 0.9, 0.2)
    np.testing.assert_allclose(foreground[inside], expected[inside], rtol=1e-6)
    assert 0 < (~inside).sum() < inside.sum()
