"""The plan of a folder from end to end; steps are compiled where that is what is tested."""

import math

import folder_fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.tool import folder
from noisyjax.tool.plan import choices, compiled_step, fingerprint, plan, planner, topology

_PER_NUMBER = 10


def _estimate(root, planned, found):
    """What a step takes if a number takes ten bytes, and no parameter anything."""
    del root, found
    network = topology.Network(*(getattr(planned, name) for name in topology.Network._fields))
    numbers = topology.activations(network) * planned.batch_size
    return compiled_step.Compiled(_PER_NUMBER * numbers, 7, lambda: 0.5)


def _two_ends(root, *, count=4, raters=()):
    """Two parts of equal size and brightness one behind the other, in a dark surrounding."""
    folder_fakes.describe(
        root, labels={"background": 0, "front": 1, "back": 2}, channel_names={"0": "T1"}
    )
    for number in range(count):
        rng = np.random.default_rng(number)
        image, label = np.zeros((20, 24, 22), np.int16), np.zeros((20, 24, 22), np.uint8)
        image[4:16, 4:20, 4:18] = rng.normal(100, 10, (12, 16, 14))
        label[7:12, 13:17, 8:13], label[7:12, 6:10, 8:13] = 1, 2
        name = f"case_{number}"
        folder_fakes.save(root / "imagesTr" / f"{name}_0000.nii.gz", image, np.eye(4))
        folder_fakes.save(root / "labelsTr" / f"{name}.nii.gz", label, np.eye(4))
        for rater in raters[: 1 + number]:
            folder_fakes.save(root / "ratersTr" / rater / f"{name}.nii.gz", label, np.eye(4))
    return root


def test_plan_of_two_ends(tmp_path):
    planned = noisyjax.plan(_two_ends(tmp_path), measure=_estimate)
    assert planned.spacing == (1, 1, 1)
    # What is not zero: 12 x 16 x 14 voxels, a quarter of the image.
    assert planned.fingerprint["size"]["median"] == [12, 16, 14]
    assert planned.normalisation == ("z_score_nonzero",)
    assert planned.reasons["normalisation"] == "75% around the images are zero"
    # Then 6, 8 and 7: the 8 alone is too short.
    assert planned.patch == (12, 16, 14)
    assert planned.strides == ((2, 2, 2),)
    assert planned.widths == (16, 32)
    assert (planned.batch_size, planned.reasons["batch_size"]) == (
        2,
        "the least: there are few cases",
    )
    assert planned.mirror_axes == (0, 2)
    assert planned.reasons["mirror_axes"] == "not along axis 1, which exchanges front and back"
    low, high, mean, deviation = planned.intensities[0]
    assert low < 80 < mean < 120 < high
    assert deviation == pytest.approx(10, abs=1)
    # From the middle of the image at (9.5, 11.5, 10.5): the first part's is at (9, 14.5, 10).
    assert planned.fingerprint["class_positions_mm"]["front"] == [-0.5, 3, -0.5]
    assert planned.fingerprint["class_shares"]["back"] == pytest.approx(100 / (20 * 24 * 22), 1e-3)
    assert planned.fingerprint["raters"] == {"labels": 4}
    assert planned.expected == {"memory_gib": 0.003, "parameters": 7, "seconds_per_step": 0.5}
    plan.save(tmp_path / "plan.json", planned)
    assert plan.load(tmp_path / "plan.json") == planned


def test_raters_are_counted_and_chosen(tmp_path):
    root = _two_ends(tmp_path, raters=("anna", "ben", "cleo"))
    planned = noisyjax.plan(root, measure=_estimate)
    assert planned.fingerprint["raters"] == {"anna": 4, "ben": 3, "cleo": 2}
    planned = noisyjax.plan(root, raters=("cleo",), measure=_estimate)
    assert planned.fingerprint["raters"] == {"cleo": 2}
    assert planned.fingerprint["cases"] == 2
    with pytest.raises(ValueError, match="raters: expected one of 'anna', 'ben', 'cleo', got 'do"):
        noisyjax.plan(root, raters=("dora",), measure=_estimate)


def test_a_damaged_case_is_left_out_and_named(tmp_path):
    root = _two_ends(tmp_path)
    (root / "imagesTr" / "case_1_0000.nii.gz").write_bytes(b"")
    planned = noisyjax.plan(root, measure=_estimate)
    assert planned.fingerprint["cases"] == 3
    (problem,) = planned.fingerprint["left_out"]
    assert "case_1_0000.nii.gz" in problem


def test_plan_of_pictures(tmp_path):
    root = folder_fakes.make(tmp_path, end=".png", shape=(40, 33))
    planned = planner.plan(root, measure=_estimate, full=True)
    assert planned.normalisation == ("ct",)
    assert planned.patch == (40, 40)
    assert planned.widths == (32, 64, 128, 256)
    assert planned.mirror_axes == (0, 1)


def _found(size, *, cases=50, spacing=(1.0, 1.0, 1.0)):
    nothing = np.full((1, 3), np.nan)
    case = fingerprint.Case(
        shape=np.array(size),
        spacing=np.array(spacing),
        share=1.0,
        values=np.zeros((1, 1)),
        positions=nothing,
        sizes=np.zeros(1),
        means=np.zeros((1, 1)),
        deviations=np.ones((1, 1)),
    )
    each = {str(number): case for number in range(cases)}
    return fingerprint.Fingerprint(each, ("CT",), ("background", "organ"), {"labels": cases}, [])


def _choose(size, memory, *, small=False, factor=1.0, cases=50, **options):
    asked = []

    def measure(planned):
        asked.append(planned)
        made = _estimate("", planned, None)
        return made._replace(memory=int(factor * made.memory))

    budget = choices.Budget(memory, small)
    found = _found(size, cases=cases)
    return choices.choose(found, budget, measure=measure, **options), asked


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_the_step_fits_and_a_larger_one_does_not(factor):
    """Whatever a number takes, at most four compilations find the largest step."""
    memory = 2 * 10**9
    planned, asked = _choose((300, 300, 200), memory, factor=factor)
    assert len(asked) <= 4
    assert planned.reasons["patch"].startswith("what fits the memory; it covers ")
    per_number = factor * _PER_NUMBER

    def takes(side):
        return 2 * per_number * topology.activations(topology.of_patch(side, (1.0, 1.0, 1.0)))

    assert takes(planned.patch) <= memory
    assert takes([n + 32 for n in planned.patch]) > memory
    # The patch is nearly as long against the median case along each axis.
    shares = np.divide(planned.patch, (300, 300, 200))
    assert shares.max() - shares.min() < 32 / 200
    assert planned.batch_size == 2


def test_memory_that_is_left_raises_the_batch():
    memory = 10**9
    planned, _ = _choose((40, 40, 40), memory, cases=120)
    assert planned.patch == (40, 40, 40)
    assert planned.reasons["batch_size"] == "5 % of the voxels of all cases"
    assert planned.batch_size == 6
    planned, _ = _choose((40, 40, 40), memory, cases=12000)
    numbers = topology.activations(topology.of_patch((40, 40, 40), (1.0, 1.0, 1.0)))
    assert planned.reasons["batch_size"] == "what fits the memory"
    assert planned.batch_size <= memory / (_PER_NUMBER * numbers) < planned.batch_size + 1
    planned, _ = _choose((40, 40, 40), memory, small=True, cases=120)
    assert planned.batch_size == 2
    assert planned.reasons["widths"].startswith("a small network")


def test_a_processor_gets_steps_of_some_seconds():
    planned, _ = _choose((300, 300, 200), 10**11, small=True)
    network = topology.Network(*(getattr(planned, name) for name in topology.Network._fields))
    assert 6e10 < 2 * topology.operations(network) <= 2e11
    assert planned.reasons["patch"].startswith("what a processor can do in a step; it covers")
    assert "larger voxels would show more" in planned.reasons["patch"]


def test_coarser_voxels_let_a_patch_cover_a_quarter():
    fine, _ = _choose((300, 300, 200), 10**9)
    coarse, _ = _choose((300, 300, 200), 10**9, coarse=True)
    assert fine.spacing == (1, 1, 1)
    assert "larger voxels would show more (coarse)" in fine.reasons["patch"]
    volume = 300 * 300 * 200 / math.prod(coarse.spacing)
    assert math.prod(coarse.patch) >= 0.25 * volume
    assert math.prod(fine.patch) < 0.25 * 300 * 300 * 200


def test_too_little_memory_is_said():
    with pytest.raises(ValueError, match="memory: expected enough for a step"):
        _choose((40, 40, 40), 10**4)
    with pytest.raises(ValueError, match="memory: expected enough for a step"):
        _choose((40, 40, 40), 10**9, factor=1e6)


@pytest.mark.parametrize("amount", ["", "much", "-1GB", "0", "8XB", "1.2.3GB", 0])
def test_amounts_of_memory_that_are_none(amount):
    with pytest.raises(ValueError, match="memory: expected an amount such as 8GB, got "):
        compiled_step.parse(amount)


@pytest.mark.parametrize(
    ("amount", "expected"), [("8GB", 8e9), ("500 mb", 5e8), ("2GiB", 2**31), (4096, 4096)]
)
def test_amounts_of_memory(amount, expected):
    assert compiled_step.parse(amount) == expected


def test_the_step_of_a_tiny_plan_is_the_trainings(tmp_path):
    """Its parameters are those by hand, and it takes more than these and their gradients."""
    made = folder_fakes.make(tmp_path, 2, end=".png", shape=(10, 9))
    opened = folder.open_folder(made)
    found = fingerprint.take(opened)
    network = topology.Network((8, 8), ((2, 2),), ((3, 3), (3, 3)), (2, 4), 2)
    planned = plan.Plan(
        spacing=(1.0, 1.0),
        normalisation=("z_score",),
        intensities=((0.0, 1.0, 0.0, 1.0),),
        batch_size=2,
        mirror_axes=(),
        reasons={},
        fingerprint={},
        expected={},
        **network._asdict(),
    )
    compiled = compiled_step.measure(opened.root, planned, found)
    # At least one convolution a level: 1 to 2 and 2 to 4 channels, and back from 4 and 2 to 2.
    assert compiled.parameters >= 9 * (1 * 2 + 2 * 4 + 6 * 2)
    assert 12 * compiled.parameters < compiled.memory < 2**24
    assert 0 < compiled.seconds() < 60
