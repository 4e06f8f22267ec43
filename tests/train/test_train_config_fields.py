"""Every shipped config passes, and what is wrong is named; more of that in tests/robustness."""

import json
import sys

import ml_collections
import pytest
import train_fakes
from absl import flags
from ml_collections import config_flags

from configs import adl, annotators, cm_trace, example, folder, noise_ratio, uma_net
from noisyjax import methods, train
from noisyjax.data import augment
from noisyjax.studies import grid
from noisyjax.train import config_fields

_VARIANTS = [
    (module, variant) for module in (cm_trace, folder) for variant in sorted(module.VARIANTS)
]
_STUDIES = (adl, annotators, example, noise_ratio, uma_net)


@pytest.mark.parametrize(("module", "variant"), _VARIANTS)
def test_training_configs_pass(module, variant):
    run = config_fields.resolve(module.get_config(variant))
    assert config_fields.resolve(run) == run


@pytest.mark.parametrize("module", _STUDIES, ids=lambda module: module.__name__)
def test_the_cells_of_studies_pass(module):
    for cell in grid.cells(module.get_config()):
        assert config_fields.resolve(cell.config).method == cell.config.method


def test_a_run_carries_the_sections_that_it_reads():
    config = config_fields.default().unlock()
    config.method = "uma_net"
    config.data.panel = ()
    run = config_fields.resolve(config)
    general = {name.partition(".")[0] for name in config_fields.FIELDS}
    assert {*run} == general | {"uma_net"}
    assert not run.data.options
    assert not run.data.panel_options
    assert not run.data.augment
    assert run.model.norm == "instance"
    assert run.uma_net.to_dict() == config.uma_net.to_dict()


def test_a_resolved_config_stays_as_it_is_also_through_json():
    run = config_fields.resolve(config_fields.default())
    assert config_fields.resolve(run) == run
    read = config_fields.resolve(ml_collections.ConfigDict(json.loads(run.to_json())))
    assert json.loads(read.to_json()) == json.loads(run.to_json())


def test_what_is_absent_has_its_default():
    run = config_fields.resolve(ml_collections.ConfigDict({"seed": 4, "train": {"epochs": 3}}))
    assert (run.seed, run.train.epochs, run.train.batch_size) == (4, 3, 32)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("data.options.every", 3, "data.options.every: expected an option of digits .none., got 3"),
        ("data.name", "lidc", "data.options.path: expected a value, for lidc needs one, got none"),
        ("model.encoder", "vgg16", "model.encoder: expected an option of unet .*widths.*'vgg16'"),
    ],
)
def test_options_of_something_else_are_named(name, value, match):
    config = config_fields.default()
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ValueError, match=match):
        config_fields.resolve(config)


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({"train": {"epochs": "many"}}, "train.epochs: expected a whole number, got 'many'"),
        ({"train": {"epochs": True}}, "train.epochs: expected a whole number, got True"),
        ({"train": {"learning_rate": "0.1"}}, "train.learning_rate: expected a number, got '0.1'"),
        ({"data": {"resample": 1}}, "data.resample: expected True or False, got 1"),
        ({"method": 3}, "method: expected a text, got 3"),
        ({"train": 3}, "train: expected a section, got 3"),
        ({"model": "unet"}, "model: expected a section, got 'unet'"),
    ],
)
def test_fields_of_another_kind_are_named(tree, match):
    with pytest.raises(ValueError, match=match):
        config_fields.resolve(ml_collections.ConfigDict(tree))


@pytest.mark.parametrize(
    "tree", [{"leaning_rate": 1}, {"train": {"leaning_rate": 1}}, {"data": {"patch": {"size": 1}}}]
)
def test_fields_that_no_run_reads_are_refused(tree):
    with pytest.raises(ValueError, match="(leaning_rate|data.patch): no run reads this field"):
        config_fields.resolve(ml_collections.ConfigDict(tree))


@pytest.mark.parametrize(
    ("value", "passes"), [(0.5, True), (0.0, True), (1.0, False), (-0.1, False)]
)
def test_the_ends_of_a_range_count_as_the_table_says(value, passes):
    config = ml_collections.ConfigDict({"train": {"momentum": value}})
    if passes:
        config_fields.resolve(config)
    else:
        with pytest.raises(ValueError, match=r"train.momentum: expected a number in \[0, 1\)"):
            config_fields.resolve(config)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_flags_reach_the_options_of_every_section(monkeypatch):
    given = {
        "model.norm": ("batch", "batch"),
        "data.augment.rotation": ("30", 30.0),
        "data.panel_options.over": ("0.5", 0.5),
        "cm_trace.rank": ("2", 2),
        "spatial_shards": ("2", 2),
    }
    arguments = [f"--config.{name}={text}" for name, (text, _) in given.items()]
    monkeypatch.setattr(sys, "argv", ["train", f"--config={cm_trace.__file__}", *arguments])
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True)
    values(sys.argv)
    run = config_fields.resolve(values.config)
    for name, (_, value) in given.items():
        assert config_fields.value(run, name) == value


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_flags_reach_every_option_of_the_augmentation(monkeypatch):
    given = {name: ("0.25", 0.25) for name in augment.PARAMETERS if name != "spacing"}
    del given["margin"]
    given |= {"flip_axes": ("(0, 1)", (0, 1)), "right_angle_planes": ("((0, 1),)", ((0, 1),))}
    arguments = [f"--config.data.augment.{name}={text}" for name, (text, _) in given.items()]
    monkeypatch.setattr(sys, "argv", ["train", f"--config={folder.__file__}", *arguments])
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True)
    values(sys.argv)
    chosen = config_fields.resolve(values.config).data.augment.to_dict()
    assert chosen == {name: value for name, (_, value) in given.items()}
    assert augment.build(chosen) is not None


def test_a_method_is_one_file_and_one_registry_line(fakes, monkeypatch, tmp_path):
    def build(segmenter, *, num_raters, num_classes, factor: float = 2.0, kind: str = "plain"):
        assert (factor, kind) == (3.0, "plain")
        return train_fakes.method(segmenter, num_raters=num_raters, num_classes=num_classes)

    build.__module__ = "noisyjax.methods.of_mine"
    monkeypatch.setitem(methods.METHODS, "mine", build)
    assert config_fields.default().of_mine.to_dict() == {"factor": 2.0, "kind": "plain"}
    config = train_fakes.config(method="mine", **{"of_mine.factor": 3.0, "train.epochs": 1})
    assert config.of_mine.to_dict() == {"factor": 3.0, "kind": "plain"}
    _, summary = train.train_and_evaluate(config, tmp_path)
    assert summary["test_dice"] > 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fused.loss", {}, r"fused.loss: expected a text, got \{\}"),
        ("model.norm", 3, "model.norm: expected a text, got 3"),
        ("data.options.seed", "x", "data.options.seed: expected a whole number, got 'x'"),
        ("data.options.cache", 5, "data.options.cache: expected a text, got 5"),
    ],
)
def test_an_option_of_another_kind_is_named(name, value, message):
    config = ml_collections.ConfigDict(
        {
            "method": "majority",
            "model": {"name": "unet"},
            "data": {"name": "folder", "options": {"root": "x"}},
            "fused": {},
        }
    )
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ValueError, match=message):
        config_fields.resolve(config)
