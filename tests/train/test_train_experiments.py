import dataclasses
import json
import logging
import pathlib
import subprocess

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import train_fakes

from noisyjax import fusion, methods
from noisyjax.core import rng
from noisyjax.data import sources
from noisyjax.train import config_fields, experiments
from noisyjax.train.workdir import checkpoints, config_and_summary

pytestmark = pytest.mark.usefixtures("fakes")


def digits(**changes):
    """The fake method on real digits with two simulated annotators."""
    config = train_fakes.config()
    config.unlock()
    config.data.name = "digits"
    config.data.options = ml_collections.ConfigDict()
    config.data.panel = ("good", "blank")
    config.data.panel_options = ml_collections.ConfigDict()
    config.data.splits = (0.1, 0.45, 0.45)
    config.data.max_train = 8
    config.data.augment = ml_collections.ConfigDict(changes.pop("augment", {}))
    config.update_from_flattened_dict(changes)
    return config_fields.resolve(config)


def _labels(examples):
    return examples.take(np.arange(len(examples)))["labels"]


def test_splits_are_kept_in_the_folder(tmp_path):
    first = experiments.build(train_fakes.config(), tmp_path)
    assert {name: len(e) for name, e in first.examples.items()} == {
        "train": 16,
        "val": 2,
        "test": 4,
    }
    assert not list(tmp_path.iterdir())
    experiments.keep(first, tmp_path)
    content = json.loads((tmp_path / "splits.json").read_text())
    again = experiments.build(train_fakes.config(seed=99), tmp_path)
    for name, examples in first.examples.items():
        ids = examples.ids.tolist()
        assert content["splits"][name]["ids"] == ids
        assert content["splits"][name]["cases"] == [f"fake[{i}]" for i in ids]
        assert len(set(content["splits"][name]["image"])) == len(ids)
        np.testing.assert_array_equal(again.examples[name].ids, examples.ids)


def _begun(tmp_path):
    """The examples of a run that has begun in a folder."""
    experiment = experiments.build(train_fakes.config(), tmp_path)
    experiments.keep(experiment, tmp_path)
    return experiment


def _exchange(monkeypatch, **arrays):
    """Lets the fake source hold other arrays."""
    data = train_fakes.load()
    examples = dataclasses.replace(data.examples, **arrays)
    other = dataclasses.replace(data, examples=examples)
    monkeypatch.setitem(sources.SOURCES, "fake", lambda: other)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_other_images_and_labels_are_refused_to_train_and_told_to_evaluate(
    tmp_path, monkeypatch, caplog, name
):
    held = _begun(tmp_path).data.examples
    _exchange(monkeypatch, **{name: 1 - getattr(held, name)})
    message = f"splits.json: expected the data that the run began with, got other {name} of fake"
    with pytest.raises(ValueError, match=message):
        experiments.build(train_fakes.config(), tmp_path)
    with caplog.at_level(logging.WARNING, logger="absl"):
        experiments.build(train_fakes.config(), tmp_path, read_only=True)
    assert f"got other {name} of" in caplog.text
    assert " and 17 more" in caplog.text


def test_what_was_trained_on_may_not_test_under_another_name(tmp_path, monkeypatch):
    begun = _begun(tmp_path)
    one, other = begun.parts["train"][0], begun.parts["test"][1]
    order = np.arange(22)
    order[[one, other]] = other, one
    held = begun.data.examples
    _exchange(monkeypatch, images=held.images[order], truths=held.truths[order])
    message = rf"images that were trained on, as fake\[{other}\]; put them back"
    with pytest.raises(ValueError, match=message):
        experiments.build(train_fakes.config(), tmp_path, read_only=True)


def test_more_or_fewer_cases_are_refused(tmp_path):
    _begun(tmp_path)
    for read_only in (False, True):
        with pytest.raises(ValueError, match=r"got 23 \(1 added: fake\[22\]\)"):
            experiments.build(
                train_fakes.config(options={"size": 23}), tmp_path, read_only=read_only
            )


@pytest.mark.parametrize("where", ["split_file", "workdir"])
def test_a_division_of_ones_own(tmp_path, where):
    names = {"train": [4, 2, 9, 7, 0], "val": [1], "test": [3, 5]}
    content = {part: [f"fake[{i}]" for i in ids] for part, ids in names.items()}
    folder = tmp_path / "run"
    path = tmp_path / "mine.json" if where == "split_file" else folder / "splits.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"train": []}, content] if where == "split_file" else content))
    changes = {"data.split_file": str(path), "data.fold": 1} if where == "split_file" else {}
    experiment = experiments.build(train_fakes.config(**changes), folder)
    assert {part: e.ids.tolist() for part, e in experiment.examples.items()} == names
    experiments.keep(experiment, folder)
    # From now on the folder has all that is needed.
    if where == "split_file":
        path.unlink()
    again = experiments.build(train_fakes.config(**changes), folder)
    assert {part: e.ids.tolist() for part, e in again.examples.items()} == names
    kept = (folder / "splits.json").read_bytes()
    experiments.keep(again, folder)
    assert (folder / "splits.json").read_bytes() == kept
    assert "image" in json.loads(kept)["splits"]["train"]


def test_only_methods_that_need_the_truth_are_trained_with_it():
    experiment = experiments.build(train_fakes.config())
    assert "truth" not in experiment.examples["train"][0]
    assert "truth" in experiment.examples["val"][0]
    batch = experiment.example_batch()
    same = experiment.transform(batch, rng.root_key(0))
    assert set(same) == set(batch)


def test_fewer_raters_and_fewer_examples():
    changes = {"data.raters": ("bert",), "data.max_train": 5, "data.max_val": 1}
    experiment = experiments.build(train_fakes.config(**changes))
    assert len(experiment.examples["val"]) == 1
    assert experiment.rater_names == ("bert",)
    assert _labels(experiment.examples["train"]).shape[:2] == (5, 1)


def test_raters_of_the_same_name_are_told_apart():
    config = digits(**{"data.panel": ("good", "good")})
    assert experiments._rater_names(config, train_fakes.load()) == ("good_0", "good_1")


def test_transform_draws_labels_anew_and_augments():
    config = digits(augment={"flip_axes": (0, 1)}, **{"data.resample": True})
    experiment = experiments.build(config)
    batch = experiment.example_batch()
    assert "truth" in batch
    after = jax.jit(experiment.transform)(batch, rng.root_key(config.seed))
    assert "truth" not in after
    flips = [np.flip(batch["image"][0], axes) for axes in ((), (0,), (1,), (0, 1))]
    assert any(np.array_equal(after["image"][0], image) for image in flips)
    assert not np.asarray(after["labels"][0, 1]).any()


def test_a_fresh_draw_needs_a_panel():
    with pytest.raises(ValueError, match="data.resample: .*needs a panel"):
        experiments.build(train_fakes.config(**{"data.resample": True}))


def test_config_goes_through_a_file_and_back(tmp_path):
    config = train_fakes.config()
    folder = config_and_summary.prepare(config, tmp_path / "run")
    assert folder.is_absolute()
    loaded = config_and_summary.load_config(folder)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.is_locked
    (versions,) = json.loads((folder / "versions.json").read_text())["versions"]
    assert versions["jax"] == jax.__version__
    assert len(versions["devices"]) == 8


def test_versions_are_those_of_every_start(tmp_path, monkeypatch, caplog):
    made = config_and_summary.versions()
    for number in ("1", "2", "2"):
        monkeypatch.setattr(config_and_summary, "versions", lambda n=number: {**made, "jax": n})
        config_and_summary.prepare(train_fakes.config(), tmp_path)
    assert [each["jax"] for each in config_and_summary.read_versions(tmp_path)] == ["1", "2"]
    (tmp_path / "versions.json").write_text("{")
    config_and_summary.prepare(train_fakes.config(), tmp_path)
    assert [each["jax"] for each in config_and_summary.read_versions(tmp_path)] == ["2"]
    assert "versions.json: " in caplog.text


def test_a_package_within_another_repository_has_no_commit(monkeypatch):
    file = pathlib.Path(config_and_summary.__file__)
    commands = []

    def run(command, **_):
        commands.append(command[3])
        if command[3] == "ls-files" and command[-1] != file.name:
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, "abc\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert config_and_summary.commit(file) == "abc"
    assert config_and_summary.commit(file.with_name("installed.py")) is None
    assert commands == ["ls-files", "rev-parse", "ls-files"]


def test_a_workdir_has_a_name():
    with pytest.raises(ValueError, match="workdir: expected the name of a folder, got an empty"):
        config_and_summary.prepare(train_fakes.config(), "")


def test_only_what_changes_no_result_may_change(tmp_path):
    config_and_summary.prepare(train_fakes.config(), tmp_path)
    (tmp_path / "source.json").write_text("{}")
    free = {"progress": True, "parallel": "vmap", "checkpoint.keep": 9, "log_every_steps": 7}
    config_and_summary.prepare(train_fakes.config(**free), tmp_path)
    with pytest.raises(ValueError, match=r"another config \(train.ema was 0.9, now 0.0\)"):
        config_and_summary.prepare(train_fakes.config(**{"train.ema": 0.0}), tmp_path)
    # With batch statistics it makes another result.
    with pytest.raises(ValueError, match=r"train.accumulate was 1, now 2"):
        config_and_summary.prepare(train_fakes.config(**{"train.accumulate": 2}), tmp_path)


def test_the_config_of_a_run_that_has_not_begun_is_replaced(tmp_path):
    """A mistyped option lets no run begin; the mended command does."""
    for ema in (0.9, 0.8):
        config_and_summary.prepare(train_fakes.config(**{"train.ema": ema}), tmp_path)
        assert config_and_summary.load_config(tmp_path).train.ema == ema
    (tmp_path / "checkpoints/4").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"train.ema was 0.8, now 0.7"):
        config_and_summary.prepare(train_fakes.config(**{"train.ema": 0.7}), tmp_path)


def test_summary_goes_through_a_file_and_back(tmp_path):
    assert config_and_summary.read_summary(tmp_path) is None
    last = config_and_summary.Last(12, None, "ab")
    numbers = {"a": 1.5, "b": float("nan"), "c": float("inf")}
    config_and_summary.write_summary(tmp_path, numbers, last)
    summary = config_and_summary.read_summary(tmp_path)
    assert (summary["a"], summary["c"], len(summary)) == (1.5, float("inf"), 3)
    assert np.isnan(summary["b"])
    assert config_and_summary.read_last(tmp_path) == last


def test_exchanged_numbers_are_not_believed(tmp_path, caplog):
    last = config_and_summary.Last(12, 8, "ab")
    config_and_summary.write_summary(tmp_path, {"dice": 0.5, "nll": 0.25}, last)
    path = tmp_path / "summary.json"
    content = json.loads(path.read_text())
    for changes in ({"dice": 0.25, "nll": 0.5}, {"checkpoint": {**last._asdict(), "latest": 8}}):
        path.write_text(json.dumps({**content, **changes}))
        assert config_and_summary.read_summary(tmp_path) is None
    path.write_text(json.dumps({"dice": 0.5}))
    assert config_and_summary.read_last(tmp_path) is None
    assert caplog.text.count("the run counts as not finished") == 3


@pytest.mark.parametrize(("which", "step"), [("latest", 8), ("best", 12)])
def test_a_checkpoint_that_is_not_the_summarys_is_named(tmp_path, which, step):
    last = config_and_summary.Last(12, 8, "ab")
    config_and_summary.check_last(tmp_path, last, which=which, step=getattr(last, which))
    config_and_summary.check_last(tmp_path, None, which=which, step=step)
    with pytest.raises(checkpoints.Damaged, match=f"{which} checkpoint is that of step .* {step};"):
        config_and_summary.check_last(tmp_path, last, which=which, step=step)


def fused_method(*args, **options):
    return dataclasses.replace(train_fakes.method(*args, **options), target="staple")


def test_all_labels_fused_judge_in_place_of_the_truth():
    changes = {"data.gold": "staple", "data.labels_per_image": 1, "options": {"truth": False}}
    experiment = experiments.build(train_fakes.config(**changes))
    test = experiment.examples["test"]
    labels = jnp.asarray(_labels(test)[1])
    expected = fusion.staple(labels).probs.argmax(-1)
    np.testing.assert_array_equal(test[1]["truth"], expected)
    assert "truth" not in experiment.examples["train"][0]


def test_labels_are_held_back_from_training_and_selection_not_from_the_test():
    experiment = experiments.build(train_fakes.config(**{"data.labels_per_image": 1}))
    kept = {name: e.rater_masks.sum(axis=1) for name, e in experiment.examples.items()}
    assert (kept["train"] == 1).all()
    assert (kept["val"] == 1).all()
    assert (kept["test"] == 2).all()


def test_training_examples_carry_the_fusion_of_the_labels_they_have(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "fake", fused_method)
    experiment = experiments.build(train_fakes.config(**{"data.labels_per_image": 1}))
    example = experiment.examples["train"][2]
    (rater,) = np.flatnonzero(example["rater_mask"])
    np.testing.assert_allclose(example["target"][..., 1], example["labels"][rater], atol=1e-5)
    assert "target" not in experiment.examples["test"][0]
    assert experiment.example_batch()["target"].shape == (1, 6, 6, 2)


def test_a_gold_standard_is_nothing_to_draw_from():
    with pytest.raises(ValueError, match="data.gold: .*from the truth, got both"):
        experiments.build(digits(**{"data.resample": True, "data.gold": "staple"}))


def test_labels_that_are_fused_once_cannot_be_drawn_anew(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "fake", fused_method)
    with pytest.raises(ValueError, match="data.resample: fake fuses the labels once"):
        experiments.build(digits(**{"data.resample": True}))


def replacing(**changes):
    return train_fakes.config(**{"data.replacement.share": 0.5, **changes})


def test_a_share_of_the_training_labels_is_replaced(tmp_path):
    experiment = experiments.build(replacing(), tmp_path)
    experiments.keep(experiment, tmp_path)
    assert experiment.rater_names == ("good",)
    train, truth = experiment.examples["train"], experiment.data.examples.truths
    assert _labels(train).shape[1] == 1
    assert train.replacement.replaced.sum() == 8
    other = (_labels(train)[:, 0] != truth[train.ids]).any(axis=(1, 2))
    assert not other[~train.replacement.replaced].any()
    assert other[train.replacement.replaced].sum() >= 6
    for split in ("val", "test"):
        kept = experiment.examples[split]
        assert kept.replacement is None
        np.testing.assert_array_equal(_labels(kept)[:, 0], truth[kept.ids])
    lines = (tmp_path / "replaced.csv").read_text().splitlines()
    assert lines[0] == "id,case,replaced,kind,overlap,kept,deleted,added"
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in train.ids]


def test_the_truth_of_training_cases_is_kept_to_judge_by_and_the_method_does_not_see_it():
    experiment = experiments.build(replacing(**{"evaluate.train": True}))
    train, truth = experiment.examples["train"], experiment.data.examples.truths
    batch = train.take(np.arange(len(train)))
    np.testing.assert_array_equal(batch["truth"], truth[train.ids])
    np.testing.assert_array_equal(batch["labels"], _labels(train))
    batch = jax.tree.map(jnp.asarray, {**batch, "epoch": np.int32(0)})
    assert "truth" not in experiment.transform(batch, rng.root_key(0))


def test_nothing_is_replaced_by_default(tmp_path):
    experiment = experiments.build(train_fakes.config(), tmp_path)
    experiments.keep(experiment, tmp_path)
    assert experiment.examples["train"].replacement is None
    assert not (tmp_path / "replaced.csv").exists()


def test_replaced_labels_are_the_target_of_a_fusion(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "fake", fused_method)
    train = experiments.build(replacing()).examples["train"]
    row = int(np.flatnonzero(train.replacement.replaced)[0])
    example = train[row]
    np.testing.assert_allclose(example["target"][..., 1], example["labels"][0], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.panel": ("good", "blank")}, "expected data.panel to be"),
        ({"data.raters": ("bert",)}, "data.raters to be"),
        ({"data.panel": ("good",), "data.resample": True}, "expected no data.resample"),
        ({"data.replacement.overlap": 0.0}, "overlap: expected a number in"),
        ({"data.replacement.kinds": ("smear",)}, "kinds: expected one of"),
        ({"options": {"truth": False}}, "fake: the truth is asked for, but it is not known"),
    ],
)
def test_replacements_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        experiments.build(replacing(**changes))


def test_images_are_predicted_window_by_window_if_asked_for():
    whole = experiments.build(train_fakes.config())
    changes = {"evaluate.window": (4, 5), "evaluate.overlap": 0.25}
    parts = experiments.build(train_fakes.config(**changes))
    batch = whole.example_batch()
    variables = whole.method.init(rng.root_key(0), batch)
    sizes = []

    def predict(variables, image):
        sizes.append(image.shape[1:-1])
        return whole.method.predict(variables, image)

    expected = whole.method.predict(variables, batch["image"])
    result = jax.jit(parts.method.predict)(variables, batch["image"])
    # The fake method looks at one pixel at a time.
    for one, other in zip(result[:3], expected[:3]):
        np.testing.assert_allclose(one, other, atol=1e-6)
    observed = experiments.with_windows(
        train_fakes.config(**changes), dataclasses.replace(whole.method, predict=predict)
    )
    jax.eval_shape(observed.predict, variables, batch["image"])
    assert set(sizes) == {(4, 5)}
    with pytest.raises(ValueError, match="overlap: expected a number in"):
        experiments.build(train_fakes.config(**{**changes, "evaluate.overlap": 1.0}))


def test_training_on_patches_of_the_images():
    options = {"size": (3, 4), "count": 2, "foreground_share": 0.5}
    changes = {"data.patches": ml_collections.ConfigDict(options)}
    experiment = experiments.build(train_fakes.config(**changes))
    assert experiment.example_batch()["image"].shape == (1, 3, 4, 1)
    after = jax.jit(experiment.transform)(experiment.draw(np.array([4, 1]), 0), rng.root_key(0))
    assert after["image"].shape == (4, 3, 4, 1)
    assert after["labels"].shape == (4, 2, 3, 4)
    ids = experiment.examples["train"].ids
    np.testing.assert_array_equal(after["id"], np.repeat(ids[[4, 1]], 2))
    with pytest.raises(ValueError, match=r"data.patches.size: expected one for each of 2 axes"):
        experiments.build(train_fakes.config(**{"data.patches.size": (3, 4, 5)}))
    changes |= {"train.strategy": "adl"}
    with pytest.raises(ValueError, match=r"data.patches.count: .* expected 1, got 2"):
        experiments.build(train_fakes.config(**changes))


def test_half_precision_and_recomputation_reach_the_network_and_not_the_loss():
    fields = {
        "method": "mean",
        "model": {"name": "unet", "widths": (2, 4)},
        "fused": {"loss": "cross_entropy"},
        "dtype": "bfloat16",
        "remat": True,
    }
    sizes = {"num_raters": 2, "num_classes": 2}
    method = experiments.build_method(ml_collections.ConfigDict(fields), **sizes)
    batch = experiments.build(train_fakes.config()).example_batch()
    key = rng.root_key(0)
    variables = jax.eval_shape(method.init, key, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    assert jax.eval_shape(method.predict, variables, batch["image"]).probs.dtype == np.float32

    def loss(variables):
        return method.loss_fn(variables, batch, key, batch["epoch"][0])[0]

    result = jax.eval_shape(jax.value_and_grad(loss), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype("float32")}
    program = str(jax.make_jaxpr(loss)(variables))
    assert "bf16" in program
    assert "remat" in program
    with pytest.raises(ValueError, match="remat: highres3dnet has no such option"):
        experiments.build_method(
            ml_collections.ConfigDict(fields | {"model": {"name": "highres3dnet"}}), **sizes
        )
