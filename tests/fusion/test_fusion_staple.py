"""STAPLE and pooled STAPLE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.fusion import rows


def _labels(seed=0, shape=(12, 13), raters=4, classes=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, shape)
    wrong = rng.random((raters, *shape)) < 0.25
    return jnp.asarray(np.where(wrong, rng.integers(0, classes, wrong.shape), truth), jnp.uint8)


def _in_one_shape(labels, raters, voxels=2800):
    """Raters and voxels without a vote are added, which changes nothing and compiles once."""
    flat = np.full((raters, voxels), 255, np.uint8)
    flat[: len(labels), : labels[0].size] = labels.reshape(len(labels), -1)
    return jnp.asarray(flat)


def _in_own_shape(fused, labels):
    probs = fused.probs[: labels[0].size].reshape(*labels.shape[1:], -1)
    return fused._replace(probs=probs, cms=fused.cms[: len(labels)])


@pytest.mark.parametrize("case", [*range(10), 12])
def test_golden_binary(golden, case):
    archive = np.load(golden / "staple_binary.npz", allow_pickle=False)
    get = lambda name: archive[f"c{case:02d}_{name}"]  # noqa: E731
    masks = get("masks")
    padded = _in_one_shape(masks, 7)
    five = _in_own_shape(fusion.staple(padded, max_iterations=5, tolerance=0), masks)
    np.testing.assert_allclose(five.probs[..., 1], get("sitk5_prob"), atol=1e-6)
    np.testing.assert_allclose(five.cms[:, 1, 1], get("sitk5_sens"), atol=1e-6)
    np.testing.assert_allclose(five.cms[:, 0, 0], get("sitk5_spec"), atol=1e-6)
    fused = _in_own_shape(fusion.staple(padded), masks)
    np.testing.assert_allclose(fused.probs[..., 1], get("em_prob"), atol=1e-6)
    np.testing.assert_allclose(fused.cms[:, 1, 1], get("em_sens"), atol=1e-6)
    np.testing.assert_allclose(fused.cms[:, 0, 0], get("em_spec"), atol=1e-6)
    np.testing.assert_allclose(fused.log_likelihood, get("em_loglik"), rtol=1e-6)
    decided = np.abs(get("sitk_prob") - 0.5) > 1e-6
    chosen = np.asarray(fused.probs.argmax(-1))
    np.testing.assert_array_equal(chosen[decided], (get("sitk_prob") > 0.5)[decided])


@pytest.mark.parametrize("case", range(7))
def test_golden_multi_class(golden, case):
    archive = np.load(golden / "staple_multi.npz", allow_pickle=False)
    get = lambda name: archive[f"c{case:02d}_{name}"]  # noqa: E731
    labels = get("labels")
    fused = _in_own_shape(fusion.staple(_in_one_shape(labels, 5), 3), labels)
    np.testing.assert_allclose(fused.probs, get("em_prob"), atol=1e-6)
    np.testing.assert_allclose(fused.cms.sum(1), 1, atol=1e-6)
    has_mass = np.broadcast_to(get("em_cm").sum(1, keepdims=True) > 0, get("em_cm").shape)
    np.testing.assert_allclose(fused.cms[has_mass], get("em_cm")[has_mass], atol=1e-6)


def test_golden_as_it_is(golden):
    archive = np.load(golden / "staple_binary.npz", allow_pickle=False)
    fused = fusion.staple(jnp.asarray(archive["c03_masks"]))
    np.testing.assert_allclose(fused.probs[..., 1], archive["c03_em_prob"], atol=1e-6)


@pytest.mark.parametrize("case", [1, 4])
def test_crowdkit_gives_the_same_labels_where_its_prior_does_not_decide(golden, case):
    archive = np.load(golden / "staple_binary.npz", allow_pickle=False)
    get = lambda name: archive[f"c{case:02d}_{name}"]  # noqa: E731
    masks = get("masks")
    fused = _in_own_shape(fusion.staple(_in_one_shape(masks, 7)), masks)
    # crowd-kit estimates the prior as well, which shifts every posterior's log-odds, and the
    # matrices with it; so its probabilities are others.
    clear = np.abs(get("crowdkit_prob") - 0.5) > 0.1
    chosen = np.asarray(fused.probs.argmax(-1))
    np.testing.assert_array_equal(chosen[clear], (get("crowdkit_prob") > 0.5)[clear])
    assert clear.mean() > 0.99


def test_many_voxels_and_slow_convergence():
    # 3 classes, hundreds of iterations; votes that hardly ever occur decide single voxels.
    rng = np.random.default_rng(1)
    truth = rng.choice(3, 400_000, p=[0.9, 0.08, 0.02])
    wrong = rng.random((4, truth.size)) < np.array([0.02, 0.05, 0.1, 0.2])[:, None]
    labels = (truth + wrong) % 3
    fused = fusion.staple(jnp.asarray(labels, jnp.uint8), 3)
    probs, cms = _double_precision(labels, 3)
    np.testing.assert_allclose(fused.probs, probs, atol=1e-6)
    np.testing.assert_allclose(fused.cms, cms, atol=1e-6)
    assert 20 < fused.iterations < 2000


def _double_precision(labels, classes):
    patterns, inverse, counts = np.unique(labels, axis=1, return_inverse=True, return_counts=True)
    votes = np.eye(classes)[patterns]
    prior = np.einsum("rml,m->l", votes, counts) / labels.size
    probs, change = votes.mean(0), 1
    while change > 1e-12:
        joint = np.einsum("rmi,mj->rij", votes, counts[:, None] * probs)
        cms = joint / joint.sum(1, keepdims=True)
        new = prior * np.prod(np.einsum("rmi,rij->rmj", votes, cms), axis=0)
        new /= new.sum(1, keepdims=True)
        probs, change = new, np.abs(new - probs).max()
    return probs[inverse.reshape(-1)], cms


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_labels_are_returned(value):
    fused = fusion.staple(jnp.full((3, 6, 7), value, jnp.uint8))
    np.testing.assert_array_equal(fused.probs[..., value], 1)
    np.testing.assert_allclose(fused.cms.sum(-2), 1)
    assert np.isfinite(fused.log_likelihood)


def test_a_missing_rater_changes_nothing():
    labels = _labels()
    mask = jnp.array([True, False, True, True])
    some = fusion.staple(labels, 3, rater_mask=mask)
    alone = fusion.staple(labels[mask], 3)
    np.testing.assert_allclose(some.probs, alone.probs, atol=1e-5)
    np.testing.assert_allclose(some.cms[mask], alone.cms, atol=1e-5)
    ignored = fusion.staple(labels.at[1].set(255), 3, rater_mask=jnp.ones(4, bool))
    np.testing.assert_array_equal(ignored.probs, some.probs)
    nobody = fusion.staple(labels, 3, rater_mask=jnp.zeros(4, bool))
    np.testing.assert_array_equal(nobody.probs, 0)


def test_a_prior_per_voxel_agrees_with_the_same_prior_everywhere():
    labels = _labels(shape=(20, 21))
    prior = jnp.array([0.5, 0.2, 0.3])
    patterns = fusion.staple(labels, 3, prior=prior)
    voxels = fusion.staple(labels, 3, prior=jnp.broadcast_to(prior, (20, 21, 3)))
    np.testing.assert_allclose(patterns.probs, voxels.probs, atol=3e-6)
    np.testing.assert_allclose(patterns.log_likelihood, voxels.log_likelihood, rtol=1e-6)
    with pytest.raises(ValueError, match="prior"):
        fusion.staple(labels, 3, prior=jnp.ones((20, 3)) / 3)


def test_without_consensus_it_is_staple_of_the_voxels_in_dispute():
    labels = _labels()
    agreed = np.all(labels == labels[:1], axis=0)
    fused = fusion.staple(labels, 3, exclude_consensus=True)
    disputed = jnp.where(agreed, 255, labels)
    alone = fusion.staple(disputed, 3, rater_mask=jnp.ones(4, bool))
    np.testing.assert_allclose(fused.probs[~agreed], alone.probs[~agreed], atol=1e-5)
    np.testing.assert_allclose(fused.cms, alone.cms, atol=1e-5)
    np.testing.assert_array_equal(fused.probs[agreed].argmax(-1), labels[0][agreed])


def test_pooled_is_staple_of_all_voxels():
    labels = jnp.stack([_labels(seed) for seed in range(3)])
    mask = jnp.array([[1, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1]], bool)
    pooled = fusion.pooled_staple(labels, 3, rater_mask=mask)
    votes = jnp.where(mask[:, :, None, None], labels, 255)
    single = fusion.staple(jnp.moveaxis(votes, 1, 0), 3)
    for ours, expected in zip(pooled, single, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=1e-5)


def test_vmap_is_a_loop():
    labels = jnp.stack([_labels(seed) for seed in range(3)])
    masks = jnp.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0]], bool)
    fuse = lambda x, m: fusion.staple(x, 3, rater_mask=m)  # noqa: E731
    mapped = jax.jit(jax.vmap(fuse))(labels, masks)
    for i in range(3):
        for batched, alone in zip(mapped, fuse(labels[i], masks[i]), strict=True):
            np.testing.assert_allclose(batched[i], alone, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("prior_update", ["kept", "estimated"])
def test_a_rater_of_weight_2_counts_like_two(prior_update):
    labels = _labels().at[0, :2].set(255)
    twice = jnp.concatenate([labels, labels[1:2]])
    weighted = fusion.staple(
        labels, 3, weights=jnp.array([1.0, 2.0, 1.0, 1.0]), prior_update=prior_update
    )
    expected = fusion.staple(twice, 3, prior_update=prior_update)
    np.testing.assert_allclose(weighted.probs, expected.probs, atol=3e-6)
    np.testing.assert_allclose(weighted.cms, expected.cms[:4], atol=3e-6)
    np.testing.assert_allclose(weighted.log_likelihood, expected.log_likelihood, rtol=1e-5)


def test_a_rater_of_weight_0_does_not_count_but_has_a_matrix():
    labels, mask = _labels(), jnp.array([True, False, True, True])
    fused = fusion.staple(labels, 3, weights=mask.astype(jnp.float32), exclude_consensus=True)
    alone = fusion.staple(labels, 3, rater_mask=mask, exclude_consensus=True)
    np.testing.assert_allclose(fused.probs, alone.probs, atol=3e-6)
    np.testing.assert_allclose(fused.cms[mask], alone.cms[mask], atol=3e-6)
    assert (jnp.diagonal(fused.cms[1]) < 1).all()
    assert jnp.isfinite(fused.log_likelihood)


def test_large_weights_do_not_underflow():
    fused = fusion.staple(_labels(), 3, weights=jnp.full(4, 500.0))
    np.testing.assert_allclose(fused.probs.sum(-1), 1, atol=1e-6)
    assert jnp.isfinite(fused.log_likelihood)


def test_frequencies_of_the_votes_by_hand():
    votes = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]])
    frequencies = rows.frequencies(votes, jnp.array([1.0, 3.0, 5.0]))
    np.testing.assert_allclose(frequencies, [1 / 4, 3 / 4], rtol=1e-6)
    np.testing.assert_array_equal(rows.frequencies(0 * votes, jnp.ones(3)), [0.5, 0.5])


def test_shares_of_the_classes_by_hand():
    # One voxel, three of another kind, and five without a vote.
    votes = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]])
    probs = jnp.array([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
    shares = rows.shares(rows.Rows(votes, jnp.array([1.0, 3.0, 5.0]), jnp.ones(2) / 2), probs)
    np.testing.assert_allclose(shares, [1.75 / 4, 2.25 / 4], rtol=1e-6)
    nobody = rows.Rows(votes[2:], jnp.array([5.0]), jnp.ones(2) / 2)
    np.testing.assert_array_equal(rows.shares(nobody, probs[2:]), [0.5, 0.5])


@pytest.mark.parametrize(("weights", "power"), [(None, 1), (jnp.array([2.0]), 2)])
def test_posterior_of_one_vote_by_hand(weights, power):
    # Three voxels with a vote for class 0, five without, and none of a third kind.
    votes = jnp.array([[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]])
    counts, cms = jnp.array([3.0, 5.0, 0.0]), jnp.array([[[0.8, 0.3], [0.2, 0.7]]])
    given = rows.Rows(votes, counts, jnp.array([0.5, 0.5]), weights)
    probs, log_likelihood = rows.posterior(given, cms)
    likelihoods = np.array([0.8, 0.3]) ** power
    np.testing.assert_allclose(probs[0], likelihoods / likelihoods.sum(), rtol=1e-6)
    np.testing.assert_allclose(probs[1], [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(log_likelihood, 3 * np.log(likelihoods.mean()), rtol=1e-6)


def test_a_prior_that_rules_out_what_was_seen_stands():
    given = rows.Rows(jnp.array([[[1.0, 0.0]]]), jnp.ones(1), jnp.array([0.0, 1.0]))
    probs, log_likelihood = rows.posterior(given, jnp.eye(2)[None])
    np.testing.assert_array_equal(probs, [[0, 1]])
    assert log_likelihood == -np.inf


def test_consensus_is_of_those_who_voted():
    same, other, nobody = [[0, 1], [0, 1], [0, 0]], [[0, 1], [1, 0], [0, 1]], [[0, 0]] * 3
    votes = jnp.array([same, other, nobody], jnp.float32)
    assert rows.consensus(votes).tolist() == [True, False, False]
    expected = [[0, 1], [1 / 3, 2 / 3], [0, 0]]
    np.testing.assert_allclose(rows.mean_vote(votes), expected, rtol=1e-6)


def test_an_estimated_prior_is_the_mean_of_the_probabilities():
    labels = _labels().at[:, :3].set(255)
    fused = fusion.staple(labels, 3, prior_update="estimated")
    prior = fused.probs[3:].reshape(-1, 3).mean(0)
    # Voxels without any vote are left out, and do not enter it.
    np.testing.assert_array_equal(fused.probs[:3], 0)
    kept = fusion.staple(labels, 3, prior=prior)
    np.testing.assert_allclose(fused.probs, kept.probs, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": -1},
        {"max_iterations": 0},
        {"prior_update": "guessed"},
        {"prior": jnp.ones(3) / 3, "prior_update": "estimated"},
    ],
)
def test_wrong_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        fusion.staple(_labels(), 3, **options)
