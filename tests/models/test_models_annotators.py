"""Annotator heads: golden matrices, columns that sum to one, independence of raters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.models import annotators

FEATURES = (2, 5, 4, 3)


def _made(kind, *, num_raters=2, num_classes=3, shape=FEATURES, **options):
    head = annotators.build(kind, num_raters, num_classes, **options)
    features = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    return head, jax.jit(head.init)(jax.random.key(0), features), features


@pytest.mark.parametrize("group", ["softplus_c2", "softplus_c3"])
def test_golden_full_matrices(golden, group):
    data = np.load(golden / "golden_cm.npz", allow_pickle=False)
    raw = jnp.moveaxis(jnp.asarray(data[f"{group}/pre"], jnp.float32), 1, -1)
    expected = np.moveaxis(data[f"{group}/cm"], (1, 2), (-2, -1))
    result = annotators.full_matrices(raw, expected.shape[-1])
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("group", "rank"), [("lowrank_c4_r1", 1), ("lowrank_c4_r2", 2), ("lowrank_c3_r1", 1)]
)
def test_golden_low_rank_matrices(golden, group, rank):
    data = np.load(golden / "golden_cm.npz", allow_pickle=False)
    raw = jnp.moveaxis(jnp.asarray(data[f"{group}/pre"], jnp.float32), 1, -1)
    expected = np.moveaxis(data[f"{group}/cm"], (1, 2), (-2, -1))
    result = annotators.low_rank_matrices(raw, expected.shape[-1], rank)
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_columns_and_gradients_hold_at_extreme_inputs(value):
    raw = jnp.full((9,), value).at[0].set(-value)

    def first(raw):
        return annotators.full_matrices(raw, 3)[0, 0]

    matrix, gradient = annotators.full_matrices(raw, 3), jax.grad(first)(raw)
    np.testing.assert_allclose(matrix.sum(-2), 1, rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("spatial", {"convs": 0}),
        ("spatial", {"convs": 1}),
        ("spatial", {"convs": 2, "width": 4}),
        ("low_rank", {"convs": 0, "rank": 2}),
    ],
)
def test_matrices_of_every_rater_and_pixel(kind, options):
    head, variables, features = _made(kind, **options)
    cms = jax.jit(head.apply)(variables, features)
    assert cms.shape == (2, 2, 5, 4, 3, 3)
    assert cms.dtype == jnp.float32
    np.testing.assert_allclose(cms.sum(-2), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["global", "one_coin"])
def test_matrices_of_every_rater_alone_broadcast_and_start_dominant(kind):
    head, variables, features = _made(kind, shape=(2, 3, 4, 5, 6))
    cms = head.apply(variables, features)
    assert cms.shape == (1, 2, 1, 1, 1, 3, 3)
    np.testing.assert_allclose(cms.sum(-2), 1, rtol=1e-6)
    diagonal = jnp.diagonal(cms, axis1=-2, axis2=-1).min()
    off = jnp.where(jnp.eye(3, dtype=bool), 0.0, cms[0, 0, 0, 0, 0]).max()
    assert diagonal > off


@pytest.mark.parametrize("raw", [-50.0, 0.0, 50.0])
def test_one_coin_errors_stay_between_their_floor_and_chance(raw):
    head, _, features = _made("one_coin", num_classes=4, min_error_rate=0.1)
    params = {"params": {"raw": jnp.full((2,), raw)}}
    cms = head.apply(params, features)[0, 0, 0, 0]
    error = 1 - cms[0, 0]
    assert 0.1 - 1e-6 <= float(error) <= 0.75 + 1e-6
    np.testing.assert_allclose(cms[0, 1:], error / 3, rtol=1e-5)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rater_has_a_matrix_of_weights_of_its_own(rank):
    kind = {"kind": "low_rank", "rank": rank} if rank else {"kind": "spatial"}
    head, variables, features = _made(convs=0, num_classes=2, **kind)
    kernel = variables["params"]["kernel"]
    # Two factors of one number for each class, and the weight of the identity beside them.
    assert kernel.shape == (2, 3, 5 if rank else 4)
    changed = {"params": variables["params"] | {"kernel": kernel.at[0].add(1.0)}}
    before, after = head.apply(variables, features), head.apply(changed, features)
    assert not np.allclose(before[:, 0], after[:, 0], atol=1e-3)
    np.testing.assert_array_equal(before[:, 1], after[:, 1])


def test_the_identity_bias_of_low_rank_matrices_is_on_the_identity_alone():
    head, variables, features = _made("low_rank", convs=0, rank=1, identity_bias=2.0)
    zeros = jax.tree.map(jnp.zeros_like, variables)
    raw = jnp.zeros(7).at[-1].set(2.0)
    expected = annotators.low_rank_matrices(raw, 3, 1)
    np.testing.assert_allclose(head.apply(zeros, features)[0, 1, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("convs", [1, 2])
def test_raters_do_not_touch_each_other(convs):
    head, variables, features = _made("spatial", convs=convs, width=4)
    wide = variables["params"]["first"]["conv"]["kernel"]
    changed = jax.tree.map(lambda leaf: leaf, variables)
    changed["params"]["first"]["conv"]["kernel"] = wide.at[..., :4].add(1.0)
    before, after = head.apply(variables, features), head.apply(changed, features)
    assert not np.allclose(before[:, 0], after[:, 0], atol=1e-3)
    np.testing.assert_allclose(before[:, 1], after[:, 1], atol=1e-6)


def test_many_raters_are_mixed_each_by_its_own_weights(monkeypatch):
    head = annotators.build("spatial", 20, 2, convs=1, width=2)
    features = jnp.asarray(np.random.default_rng(1).standard_normal((1, 3, 4, 5)), jnp.float32)
    variables = head.init(jax.random.key(0), features)
    many = head.apply(variables, features)
    monkeypatch.setattr(annotators, "_MANY", 20)
    np.testing.assert_allclose(many, head.apply(variables, features), atol=1e-6)


def test_identity_bias_makes_reliable_raters():
    _, variables, features = _made("spatial", convs=0)
    plain = annotators.build("spatial", 2, 3, convs=0).apply(variables, features)
    biased = annotators.build("spatial", 2, 3, convs=0, identity_bias=5.0)
    trace = jnp.trace(biased.apply(variables, features), axis1=-2, axis2=-1)
    assert float(trace.min()) > 1.8
    assert float(trace.min()) > float(jnp.trace(plain, axis1=-2, axis2=-1).max())


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="annotator head.*psychic"):
        annotators.build("psychic", 2, 2)
