"""Predictions of any program, read onto the voxels of the folder's cases."""

import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.tool import folder
from noisyjax.tool.evaluation import predictions

# The fakes' files run to the left, the back and the top.
SHAPE = folder_fakes.SHAPE
PICTURE = (9, 7)


def _stored(seed=0, shape=SHAPE, classes=3):
    """Probabilities in the axes of the files, classes first."""
    probs = np.random.default_rng(seed).random((classes, *shape)).astype(np.float32)
    return probs / probs.sum(axis=0)


def _ras(array):
    return array[..., ::-1, ::-1, :]


@pytest.fixture
def opened(tmp_path):
    return noisyjax.open_folder(folder_fakes.make(tmp_path / "in", 2, raters=("anna", "ben")))


def _read(opened, root, name="case_00"):
    return predictions.find(root, opened, partial=True).read(name)


def test_class_ids_are_turned_to_the_axes_of_the_labels(opened, tmp_path):
    ids = folder_fakes.label(3)
    folder_fakes.save(tmp_path / "p/case_00.nii.gz", ids)
    # The same voxels, stored the other way round and in another format.
    turned = folder_fakes.AFFINE.copy()
    turned[:3, :3] = np.abs(turned[:3, :3])
    turned[:2, 3] -= turned[:2, :2] @ (np.array(SHAPE[:2]) - 1)
    folder_fakes.save(tmp_path / "p/case_01.mha", _ras(ids).astype(np.int16), turned)
    for name in ("case_00", "case_01"):
        found = _read(opened, tmp_path / "p", name)
        np.testing.assert_array_equal(found.segmentation, _ras(ids))
        assert found.probs is None


@pytest.mark.parametrize("beside", [True, False])
def test_probabilities_of_nnunet_have_their_axes_reversed(opened, tmp_path, beside):
    stored = _stored().astype(np.float16)
    stored[:, :2] = 0  # cropped away
    (tmp_path / "p").mkdir()
    np.savez(tmp_path / "p/case_00.npz", probabilities=stored.transpose(0, 3, 2, 1))
    if beside:
        folder_fakes.save(tmp_path / "p/case_00.nii.gz", stored.argmax(axis=0).astype(np.uint8))
    probs = _read(opened, tmp_path / "p").probs
    expected = stored.astype(np.float32)
    expected[0, :2] = 1
    np.testing.assert_allclose(probs, np.moveaxis(_ras(expected), 0, -1), atol=1e-3)
    assert probs.sum(axis=-1) == pytest.approx(1)


def test_what_nnunet_turned_to_ras_first_is_told_by_the_class_ids_beside_it(opened, tmp_path):
    stored = _stored()
    (tmp_path / "p").mkdir()
    np.savez(tmp_path / "p/case_00.npz", probabilities=_ras(stored).transpose(0, 3, 2, 1))
    folder_fakes.save(tmp_path / "p/case_00.nii.gz", stored.argmax(axis=0).astype(np.uint8))
    probs = _read(opened, tmp_path / "p").probs
    np.testing.assert_allclose(probs, np.moveaxis(_ras(stored), 0, -1), atol=1e-6)


def test_probabilities_of_pictures_are_as_stored(tmp_path):
    root = folder_fakes.make(tmp_path / "in", 1, raters=("a",), end=".png", shape=PICTURE)
    stored = _stored(shape=PICTURE)
    (tmp_path / "p").mkdir()
    np.savez(tmp_path / "p/case_00.npz", probabilities=stored[:, None])
    found = _read(noisyjax.open_folder(root), tmp_path / "p")
    np.testing.assert_allclose(found.probs, np.moveaxis(stored, 0, -1), atol=1e-6)


def test_probabilities_of_classes_by_number_or_name(opened, tmp_path):
    stored = _stored()
    for part, label in (("1", 1), ("lesion", 2)):
        path = tmp_path / "p/probabilities" / part / "case_00.nii.gz"
        folder_fakes.save(path, stored[label])
    found = _read(opened, tmp_path / "p")
    np.testing.assert_allclose(found.probs, np.moveaxis(_ras(stored), 0, -1), atol=1e-6)
    np.testing.assert_array_equal(found.segmentation, _ras(stored).argmax(axis=0))


def test_samples_and_masks_of_raters(opened, tmp_path):
    drawn = [_stored(seed) for seed in range(3)]
    for number, stored in enumerate(drawn):
        place = tmp_path / f"p/sample_{number}"
        place.mkdir(parents=True)
        np.savez(place / "case_00.npz", probabilities=stored.transpose(0, 3, 2, 1))
    folder_fakes.save(tmp_path / "p/raters/ben/case_00.nii.gz", folder_fakes.label(1))
    found = _read(opened, tmp_path / "p")
    assert found.sample_probs.shape == (3, *SHAPE, 3)
    mean = np.moveaxis(_ras(np.mean(drawn, axis=0)), 0, -1)
    np.testing.assert_allclose(found.probs, mean, atol=1e-6)
    np.testing.assert_array_equal(found.segmentation, mean.argmax(axis=-1))
    assert found.rater_mask.tolist() == [False, True]
    np.testing.assert_array_equal(found.rater_labels[1], _ras(folder_fakes.label(1)))


def test_of_samples_without_probabilities_the_most_frequent_class_is_taken(opened, tmp_path):
    for number, seed in enumerate((0, 1, 1)):
        path = tmp_path / f"p/sample_{number}/case_00.nii.gz"
        folder_fakes.save(path, folder_fakes.label(seed))
    found = _read(opened, tmp_path / "p")
    assert (found.probs, found.sample_probs) == (None, None)
    np.testing.assert_array_equal(found.segmentation, _ras(folder_fakes.label(1)))


def test_what_is_missing_and_what_belongs_to_no_case_is_listed(opened, tmp_path):
    for name in ("case_01", "case_07"):
        folder_fakes.save(tmp_path / f"p/{name}.nii.gz", folder_fakes.label(0))
    (tmp_path / "p/plans.json").write_text("{}")
    found = predictions.find(tmp_path / "p", opened)
    assert (found.cases, found.missing) == (("case_01",), ("case_00",))
    assert [path.name for path in found.unknown] == ["case_07.nii.gz"]
    assert predictions.find(tmp_path / "p", opened, partial=True).missing == ()


def _npz(**arrays):
    def make(root):
        np.savez(root / "case_00.npz", **arrays)

    return make


def _label(array, affine=folder_fakes.AFFINE, place=""):
    return lambda root: folder_fakes.save(root / place / "case_00.nii.gz", array, affine)


_MOVED = folder_fakes.AFFINE.copy()
_MOVED[0, 3] += 4


def _class_maps(second):
    """Probabilities of the classes 1 and 2, each in a file."""

    def make(root):
        first = np.full(SHAPE, 0.5, np.float32)
        for number, probs in enumerate((first, second), 1):
            folder_fakes.save(root / f"probabilities/{number}/case_00.nii.gz", probs)

    return make


_BAD = [
    (_label(np.zeros((3, 3, 3), np.uint8)), r"case_00.nii.gz: expected voxels \(8, 7, 6\) like"),
    (_label(folder_fakes.label(0), _MOVED), r"case_00.nii.gz: expected the voxels of .*4 mm away"),
    (_label(np.full(SHAPE, 9, np.uint8)), r"case_00.nii.gz: expected class ids 0 to 2, got \[9"),
    (_label(_stored()[0]), "case_00.nii.gz: expected class ids 0 to 2, got"),
    (lambda root: (root / "case_00.nii.gz").write_bytes(b"x"), "case_00.nii.gz: expected a NIfTI"),
    (_npz(other=np.zeros(3)), r"case_00.npz: expected arrays \('probabilities',\)"),
    (_npz(probabilities=np.zeros((2, 6, 7, 8))), "case_00.npz: probabilities: expected float"),
    (_npz(probabilities=np.zeros((3, 8, 8, 8))), "case_00.npz: expected 3 x .*got"),
    (_npz(probabilities=np.full((3, 6, 7, 8), 0.5)), "case_00.npz: expected .* sum 1, got 1.5"),
    (_npz(probabilities=np.full((3, 6, 7, 8), -1.0)), r"expected probabilities in \[0, 1\]"),
    (_npz(probabilities=np.full((3, 6, 7, 8), np.nan)), "expected probabilities, got NaN"),
    (_npz(probabilities=np.array([None])), "case_00.npz: expected plain arrays"),
    (
        lambda root: (root / "case_00.npz").write_bytes(b"x"),
        "case_00.npz: expected an .npz archive",
    ),
    (_label(_stored()[1], place="probabilities/1"), "probabilities/2/case_00.nii.gz: expected"),
    (_class_maps(folder_fakes.image(0)), r"probabilities/2/case_00.nii.gz: .* in \[0, 1\], got -"),
    (_class_maps(np.ones(SHAPE, np.float32)), r"probabilities/\*/case_00.nii.gz: .*in \[0, 1\]"),
    (_label(_stored()[1], place="probabilities/liver"), "liver: expected a class, one of 0 to 2"),
]


@pytest.mark.parametrize(("make", "message"), _BAD)
def test_a_bad_file_is_named(opened, tmp_path, make, message):
    root = tmp_path / "p"
    root.mkdir()
    make(root)
    with pytest.raises(folder.FolderError, match=message):
        _read(opened, root)


def test_a_bad_folder_is_named(opened, tmp_path):
    with pytest.raises(folder.FolderError, match="none: expected a folder of predictions"):
        predictions.find(tmp_path / "none", opened)
    (tmp_path / "empty").mkdir()
    with pytest.raises(folder.FolderError, match=r"empty: .* as case_00.nii.gz, got none"):
        predictions.find(tmp_path / "empty", opened)
    folder_fakes.save(tmp_path / "p/raters/zoe/case_00.nii.gz", folder_fakes.label(0))
    with pytest.raises(folder.FolderError, match=r"zoe: expected a rater of .*anna, ben"):
        predictions.find(tmp_path / "p", opened)
    folder_fakes.save(tmp_path / "q/sample_0/case_00.nii.gz", folder_fakes.label(0))
    folder_fakes.save(tmp_path / "q/sample_1/case_01.nii.gz", folder_fakes.label(0))
    with pytest.raises(folder.FolderError, match="sample_1: expected a sample of case_00"):
        _read(opened, tmp_path / "q")


def test_an_unpacked_file_is_that_of_another_reader(opened, tmp_path):
    """SimpleITK's arrays, which nnU-Net stores, have the axes of the file in reverse order."""
    SimpleITK = pytest.importorskip("SimpleITK")
    path = tmp_path / "p/case_00.nii.gz"
    ids = folder_fakes.label(1)
    folder_fakes.save(path, ids)
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    one_hot = np.stack([array == label for label in range(3)]).astype(np.float16)
    np.savez(tmp_path / "p/case_00.npz", probabilities=one_hot)
    path.unlink()
    np.testing.assert_array_equal(_read(opened, tmp_path / "p").segmentation, _ras(ids))
