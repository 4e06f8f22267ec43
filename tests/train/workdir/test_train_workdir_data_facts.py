"""What a run keeps of its data, and files of it that somebody has changed."""

import json

import jax
import numpy as np
import pytest

from noisyjax.train.workdir import data_facts, folder_facts

FACTS = data_facts.DataFacts(
    class_names=("background", "organ"),
    rater_names=("anna", "bert", "cem"),
    spacing=(0.5, 2.0),
    num_examples=7,
    batch={
        "image": jax.ShapeDtypeStruct((1, 8, 9, 1), np.float32),
        "labels": jax.ShapeDtypeStruct((1, 3, 8, 9), np.uint8),
        "id": jax.ShapeDtypeStruct((1,), np.int32),
    },
    about={
        "file_ending": ".png",
        "channel_names": ["photo"],
        "preparation": {
            "normalisation": "none",
            "cut": 900.0,
            "window": [-200.0, 400],
            "intensities": [[-20.0, 130, 85.0, 25.0]],
            "interpolation": "linear",
            "box": "",
            "margin": 0,
        },
        "grid_tolerance": 0.25,
    },
    cases={"train": ("a", "b"), "test": ("c",)},
    contents={"train": "0123", "test": "4567"},
)


def test_facts_go_through_a_file_and_back(tmp_path):
    data_facts.write(tmp_path, FACTS)
    assert data_facts.read(tmp_path) == FACTS
    folder_facts.check(FACTS.about)


def _change(content, name, value):
    *path, last = name.split(".")
    for part in path:
        content = content[part]
    if value is None:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spacing", None, "expected the fields spacing, got none"),
        ("cases", None, "expected the fields cases, got none"),
        ("spacing", 2.0, "spacing: expected a list of numbers > 0, got 2.0"),
        ("spacing", [1, 0], "spacing: expected a list of numbers > 0"),
        ("spacing", [1, 1, 1], "batch.image.shape: expected one image of 3 axes"),
        ("class_names", "ab", "class_names: expected a list of texts, got 'ab'"),
        ("class_names", ["a"], "class_names: expected at least 2, got 1"),
        ("rater_names", ["a", 3], "rater_names: expected a list of texts"),
        ("rater_names", ["a"], r"batch.labels.shape: expected \(1, 1, 8, 9\)"),
        ("num_examples", "7", "num_examples: expected a whole number > 0, got '7'"),
        ("num_examples", True, "num_examples: expected a whole number > 0, got True"),
        ("batch", [], "batch: expected an object"),
        ("batch.labels", None, "batch: expected labels, got"),
        ("batch.image.shape", None, "KeyError.*shape"),
        ("batch.image.shape", 7, "batch.image.shape: expected a list, got 7"),
        ("batch.image.shape", [1, 8, -9, 1], "batch.image.shape: expected a whole number > 0"),
        ("batch.image.shape", [1, 40_000, 40_000, 1], r"batch.labels.shape: .*40000, 40000\)"),
        ("batch.id.shape", [2**40], "batch.id.shape: expected at most"),
        ("batch.image.dtype", 4, "batch.image.dtype: expected a text, got 4"),
        ("batch.image.dtype", "float33", "float33"),
        ("about", "", "about: expected an object"),
        ("cases.test", "c", "cases.test: expected a list of texts"),
        ("contents", {"train": 1}, "contents: expected a list of texts"),
    ],
)
def test_a_changed_field_is_named(tmp_path, name, value, message):
    data_facts.write(tmp_path, FACTS)
    path = tmp_path / "source.json"
    content = json.loads(path.read_text())
    _change(content, name, value)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"source.json: expected the facts .*{message}"):
        data_facts.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("file_ending", None, "file_ending: expected a value, got none"),
        ("file_ending", ".exe", "file_ending: expected one of"),
        ("channel_names", "CT", "channel_names: expected a list of texts, got 'CT'"),
        ("channel_names", [], "channel_names: expected a channel, got none"),
        ("grid_tolerance", "1", "grid_tolerance: expected a number, got '1'"),
        ("preparation", [], "preparation: expected normalisation, cut"),
        ("preparation.box", None, "preparation: expected normalisation, cut"),
        ("preparation.margin", 0.5, "preparation.margin: expected a whole number, got 0.5"),
        ("preparation.window", [1], "preparation.window: expected two numbers, got"),
        ("preparation.cut", True, "preparation.cut: expected a number, got True"),
        ("preparation.normalisation", "z", "preparation.normalisation: expected one of"),
        ("preparation.normalisation", ["z"], "preparation.normalisation: expected one of"),
        ("preparation.intensities", [[1]], "preparation.intensities: expected lists of four"),
        ("preparation.interpolation", "best", "preparation.interpolation: expected one of"),
    ],
)
def test_a_changed_field_of_a_folder_is_named(name, value, message):
    about = json.loads(json.dumps(FACTS.about))
    _change(about, name, value)
    with pytest.raises(ValueError, match=f"about.{message}"):
        folder_facts.check(about)
