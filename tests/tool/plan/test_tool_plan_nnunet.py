"""Plans of real cases beside those of nnU-Net 2.8.1 on the same files.

Its commands: ``nnUNetv2_extract_fingerprint -d D -np 1``, then ``nnUNetv2_plan_experiment -d D``;
of its plans this is 3d_fullres, and of slices 2d, at its default budget of 8 GB. Its axes are ours
turned round.
"""

import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.tool.plan import compiled_step, topology


def _with_room(root, planned, found):
    """A step that takes what was measured on a processor: 9 bytes for each number."""
    del root, found
    network = topology.Network(*(getattr(planned, name) for name in topology.Network._fields))
    numbers = topology.activations(network) * planned.batch_size
    return compiled_step.Compiled(9 * numbers, 0, lambda: 1.0)


def _plan(root):
    return noisyjax.plan(root, memory="8GB", full=True, measure=_with_room)


def _save(root, name, image, label, spacing=(1.0, 1.0, 1.0), end=".nii.gz"):
    affine = np.diag([*spacing, 1.0])
    folder_fakes.save(root / "imagesTr" / f"{name}_0000{end}", image, affine)
    folder_fakes.save(root / "labelsTr" / f"{name}{end}", label, affine)


def test_hippocampus(tmp_path, real_data):
    arrays = np.load(real_data / "msd_hippocampus_130.npz")
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    folder_fakes.describe(tmp_path, channel_names={"0": "MRI"}, labels=labels)
    for name, image, label, shape in zip(*(arrays[n] for n in ("name", "image", "label", "shape"))):
        inside = tuple(map(slice, shape))
        _save(tmp_path, str(name), image[inside], label[inside])
    planned = _plan(tmp_path)
    assert planned.spacing == (1, 1, 1)
    assert planned.normalisation == ("z_score",)
    assert planned.fingerprint["size"]["median"] == [35, 50, 36]
    assert planned.patch == (40, 56, 40)
    assert planned.batch_size == 5
    assert planned.strides == ((2, 2, 2),) * 3
    assert planned.widths == (32, 64, 128, 256)
    # Drawn at random by both.
    expected = (34, 203, 101.2334, 30.0740)
    np.testing.assert_allclose(planned.intensities[0], expected, rtol=0.01)
    # nnU-Net mirrors along all axes.
    assert planned.mirror_axes == (0, 2)
    assert (
        planned.reasons["mirror_axes"] == "not along axis 1, which exchanges anterior and posterior"
    )


def test_a_crop_of_a_spleen(tmp_path, real_data):
    arrays = np.load(real_data / "msd_spleen_crop.npz")
    folder_fakes.describe(tmp_path, labels={"background": 0, "spleen": 1})
    spacing = arrays["spacing"].astype(float)
    _save(tmp_path, "spleen_1", arrays["ct_hu"], arrays["mask"], spacing)
    planned = _plan(tmp_path)
    assert planned.spacing == pytest.approx((0.794922, 0.794922, 5), abs=1e-5)
    assert planned.normalisation == ("ct",)
    assert planned.patch == (192, 192, 28)
    assert planned.batch_size == 2
    assert planned.strides == ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1))
    assert planned.kernels == ((3, 3, 1),) * 2 + ((3, 3, 3),) * 4
    assert planned.widths == (32, 64, 128, 256, 320, 320)
    # Of one case: -21 and 134 Hounsfield units, 85.6 with 24.7.
    np.testing.assert_allclose(planned.intensities[0], (-21, 134, 85.598, 24.722), atol=4)


def test_slices(tmp_path, real_data):
    arrays = np.load(real_data / "sct_spinal_cord_mr.npz")
    labels = {"background": 0, "grey matter": 1}
    folder_fakes.describe(tmp_path, channel_names={"0": "MRI"}, labels=labels, end=".png")
    images, masks = arrays["t2s_gm_image"], arrays["t2s_gm_mask"].astype(np.uint8)
    for number in range(images.shape[2]):
        pair = images[..., number], np.minimum(masks[..., number], 1)
        _save(tmp_path, f"slice_{number:02d}", *pair, end=".png")
    planned = _plan(tmp_path)
    assert planned.spacing == (1, 1)
    assert planned.normalisation == ("z_score",)
    assert planned.fingerprint["size"]["median"] == [318, 318]
    assert planned.patch == (320, 320)
    assert planned.batch_size == 2
    assert planned.strides == ((2, 2),) * 6
    assert planned.widths == (32, 64, 128, 256, 512, 512, 512)
    np.testing.assert_allclose(planned.intensities[0], (91, 147, 122.072, 11.222), rtol=0.01)
