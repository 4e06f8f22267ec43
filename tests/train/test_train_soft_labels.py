"""A folder whose labels are probabilities is trained on their mean."""

import folder_fakes
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import train_fakes

from noisyjax.core import rng
from noisyjax.data import source, sources
from noisyjax.data.folder import checker
from noisyjax.data.labels import assemble
from noisyjax.methods import fused
from noisyjax.train import experiments

SHAPE = (6, 5, 4)
END = ".nii.gz"
DESCRIBED = {"labels": {"background": 0, "organ": 1}, "soft": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two raters, of whom the second lacks case 1; floats of every kind."""
    root = folder_fakes.make(tmp_path_factory.mktemp("soft"), 4, shape=SHAPE)
    folder_fakes.describe(root, **DESCRIBED)
    for case in range(4):
        for number, rater in enumerate(("labelsTr", "ratersTr/anna", "ratersTr/ben")):
            if (rater, case) != ("ratersTr/ben", 1):
                folder_fakes.save(root / f"{rater}/case_{case:02d}{END}", _soft(case, number))
    return root


def _soft(case, number):
    draw = np.random.default_rng([case, number])
    return draw.choice([0.0, 1.0, 0.5, 1 / 3, 0.001, 0.9], SHAPE).astype(np.float32)


def _ras(array):
    return array[::-1, ::-1]


@pytest.mark.filterwarnings("ignore:.*no voxel of:UserWarning")
def test_probabilities_are_read_beside_the_more_probable_classes(root):
    assert checker.check(root) == []
    loaded = sources.load("folder", root=str(root))
    example = loaded.examples[2]
    for rater in range(2):
        soft = _ras(_soft(2, rater + 1))
        # In 16 bits.
        np.testing.assert_allclose(example["soft"][rater], soft, atol=0.51 / 65535)
        np.testing.assert_array_equal(example["labels"][rater], soft > 0.5)
    np.testing.assert_array_equal(example["truth"], _ras(_soft(2, 0)) > 0.5)
    # Where voxels change probabilities are interpolated, of the foreground as a whole.
    coarse = sources.load("folder", root=str(root), spacing=(2.0, 1.5, 2.0)).examples[2]["soft"][0]
    pairs = _ras(_soft(2, 1)).reshape(3, 2, 5, 4).mean(axis=1)
    np.testing.assert_allclose(coarse, pairs, atol=1e-4)


@pytest.mark.parametrize("parts", [False, True])
def test_the_target_is_the_mean_of_those_who_labelled_a_case(root, parts):
    loaded = sources.load("folder", root=str(root))
    loaded = source.at_own_sizes(loaded) if parts else loaded
    options = {"panel": None, "seed": 0, "include_truth": False, "target": assemble.SOFT}
    labelled = assemble.label(loaded, np.arange(3), parts=parts, **options)
    for case, given in ((0, (1, 2)), (1, (1,))):
        mean = _ras(np.mean([_soft(case, number) for number in given], axis=0))
        target = labelled[case]["target"]
        np.testing.assert_allclose(target, np.stack([1 - mean, mean], axis=-1), atol=2e-5)
        if parts:
            part = labelled.part(case, (-1, 0, 0), (3, 3, 3))["target"]
            np.testing.assert_array_equal(part[1:], target[:2, :3, :3])
            assert (part[0] == [1.0, 0.0]).all()
    # Of chosen raters theirs alone.
    of_one = assemble.label(loaded, np.arange(3), raters=("ben",), **options)[0]["target"]
    np.testing.assert_allclose(of_one[..., 1], _ras(_soft(0, 2)), atol=2e-5)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("method", ["mean", "majority"])
def test_a_run_on_the_mean_learns_probabilities(root, method):
    config = train_fakes.config(
        options={"root": str(root)},
        **{"data.name": "folder", "data.splits": (), "method": method},
    )
    with config.unlocked():
        config.model = ml_collections.ConfigDict({"name": "unet", "widths": (2,)})
    batch = experiments.build(config).example_batch()
    read = fused.reader(method, 2)(batch, rng.root_key(0), jnp.int32(0))
    if method == "mean":
        np.testing.assert_array_equal(read, batch["target"])
        assert ((read > 0) & (read < 1)).any()
    else:
        assert "target" not in batch
        assert ((read == 0) | (read == 1)).all()


@pytest.mark.parametrize(
    ("content", "value", "kind"),
    [
        ({**DESCRIBED, "labels": folder_fakes.CLASSES}, 1, "bad_soft"),
        ({**DESCRIBED, "labels": {"background": 0, "organ": 1, "ignore": 2}}, 1, "bad_soft"),
        ({**DESCRIBED, "soft": ["anna"]}, 1, "bad_soft"),
        (DESCRIBED, 1.01, "no_probability"),
        (DESCRIBED, np.nan, "no_probability"),
        ({**DESCRIBED, "soft": False}, 0.5, "not_whole"),
    ],
)
def test_what_is_no_probability_is_named(tmp_path, content, value, kind):
    root = folder_fakes.make(tmp_path, 1, shape=(3, 3, 3))
    folder_fakes.describe(root, **content)
    label = np.zeros((3, 3, 3), np.float32)
    label[0, 0, 0] = value
    folder_fakes.save(root / f"labelsTr/case_00{END}", label)
    assert kind in {problem.kind for problem in checker.check(root)}
