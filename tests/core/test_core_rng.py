import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.core import rng

_IDS = np.array([7, 3, 1000, 0, 41, 5, 8, 123456], np.int32)


def _data(keys):
    return np.asarray(jax.random.key_data(keys))


@jax.jit
def _draw(ids):
    key = rng.purpose_key(0, "noise")
    return jax.vmap(jax.random.normal)(rng.example_keys(key, ids))


def test_a_key_is_the_documented_chain_of_folds():
    key = jax.random.fold_in(jax.random.key(5, impl="threefry2x32"), rng.PURPOSES["noise"])
    expected = jax.random.fold_in(jax.random.fold_in(key, 12), 0)
    actual = rng.example_key(rng.purpose_key(5, "noise"), 12)
    np.testing.assert_array_equal(_data(actual), _data(expected))
    per_rater = rng.rater_keys(actual, 3)
    np.testing.assert_array_equal(_data(per_rater[2]), _data(jax.random.fold_in(expected, 2)))


def test_keys_do_not_depend_on_the_default_implementation():
    with jax.default_prng_impl("rbg"):
        key = rng.purpose_key(0, "noise")
    np.testing.assert_array_equal(_data(key), _data(rng.purpose_key(0, "noise")))


def test_a_root_key_stands_for_its_seed():
    from_key = rng.purpose_key(rng.root_key(3), "augment")
    np.testing.assert_array_equal(_data(from_key), _data(rng.purpose_key(3, "augment")))


def test_what_an_example_receives_depends_on_its_id_only():
    together = np.asarray(_draw(_IDS))
    order = np.array([4, 2, 0, 1, 3, 7, 6, 5])
    np.testing.assert_array_equal(_draw(_IDS[order]), together[order])
    np.testing.assert_array_equal(_draw(_IDS[:3]), together[:3])
    np.testing.assert_array_equal(np.concatenate([_draw(_IDS[:3]), _draw(_IDS[3:])]), together)


def test_what_an_example_receives_does_not_depend_on_the_devices():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    sharded = _draw(jax.device_put(_IDS, sharding))
    assert len(sharded.sharding.device_set) == len(jax.devices())
    np.testing.assert_array_equal(sharded, _draw(_IDS))


def test_what_an_example_receives_does_not_depend_on_its_shard_under_pmap():
    sharded = jax.pmap(_draw)(_IDS.reshape(len(jax.devices()), -1))
    np.testing.assert_array_equal(np.asarray(sharded).reshape(-1), _draw(_IDS))


def test_vmap_over_keys_equals_a_loop():
    keys = rng.rater_keys(rng.purpose_key(1, "sample"), 4)
    batched = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
    loop = np.stack([jax.random.uniform(key, (3,)) for key in keys])
    np.testing.assert_array_equal(batched, loop)


def test_rater_keys_do_not_depend_on_the_number_of_raters():
    key = rng.purpose_key(0, "noise")
    np.testing.assert_array_equal(_data(rng.rater_keys(key, 5))[:2], _data(rng.rater_keys(key, 2)))


def test_seeds_purposes_examples_epochs_and_raters_have_distinct_keys():
    # Stored runs have these numbers: each purpose that was added took the next one.
    assert list(rng.PURPOSES.values()) == list(range(len(rng.PURPOSES)))
    keys = [
        rng.example_key(rng.purpose_key(seed, purpose), example_id, epoch=epoch)
        for seed in (0, 1)
        for purpose in rng.PURPOSES
        for example_id in (0, 1, 2)
        for epoch in (0, 1)
    ]
    raters = jax.vmap(lambda key: rng.rater_keys(key, 2))(jnp.stack(keys))
    data = np.concatenate([_data(jnp.stack(keys)), _data(raters).reshape(-1, 2)])
    assert len(np.unique(data, axis=0)) == len(data)


def test_the_epoch_may_be_traced():
    key = rng.purpose_key(0, "augment")
    traced = jax.jit(lambda i, e: rng.example_key(key, i, epoch=e))(jnp.int32(3), jnp.int32(2))
    np.testing.assert_array_equal(_data(traced), _data(rng.example_key(key, 3, epoch=2)))


def test_an_unknown_purpose_raises_with_the_known_ones():
    with pytest.raises(ValueError, match="purpose: expected one of 'init', .*, got 'luck'"):
        rng.purpose_key(0, "luck")
