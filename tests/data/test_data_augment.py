"""Augmentation: image and labels move alike, by amounts that depend on (seed, id, epoch)."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from noisyjax.core import rng, warp
from noisyjax.data import augment

EVERYTHING = {
    "flip_axes": (0, 1),
    "right_angle_planes": ((0, 1),),
    "rotation": 20.0,
    "shift": (1.5, 2.0),
    "scale": 0.2,
    "intensity_scale": 0.1,
    "intensity_shift": 0.1,
    "intensity_noise": 0.05,
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


def test_flip_when_worked_by_hand():
    image = jnp.array([[1, 2], [3, 4]])
    flip = functools.partial(augment.flip, image, (0, 1))
    assert flip(jnp.array([False, False])).tolist() == [[1, 2], [3, 4]]
    assert flip(jnp.array([True, False])).tolist() == [[3, 4], [1, 2]]
    assert flip(jnp.array([False, True])).tolist() == [[2, 1], [4, 3]]
    assert flip(jnp.array([True, True])).tolist() == [[4, 3], [2, 1]]
    assert augment.flip(image, (1,), jnp.array([True])).tolist() == [[2, 1], [4, 3]]


def test_flipping_twice_is_the_identity():
    image = _example((4, 5, 6))["image"]
    chosen = jnp.array([True, False, True])
    once = augment.flip(image, (0, 1, 2), chosen)
    assert (once != image).any()
    np.testing.assert_array_equal(augment.flip(once, (0, 1, 2), chosen), image)


@pytest.mark.parametrize("plane", [(0, 1), (1, 0), (0, 2), (2, 1)])
def test_quarter_turns_agree_with_rot90(plane):
    image = np.random.default_rng(0).normal(size=(4, 4, 4, 2))
    for turns in range(4):
        turned = augment.quarter_turns(jnp.asarray(image), plane, jnp.int32(turns))
        np.testing.assert_array_equal(turned, np.rot90(image, turns, plane).astype(np.float32))


def test_quarter_turns_of_an_oblong_plane_raise():
    with pytest.raises(ValueError, match=r"expected square planes, got axes \(0, 1\) of \(4, 5"):
        augment.quarter_turns(jnp.zeros((4, 5, 1)), (0, 1), jnp.int32(1))


def test_affine_displacement_when_worked_by_hand():
    displace = jax.jit(functools.partial(augment.affine_displacement, (3, 3), spacing=(1.0, 1.0)))
    zero, one = jnp.zeros(2), jnp.float32(1)
    np.testing.assert_array_equal(displace(jnp.zeros(1), zero, one), np.zeros((2, 3, 3)))
    moved = displace(jnp.zeros(1), jnp.array([1.0, -2.0]), one)
    np.testing.assert_array_equal(moved, np.full((2, 3, 3), [[[-1.0]], [[2.0]]]))
    larger = displace(jnp.zeros(1), zero, jnp.float32(2))
    np.testing.assert_array_equal(larger[0, :, 0], [0.5, 0.0, -0.5])
    # A quarter turn: the corner (0, 0) takes its value from the corner (0, 2).
    turned = displace(jnp.array([jnp.pi / 2]), zero, one)
    np.testing.assert_allclose(turned[:, 0, 0], [0.0, 2.0], atol=1e-6)


def test_rotation_is_rigid_in_millimetres():
    spacing = (2.0, 1.0, 0.5)
    displace = jax.jit(functools.partial(augment.affine_displacement, (4, 6, 5), spacing=spacing))
    displacement = displace(jnp.array([0.3, -0.2, 0.5]), jnp.zeros(3), jnp.float32(1))
    grid = np.stack(np.meshgrid(*[np.arange(s) for s in (4, 6, 5)], indexing="ij"))
    millimetres = np.array(spacing).reshape(-1, 1)
    before = (grid.reshape(3, -1) - np.array([[1.5], [2.5], [2.0]])) * millimetres
    after = before + np.asarray(displacement).reshape(3, -1) * millimetres
    assert np.abs(after - before).max() > 0.5
    np.testing.assert_allclose((after**2).sum(0), (before**2).sum(0), rtol=1e-4, atol=1e-5)


def test_nothing_is_built_when_every_option_is_off():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(augment.augment).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert set(defaults) == set(augment.OPTIONS)
    assert augment.build(defaults) is None
    assert augment.build({}) is None
    assert augment.build({"shift": (0.0, 0.0), "spacing": (1.0, 2.0), "probability": 0.5}) is None
    assert augment.build({"flip_axes": (0,)}) is not None


def test_nothing_changes_when_every_option_is_off():
    example = _example()
    image, labels = augment.augment(jax.random.key(0), example["image"], example["labels"])
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


def test_what_comes_in_from_outside_background_and_the_given_intensity():
    image = jnp.arange(1.0, 26.0).reshape(5, 5, 1)
    labels = jnp.ones((1, 5, 5), jnp.uint8)
    far = functools.partial(augment.augment, shift=(1e9, 0.0), image_fill=-7.0)
    moved, masks = jax.jit(far)(jax.random.key(0), image, labels)
    assert (moved == -7).all()
    assert (masks == 0).all()


def test_free_moves_agree_with_scipy():
    image = _blob((24, 20))
    angle, shift, factor = 0.3, np.array([1.25, -2.5]), 1.1

    @jax.jit
    def move(shift):
        displacement = augment.affine_displacement(
            (24, 20), jnp.array([angle]), shift, jnp.float32(factor), spacing=(1.0, 1.0)
        )
        return warp.warp(image, displacement, order=1)

    moved = move(jnp.asarray(shift, jnp.float32))
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]]) / factor
    centre = np.array([11.5, 9.5])
    expected = ndimage.affine_transform(
        np.asarray(image[..., 0], float),
        matrix,
        offset=centre - matrix @ (centre + shift),
        order=1,
        mode="grid-constant",
    )
    np.testing.assert_allclose(moved[..., 0], expected, atol=1e-5)


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


def test_smoothing_blurs_the_image_by_a_random_width_and_leaves_labels_alone():
    example = _example()
    transform = jax.jit(augment.build({"smoothing": 2.0}))
    smooth = [transform(jax.random.key(k), example) for k in range(3)]
    rough = [float(jnp.abs(jnp.diff(one["image"], axis=0)).sum()) for one in (example, *smooth)]
    # The width may be next to nothing, but not three times.
    assert max(rough[1:]) <= rough[0]
    assert min(rough[1:]) < 0.5 * rough[0]
    assert len(set(rough[1:])) == 3
    for one in smooth:
        np.testing.assert_array_equal(one["labels"], example["labels"])


def test_an_example_is_changed_with_the_probability_given():
    example = _example()
    transform = jax.jit(
        jax.vmap(augment.build({"intensity_shift": 1.0, "probability": 0.25}), (0, None))
    )
    images = transform(jax.random.split(jax.random.key(0), 400), example)["image"]
    changed = np.asarray(images) != np.asarray(example["image"])
    share = changed.any(axis=(1, 2, 3)).mean()
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 400)


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


def test_gamma_raises_the_intensities_of_each_channel_to_a_power():
    image = np.random.default_rng(0).uniform(-3.0, 5.0, (6, 7, 2)).astype(np.float32)
    # A channel without contrast stays as it is.
    image[..., 1] = 4.0
    example = {**_example((6, 7)), "image": jnp.asarray(image)}
    transform = jax.jit(augment.build({"gamma": 0.5}))
    exponents = []
    for seed in range(20):
        result = transform(jax.random.key(seed), example)
        bent_image = np.asarray(result["image"])
        np.testing.assert_array_equal(bent_image[..., 1], 4.0)
        low, high = image[..., 0].min(), image[..., 0].max()
        unit, bent = ((array[..., 0] - low) / (high - low) for array in (image, bent_image))
        inside = (unit > 0.05) & (unit < 0.95)
        powers = np.log(bent[inside]) / np.log(unit[inside])
        np.testing.assert_allclose(powers, powers[0], rtol=1e-3)
        np.testing.assert_allclose([bent.min(), bent.max()], [0, 1], atol=1e-6)
        exponents.append(powers[0])
        np.testing.assert_array_equal(result["labels"], example["labels"])
    assert 1 / 1.501 < min(exponents) < 0.85 < 1.2 < max(exponents) < 1.501


def test_all_quarter_turns_are_equally_likely():
    image = jnp.array([[0.0, 1.0], [3.0, 2.0]])[..., None]

    def turned(key):
        options = {"flip_axes": (), "planes": ((0, 1),)}
        return augment._right_angles(key, image, image, **options)[0][0, 0, 0]

    # What stands in the first corner is the number of turns.
    corners = jax.jit(jax.vmap(turned))(jax.random.split(jax.random.key(0), 4000))
    shares = np.bincount(np.asarray(corners, int), minlength=4) / 4000
    # The standard deviation of a share is 0.0068.
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
