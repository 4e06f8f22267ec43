"""Mixed likelihoods and traces against hand-worked and golden values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.losses import confusion

# One compilation per shape instead of one per operation; `test_jit_equals_eager_...` runs eagerly.
_NLL = jax.jit(confusion.mixed_nll)
_MIX = jax.jit(confusion.mix)
_ONE_HOT = jax.jit(confusion.one_hot_cms, static_argnums=2)
_TRACE = jax.jit(confusion.trace)


def _last(array, axes):
    """Moves leading channel axes of the golden layout behind space."""
    return np.moveaxis(array, axes, range(-len(axes), 0))


def _golden(golden, group):
    """Returns logits [B, H, W, L], raw matrices [B, R, H, W, L, L] and labels [B, R, H, W]."""
    with np.load(golden / "golden_cm.npz") as file:
        data = {name: file[name] for name in file.files}
    logits = _last(data[f"{group}/logits"], (1,)).astype(np.float32)
    raw = np.swapaxes(_last(data[f"{group}/cm_raw"], (2, 3)), 0, 1).astype(np.float32)
    labels = np.swapaxes(data[f"{group}/labels"], 0, 1)
    return data, jnp.asarray(logits), jnp.asarray(raw), jnp.asarray(labels)


def _normalise(raw):
    return raw / jnp.sum(raw, axis=-2, keepdims=True)


def _random(shape=(4, 3), raters=2, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(*shape, classes)).astype(np.float32)
    cms = draw.dirichlet(np.ones(classes), size=(raters, *shape, classes)).astype(np.float32)
    labels = draw.integers(0, classes, size=(raters, *shape), dtype=np.int32)
    return jnp.asarray(logits), jnp.asarray(np.swapaxes(cms, -1, -2)), jnp.asarray(labels)


def test_mixed_nll_by_hand():
    logits = jnp.log(jnp.array([0.25, 0.75]))
    cms = jnp.array([[[0.9, 0.2], [0.1, 0.8]]])
    # p(noisy 0) = .9 * .25 + .2 * .75 = .375
    np.testing.assert_allclose(_MIX(jnp.exp(logits), cms), [[0.375, 0.625]], rtol=1e-6)
    nll = _NLL(logits, jnp.tile(cms, (2, 1, 1)), jnp.array([0, 1], jnp.uint8))
    np.testing.assert_allclose(nll, -np.log([0.375, 0.625]), rtol=1e-6)
    np.testing.assert_allclose(_TRACE(cms), [1.7], rtol=1e-6)


@pytest.mark.parametrize("group", ["c2", "c3", "c4"])
def test_golden_values(golden, group):
    data, logits, raw, labels = _golden(golden, group)
    cms = _normalise(raw)
    mixed = jax.vmap(_MIX)(jax.nn.softmax(logits), cms)
    expected = np.swapaxes(_last(data[f"{group}/noisy_probs"], (2,)), 0, 1)
    np.testing.assert_allclose(mixed, expected, rtol=2e-5)
    nll = jax.vmap(_NLL)(logits, cms, labels)
    expected = np.swapaxes(data[f"{group}/nll_map"], 0, 1)
    np.testing.assert_allclose(nll, expected, rtol=2e-5, atol=1e-6)
    traces = jnp.mean(jax.vmap(_TRACE)(cms), axis=(0, 2, 3))
    np.testing.assert_allclose(traces, data[f"{group}/trace_per_annotator"], rtol=1e-5)


@pytest.mark.parametrize("group", ["c2", "c3", "c4"])
def test_golden_loss_and_gradients(golden, group):
    data, logits, raw, labels = _golden(golden, group)

    def loss(logits, raw, weight):
        cms = _normalise(raw)
        nll = jax.vmap(_NLL)(logits, cms, labels)
        trace = jax.vmap(_TRACE)(cms)
        return jnp.sum(jnp.mean(nll + weight * trace, axis=(0, 2, 3)))

    loss = jax.jit(loss)
    for weight, expected in zip(data[f"{group}/alphas"], data[f"{group}/loss_total"], strict=True):
        np.testing.assert_allclose(loss(logits, raw, float(weight)), expected, rtol=1e-5)
    weight = float(data[f"{group}/grad_alpha"])
    by_logits, by_raw = jax.jit(jax.grad(loss, argnums=(0, 1)))(logits, raw, weight)
    expected = _last(data[f"{group}/grad_logits"], (1,))
    np.testing.assert_allclose(by_logits, expected, rtol=1e-4, atol=1e-7)
    expected = np.swapaxes(_last(data[f"{group}/grad_cm_raw"], (2, 3)), 0, 1)
    np.testing.assert_allclose(by_raw, expected, rtol=1e-4, atol=1e-7)


def test_golden_loss_and_gradients_when_raters_are_missing(golden):
    data, logits, raw, _ = _golden(golden, "c3")
    labels = jnp.asarray(np.swapaxes(data["c3_mask/labels"], 0, 1))
    mask = jnp.asarray(data["c3_mask/mask"].T)
    assert (labels == 255).any()

    def loss(logits, raw, weight):
        cms = _normalise(raw)
        nll = jax.vmap(lambda *a: _NLL(*a[:3], rater_mask=a[3]))(logits, cms, labels, mask)
        trace = jnp.where(mask[..., None, None], jax.vmap(_TRACE)(cms), 0.0)
        return jnp.sum(jnp.mean(nll + weight * trace, axis=(2, 3))) / len(logits)

    total = loss(logits, raw, 0.0) * len(logits)
    np.testing.assert_allclose(total, data["c3_mask/nll_sum"], rtol=1e-5)
    weight = float(data["c3_mask/grad_alpha"])
    by_logits, by_raw = jax.jit(jax.grad(loss, argnums=(0, 1)))(logits, raw, weight)
    expected = _last(data["c3_mask/grad_logits"], (1,))
    np.testing.assert_allclose(by_logits, expected, rtol=1e-4, atol=1e-7)
    expected = np.swapaxes(_last(data["c3_mask/grad_cm_raw"], (2, 3)), 0, 1)
    np.testing.assert_allclose(by_raw, expected, rtol=1e-4, atol=1e-7)


def test_golden_extreme_is_exact(golden):
    with np.load(golden / "golden_cm.npz") as file:
        logits = jnp.asarray(_last(file["extreme/logits"][0], (0,)), jnp.float32)
        cms = jnp.asarray(_last(file["extreme/cm"][:, 0], (1, 2)), jnp.float32)
        labels, expected = jnp.asarray(file["extreme/labels"][:, 0]), file["extreme/nll_map_exact"]
    np.testing.assert_allclose(_NLL(logits, cms, labels), expected[:, 0], rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("kind", ["identity", "swap", "one_column", "zeros", "tiny"])
def test_values_and_gradients_are_finite_at_extremes(kind, scale):
    cms = {
        "identity": jnp.eye(2),
        "swap": jnp.eye(2)[::-1],
        "one_column": jnp.array([[1.0, 1.0], [0.0, 0.0]]),
        "zeros": jnp.zeros((2, 2)),
        "tiny": jnp.array([[1e-37, 1.0], [1.0, 1e-37]]),
    }[kind]
    logits = scale * jnp.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    cms = jnp.broadcast_to(cms, (2, 3, 2, 2))
    labels = jnp.array([[0, 0, 0], [1, 1, 1]])

    def loss(logits, cms):
        return jnp.mean(_NLL(logits, cms, labels))

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(logits, cms)
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_extreme_logits_keep_their_exact_value_in_log_space():
    cms = jnp.eye(2)[None, ::-1]
    nll = _NLL(jnp.array([1e4, -1e4]), cms, jnp.array([0]))
    np.testing.assert_allclose(nll, [2e4], rtol=1e-6)


def test_gradient_at_a_zero_entry_is_the_true_one():
    logits = jnp.log(jnp.array([0.25, 0.75]))
    cms = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    gradient = jax.grad(lambda c: _NLL(logits, c, jnp.array([0])).sum())(cms)
    # d -log(a p0 + b p1) = -(p0, p1) / (a p0 + b p1) at a = 1, b = 0
    np.testing.assert_allclose(gradient, [[[-1.0, -3.0], [0.0, 0.0]]], rtol=1e-6)


def test_an_impossible_label_has_a_finite_price():
    blank = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    nll = _NLL(jnp.zeros(2), blank, jnp.array([1]))
    np.testing.assert_allclose(nll, -np.log(np.finfo(np.float32).tiny), rtol=1e-6)


def test_missing_raters_give_zero_and_no_gradient():
    logits, cms, labels = _random(raters=3)
    labels = labels.at[1].set(255)
    mask = jnp.array([True, False, True])

    def loss(logits, cms):
        return jnp.sum(_NLL(logits, cms, labels, rater_mask=mask))

    value, (by_logits, by_cms) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(logits, cms)
    present = _NLL(logits, cms[::2], labels[::2])
    np.testing.assert_allclose(value, jnp.sum(present), rtol=1e-6)
    assert np.isfinite(by_logits).all()
    assert not np.any(by_cms[1])
    assert np.any(by_cms[0])


def test_where_leaves_single_labels_out():
    logits, cms, labels = _random()
    keep = jnp.ones(labels.shape, bool).at[0, 1].set(False)
    mask = jnp.array([True, False])
    nll = _NLL(logits, cms, labels.at[0, 1].set(255), where=keep, rater_mask=mask)
    full = _NLL(logits, cms, labels)
    np.testing.assert_allclose(nll, jnp.where(keep, full, 0.0).at[1].set(0.0))


@pytest.mark.parametrize("wrong", [254, -1, 3])
def test_a_label_that_counts_but_is_no_class_gives_nan(wrong):
    logits, cms, labels = _random()
    nll = _NLL(logits, cms, labels.at[0, 0, 0].set(wrong))
    assert np.isnan(nll[0, 0, 0])
    assert np.isfinite(np.asarray(nll).ravel()[1:]).all()


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2)])
def test_one_matrix_for_all_pixels_equals_the_repeated_one(shape):
    logits, cms, labels = _random(shape)
    one = cms[:, :1, :1] if len(shape) == 2 else cms[:, :1, :1, :1]
    repeated = jnp.broadcast_to(one, cms.shape)
    np.testing.assert_allclose(_NLL(logits, one, labels), _NLL(logits, repeated, labels))
    np.testing.assert_allclose(
        _MIX(jax.nn.softmax(logits), one), _MIX(jax.nn.softmax(logits), repeated)
    )

    def loss(cms):
        return jnp.sum(_NLL(logits, cms, labels))

    space = tuple(range(1, 1 + len(shape)))
    gradient = jax.jit(jax.grad(loss))
    summed = jnp.sum(gradient(repeated), axis=space, keepdims=True)
    np.testing.assert_allclose(gradient(one), summed, rtol=1e-5)


def test_mixed_probabilities_sum_to_one():
    logits, cms, _ = _random()
    np.testing.assert_allclose(_MIX(jax.nn.softmax(logits), cms).sum(-1), 1.0, rtol=1e-6)


def test_likelihood_of_the_identity_is_cross_entropy():
    logits, cms, labels = _random()
    identity = jnp.broadcast_to(jnp.eye(3), cms.shape)
    expected = -jnp.take_along_axis(jax.nn.log_softmax(logits)[None], labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(_NLL(logits, identity, labels), expected, rtol=1e-6)


def test_exchanging_classes_and_columns_leaves_the_likelihood():
    logits, cms, labels = _random()
    order = jnp.array([2, 0, 1])
    exchanged = _NLL(logits[..., order], cms[..., order], labels)
    np.testing.assert_allclose(exchanged, _NLL(logits, cms, labels), rtol=1e-5)


def test_jit_equals_eager_and_vmap_equals_loop():
    batch = [_random(seed=seed) for seed in range(3)]
    stacked = [jnp.stack(parts) for parts in zip(*batch, strict=True)]
    loop = jnp.stack([confusion.mixed_nll(*example) for example in batch])
    together = jax.jit(jax.vmap(confusion.mixed_nll))(*stacked)
    np.testing.assert_allclose(together, loop, rtol=1e-5, atol=1e-6)


def test_one_hot_cms_map_the_truth_to_the_label():
    draw = np.random.default_rng(0)
    truth = jnp.asarray(draw.integers(0, 3, (4, 3), dtype=np.uint8))
    labels = jnp.asarray(draw.integers(0, 3, (2, 4, 3), dtype=np.uint8))
    cms = _ONE_HOT(truth, labels, 3)
    np.testing.assert_array_equal(cms.sum(-2), 1.0)
    mixed = _MIX(jax.nn.one_hot(truth, 3), cms)
    np.testing.assert_array_equal(jnp.argmax(mixed, -1), labels)
    right = labels == truth[None]
    np.testing.assert_array_equal(_TRACE(cms), jnp.where(right, 3.0, 2.0))
    swapped = _ONE_HOT(jnp.array(1), jnp.array([2]), 3)
    np.testing.assert_array_equal(swapped[0], [[1, 0, 0], [0, 0, 0], [0, 1, 1]])


def test_one_hot_cms_of_missing_raters_are_the_identity():
    cms = _ONE_HOT(jnp.array([1, 0]), jnp.array([[255, 255]], jnp.uint8), 2)
    np.testing.assert_array_equal(cms, np.broadcast_to(np.eye(2), (1, 2, 2, 2)))


def test_log_likelihood_gives_the_posterior_of_staple(golden):
    data = np.load(golden / "staple_binary.npz", allow_pickle=False)
    masks, prior = jnp.asarray(data["c00_masks"]), float(data["c00_prior"])
    sens, spec = data["c00_em5_sens"], data["c00_em5_spec"]
    cms = np.stack([np.stack([spec, 1 - sens], -1), np.stack([1 - spec, sens], -1)], -2)
    cms = jnp.asarray(cms, jnp.float32).reshape(len(masks), *(1,) * (masks.ndim - 1), 2, 2)
    evidence = confusion.log_likelihood(cms, masks)
    log_prior = jnp.log(jnp.array([1 - prior, prior])).reshape((1,) * (evidence.ndim - 1) + (2,))
    posterior = jax.nn.softmax(evidence + log_prior)
    np.testing.assert_allclose(posterior[..., 1], data["c00_em5_prob"], atol=2e-5)


def test_log_likelihood_leaves_missing_raters_out():
    coin = jnp.array([[0.8, 0.2], [0.2, 0.8]])
    cms = jnp.stack([coin, coin])[:, None]
    labels = jnp.array([[1, 0], [255, 0]], jnp.uint8)
    mask = jnp.array([True, False])
    result = jax.jit(confusion.log_likelihood)(cms, labels, rater_mask=mask)
    np.testing.assert_allclose(jnp.exp(result), [[0.2, 0.8], [0.8, 0.2]], rtol=1e-6)
    both = confusion.log_likelihood(cms, jnp.array([[1], [1]], jnp.uint8))
    np.testing.assert_allclose(jnp.exp(both), [[0.04, 0.64]], rtol=1e-5)
