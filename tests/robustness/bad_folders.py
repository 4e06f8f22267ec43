"""Folders of images and labels, and what the commands that read them are given."""

import json
import shutil

import bad_configs
import bad_inputs
import bad_volumes
import folder_fakes as fakes
import numpy as np
from absl import app
from bad_inputs import group

from noisyjax.cli import options
from noisyjax.data.folder import checker
from noisyjax.data.sources import folder
from noisyjax.studies.raters import noise_fit, noise_levels, references
from noisyjax.train import config_fields, predict

SIZE = (8, 8)


def _made(change=None, **options):
    """Makes a clean folder of three small pictures, and changes it."""

    def make(where):
        root = fakes.make(where / "folder", 3, end=".png", shape=SIZE, **options)
        if change:
            change(root)
        return str(root)

    return make


def _dataset(content):
    """Makes a clean folder with another dataset.json."""

    def change(root):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        (root / "dataset.json").write_bytes(raw)

    return _made(change)


def _described(**fields):
    return _made(lambda root: fakes.describe(root, end=".png", **fields))


def _load(root):
    folder.load(root=root)


def _copied(name):
    """Copies the first case under a name."""

    def change(root):
        shutil.copy(root / "imagesTr" / "case_00_0000.png", root / "imagesTr" / f"{name}_0000.png")
        shutil.copy(root / "labelsTr" / "case_00.png", root / "labelsTr" / f"{name}.png")

    return _made(change)


def _twice(first, second):
    def change(root):
        for name in (first, second):
            fakes.save(
                root / "imagesTr" / f"{name}_0000.png", fakes.image(7, SIZE).astype(np.uint8)
            )
            fakes.save(root / "labelsTr" / f"{name}.png", fakes.label(1, SIZE))

    return _made(change)


def _label(array):
    """Replaces the first label."""
    return _made(lambda root: fakes.save(root / "labelsTr" / "case_00.png", array))


def _image(content):
    def change(root):
        (root / "imagesTr" / "case_00_0000.png").write_bytes(content)

    return _made(change)


def _dangling(root):
    (root / "imagesTr" / "case_00_0000.png").unlink()
    (root / "imagesTr" / "case_00_0000.png").symlink_to("nowhere")


_GOOD = {"channel_names": {"0": "CT"}, "labels": fakes.CLASSES, "file_ending": ".png"}
_TWICE = b'{"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "labels": {}}'
_DATASETS = [
    ("not JSON", _dataset(b"channel_names: CT"), "dataset.json: .*expected JSON in UTF-8"),
    ("a list", _dataset([1]), "dataset.json: .*expected an object in braces, got a list"),
    ("a text", _dataset("CT"), "dataset.json: .*expected an object in braces, got a str"),
    ("with two BOMs", _dataset(2 * b"\xef\xbb\xbf" + json.dumps(_GOOD).encode()), ".*json: .*BOM"),
    ("in UTF-16", _dataset(json.dumps(_GOOD).encode("utf-16")), "dataset.json: .*utf-8"),
    ("nested too deeply", _dataset(b"[" * 10**6), "dataset.json: .*nested too deeply"),
    ("with a name twice", _dataset(_TWICE), "dataset.json: .*got the name 'labels' twice"),
    ("with 1e999", _dataset(b'{"numTraining": 1e999}'), "dataset.json: .*got the number 1e999"),
    ("with NaN", _dataset(b'{"numTraining": NaN}'), "dataset.json: .*got the number NaN"),
    ("of a long number", _dataset(b'{"labels": ' + b"9" * 10**5 + b"}"), "dataset.json: .*digits"),
    ("without channels", _described(channel_names={}), "dataset.json: channel_names: got {}"),
    ("of channels by name", _described(channel_names={"CT": 0}), "channel_names: got {'CT': 0}"),
    ("of channels in a list", _described(channel_names=["CT"]), r"channel_names: got \['CT'\]"),
    ("of labels by numbers and names", _described(labels={"0": "a", "b": 1}), "labels: got"),
    ("of half labels", _described(labels={"a": 0, "b": 1.5}), "dataset.json: labels: got .*1.5"),
    ("of truth values", _described(labels={"a": False, "b": True}), "labels: got .*True"),
    ("of one class", _described(labels={"background": 0}), "dataset.json: labels: got"),
    ("of a gap", _described(labels={"background": 0, "a": 2}), "has values .1., .* has 0, 2"),
    ("of an unknown ending", _described(file_ending=".dcm"), "file_ending: got '.dcm'"),
    ("of an ending that leads out", _described(file_ending="/../.png"), "file_ending: got '/../"),
    ("of endings in a list", _described(file_ending=[".png"]), "file_ending: got .*png"),
    (
        "of paths that lead out",
        _described(training=["../../a.png"]),
        "name '../../a.png' leads out",
    ),
    ("of absolute paths", _described(test=[{"image": "/etc/passwd"}]), "'/etc/passwd' leads out"),
    ("of patients in a list", _described(patients=["anna"]), "dataset.json: patients: got"),
    ("of a foreign patient", _described(patients={"x\0y": "anna"}), "names the case x.x00y, which"),
]
_NAMES = [
    ("of a leading dash", _copied("-rf"), "the name '-rf_0000.png' leads out .* odd characters"),
    ("of a backslash", _copied("a\\b"), "leads out .* or holds odd characters"),
    ("of a line break", _copied("a\nb"), "leads out .* or holds odd characters"),
    ("of a device", _copied("NUL"), "the name 'NUL.png' leads out .* or holds odd characters"),
    ("of an end that Windows drops", _copied("a."), "leads out .* or holds odd characters"),
    ("of two dots", _copied("a..b"), "leads out .* or holds odd characters"),
    ("turned round", _copied("a\u202egnp"), "leads out .* or holds odd characters"),
    ("of a wide slash", _copied("a\uff0fb"), "leads out .* or holds odd characters"),
    ("of markup", _copied("[red]a"), "leads out .* or holds odd characters"),
    ("of another case", _twice("Anna", "anna"), "the name is that of Anna.* but for its letters'"),
    ("in NFC and NFD", _twice("caf\u00e9", "cafe\u0301"), "the name is that of .* Unicode form"),
]
_CONTENTS = [
    ("absent", lambda where: str(where / "none"), "there is no folder"),
    ("a file", lambda where: bad_inputs.file("folder", b"x")(where), "there is no folder"),
    (
        "without dataset.json",
        _made(lambda root: (root / "dataset.json").unlink()),
        "dataset.json: there is no dataset.json",
    ),
    (
        "with a folder for dataset.json",
        _made(lambda root: ((root / "dataset.json").unlink(), (root / "dataset.json").mkdir())),
        "dataset.json: there is no dataset.json",
    ),
    (
        "without images",
        _made(lambda root: (shutil.rmtree(root / "imagesTr"), (root / "imagesTr").mkdir())),
        "there is no image in imagesTr",
    ),
    (
        "with a folder for an image",
        _made(lambda root: (root / "imagesTr" / "case_09_0000.png").mkdir()),
        "case_09_0000.png: the file is not named like an image",
    ),
    (
        "with a link to nothing",
        _made(_dangling),
        "case_00_0000.png: expected a file, there is none",
    ),
    (
        "with a label too few",
        _made(lambda root: (root / "labelsTr" / "case_01.png").unlink()),
        "case_01_0000.png: the case has an image and no label",
    ),
    ("with labels of another size", _label(fakes.label(0, (8, 7))), r"label has shape \(8, 7\)"),
    ("with labels of 255", _label(np.full(SIZE, 255, np.uint8)), r"values \[255\].* 0 to 2"),
    (
        "with labels in colours",
        _made(
            lambda root: (root / "labelsTr" / "case_00.png").write_bytes(
                bad_volumes.picture(np.zeros((*SIZE, 3), np.uint8))
            )
        ),
        "case_00.png: the label map has colours",
    ),
    ("with an empty image", _image(b""), "case_00_0000.png: expected an image, .* no bytes"),
    ("with a bomb", _image(bad_volumes.png_claiming(10**5, 10**5)), "expected a smaller image"),
    (
        "with images in colours and grey",
        _image(bad_volumes.picture(np.arange(192, dtype=np.uint8).reshape(*SIZE, 3))),
        "channels, the first, case_00_0000.png, has",
    ),
]


def _volumes(change):
    """Makes a clean folder of three volumes, and changes it."""

    def make(where):
        root = fakes.make(where / "folder", 3, end=".nii.gz", shape=(4, 4, 4))
        change(root)
        return str(root)

    return make


def _float_label(root):
    fakes.save(root / "labelsTr" / "case_00.nii.gz", np.full((4, 4, 4), 0.5, np.float32))


def _nan_image(root):
    array = np.full((4, 4, 4), np.nan, np.float32)
    fakes.save(root / "imagesTr" / "case_00_0000.nii.gz", array)


def _large_voxels(root):
    affine = np.diag([1e6, 1e6, 1e6, 1.0])
    for path in ("imagesTr/case_00_0000.nii.gz", "labelsTr/case_00.nii.gz"):
        array = fakes.label(0, (4, 4, 4))
        fakes.save(root / path, array, affine)


def _elsewhere(root):
    fakes.save(root / "labelsTr" / "case_00.nii.gz", fakes.label(0, (4, 4, 4)), np.eye(4))


def _flat(root):
    fakes.save(root / "imagesTr" / "case_00_0000.nii.gz", fakes.image(0, (4, 4)))
    fakes.save(root / "labelsTr" / "case_00.nii.gz", fakes.label(0, (4, 4)))


_VOLUMES = [
    ("with half labels", _volumes(_float_label), "values between whole numbers, such as 0.5"),
    ("with NaN in an image", _volumes(_nan_image), "the image has 64 voxels of NaN or inf"),
    ("with voxels of a kilometre", _volumes(_large_voxels), "spacing: expected at most .* voxels"),
    ("with a label elsewhere", _volumes(_elsewhere), "the label lies elsewhere than its image"),
    ("with images and volumes", _volumes(_flat), "the image has . axes, the first, .*, has"),
]


# --- commands --------------------------------------------------------------------------------


def _run_of(name):
    def make(where):
        (where / "run").mkdir()
        config = config_fields.default().unlock()
        config.data.name = name
        config.data.options = {"root": "folder"} if name == "folder" else {}
        run = config_fields.resolve(config)
        (where / "run" / "config.json").write_text(run.to_json())
        fakes.make(where / "folder", 1, end=".png", shape=SIZE)
        return where

    return make


def _predict(where, output="out"):
    predict.predict_folder(where / "run", where / "folder" / "imagesTr", where / output)


def _reference(**options):
    def call(_):
        references.from_source(
            bad_configs.load_digits(), ids=range(2), panel=("good", "over"), seed=0, **options
        )

    return call


def _nothing(_):
    return None


_WRITTEN = [
    ("a PNG of floats", ("a.png", np.zeros(SIZE, np.float32)), "a.png: expected uint8 or uint16"),
    ("a PNG of a volume", ("a.png", np.zeros((2, 2, 2), np.uint8)), "of 2 axes, got uint8 of 3"),
    (
        "a NIfTI of half floats",
        ("a.nii", np.zeros(SIZE, np.float16)),
        "a dtype of NIfTI, got float16",
    ),
    ("an unknown ending", ("a.dcm", np.zeros(SIZE, np.uint8)), "ending: expected one of '.nii'"),
]

ROWS = [
    *group("dataset.json", _load, _DATASETS, bounded=True),
    *group("name of a case", _load, _NAMES),
    *group("folder", _load, [*_CONTENTS, *_VOLUMES], bounded=True),
    *group(
        "check_folder",
        lambda root: checker.check(root, ignore=("empty", "nothing")),
        [("unknown kind", _made(), "ignore: expected one of .*, got 'nothing'")],
    ),
    *group(
        "options of a folder",
        lambda root: folder.load(root=root, size=(8,)),
        [("a size of other axes", _made(), r"size: expected one for each of 2 axes, got \(8,\)")],
    ),
    *group(
        "options of a folder",
        lambda root: folder.load(root=root, spacing=(0.0, 1.0)),
        [("spacing of zero", _made(), "^spacing: expected a number > 0, got 0.0")],
    ),
    *group(
        "options of a folder",
        lambda root: folder.load(root=root, normalise="minmax"),
        [("an unknown normalisation", _made(), "normalise: expected one of .*, got 'minmax'")],
    ),
    *group(
        "options of a folder",
        lambda root: folder.load(root=root, fractions=(0.0, 0.5, 0.5)),
        [("nothing to train on", _made(), "fractions: expected cases left to train on, got 3")],
    ),
    *group(
        "predict",
        _predict,
        [
            (
                "a run of another source",
                _run_of("digits"),
                "run: expected a run of the source folder",
            )
        ],
    ),
    *group(
        "predict",
        lambda where: _predict(where, "folder/imagesTr"),
        [("output among the images", _run_of("folder"), "output: expected another folder than")],
    ),
    *group(
        "predict",
        _predict,
        [("no run", lambda where: where, "config.json: not there, so .* is no working directory")],
        error=FileNotFoundError,
    ),
    *group(
        "fit_noise",
        lambda given: options.parse("option", given),
        [("an option without a value", lambda _: ["root"], "--option: expected NAME=VALUE, got")],
        error=app.UsageError,
    ),
    *group(
        "fit_noise",
        lambda _: noise_fit.fit(None, bad_configs.load_digits(), range(2)),
        [("a source without raters", _nothing, "digits: .*raters")],
    ),
    *group(
        "fit_noise",
        lambda _: noise_levels.solve(None, np.zeros((1, 8, 8), np.uint8), dice=0.5),
        [("truths without foreground", _nothing, "truths: expected foreground .*, got none")],
    ),
    *group(
        "raters",
        _reference(by="best"),
        [("an unknown fusion", _nothing, "by: expected one of .*, got 'best'|fusion: .*'best'")],
    ),
    *group(
        "volume to write",
        lambda given: fakes.save(*given),
        [
            (name, lambda where, to=given: (where / to[0], to[1]), match)
            for name, given, match in _WRITTEN
        ],
    ),
]
