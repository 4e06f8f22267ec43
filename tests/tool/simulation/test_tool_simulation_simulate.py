"""Labels of simulated raters, of a truth and of a folder."""

import csv
import json

import folder_fakes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noisyjax
from noisyjax.core import rng
from noisyjax.data.volumes import read_write
from noisyjax.noise import annotators, gaussian_field
from noisyjax.tool import folder
from noisyjax.tool.simulation import noises, simulated_raters

NO = folder.NO_LABEL
SHAPE = (8, 7)


def _truth(shape=(24, 24), radius=7):
    centre = [(n - 1) / 2 for n in shape]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return (np.linalg.norm(grid - centre, axis=-1) <= radius).astype(np.uint8)


def _dice(one, other):
    return 2 * ((one == 1) & (other == 1)).sum() / ((one == 1).sum() + (other == 1).sum())


def _make(root, count=4, **options):
    return folder_fakes.make(root, count, end=".png", shape=SHAPE, **options)


def _rows(out):
    with open(out / "simulated.csv", newline="") as file:
        return list(csv.DictReader(file))


def _labels(out, rater="rater_1"):
    return {
        path.stem: read_write.read(path).array
        for path in sorted((out / "ratersTr" / rater).iterdir())
    }


@pytest.mark.parametrize("name", noises.NOISES)
def test_every_noise_draws_labels(name):
    options = {"strength": 0.5} if noises.NOISES[name].strength == "strength" else {}
    label = noisyjax.simulate(_truth(), noise=name, **options)
    assert (label.shape, label.dtype) == ((1, 24, 24), np.uint8)
    assert set(np.unique(label)) <= {0, 1}


@pytest.mark.parametrize("name", ["good", "over", "under", "wrong", "blank", "swap", "gaussian"])
def test_annotators_draw_as_in_their_panel(name):
    truth = _truth()
    key = rng.example_key(rng.purpose_key(3, "noise"), simulated_raters.case_id("a"))
    expected = jax.jit(annotators.panel((name, name)))(key, jnp.asarray(truth))
    found = noisyjax.simulate(truth, noise=name, raters=2, seed=3, case="a")
    np.testing.assert_array_equal(found, expected)


def test_noises_of_annotation_draw_as_in_their_panel():
    truth = _truth()
    key = rng.example_key(rng.purpose_key(0, "noise"), simulated_raters.case_id(""))
    draw = annotators.panel(("shift",), strengths={"shift": 2.5})
    found = noisyjax.simulate(truth, noise="shift", strength=2.5)
    np.testing.assert_array_equal(found, jax.jit(draw)(key, jnp.asarray(truth)))


def test_raters_and_options_are_those_asked_for():
    truth = _truth()
    found = noisyjax.simulate(truth, noise=("good", "erode", "dilate", "blank"), radius=2)
    assert found[0].sum() == truth.sum() > found[1].sum()
    assert found[2].sum() > truth.sum()
    assert found[3].sum() == 0
    # Rater 1 is the same whoever else draws.
    many = noisyjax.simulate(truth, noise="gaussian", a=0.1, raters=3)
    np.testing.assert_array_equal(many[0], noisyjax.simulate(truth, a=0.1)[0])
    assert (many[0] != many[1]).any()


def test_seeds_and_names_of_cases_decide():
    truth = _truth()
    one = noisyjax.simulate(truth, a=0.1, seed=1, case="a")
    np.testing.assert_array_equal(one, noisyjax.simulate(truth, a=0.1, seed=1, case="a"))
    key = rng.root_key(1)
    np.testing.assert_array_equal(one, noisyjax.simulate(truth, a=0.1, seed=key, case="a"))
    assert (one != noisyjax.simulate(truth, a=0.1, seed=2, case="a")).any()
    assert (one != noisyjax.simulate(truth, a=0.1, seed=1, case="b")).any()


def test_millimetres_are_shares_of_the_side():
    truth = _truth()
    size = {"a": 2.4, "b": 4.8, "spacing": (0.5, 2.0), "millimetres": True}
    found = noisyjax.simulate(truth, **size)
    a, b = (
        gaussian_field.from_millimetres(mm, truth.shape, spacing=(0.5, 2.0)) for mm in (2.4, 4.8)
    )
    np.testing.assert_array_equal(found, noisyjax.simulate(truth, a=a, b=b))


@pytest.mark.parametrize(("name", "options"), [("gaussian", {}), ("replacement", {})])
def test_a_wanted_dice_is_reached(name, options):
    truth = _truth((32, 32), 10)
    found = noisyjax.simulate(truth, noise=name, dice=0.8, raters=20, **options)
    assert abs(np.mean([_dice(label, truth) for label in found]) - 0.8) < 0.05


def test_what_has_no_label_keeps_none():
    truth = _truth()
    truth[:, :10] = NO
    found = noisyjax.simulate(truth, noise=("swap", "dilate"), radius=3)
    np.testing.assert_array_equal(found == NO, np.stack([truth == NO] * 2))


def test_a_folder_gets_the_labels_of_its_arrays(tmp_path):
    _make(tmp_path / "in", tests=1)
    made = noisyjax.simulate(
        tmp_path / "in", noise=("gaussian", "erode"), a=0.1, seed=4, out=tmp_path / "out"
    )
    assert made.cases == tuple(f"case_{i:02d}" for i in range(5))
    opened, before = (noisyjax.open_folder(tmp_path / name) for name in ("out", "in"))
    assert opened.rater_names == ("rater_1", "rater_2")
    assert opened.layout.problems == ()
    for name in before.cases:
        case, old = opened.read(name), before.read(name)
        np.testing.assert_array_equal(case.truth, old.truth)
        if name != "case_04":
            expected = noisyjax.simulate(
                old.truth, 3, noise=("gaussian", "erode"), a=0.1, seed=4, case=name
            )
            np.testing.assert_array_equal(case.labels, expected)
    images = [tmp_path / name / "imagesTr" / "case_00_0000.png" for name in ("in", "out")]
    assert images[0].samefile(images[1])


def test_the_table_says_what_was_done(tmp_path):
    _make(tmp_path / "in", count=1)
    noisyjax.simulate(tmp_path / "in", noise="erode", radius=1, seed=5, out=tmp_path / "out")
    (row,) = _rows(tmp_path / "out")
    truth = read_write.read(tmp_path / "in" / "labelsTr" / "case_00.png").array
    label = _labels(tmp_path / "out")["case_00"]
    assert row == {
        "case": "case_00",
        "rater": "rater_1",
        "noise": "erode",
        "options": "radius=1",
        "seed": "5",
        "case_id": str(simulated_raters.case_id("case_00")),
        "dice_organ": f"{_dice(label, truth):.6f}",
        "dice_lesion": "1.000000",
    }


def test_cases_are_drawn_one_by_one(tmp_path):
    _make(tmp_path / "few", count=3)
    _make(tmp_path / "many", count=6)
    for name in ("few", "many"):
        noisyjax.simulate(tmp_path / name, a=0.2, share=0.5, out=tmp_path / f"{name}_out")
    few, many = (_labels(tmp_path / f"{name}_out") for name in ("few", "many"))
    for name, label in few.items():
        np.testing.assert_array_equal(label, many[name])
    noisy = {row["case"] for row in _rows(tmp_path / "many_out") if row["noise"]}
    assert 0 < len(noisy) < 6
    for name in set(many) - noisy:
        truth = read_write.read(tmp_path / "many" / "labelsTr" / f"{name}.png").array
        np.testing.assert_array_equal(many[name], truth)


def test_a_larger_share_has_the_same_cases_and_more():
    key, names = rng.root_key(0), [f"case_{i}" for i in range(40)]
    chosen = [
        {name for name in names if simulated_raters.is_noisy(key, name, share)}
        for share in (0, 0.3, 0.7, 1)
    ]
    assert [len(some) for some in chosen[::3]] == [0, 40]
    assert chosen[1] < chosen[2]


def test_labels_may_take_the_place_of_the_truth(tmp_path):
    _make(tmp_path / "in", count=2)
    options = {"noise": "erode", "place": "truth", "images": "none"}
    noisyjax.simulate(tmp_path / "in", out=tmp_path / "out", **options)
    assert not (tmp_path / "out" / "ratersTr").exists()
    assert not (tmp_path / "out" / "imagesTr").exists()
    old, new = (
        read_write.read(tmp_path / name / "labelsTr" / "case_00.png").array
        for name in ("in", "out")
    )
    assert (new == 1).sum() < (old == 1).sum()
    with pytest.raises(ValueError, match="^place: expected one rater .*, got 2"):
        noisyjax.simulate(tmp_path / "in", out=tmp_path / "two", raters=2, place="truth")


def test_a_dice_is_solved_on_a_sample_of_the_folder(tmp_path):
    root = _make(tmp_path / "in", count=2)
    for i, shape in enumerate([(32, 32), (40, 36)]):
        for name, pixels in (
            (f"imagesTr/case_0{i}_0000", 40 * _truth(shape)),
            (f"labelsTr/case_0{i}", _truth(shape, 9)),
        ):
            folder_fakes.save(root / f"{name}.png", pixels)
    made = noisyjax.simulate(root, noise=("gaussian", "good"), dice=0.85, out=tmp_path / "out")
    first, second = made.strengths
    assert abs(first.dice - 0.85) < 0.02
    assert second is None
    options = {row["options"] for row in _rows(tmp_path / "out") if row["noise"] == "gaussian"}
    assert options == {f"a={first.strength}"}


def test_running_again_goes_on(tmp_path):
    root, out = _make(tmp_path / "in"), tmp_path / "out"
    broken = root / "labelsTr" / "case_02.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:30])
    made = noisyjax.simulate(root, out=out)
    assert made.cases == ("case_00", "case_01", "case_03")
    assert "labelsTr/case_02.png" in made.problems[0]
    broken.write_bytes(content)
    again = noisyjax.simulate(root, out=out)
    assert (len(again.cases), again.finished, again.problems) == (4, False, ())
    assert noisyjax.simulate(root, out=out).finished
    assert len(_rows(out)) == 4
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 4
    with pytest.raises(ValueError, match="expected another folder, or overwrite.*seed=0"):
        noisyjax.simulate(root, out=out, seed=1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"noise": "fog"}, "^noise: expected one of 'good', .*, got 'fog'"),
        ({"noise": ()}, "^noise: expected one of"),
        ({"radius": 2}, "^radius: gaussian has no such option, expected one of a, b"),
        ({"noise": ("good", "blank"), "a": 1}, "^a: good or blank has no such option, it has none"),
        ({"a": -1}, "^a: expected numbers >= 0"),
        ({"a": "much"}, "^a: expected a number"),
        ({"noise": "shift"}, "^strength: expected one for the noise 'shift', or a wanted dice"),
        ({"noise": "over", "target": 2}, "^target: expected one of 1, got 2"),
        ({"noise": "rater_pool", "num_classes": 3}, "^rater_pool: expected labels of 2 classes"),
        ({"noise": ("good", "blank"), "raters": 3}, "^raters: expected 2, one each noise, got 3"),
        ({"share": 1.5}, r"^share: expected a number in \[0, 1\]"),
        ({"dice": 0.0}, r"^dice: expected a number in \(0, 1\]"),
        ({"dice": 0.8, "noise": "blank"}, "^dice: expected a noise that has a strength"),
        ({"dice": 0.8, "a": 0.1}, "^dice: expected in place of a strength, got a as well"),
        ({"millimetres": True}, "^spacing: expected that of the voxels"),
        ({"noise": "wrong", "fractures": (1, 2)}, "^wrong: expected other options"),
        ({"noise": "elastic", "smoothness": "much"}, "^smoothness: expected a number"),
        ({"noise": "rater_pool", "rater": 12}, "^rater: expected one of 0, 1"),
        ({"kinds": ("fog",), "noise": "replacement"}, "^kinds: expected one of"),
    ],
)
def test_bad_options_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        noisyjax.simulate(_truth(), **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"out": None}, "^out: expected a folder to write to, got None"),
        ({"noise": "fog"}, "^noise: expected one of"),
        ({"a": -1}, "^a: expected numbers >= 0"),
        ({"noise": "over", "target": 3}, "^target: expected one of 1, 2, got 3"),
        ({"seed": rng.root_key(0)}, "^seed: expected a number, got a key"),
        ({"place": "nowhere"}, "^place: expected one of"),
    ],
)
def test_bad_options_of_a_folder_leave_nothing(tmp_path, options, match):
    _make(tmp_path / "in", count=1)
    with pytest.raises(ValueError, match=match):
        noisyjax.simulate(tmp_path / "in", **{"out": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_without_truth_is_refused(tmp_path):
    _make(tmp_path / "in", count=1, raters=("anna",), truth=False)
    with pytest.raises(folder.FolderError, match="expected a truth in labelsTr, got none"):
        noisyjax.simulate(tmp_path / "in", out=tmp_path / "out")
