"""Patches that are read alone, against the same parts of whole examples."""

import functools

import folder_fakes
import numpy as np
import pytest

from noisyjax.data import patch_batches, patches, pipeline, source, sources
from noisyjax.data.labels import assemble, cache, frozen

SHAPES = [(40, 18, 16), (9, 37, 12), (11, 10, 35)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three cases of different sizes, labelled by two raters, one of whom lacks a case."""
    root = tmp_path_factory.mktemp("sizes")
    folder_fakes.describe(root)
    for i, shape in enumerate(SHAPES):
        name = f"case_{i}"
        folder_fakes.save(root / "imagesTr" / f"{name}_0000.nii.gz", folder_fakes.image(i, shape))
        for part in ("labelsTr", "ratersTr/anna", *["ratersTr/ben"] * (i != 1)):
            seed = i + len(part)
            folder_fakes.save(root / part / f"{name}.nii.gz", folder_fakes.label(seed, shape))
    return root


def _labelled(root, *, folder="", panel=None, **options):
    data = source.at_own_sizes(sources.load("folder", root=str(root), cache=folder))
    options = {"target": "staple", "include_truth": True, **options}
    if folder:
        options["kept_in"] = cache.OnDisk(f"{folder}/labels", 3)
    return assemble.label(data, np.arange(3), panel=panel, seed=0, parts=True, **options)


@pytest.fixture(scope="module")
def in_memory(root):
    return _labelled(root)


@pytest.fixture(scope="module")
def on_disk(root, tmp_path_factory):
    return _labelled(root, folder=str(tmp_path_factory.mktemp("cache")))


HOW = patches.Draw((12, 9, 14), (2, 0, 1), 3, 0.5)


@pytest.mark.parametrize("kind", ["in_memory", "on_disk"])
def test_patches_are_parts_of_whole_examples(kind, request):
    examples = request.getfixturevalue(kind)
    batch = patch_batches.draw(examples, HOW, np.array([2, 0]), 4, seed=1)
    assert batch["image"].shape == (6, 16, 9, 16, 1)
    assert batch["target"].shape == (6, 16, 9, 16, 3)
    np.testing.assert_array_equal(batch["id"], [2, 2, 2, 0, 0, 0])
    np.testing.assert_array_equal(batch["draw"], [0, 1, 2, 0, 1, 2])
    for number, index in enumerate(batch["index"].tolist()):
        whole = examples[index]
        assert whole["image"].shape[:-1] == SHAPES[index] == examples.extent(index)
        draw = functools.partial(patches.corners, HOW, SHAPES[index], examples.positions(index))
        corner = draw(seed=1, example_id=index, epoch=4)[number % 3] - HOW.margin
        inside = tuple(
            slice(max(0, c), min(c + n, side))
            for c, n, side in zip(corner, HOW.read, SHAPES[index], strict=True)
        )
        places = tuple(slice(i.start - c, i.stop - c) for i, c in zip(inside, corner, strict=True))
        for name, leading in cache.LEADING.items():
            every = (slice(None),) * leading
            np.testing.assert_array_equal(
                batch[name][number][every + places], whole[name][every + inside], err_msg=name
            )
        outside = np.ones(HOW.read, bool)
        outside[places] = False
        np.testing.assert_array_equal(batch["image"][number][outside], whole["image"].min())
        assert not batch["labels"][number][:, outside].any()
        np.testing.assert_array_equal(batch["target"][number][outside, 0], 1)
    np.testing.assert_array_equal(batch["rater_mask"], [[True, True]] * 6)
    cut = patch_batches.without_margin(batch, HOW)
    np.testing.assert_array_equal(cut["labels"], batch["labels"][:, :, 2:-2, :, 1:-1])
    np.testing.assert_array_equal(cut["image"], batch["image"][:, 2:-2, :, 1:-1])
    assert "draw" not in cut


def _batches(examples, **options):
    options = {"batch_size": 2, "seed": 5, "num_steps": 4, **options}
    draw = functools.partial(patch_batches.draw, examples, HOW, seed=5)
    return list(pipeline.train_batches(examples, draw=draw, **options))


def _assert_same(one, other):
    assert [set(batch) for batch in one] == [set(batch) for batch in other]
    for a, b in zip(one, other, strict=True):
        for name, array in a.items():
            np.testing.assert_array_equal(array, b[name], err_msg=name)


def test_disk_threads_processes_and_resuming_change_nothing(in_memory, on_disk):
    batches = _batches(in_memory)
    np.testing.assert_array_equal(batches[1]["weight"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(batches[2]["epoch"], [1] * 6)
    _assert_same(batches, _batches(on_disk))
    _assert_same(batches, _batches(in_memory, threads=0))
    _assert_same(batches[3:], _batches(on_disk, start_step=3))
    parts = [_batches(on_disk, process_index=i, process_count=2) for i in range(2)]
    joined = [
        {name: np.concatenate([one[name], other[name]]) for name in one}
        for one, other in zip(*parts, strict=True)
    ]
    _assert_same(batches, joined)
    assert not np.array_equal(batches[0]["image"], batches[2]["image"])


def test_what_was_made_is_found_again_and_other_labels_are_made_anew(root, tmp_path):
    folder = str(tmp_path)
    cases = lambda: sorted(path.name for path in (tmp_path / "labels").iterdir())  # noqa: E731
    _labelled(root, folder=folder)
    first = cases()
    assert len(first) == 3
    again = _labelled(root, folder=folder)
    assert cases() == first
    np.testing.assert_array_equal(again.rater_masks, [[True, True], [True, False], [True, True]])
    for options in ({"target": ""}, {"labels_per_image": 1}, {"gold": "staple"}):
        before = len(cases())
        _labelled(root, folder=folder, **options)
        assert len(cases()) == before + 3, options


def test_simulated_and_replaced_labels_of_cases_that_differ_in_size(root, tmp_path):
    panel = frozen.panel(("good", "over"), num_classes=3, spacing=(1.0, 1.5, 2.0))
    drawn = _labelled(root, folder=str(tmp_path), panel=panel, drawn_by={"names": ["good", "over"]})
    for index in range(3):
        example = drawn[index]
        np.testing.assert_array_equal(example["labels"][0], example["truth"])
        assert (example["labels"][1] > 0).sum() > (example["truth"] > 0).sum()
    good = frozen.panel(("good",), num_classes=3, spacing=(1.0, 1.5, 2.0))
    how = {"share": 2 / 3, "overlap": 0.8, "kinds": ("erosion", "dilation")}
    replaced = _labelled(root, panel=good, replacement=how)
    assert replaced.replacement.replaced.sum() == 2
    overlaps = np.sort(replaced.replacement.overlaps)
    np.testing.assert_allclose(overlaps, [0.8, 0.8, 1], atol=0.1)
