"""Simulated and real raters: what an example receives depends on (seed, id) alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax import fusion
from noisyjax.core import rng
from noisyjax.data import source
from noisyjax.data.labels import assemble, cache, frozen
from noisyjax.noise import annotators


def flipping(key, truth):
    """A panel of two: a fair coin at every voxel, and the truth."""
    coin = jax.random.bernoulli(key, shape=truth.shape)
    return jnp.stack([coin.astype(jnp.uint8), truth])


def _source(n=10, *, shape=(4, 5), raters=(), masks=None, **arrays):
    random = np.random.default_rng(0)
    fields = {
        "images": random.normal(size=(n, *shape, 1)).astype(np.float32),
        "truths": random.integers(0, 2, (n, *shape), dtype=np.uint8),
    }
    if raters:
        fields["labels"] = random.integers(0, 2, (n, len(raters), *shape), dtype=np.uint8)
    arrays = {**fields, **arrays}
    return source.Source(
        name="toy",
        examples=source.ArrayExamples(**arrays, rater_masks=masks),
        num_classes=2,
        class_names=("background", "thing"),
        spacing=(1.0,) * len(shape),
        has_truth=arrays["truths"] is not None,
        rater_names=raters,
        case_names=tuple(f"case-{i}" for i in range(n)),
    )


def _annotate(data, ids, **options):
    options = {"panel": flipping, "seed": 1, "include_truth": True, **options}
    return assemble.label(data, np.asarray(ids), **options)


def _all(examples, name):
    return examples.take(np.arange(len(examples)))[name]


def _batch(data, ids, epoch):
    truth = np.stack([data.examples[i]["truth"] for i in ids])
    return {
        "truth": jnp.asarray(truth),
        "labels": jnp.zeros((len(ids), 2, *truth.shape[1:]), jnp.uint8),
        "id": jnp.asarray(ids, jnp.int32),
        "epoch": epoch,
    }


def test_labels_are_the_panels_draw_with_the_examples_own_key():
    data = _source()
    annotated = _annotate(data, [7, 2])
    for i, example_id in enumerate((7, 2)):
        key = rng.example_key(rng.purpose_key(1, "noise"), example_id)
        example = data.examples[example_id]
        expected = flipping(key, jnp.asarray(example["truth"]))
        np.testing.assert_array_equal(annotated[i]["labels"], expected)
        np.testing.assert_array_equal(annotated[i]["truth"], example["truth"])
        np.testing.assert_array_equal(annotated[i]["image"], example["image"])
        assert annotated[i]["id"] == example_id
    assert _all(annotated, "labels").dtype == np.uint8
    assert len(annotated) == 2


@pytest.fixture(scope="module")
def whole():
    """Options, and everything that is drawn by them for all ten examples in one chunk."""
    options = {"panel": flipping, "labels_per_image": 1, "input_noise": 0.1}
    return options, _annotate(_source(), np.arange(10), **options)


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_subset_and_order_change_nothing(whole, chunk):
    common, expected = whole
    ids = [9, 0, 4, 5, 3, 8, 1]
    part = _annotate(_source(), ids, **common, chunk=chunk)
    np.testing.assert_array_equal(_all(part, "labels"), _all(expected, "labels")[ids])
    np.testing.assert_array_equal(part.rater_masks, expected.rater_masks[ids])
    np.testing.assert_allclose(_all(part, "image"), _all(expected, "image")[ids], rtol=0, atol=1e-6)


def test_the_device_changes_nothing(whole):
    common, expected = whole
    with jax.default_device(jax.devices()[-1]):
        other = _annotate(_source(), np.arange(10), **common)
    np.testing.assert_array_equal(_all(other, "labels"), _all(expected, "labels"))
    np.testing.assert_array_equal(other.rater_masks, expected.rater_masks)
    np.testing.assert_allclose(_all(other, "image"), _all(expected, "image"), rtol=0, atol=1e-6)


def test_simulated_annotators_resample_in_the_step_as_frozen():
    data, panel = _source(), annotators.panel(("good", "over"))
    kept = _annotate(data, np.arange(10), panel=panel)
    resample = jax.jit(lambda b: frozen.resample_labels(b, panel=panel, seed=1)["labels"])
    again = resample(_batch(data, [0, 5], jnp.int32(-1)))
    np.testing.assert_array_equal(again, _all(kept, "labels")[[0, 5]])
    np.testing.assert_array_equal(_all(kept, "labels")[5, 0], data.examples[5]["truth"])


def test_the_seed_changes_the_labels():
    data = _source()
    one, other = (_all(_annotate(data, np.arange(10), seed=s), "labels") for s in (1, 2))
    assert (one[:, 0] != other[:, 0]).any()


@pytest.mark.parametrize("jit", [True, False])
def test_resampling_agrees_with_the_frozen_draw_at_the_frozen_epoch(jit):
    data, ids = _source(), [3, 1, 8]
    kept = _annotate(data, ids)

    def resample(batch):
        return frozen.resample_labels(batch, panel=flipping, seed=1)["labels"]

    resample = jax.jit(resample) if jit else resample
    again = resample(_batch(data, ids, jnp.int32(-1)))
    assert again.dtype == jnp.uint8
    np.testing.assert_array_equal(again, _all(kept, "labels"))
    draws = [np.asarray(resample(_batch(data, ids, jnp.int32(e)))) for e in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][:, 0] != _all(kept, "labels")[:, 0]).any()
    assert (draws[0][:, 0] != draws[2][:, 0]).any()
    np.testing.assert_array_equal(draws[0][:, 1], _all(kept, "labels")[:, 1])
    mixed = resample(_batch(data, ids, jnp.array([1, 0, 1], jnp.int32)))
    np.testing.assert_array_equal(mixed[:2], np.stack([draws[2][0], draws[0][1]]))


def test_labels_per_image_is_frozen_and_leaves_the_labels_alone():
    data = _source(30)
    every, one = (_annotate(data, np.arange(30), labels_per_image=k, chunk=10) for k in (0, 1))
    assert every.rater_masks.all()
    assert (one.rater_masks.sum(1) == 1).all()
    assert 0 < one.rater_masks[:, 0].sum() < 30
    np.testing.assert_array_equal(_all(one, "labels"), _all(every, "labels"))
    again = _annotate(data, np.arange(30), labels_per_image=1, chunk=10)
    np.testing.assert_array_equal(one.rater_masks, again.rater_masks)


def test_input_noise_has_the_wanted_deviation_and_leaves_the_labels_alone(whole):
    data, (_, noisy) = _source(), whole
    clean = _annotate(data, np.arange(10))
    added = np.stack([noisy[i]["image"] - clean[i]["image"] for i in range(10)])
    assert added.dtype == np.float32
    # 200 draws: the deviation is known to 5 %, the mean to 7 % of it.
    assert abs(added.std() - 0.1) < 0.02
    assert abs(added.mean()) < 0.03
    np.testing.assert_array_equal(_all(noisy, "labels"), _all(clean, "labels"))


def test_truth_is_left_out_unless_asked_for():
    assert "truth" not in _annotate(_source(), [0], include_truth=False)[0]


def test_a_sources_own_raters_are_selected_by_name():
    masks = np.array([[True, False, True]] * 10)
    data = _source(raters=("ann", "bob", "eve"), masks=masks)
    whole = _annotate(data, [4, 2], panel=None)
    np.testing.assert_array_equal(whole[0]["labels"][[0, 2]], data.examples[4]["labels"][[0, 2]])
    assert not whole[0]["labels"][1].any()
    np.testing.assert_array_equal(whole.rater_masks, [[True, False, True]] * 2)
    part = _annotate(data, [4, 2], panel=None, raters=("eve", "bob"))
    np.testing.assert_array_equal(_all(part, "labels"), _all(whole, "labels")[:, [2, 1]])
    np.testing.assert_array_equal(part.rater_masks, [[True, False]] * 2)
    one = _annotate(data, np.arange(10), panel=None, labels_per_image=1)
    assert (one.rater_masks.sum(1) == 1).all()
    assert not one.rater_masks[:, 1].any()


def test_of_many_raters_the_labels_that_they_gave_are_kept():
    masks = np.arange(50) % 10 == np.arange(10)[:, np.newaxis]
    data = _source(shape=(8, 8), raters=tuple(f"rater-{r}" for r in range(50)), masks=masks)
    # Of each image five labels of 64 voxels, and two masks of fifty raters: 420 bytes.
    kept = cache.Cache(10 * 420)
    labelled = _annotate(data, np.arange(10), panel=None, include_truth=False, kept_in=kept)
    assert not kept.overflowed
    assert kept.get((id(labelled.ids), 3)) is not None
    given = np.where(masks[..., None, None], data.examples.labels, 0)
    np.testing.assert_array_equal(_all(labelled, "labels"), given)
    np.testing.assert_array_equal(_all(labelled, "rater_mask"), masks)


@pytest.mark.parametrize(("raters", "chunk"), [(0, 64), (8, 64), (200, 10)])
def test_many_labels_are_read_a_few_images_at_a_time(raters, chunk):
    # No more than 2**25 labels of voxels: ten images of 200 raters.
    names = tuple(f"rater-{r}" for r in range(raters))
    data = dataclasses.replace(_source(1, shape=(128, 128)), rater_names=names)
    assert assemble.chunk_size(data, 100, 0) == chunk


def test_one_path_for_volumes():
    data = _source(3, shape=(3, 4, 5))
    annotated = _annotate(data, [2, 0], chunk=1)
    assert _all(annotated, "labels").shape == (2, 2, 3, 4, 5)
    np.testing.assert_array_equal(_all(annotated, "labels")[0, 1], data.examples[2]["truth"])


def test_the_parts_of_a_run_share_one_compilation():
    traced = []

    def counting(key, truth):
        traced.append(truth.shape)
        return flipping(key, truth)

    for ids in (np.arange(10), np.arange(4), np.arange(3, 8)):
        _annotate(_source(), ids, panel=counting, chunk=4)
    assert len(traced) == 1


@pytest.mark.parametrize(
    "options", [{"labels_per_image": -1}, {"input_noise": -0.1}, {"chunk": -1}]
)
def test_negative_numbers_raise(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected a number"):
        _annotate(_source(), [0], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"panel": None}, "toy: has no raters of its own, expected a panel"),
        ({"raters": ("ann",)}, "raters: expected none beside a panel"),
    ],
)
def test_raters_that_do_not_exist_raise(options, message):
    with pytest.raises(ValueError, match=message):
        _annotate(_source(), [0], **options)


def test_an_unknown_rater_is_named():
    with pytest.raises(ValueError, match=r"toy has \('ann', 'bob'\), got \['joe'\]"):
        _annotate(_source(raters=("ann", "bob")), [0], panel=None, raters=("bob", "joe"))


def test_empty_or_foreign_ids_raise():
    with pytest.raises(ValueError, match="the split is empty"):
        _annotate(_source(), np.zeros(0, int))
    with pytest.raises(ValueError, match=r"ids in 0\.\.9, got 3\.\.10"):
        _annotate(_source(), [3, 10])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_named(bad):
    images = np.zeros((10, 4, 5, 1), np.float32)
    images[6, 1, 2, 0] = bad
    data = _source(images=images)
    with pytest.raises(ValueError, match="case-6: image: expected finite intensities"):
        _annotate(data, np.arange(10), chunk=4)
    assert len(_annotate(data, np.arange(6))) == 6


def test_an_image_of_another_shape_is_named():
    data = _source()
    examples = [data.examples[i] for i in range(10)]
    examples[8] = {**examples[8], "image": np.zeros((5, 4, 1), np.float32)}
    object.__setattr__(data, "examples", examples)
    with pytest.raises(ValueError, match=r"case-8: image: expected shape \[4, 5, 1\]"):
        _annotate(data, np.arange(10), chunk=4)


def test_an_unknown_truth_raises():
    data = _source(raters=("ann",), truths=None)
    assert _annotate(data, [0], panel=None, include_truth=False)[0]["labels"].shape[0] == 1
    for options in ({"panel": None}, {"include_truth": False}):
        with pytest.raises(ValueError, match="toy: the truth is asked for"):
            _annotate(data, [0], **options)


def test_what_is_held_back_is_there_where_every_label_is_wanted(whole):
    common, few = whole
    every = _annotate(_source(), [2, 3, 4], **common, every_label=True)
    assert (few.rater_masks.sum(1) == 1).all()
    assert every.rater_masks.all()
    np.testing.assert_array_equal(_all(every, "labels"), _all(few, "labels")[2:5])


def test_a_gold_standard_takes_the_place_of_the_truth():
    data = _source(raters=("ann", "bob", "eve"), truths=None)
    common = {"panel": None, "gold": "staple"}
    judged = _annotate(data, np.arange(10), **common)
    unseen = _annotate(data, np.arange(10), **common, include_truth=False)
    assert judged.has_truth
    assert "truth" not in unseen[6]
    np.testing.assert_array_equal(unseen.truths(np.array([6]))[0], judged[6]["truth"])
    own = fusion.staple(jnp.asarray(data.examples[6]["labels"])).probs.argmax(-1)
    np.testing.assert_array_equal(judged[6]["truth"], own)
    assert judged[6]["truth"].dtype == np.uint8


def test_targets_fuse_the_labels_that_are_carried():
    data = _source(raters=("ann", "bob", "eve"))
    examples = _annotate(data, np.arange(10), panel=None, target="staple", labels_per_image=2)
    batch = examples.take(np.array([3, 8]))
    assert batch["target"].dtype == np.float32
    for labels, mask, target in zip(batch["labels"], batch["rater_mask"], batch["target"]):
        own = fusion.staple(jnp.asarray(labels), rater_mask=jnp.asarray(mask)).probs
        np.testing.assert_allclose(target, own, atol=1e-5)


@pytest.mark.parametrize("memory", [0, 300, 10**6])
def test_what_is_kept_changes_nothing(monkeypatch, whole, memory):
    common, expected = whole
    monkeypatch.setattr(assemble, "MEMORY", memory)
    examples = _annotate(_source(), np.arange(10), **common, chunk=4)
    for indices in (np.array([9, 1, 9]), np.arange(10), np.array([5])):
        batch, other = examples.take(indices), expected.take(indices)
        assert batch.keys() == other.keys()
        for name in ("labels", "rater_mask", "truth", "id", "index"):
            np.testing.assert_array_equal(batch[name], other[name])
        np.testing.assert_allclose(batch["image"], other["image"], rtol=0, atol=1e-6)


def test_splits_carry_what_is_meant_for_them():
    data = _source()
    splits = {"train": np.arange(6), "val": np.arange(6, 8), "test": np.arange(8, 10), "x": []}
    examples = assemble.assemble(data, splits, panel=flipping, seed=1, labels_per_image=1)
    assert [*examples] == ["train", "val", "test"]
    assert [e.has_truth for e in examples.values()] == [False, True, True]
    assert [int(e.rater_masks.sum(1).max()) for e in examples.values()] == [1, 1, 2]
