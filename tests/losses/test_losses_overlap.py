"""The losses of overlap: values, empty classes, masks, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.losses import overlap

# One compilation per shape instead of one per operation; the batched test runs eagerly as well.
_DICE = jax.jit(overlap.soft_dice, static_argnames=("include_background", "smooth", "power"))
_ROBUST = jax.jit(overlap.noise_robust_dice, static_argnames=("gamma", "power"))


def _softmax(seed, shape, scale=1.0):
    logits = scale * np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return jax.nn.softmax(jnp.asarray(logits))


def _one_hot(seed, shape, classes=3):
    return jnp.eye(classes)[np.random.default_rng(seed).integers(0, classes, shape)]


def _binary(foreground):
    foreground = jnp.asarray(foreground, jnp.float32)
    return jnp.stack([1.0 - foreground, foreground], axis=-1)


def test_soft_dice_by_hand():
    probs, targets = _binary([0.5, 0.5, 0.0, 1.0]), _binary([1.0, 0.0, 0.0, 1.0])
    # 2 (.5 + 1) / (2 + 2), and with squares 2 (.5 + 1) / (1.5 + 2)
    np.testing.assert_allclose(_DICE(probs, targets, smooth=0.0), 0.25, rtol=1e-6)
    squared = _DICE(probs, targets, smooth=0.0, power=2)
    np.testing.assert_allclose(squared, 1.0 - 3.0 / 3.5, rtol=1e-6)
    smoothed = _DICE(probs, targets, smooth=1.0)
    np.testing.assert_allclose(smoothed, 1.0 - 4.0 / 5.0, rtol=1e-6)


def test_background_counts_only_when_asked():
    probs, targets = _binary([1.0, 1.0, 0.0, 0.0]), _binary([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(_DICE(probs, targets), 1 / 3, rtol=1e-4)
    both = _DICE(probs, targets, include_background=True)
    np.testing.assert_allclose(both, (1 / 3 + 1 / 5) / 2, rtol=1e-4)


def test_one_class_without_background_is_refused():
    with pytest.raises(ValueError, match="probs"):
        overlap.soft_dice(jnp.ones((4, 1)), jnp.ones((4, 1)))


@pytest.mark.parametrize("smooth", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("power", [1, 2])
def test_empty_classes_have_values_and_finite_gradients(smooth, power):
    def loss(probs, targets):
        return _DICE(probs, targets, smooth=smooth, power=power)

    empty, full = _binary(jnp.zeros((3, 3))), _binary(jnp.ones((3, 3)))
    assert loss(empty, empty) == 0.0
    expected = 1.0 - smooth / (9.0 + smooth)
    np.testing.assert_allclose(loss(full, empty), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(empty, full), expected, rtol=1e-6)
    gradient = jax.jit(jax.grad(loss))
    for probs in (empty, full):
        for targets in (empty, full):
            assert np.isfinite(gradient(probs, targets)).all()


def test_where_equals_cutting_the_pixels_away():
    probs = _softmax(0, (6, 5, 3))
    targets = _one_hot(1, (6, 5))
    keep = jnp.arange(6)[:, None] < jnp.full((1, 5), 4)
    masked = _DICE(probs.at[4:].set(jnp.nan), targets, where=keep)
    np.testing.assert_allclose(masked, _DICE(probs[:4], targets[:4]), rtol=1e-6)
    assert _DICE(probs, targets, where=jnp.zeros((6, 5), bool)) == 0.0


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_loss_is_in_range_symmetric_and_batches(shape):
    probs = _softmax(0, (3, *shape, 3), 4.0)
    targets = _softmax(1, (3, *shape, 3), 4.0)
    losses = jax.jit(jax.vmap(overlap.soft_dice))(probs, targets)
    loop = [overlap.soft_dice(p, t) for p, t in zip(probs, targets, strict=True)]
    np.testing.assert_allclose(losses, loop, rtol=1e-5)
    np.testing.assert_allclose(losses, jax.vmap(_DICE)(targets, probs), rtol=1e-5)
    assert np.all((losses > 0) & (losses < 1))


def test_a_step_down_the_gradient_lowers_the_loss():
    logits = jnp.log(_softmax(0, (6, 5, 3)))
    targets = _one_hot(1, (6, 5))

    def loss(logits):
        return _DICE(jax.nn.softmax(logits), targets)

    value, gradient = jax.value_and_grad(loss)(logits)
    assert loss(logits - 5.0 * gradient) < value


def test_noise_robust_dice_by_hand():
    probs, targets = _binary([0.75, 0.0, 0.0, 1.0]), _binary([1.0, 0.0, 1.0, 1.0])
    # Both classes miss by 1/4 and 1; squares of the foreground 25/16 + 3, of the rest 33/16 + 1.
    expected = (1.125 / (25 / 16 + 3) + 1.125 / (33 / 16 + 1)) / 2
    np.testing.assert_allclose(_ROBUST(probs, targets), expected, rtol=1e-5)
    expected = (1.125 / (7 / 4 + 3) + 1.125 / (9 / 4 + 1)) / 2
    np.testing.assert_allclose(_ROBUST(probs, targets, power=1), expected, rtol=1e-5)
    expected = (1.25 / (7 / 4 + 3) + 1.25 / (9 / 4 + 1)) / 2
    np.testing.assert_allclose(_ROBUST(probs, targets, gamma=1, power=1), expected, rtol=1e-5)


def test_noise_robust_dice_with_squares_is_the_soft_dice_loss():
    probs = _softmax(0, (6, 5, 3))
    for targets in (_one_hot(1, (6, 5)), _softmax(1, (6, 5, 3))):
        robust = _ROBUST(probs, targets, gamma=2)
        dice = _DICE(probs, targets, smooth=0.0, power=2, include_background=True)
        np.testing.assert_allclose(robust, dice, rtol=1e-5)


@pytest.mark.parametrize("gamma", [1, 1.5, 2])
@pytest.mark.parametrize("power", [1, 2])
def test_noise_robust_dice_has_finite_gradients(gamma, power):
    def loss(logits, targets):
        return _ROBUST(jax.nn.softmax(logits), targets, gamma=gamma, power=power)

    step = jax.jit(jax.value_and_grad(loss))
    empty, full = _binary(jnp.zeros((3, 3))), _binary(jnp.ones((3, 3)))
    for sign in (-1.0, 0.0, 1.0):
        for targets in (empty, full):
            # From certain, exactly 0 and 1, to undecided.
            value, gradient = step(sign * 200.0 * (2.0 * full - 1.0), targets)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()
    assert step(200.0 * (2.0 * full - 1.0), full)[0] == 0.0


def test_a_lower_gamma_listens_less_to_pixels_far_from_their_label():
    targets = _binary([1.0, 0.0, 0.0, 1.0])
    probs = _binary([1.0, 0.1, 0.9, 1.0])

    def pull(gamma):
        gradient = jax.grad(lambda p: _ROBUST(_binary(p), targets, gamma=gamma, power=1))
        near, far = gradient(probs[:, 1])[1:3]
        return far / near

    ratios = [pull(gamma) for gamma in (1, 1.25, 1.5, 2)]
    assert np.all(np.diff(ratios) > 0)


def test_noise_robust_dice_of_an_absent_class_is_bounded_with_first_powers_alone():
    probs = jnp.broadcast_to(jnp.array([0.99, 0.01]), (40, 40, 2))
    targets = _binary(jnp.zeros((40, 40)))
    first = (1.6 / (1600 * 1.99) + 1.6 / 16) / 2
    np.testing.assert_allclose(_ROBUST(probs, targets, power=1), first, rtol=1e-4)
    squares = (1.6 / (1600 * (0.99**2 + 1)) + 0.01**-0.5) / 2
    np.testing.assert_allclose(_ROBUST(probs, targets), squares, rtol=1e-3)


def test_noise_robust_dice_with_where_equals_cutting_the_pixels_away():
    probs, targets = _softmax(0, (6, 5, 3)), _one_hot(1, (6, 5))
    keep = jnp.arange(6)[:, None] < jnp.full((1, 5), 4)
    masked = _ROBUST(probs.at[4:].set(jnp.nan), targets, where=keep)
    np.testing.assert_allclose(masked, _ROBUST(probs[:4], targets[:4]), rtol=1e-6)
    assert _ROBUST(probs, targets, where=jnp.zeros((6, 5), bool)) == 0.0


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_noise_robust_dice_is_symmetric_and_batches(shape):
    probs = _softmax(0, (3, *shape, 3), 4.0)
    targets = _softmax(1, (3, *shape, 3), 4.0)
    losses = jax.jit(jax.vmap(overlap.noise_robust_dice))(probs, targets)
    loop = [overlap.noise_robust_dice(p, t) for p, t in zip(probs, targets, strict=True)]
    np.testing.assert_allclose(losses, loop, rtol=1e-5)
    np.testing.assert_allclose(losses, jax.vmap(_ROBUST)(targets, probs), rtol=1e-5)
    assert np.all(losses > 0)


@pytest.mark.parametrize("gamma", [0.5, 3])
def test_gamma_outside_of_its_range_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        overlap.noise_robust_dice(jnp.ones((4, 2)), jnp.ones((4, 2)), gamma=gamma)


_SOFT = {name: jax.jit(getattr(overlap, name), static_argnames="form") for name in ("jml", "dml")}
_SOFT_CASES = [(name, form) for name in _SOFT for form in (1, 2)]


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    # A = 2.2, P = .6, the difference .8
    [("jml", 1, 1.6 / 3.0), ("jml", 2, 0.8 / 1.4), ("dml", 1, 0.8 / 2.2), ("dml", 2, 0.8 / 2.0)],
)
def test_losses_of_soft_labels_by_hand(name, form, expected):
    probs, targets = jnp.array([1.0, 0.2]), jnp.array([0.5, 0.5])
    np.testing.assert_allclose(_SOFT[name](probs, targets, form=form), expected, rtol=1e-6)
    assert _SOFT[name](targets, targets, form=form) == 0.0


@pytest.mark.parametrize("case", ["24", "25"])
@pytest.mark.parametrize(("name", "form"), _SOFT_CASES)
def test_golden_losses_of_soft_labels(golden, case, name, form):
    with np.load(golden / "multirater.npz") as file:
        values = {key: file[f"{case}.{key}"] for key in ("probs", "soft", "hard")}
        expected = {key: file[f"{case}.{name}{form}_{key}"] for key in ("soft", "hard", "self")}
    probs, soft, hard = (jnp.asarray(value, jnp.float32) for value in values.values())
    loss = _SOFT[name]
    np.testing.assert_allclose(loss(probs, soft, form=form), expected["soft"], rtol=1e-5)
    np.testing.assert_allclose(loss(probs, hard, form=form), expected["hard"], rtol=1e-5)
    np.testing.assert_allclose(loss(probs, hard > 0, form=form), expected["hard"], rtol=1e-5)
    np.testing.assert_allclose(loss(soft, soft, form=form), expected["self"], atol=1e-7)


@pytest.mark.parametrize(("name", "form"), _SOFT_CASES)
def test_losses_of_soft_labels_are_least_at_the_label_alone(name, form):
    # The product Dice loss is not: there all of a pixel's probability lies on one side.
    targets = jnp.linspace(0.1, 0.9, 8)
    loss = functools.partial(_SOFT[name], targets=targets, form=form)
    rounded = jnp.round(targets)
    assert loss(rounded) > loss(0.9 * targets + 0.1 * rounded) > loss(targets) == 0.0
    with_background = _binary(targets)
    assert _DICE(_binary(rounded), with_background) < _DICE(with_background, with_background)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize(("name", "form"), _SOFT_CASES)
def test_losses_of_soft_labels_have_finite_values_and_gradients(name, form, dtype):
    step = jax.jit(jax.value_and_grad(functools.partial(_SOFT[name], form=form)))
    smallest = float(jnp.finfo(dtype).tiny)
    values = [jnp.full((300, 300), value, dtype) for value in (0.0, 0.5, 1.0, smallest)]
    values.append(jnp.zeros((300, 300), dtype).at[0, 0].set(smallest))
    for probs in values:
        for targets in values:
            loss, gradient = step(probs, targets)
            assert 0.0 <= loss <= 1.0
            assert np.isfinite(gradient.astype(np.float32)).all()
    empty, _, full, *_ = values
    assert step(empty, empty)[0] == step(full, full)[0] == 0.0
    assert step(full, empty)[0] == step(empty, full)[0] == 1.0


@pytest.mark.parametrize(("name", "form"), _SOFT_CASES)
def test_losses_of_soft_labels_with_where_batch_and_are_symmetric(name, form):
    loss = functools.partial(_SOFT[name], form=form)
    probs, targets = jnp.asarray(np.random.default_rng(0).random((2, 3, 6, 5)), jnp.float32)
    keep = jnp.arange(6)[:, None] < jnp.full((1, 5), 4)
    masked = loss(probs[0].at[4:].set(jnp.nan), targets[0], where=keep)
    np.testing.assert_allclose(masked, loss(probs[0, :4], targets[0, :4]), rtol=1e-6)
    assert loss(probs[0], targets[0], where=jnp.zeros((6, 5), bool)) == 0.0
    batched = jax.vmap(loss)(probs, targets)
    plain = getattr(overlap, name)
    loop = [plain(p, t, form=form) for p, t in zip(probs, targets, strict=True)]
    np.testing.assert_allclose(batched, loop, rtol=1e-6)
    np.testing.assert_allclose(batched, jax.vmap(loss)(targets, probs), rtol=1e-6)


def test_soft_dice_of_less_than_a_voxel_is_a_quotient_all_the_same():
    # A tenth of a voxel where nothing is.
    probs, targets = jnp.array([[0.9, 0.1]]), jnp.array([[1.0, 0.0]])
    assert float(overlap.soft_dice(probs, targets, smooth=0.0)) == 1.0
    assert float(overlap.soft_dice(targets, targets, smooth=0.0)) == 0.0
