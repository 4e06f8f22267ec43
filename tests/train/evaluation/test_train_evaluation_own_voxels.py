"""A run's numbers against those of the files that it writes."""

import json
import pathlib

import folder_fakes
import nibabel
import numpy as np
import pytest

import configs.folder
from noisyjax import train
from noisyjax.data.volumes import read_write
from noisyjax.metrics import surface
from noisyjax.train import predict
from noisyjax.train.evaluation import own_voxels

# Of the last two, which are tested, the sides are filled up to the same.
SHAPES = [(20, 18, 9), (15, 22, 8), (18, 12, 13), (23, 17, 11), (14, 15, 16), (15, 13, 12)]


def _oblique(degrees):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ np.diag([-1.0, 1.5, 2.2, 1.0])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Cases of different sizes and spacings, oblique, turned and mirrored, with two raters."""
    root = tmp_path_factory.mktemp("oblique") / "data"
    folder_fakes.describe(root)
    for i, shape in enumerate(SHAPES):
        affine = _oblique(3 * i) @ np.diag([1.0 + 0.1 * i, 1.0, 1.0, 1.0])
        if i % 2:
            affine = affine[:, [1, 2, 0, 3]]
        label = folder_fakes.label(i, shape)
        image = folder_fakes.image(i, shape) + 800 * label.astype(np.int16)
        part, name = ("Ts" if i > 3 else "Tr"), f"case_{i}.nii.gz"
        folder_fakes.save(root / f"images{part}" / f"case_{i}_0000.nii.gz", image, affine)
        folder_fakes.save(root / f"labels{part}" / name, label, affine)
        for rater in ("anna", "ben"):
            folder_fakes.save(root / f"raters{part}" / rater / name, np.roll(label, 1, 0), affine)
    return root


def _config(root, **changes):
    config = configs.folder.get_config("smoke")
    with config.unlocked():
        config.data.options.root = str(root)
        config.evaluate.surface = True
        config.train.learning_rate = 0.02
        config.train.epochs = 6
        config.update_from_flattened_dict(changes)
    return config


WAYS = {
    "whole images, resampled": {"data.options.spacing": (1.4, 1.4, 1.9)},
    "whole images, cut": {"data.options.size": (12, 12, 8), "method": "cm_trace"},
    "patches": {
        "data.patches.size": (8, 8, 8),
        "data.patches.count": 2,
        "data.patches.foreground_share": 0.5,
        "evaluate.raters": True,
        "method": "staple",
    },
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:size:UserWarning", "ignore:.*no voxel of:UserWarning")
@pytest.mark.parametrize("way", WAYS)
def test_the_numbers_of_a_run_are_those_of_the_files_that_it_writes(
    data, tmp_path, monkeypatch, way
):
    if way == "patches":
        # As of large cases, which are not filled up.
        monkeypatch.setattr(own_voxels, "_LARGE", 100)
    _, summary = train.train_and_evaluate(_config(data, **WAYS[way]), tmp_path / "run")
    outcomes = predict.predict_folder(tmp_path / "run", data / "imagesTs", tmp_path / "out")
    found = {"dice": [], "label_dice": [], "accuracy": [], "hd95": [], "assd": []}
    for outcome in outcomes:
        case = pathlib.Path(outcome.path).name
        predicted, truth = (
            nibabel.load(folder / case) for folder in (tmp_path / "out", data / "labelsTs")
        )
        np.testing.assert_allclose(predicted.affine, truth.affine, atol=1e-5)
        made, true = np.asarray(predicted.dataobj), np.asarray(truth.dataobj)
        rater = np.asarray(nibabel.load(data / "ratersTs/anna" / case).dataobj)
        found["dice"].append([_dice(made == k, true == k) for k in (1, 2)])
        found["label_dice"].append([_dice(made == k, rater == k) for k in (1, 2)])
        found["accuracy"].append([np.mean((made == k) == (true == k)) for k in (1, 2)])
        written = (tmp_path / "out" / case, data / "labelsTs" / case)
        ras = [read_write.to_ras(read_write.read(path)) for path in written]
        distances = surface.surface_metrics_of_cases(
            ras[0].array[None].astype(np.uint8),
            ras[1].array[None].astype(np.uint8),
            num_classes=3,
            spacing=ras[1].spacing,
        )
        for name in ("hd95", "assd"):
            found[name].append(getattr(distances, name)[0])
    assert np.mean(found["dice"]) > 0.05
    for name, values in found.items():
        assert summary[f"test_{name}"] == pytest.approx(np.mean(values), abs=1e-6), name
    assert ("test_hm_iou" in summary) == (way == "patches")
    if WAYS[way].get("method") == "cm_trace":
        report = json.loads((tmp_path / "run/test_report.json").read_text())
        assert np.shape(list(report["mean_cms"].values())) == (2, 3, 3)


def _dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_what_is_filled_up_is_nobodys():
    truth = np.ones((9, 65), np.uint8)
    filled = own_voxels._filled("truth", truth, (9, 65), (16, 80))
    assert filled.shape == (16, 80)
    assert (filled == 255).sum() == 16 * 80 - 9 * 65
    matrices = np.ones((2, 1, 1, 3, 3))
    assert own_voxels._filled("cms", matrices, (9, 65), (16, 80)) is matrices
