"""A folder with the class "ignore" is trained on, judged and predicted without it."""

import folder_fakes
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import train_fakes
from flax import linen as nn

from noisyjax import models, train
from noisyjax.data.volumes import read_write
from noisyjax.metrics import overlap
from noisyjax.train import predict
from noisyjax.train.workdir import config_and_summary

pytestmark = pytest.mark.usefixtures("fakes")

_LABELS = {"background": 0, "organ": 1, "ignore": 2}


class _Voxelwise(nn.Module):
    num_classes: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, *, train=False, keys=None, weight=None):
        logits = nn.Dense(self.num_classes)(image)
        return models.segmentation.Segmentation(logits, image)


def test_a_folder_with_ignored_voxels_is_trained_on_judged_and_predicted(monkeypatch, tmp_path):
    monkeypatch.setitem(models.MODELS, "voxelwise", _Voxelwise)
    root = folder_fakes.make(tmp_path / "data", 4, end=".png", shape=(8, 9), tests=1)
    for part, case in [*(("Tr", i) for i in range(4)), ("Ts", 4)]:
        marks = folder_fakes.label(case, (8, 9))
        marks[:, 6:] = 2
        folder_fakes.save(root / f"labels{part}/case_{case:02d}.png", marks)
    folder_fakes.describe(root, end=".png", labels=_LABELS)
    config = train_fakes.config(
        options={"root": str(root)},
        **{"data.name": "folder", "data.splits": (), "train.epochs": 2, "method": "majority"},
        **{"train.warmup_steps": 0},
        **{"data.augment": ml_collections.ConfigDict({"flip_axes": (0,)})},
    )
    with config.unlocked():
        config.model = ml_collections.ConfigDict({"name": "voxelwise"})
    run = tmp_path / "run"
    train.train_and_evaluate(config, run)
    summary = config_and_summary.read_summary(run)
    undefined = {n for n, value in summary.items() if n[:5] == "test_" and np.isnan(value)}
    # There is one case to test.
    assert {name for name in undefined if not name.endswith("_sd")} == set()
    (outcome,) = predict.predict_folder(run, root / "imagesTs", tmp_path / "out")
    written = read_write.read(outcome.path).array
    assert set(np.unique(written)) <= {0, 1}
    truth = read_write.read(root / "labelsTs/case_04.png").array
    rest = truth < 2
    counts = overlap.counts(jnp.asarray(written[rest]), jnp.asarray(truth[rest]), 2)
    assert summary["test_dice"] == pytest.approx(float(overlap.dice(counts)[1]), abs=1e-6)
