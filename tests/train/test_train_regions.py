"""A folder with regions is trained on, judged and predicted by a sigmoid for each of them."""

import json

import folder_fakes
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import train_fakes
from flax import linen as nn

from noisyjax import models, train
from noisyjax.core import class_regions
from noisyjax.data.volumes import read_write
from noisyjax.metrics import overlap
from noisyjax.tool import saved_run
from noisyjax.train import predict, saved_runs
from noisyjax.train.workdir import config_and_summary, data_facts, folder_facts

pytestmark = pytest.mark.usefixtures("fakes")

SHAPE = (8, 9)
# The outer region is written as 2.
LABELS = {"background": 0, "whole": [1, 2], "core": 1, "ignore": 3}
ORDER = [2, 1]


class _Voxelwise(nn.Module):
    num_classes: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, *, train=False, keys=None, weight=None):
        logits = nn.Dense(self.num_classes)(image)
        return models.segmentation.Segmentation(logits, image)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The brighter, the further inside; a part of each label is left out."""
    root = tmp_path_factory.mktemp("regions") / "data"
    draw = np.random.default_rng(0)
    for part, case in [*(("Tr", i) for i in range(4)), ("Ts", 4)]:
        depth = draw.integers(0, 3, SHAPE)
        image = (80 * depth + draw.integers(0, 20, SHAPE)).astype(np.uint8)
        label = np.array([0, 2, 1], np.uint8)[depth]
        label[:, 7:] = 3
        folder_fakes.save(root / f"images{part}/case_{case}_0000.png", image)
        folder_fakes.save(root / f"labels{part}/case_{case}.png", label)
    folder_fakes.describe(root, end=".png", labels=LABELS, regions_class_order=ORDER)
    return root


def _config(root, method="majority"):
    config = train_fakes.config(
        options={"root": str(root)},
        **{"data.name": "folder", "data.splits": (), "method": method, "train.epochs": 60},
        **{"train.warmup_steps": 0, "train.learning_rate": 0.3, "evaluate.every_epochs": 60},
    )
    with config.unlocked():
        config.model = ml_collections.ConfigDict({"name": "voxelwise"})
    return config


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """A run that has learnt the regions."""
    with pytest.MonkeyPatch.context() as patch:
        train_fakes.install(patch)
        patch.setitem(models.MODELS, "voxelwise", _Voxelwise)
        folder = tmp_path_factory.mktemp("run")
        train.train_and_evaluate(_config(root), folder)
    return folder


@pytest.fixture(autouse=True)
def _voxelwise(monkeypatch):
    monkeypatch.setitem(models.MODELS, "voxelwise", _Voxelwise)


def test_regions_are_learnt_judged_and_written_as_classes(root, run, tmp_path):
    trained = saved_runs.restore_without_data(run)
    regions = trained.method.regions
    assert regions == class_regions.Regions(("whole", "core"), ((1, 2), (1,)), (2, 1))
    assert trained.facts.class_names == ("background", "core", "class_2")
    (outcome,) = predict.predict_folder(run, root / "imagesTs", tmp_path)
    written = read_write.read(outcome.path).array
    truth = read_write.read(root / "labelsTs/case_4.png").array
    known = truth < 3
    assert (written == truth)[known].mean() > 0.8
    # By nnU-Net's rule, of the regions that the run gives for the same pixels.
    image = read_write.to_ras(read_write.read(root / "imagesTs/case_4_0000.png"))
    output = saved_run.load_run(run).predict(image.array, image.spacing)
    expected = np.where(output.regions[..., 1] > 0.5, 1, 2 * (output.regions[..., 0] > 0.5))
    np.testing.assert_array_equal(output.mask, expected)
    again = read_write.from_ras(
        output.mask, like=read_write.peek(root / "imagesTs/case_4_0000.png")
    )
    np.testing.assert_array_equal(again.array, written)
    # Judged as what was written, each region and each class.
    summary = config_and_summary.read_summary(run)

    def dice(ids):
        masks = [jnp.asarray(np.isin(array[known], ids)) for array in (written, truth)]
        return float(overlap.dice(overlap.counts(*masks, 2))[1])

    assert summary["test_region_dice"] == pytest.approx((dice([1, 2]) + dice([1])) / 2, abs=1e-6)
    assert summary["test_dice"] == pytest.approx((dice([1]) + dice([2])) / 2, abs=1e-6)
    rows = (run / "test_cases.csv").read_text()
    assert {f"case_4,{name},region_dice" in rows for name in regions.names} == {True}


def test_methods_of_raters_refuse_the_folder(root, tmp_path):
    with pytest.raises(ValueError, match="method: expected one that learns regions"):
        train.train_and_evaluate(_config(root, "separate"), tmp_path / "run")


def test_regions_that_do_not_fit_the_run_are_refused(root, run, tmp_path):
    content = json.loads((run / data_facts.FILE).read_text())
    facts = data_facts.read(run)
    data_facts.check_same(run, facts)
    content["about"]["regions"]["order"] = [1, 1]
    (tmp_path / data_facts.FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"regions was .*\[1, 1\].*, now .*\[2, 1\]"):
        data_facts.check_same(tmp_path, facts)


def test_facts_whose_regions_are_none_are_refused(run):
    about = dict(data_facts.read(run).about)
    assert folder_facts.regions(about, 3).order == (2, 1)
    assert folder_facts.regions({"preparation": {}}, 3) is None
    with pytest.raises(ValueError, match="about.regions: expected regions of 4 classes, got 3"):
        folder_facts.regions(about, 4)
    with pytest.raises(ValueError, match="about.regions: expected for core a class of"):
        folder_facts.regions({"regions": {**about["regions"], "order": [2, 2]}}, 3)
