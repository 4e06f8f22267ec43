"""The division and the noisy labels of a side-by-side."""

import folder_fakes
import numpy as np
import pytest

from noisyjax.benchmarks.side_by_side import study_folders
from noisyjax.data.volumes import read_write


@pytest.fixture
def volumes(tmp_path):
    """Five volumes of other extents, padded to 9 x 8 x 8."""
    path = tmp_path / "volumes.npz"
    extents = np.array([[9, 8, 8], [8, 8, 8], [9, 7, 8], [9, 8, 7], [8, 7, 7]])
    image = np.zeros((5, 9, 8, 8), np.uint8)
    label = np.zeros_like(image)
    for n, extent in enumerate(extents):
        image[n][tuple(slice(0, size) for size in extent)] = 10 + n
        label[n, 2:6, 2:6, 2:6] = 1
        label[n, 4:6, 2:6, 2:6] = 2
    names = np.array([f"case_{n}" for n in range(5)])
    np.savez(path, image=image, label=label, shape=extents, name=names)
    return path


def _names(folder):
    return sorted(path.name for path in folder.glob("[!.]*"))


def test_cases_are_divided_once_and_written_at_their_true_extent(volumes, tmp_path):
    root = tmp_path / "cases"
    study_folders.write_hippocampi(volumes, root, train=2, test=2, split_seed=3)
    order = np.random.RandomState(3).permutation(5)
    training = sorted(f"case_{n}.nii.gz" for n in order[:2])
    assert _names(root / "labelsTr") == training
    assert _names(root / "labelsTs") == sorted(f"case_{n}.nii.gz" for n in order[2:4])
    case = order[0]
    image = read_write.read(root / "imagesTr" / f"case_{case}_0000.nii.gz")
    expected = np.load(volumes)["shape"][case]
    assert image.shape == tuple(expected)
    assert (image.array == 10 + case).all()
    np.testing.assert_array_equal(image.affine, np.eye(4))
    label = read_write.read(root / "labelsTr" / f"case_{case}.nii.gz").array
    assert np.bincount(label.ravel())[1:].tolist() == [32, 32]


def test_another_division_or_too_few_cases_are_refused(volumes, tmp_path):
    root = tmp_path / "cases"
    study_folders.write_hippocampi(volumes, root, train=2, test=2)
    study_folders.write_hippocampi(volumes, root, train=2, test=2)
    with pytest.raises(ValueError, match=r"labelsT[rs]: expected the same cases as before"):
        study_folders.write_hippocampi(volumes, root, train=2, test=2, split_seed=1)
    with pytest.raises(ValueError, match="expected at least 6 cases, got 5"):
        study_folders.write_hippocampi(volumes, tmp_path / "more", train=3, test=3)


def test_the_sides_see_no_truth_of_the_tests_and_the_noise_is_in_place_of_the_labels(tmp_path):
    folder_fakes.make(tmp_path / "given", 4, tests=2, shape=(12, 12, 12))
    study_folders.link_cases(tmp_path / "given", tmp_path / "cases")
    study_folders.share_out(tmp_path, noise_seed=2, kinds=("clean", "replaced"))
    assert _names(tmp_path / "cases" / "labelsTs") == ["case_04.nii.gz", "case_05.nii.gz"]
    for kind in ("clean", "replaced"):
        folder = tmp_path / kind
        assert not (folder / "labelsTs").exists()
        assert _names(folder / "imagesTs") == ["case_04_0000.nii.gz", "case_05_0000.nii.gz"]
        assert len(_names(folder / "imagesTr")) == len(_names(folder / "labelsTr")) == 4
    overlaps = {}
    for name in _names(tmp_path / "clean" / "labelsTr"):
        pair = [tmp_path / kind / "labelsTr" / name for kind in ("clean", "replaced")]
        clean, noisy = (read_write.read(path).array > 0 for path in pair)
        overlaps[name] = 2 * (clean & noisy).sum() / (clean.sum() + noisy.sum())
    # Which cases have noise depends on their names and the seed alone.
    assert [overlap < 1 for overlap in overlaps.values()] == [True, False, True, False]
    replaced = [overlap for overlap in overlaps.values() if overlap < 1]
    np.testing.assert_allclose(replaced, 0.7, atol=0.02)


def test_a_folder_without_tests_or_with_an_unknown_kind_is_refused(tmp_path):
    folder_fakes.make(tmp_path / "given", 2)
    with pytest.raises(ValueError, match="expected cases in imagesTs, all in labelsTs"):
        study_folders.link_cases(tmp_path / "given", tmp_path / "cases")
    with pytest.raises(ValueError, match="labels: expected one of"):
        study_folders.share_out(tmp_path, kinds=("dirty",))
