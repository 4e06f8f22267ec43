import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, special

from noisyjax.core import warp
from noisyjax.noise import gaussian_field

_DRAWS = 4000

_displacement = jax.jit(gaussian_field.displacement, static_argnames=("shape", "b"))
_deform = jax.jit(gaussian_field.deform, static_argnames=("b", "order"))
_marginal = jax.jit(gaussian_field.marginal)
_loss = jax.jit(gaussian_field.expected_volume_loss)


@functools.cache
def _vectors(folder, name):
    with np.load(folder / name) as file:
        return dict(file)


def _label(shape, num_classes=3, seed=0):
    """Blobs of all classes."""
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(size=shape), 2) for _ in range(num_classes)]
    return jnp.asarray(np.argmax(smooth, axis=0).astype(np.uint8))


def _expected_kernel(size, sigma):
    """The kernel of one axis in float64: sampled from 3 voxels on, integrated below."""
    offset = np.subtract.outer(np.arange(size), np.arange(size))
    if sigma >= 3:
        return np.exp(-0.5 * (offset / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    return special.ndtr((offset + 0.5) / sigma) - special.ndtr((offset - 0.5) / sigma)


# --- the displacement -----------------------------------------------------------------------------


def _covariances(fields, index):
    """Covariances of the components at probes, ``[n, P, P]``; the mean is known to be 0."""
    at = np.asarray(fields)[(slice(None), slice(None), *index.T)].astype(np.float64)
    return np.einsum("rkp,rkq->kpq", at, at) / len(at)


def _within_five_errors(result, expected, draws):
    variances = np.einsum("kpp->kp", expected)
    error = np.sqrt((variances[:, :, None] * variances[:, None, :] + expected**2) / draws)
    return np.all(np.abs(result - expected) <= 5 * error + 1e-9)


@pytest.mark.parametrize("setting", [0, 1, 2])
def test_covariance_is_the_kernel_at_edges_and_corners(golden, setting):
    vectors = _vectors(golden, "gaussian_field.npz")
    shape = vectors["label_l2"].shape
    a, b = vectors["mc_a"][setting], float(vectors["mc_b"][setting])
    keys = jax.random.split(jax.random.key(setting), _DRAWS)
    index = vectors["probe_index_2d"]
    expected = vectors["cov_voxel_probe"][setting]

    @jax.jit
    def at_probes(keys):
        fields = jax.vmap(lambda k: gaussian_field.displacement(k, shape, a=a, b=b))(keys)
        return fields[:, :, index[:, 0], index[:, 1]]

    at = np.asarray(at_probes(keys), np.float64)
    result = np.einsum("rkp,rkq->kpq", at, at) / _DRAWS
    assert _within_five_errors(result, expected, _DRAWS)
    # A standard deviation that is 10 % too small is noticed.
    assert not _within_five_errors(0.81 * result, expected, _DRAWS)
    crossed = np.einsum("rp,rp->p", at[:, 0], at[:, 1]) / _DRAWS
    scale = np.sqrt(np.prod(np.einsum("kpp->kp", expected), axis=0) / _DRAWS)
    assert np.all(np.abs(crossed) <= 5 * scale)


def test_covariance_in_a_volume_whose_sides_differ():
    shape, a, b = (6, 12, 9), (0.1, 0.02, 0.05), (0.2, 0.1, 0.3)
    index = np.array([(0, 0, 0), (5, 11, 8), (0, 6, 8), (3, 6, 4), (3, 7, 4), (5, 0, 0)])
    keys = jax.random.split(jax.random.key(0), _DRAWS)
    fields = jax.jit(jax.vmap(lambda k: gaussian_field.displacement(k, shape, a=a, b=b)))(keys)
    at = index / np.array(shape) / np.array(b)
    correlation = np.exp(-0.5 * np.sum((at[:, None] - at[None]) ** 2, axis=-1))
    scale = np.array(a) * np.array(shape)
    expected = scale.reshape(-1, 1, 1) ** 2 * correlation
    assert _within_five_errors(_covariances(fields, index), expected, _DRAWS)


@pytest.mark.parametrize("size", [16, 128])
@pytest.mark.parametrize("b", [0.05, gaussian_field.DEFAULT_B])
def test_kept_eigenvectors_make_the_kernel(size, b):
    roots = gaussian_field._roots(size, b).astype(np.float64)
    centres = (np.arange(size) + 0.5) / size
    kernel = np.exp(-(np.subtract.outer(centres, centres) ** 2) / (2 * b * b))
    np.testing.assert_allclose(roots @ roots.T, kernel, atol=5e-5)


def test_default_smoothness_needs_few_eigenvectors_at_any_resolution():
    np.testing.assert_allclose(gaussian_field.DEFAULT_B, 0.2121320, rtol=1e-6)
    ranks = [gaussian_field._roots(n, gaussian_field.DEFAULT_B).shape[1] for n in (64, 256)]
    assert ranks == [11, 11]


def test_strength_scales_the_field_per_axis_and_over_the_grid():
    key, shape = jax.random.key(1), (7, 5)
    unit = np.asarray(_displacement(key, shape, a=1.0))
    np.testing.assert_allclose(_displacement(key, shape, a=0.5), 0.5 * unit, rtol=1e-5)
    per_axis = _displacement(key, shape, a=jnp.array([0.1, 0.2]))
    scales = np.array([0.1, 0.2]).reshape(2, 1, 1)
    np.testing.assert_allclose(per_axis, scales * unit, rtol=1e-5, atol=1e-6)
    grid = np.random.default_rng(0).random(shape).astype(np.float32)
    np.testing.assert_allclose(_displacement(key, shape, a=grid), grid * unit, rtol=1e-5, atol=1e-6)
    both = np.stack([grid, 2 * grid])
    np.testing.assert_allclose(_displacement(key, shape, a=both), both * unit, rtol=1e-5, atol=1e-6)


def test_displacement_has_finite_gradients_at_no_and_at_huge_strength():
    gradient = jax.jit(
        jax.grad(lambda a: jnp.sum(gaussian_field.displacement(jax.random.key(0), (5, 6), a=a)))
    )
    for strength in (0.0, 1e6):
        assert np.isfinite(gradient(strength))


# --- the noisy label ------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [0, 1, 2])
@pytest.mark.parametrize("name", ["l2", "l2edge"])
def test_mean_and_volume_of_draws(golden, name, setting):
    vectors = _vectors(golden, "gaussian_field_mc.npz")
    label = jnp.asarray(vectors[f"label_{name}"])
    a, b = vectors["mc_a"][setting], float(vectors["mc_b"][setting])

    @jax.jit
    def draw(keys):
        draws = jax.vmap(lambda k: gaussian_field.deform(k, label, a=a, b=b))(keys)
        return jnp.mean(draws, axis=0, dtype=jnp.float32), jnp.mean(
            draws, axis=(1, 2), dtype=jnp.float32
        )

    mean, volumes = draw(jax.random.split(jax.random.key(10 + setting), _DRAWS))
    golden_of = functools.partial("mc_{}_{}_{}".format, name, setting)
    exact = vectors[golden_of("probe_exact")]
    at = np.asarray(mean)[tuple(vectors["mc_probe_index"].T)]
    error = np.sqrt(exact * (1 - exact) / _DRAWS)
    assert np.all(np.abs(at - exact) <= 5 * error + 1e-6)
    closed = np.asarray(_marginal(label, a=a))
    sure = np.minimum(closed, 1 - closed) < 1e-7
    np.testing.assert_allclose(np.asarray(mean)[sure], closed[sure], atol=1e-6)
    volumes = np.asarray(volumes, np.float64)
    spread = volumes.std()
    exact_mean = vectors[golden_of("volume_exact_mean")]
    assert abs(volumes.mean() - exact_mean) <= 5 * spread / np.sqrt(_DRAWS)
    fourth = np.mean((volumes - volumes.mean()) ** 4)
    own_error = np.sqrt((fourth - spread**4) / _DRAWS) / (2 * spread)
    allowed = 5 * np.hypot(vectors[golden_of("volume_std_se")], own_error)
    assert abs(spread - vectors[golden_of("volume_std")]) <= allowed


def test_look_up_of_the_golden_displacements(golden):
    vectors = _vectors(golden, "gaussian_field_mc.npz")
    for case in (0, 1):
        label = vectors["label_l2"]
        field = vectors[f"warp_{case}_disp_voxel"]
        padded = jnp.pad(jnp.asarray(label), 1).reshape(-1)
        grids = np.meshgrid(*map(np.arange, label.shape), indexing="ij")
        positions = [jnp.asarray(g + f, jnp.float32) for g, f in zip(grids, field)]
        ours = gaussian_field._nearest(padded, positions, label.shape)
        np.testing.assert_array_equal(ours, vectors[f"warp_{case}_label"])


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("shape", [(30, 23), (19, 14, 17)])
@pytest.mark.parametrize("varying", [False, True])
def test_deform_is_the_warp_by_the_displacement(monkeypatch, shape, order, varying):
    # Slabs of few planes that do not divide the volume.
    monkeypatch.setattr(gaussian_field, "_SLAB", 4 * np.prod(shape[1:]))
    label, key = _label(shape), jax.random.key(4)
    strength = 0.05 * np.linspace(0, 1, np.prod(shape)).reshape(shape) if varying else (0.05,) * 2
    a = strength if varying or len(shape) == 2 else (0.05, 0.1, 0.02)
    ours = jax.jit(lambda k, x: gaussian_field.deform(k, x, a=a, order=order))(key, label)

    @jax.jit
    def warped(key, label):
        field = gaussian_field.displacement(key, shape, a=a)
        if order == 0:
            return warp.warp(label, field)
        shares = warp.warp(jax.nn.one_hot(label, 3), field, order=1)
        shares = shares.at[..., 0].add(1 - jnp.sum(shares, axis=-1))
        return jnp.argmax(shares, axis=-1)

    theirs = warped(key, label)
    # Equal but for rounding at voxels whose origin is half-way between two others.
    assert np.sum(np.asarray(ours) != np.asarray(theirs)) <= 1
    assert np.mean(np.asarray(ours) != np.asarray(label)) > 0.02
    assert ours.dtype == label.dtype


@pytest.mark.parametrize("order", [0, 1])
def test_jit_equals_eager_and_vmap_equals_a_loop(order):
    labels = jnp.stack([_label((24, 25), seed=seed) for seed in range(3)])
    keys, strengths = jax.random.split(jax.random.key(0), 3), jnp.array([0.0, 0.02, 0.1])
    draw = functools.partial(gaussian_field.deform, order=order)
    batched = jax.jit(jax.vmap(lambda k, x, a: draw(k, x, a=a)))(keys, labels, strengths)
    loop = jnp.stack([_deform(k, x, a=a, order=order) for k, x, a in zip(keys, labels, strengths)])
    eager = draw(keys[2], labels[2], a=strengths[2])
    assert np.sum(np.asarray(batched) != np.asarray(loop)) <= 1
    assert np.sum(np.asarray(eager) != np.asarray(loop[2])) <= 1


@pytest.mark.parametrize("order", [0, 1])
def test_no_noise_changes_nothing_and_a_huge_one_leaves_background(order):
    label = 1 + _label((9, 10, 11))
    key = jax.random.key(2)
    np.testing.assert_array_equal(_deform(key, label, a=0.0, order=order), label)
    moved = np.asarray(_deform(key, label, a=1e20, order=order))
    assert np.mean(moved == 0) > 0.99


def test_bool_labels_stay_bool_and_all_classes_move_together():
    label, key = _label((24, 25)), jax.random.key(5)
    together = np.asarray(_deform(key, label, a=0.05))
    for number in (1, 2):
        alone = _deform(key, label == number, a=0.05)
        assert alone.dtype == bool
        np.testing.assert_array_equal(alone, together == number)


def test_linear_look_up_takes_the_largest_share_and_the_lowest_class_of_equal_ones():
    label = jnp.array([[1, 2]], jnp.uint8)
    padded = jnp.pad(label, 1).reshape(-1)
    for shift, expected in ((0.4, 1), (0.5, 1), (0.6, 2), (-0.4, 1), (-0.6, 0), (-5.0, 0)):
        positions = [jnp.zeros((1, 1)), jnp.full((1, 1), shift)]
        assert gaussian_field._linear(padded, positions, label.shape)[0, 0] == expected, shift


def test_a_draw_of_a_large_volume_takes_less_memory_than_one_displacement():
    label = jax.ShapeDtypeStruct((96, 128, 128), jnp.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    compiled = jax.jit(lambda k, x: gaussian_field.deform(k, x, a=0.02)).lower(key, label).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    assert used < 1.5 * 4 * np.prod(label.shape)


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l2", "l2edge", "l3"])
def test_marginal_and_volume_loss_equal_the_golden_ones(golden, name):
    vectors = _vectors(golden, "gaussian_field.npz")
    label = jnp.asarray(vectors[f"label_{name}"])
    for row, a in enumerate(vectors["a_3d" if label.ndim == 3 else "a_2d"]):
        result = np.asarray(_marginal(label, a=a), np.float64)
        kind = "sampled" if np.all(a * np.array(label.shape) >= 3) else "integrated"
        expected = vectors[f"marginal_{kind}_{name}"]
        if row < len(expected):
            np.testing.assert_allclose(result, expected[row], atol=1e-6)
        else:
            expected = vectors[f"marginal_{kind}_{name}_peraxis_slice"]
            np.testing.assert_allclose(result[:, :, label.shape[2] // 2], expected, atol=1e-6)
        # The last bits of erfc matter where the object is many deviations away from the edge.
        loss = vectors[f"eps_continuous_{name}"][row]
        np.testing.assert_allclose(_loss(label, a=a), loss, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "a"), [((40, 30), (0.15, 0.05)), ((20, 24, 18), (0.2, 0.15, 0.3))]
)
def test_marginal_equals_scipy_and_the_dense_kernels(shape, a):
    label = np.asarray(_label(shape) == 1)
    sigmas = np.array(a) * np.array(shape)
    expected = label.astype(np.float64)
    for axis, sigma in enumerate(sigmas):
        kernel = _expected_kernel(shape[axis], sigma)
        expected = np.moveaxis(np.tensordot(kernel, expected, axes=(1, axis)), 0, axis)
    np.testing.assert_allclose(_marginal(jnp.asarray(label), a=jnp.array(a)), expected, atol=1e-6)
    if np.all(sigmas >= 3):
        filtered = ndimage.gaussian_filter(
            label.astype(np.float64), sigmas, mode="constant", truncate=8
        )
        np.testing.assert_allclose(_marginal(jnp.asarray(label), a=a), filtered, atol=1e-5)


def test_marginal_of_half_an_axis_is_the_hand_worked_distribution_function():
    label = jnp.zeros((1, 40)).at[0, 20:].set(1)
    result = _marginal(label, a=(0.0, 0.05))[0]
    # Voxel i lies i + 1/2 - 20 voxels inside; a n = 2 voxels.
    expected = special.ndtr((np.arange(40) - 19.5) / 2) - special.ndtr((np.arange(40) - 39.5) / 2)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_marginal_without_noise_is_the_label_and_gradients_are_finite():
    label = _label((9, 8), num_classes=2)
    np.testing.assert_array_equal(_marginal(label, a=0.0), label)
    gradient = jax.jit(jax.grad(lambda a: jnp.sum(jnp.square(gaussian_field.marginal(label, a=a)))))
    losses = jax.jit(jax.grad(lambda a: gaussian_field.expected_volume_loss(label, a=a)))
    for strength in (0.0, 1e-8, 0.3, 100.0):
        assert np.isfinite(gradient(strength))
        assert np.isfinite(losses(strength))


def test_volume_loss_is_what_the_marginal_lacks():
    label = jnp.ones((30, 40))
    a = jnp.array([0.05, 0.1])
    missing = jnp.mean(label) - jnp.mean(_marginal(label, a=a))
    np.testing.assert_allclose(_loss(label, a=a), missing, rtol=1e-2)
    # One axis, far from the other edge: the integral of P(Z > x) over [0, inf) is 1 / sqrt(2 pi).
    np.testing.assert_allclose(
        _loss(label, a=jnp.array([0.05, 0.0])), 0.1 / np.sqrt(2 * np.pi), rtol=1e-5
    )
    assert _loss(jnp.zeros((30, 40)), a=a) == 0


def test_closed_forms_batch_by_vmap():
    labels = jnp.stack([_label((12, 10), num_classes=2, seed=seed) for seed in range(2)])
    strengths = jnp.array([0.02, 0.4])
    for closed in (gaussian_field.marginal, gaussian_field.expected_volume_loss):
        batched = jax.jit(jax.vmap(lambda x, a, f=closed: f(x, a=a)))(labels, strengths)
        one = jax.jit(closed)
        loop = [one(x, a=a) for x, a in zip(labels, strengths)]
        np.testing.assert_allclose(batched, loop, atol=1e-6)


# --- arguments ------------------------------------------------------------------------------------


def test_millimetres_become_fractions():
    a = gaussian_field.from_millimetres((3, 6), (20, 40), spacing=np.array([1.5, 0.5]))
    assert a == (0.1, 0.3)
    key = jax.random.key(0)
    field = gaussian_field.displacement(key, (20, 40), a=a, b=a)
    assert field.shape == (2, 20, 40)
    with pytest.raises(ValueError, match="spacing: expected 1 or 2 numbers, got 3"):
        gaussian_field.from_millimetres(1, (20, 40), spacing=(1, 1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"a": -0.1}, "a: expected numbers >= 0, got -0.1"),
        ({"a": (0.1, 0.1, 0.1)}, "a: expected the shape"),
        ({"a": 0.1, "b": 0}, "b: expected a number > 0, got 0"),
        ({"a": 0.1, "b": (0.1,) * 3}, "b: expected 1 or 2 numbers, got 3"),
        ({"a": 0.1, "order": 3}, "order: expected one of 0, 1, got 3"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        gaussian_field.deform(jax.random.key(0), jnp.zeros((4, 5), int), **options)


def test_marginals_refuse_a_strength_that_varies():
    label = jnp.zeros((4, 4), jnp.uint8)
    for closed in (gaussian_field.marginal, gaussian_field.expected_volume_loss):
        with pytest.raises(ValueError, match="a: expected one number or one per axis"):
            closed(label, a=jnp.ones((4, 4)))
    with pytest.raises(ValueError, match="label: expected 2 or 3 axes"):
        gaussian_field.deform(jax.random.key(0), jnp.zeros(4, jnp.uint8), a=0.1)
