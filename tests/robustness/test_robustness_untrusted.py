"""Nothing of the package executes data, and odd but valid input is taken as it is."""

import ast
import hashlib
import json
import pathlib
import unicodedata

import bad_arrays
import bad_volumes
import folder_fakes as fakes
import numpy as np
import pytest

import noisyjax
from noisyjax.data.folder import checker
from noisyjax.data.sources import folder
from noisyjax.data.store import kept
from noisyjax.data.volumes import read_write

_ROOT = pathlib.Path(noisyjax.__file__).parent

# Modules that execute what they read, and calls that execute, unpack anywhere or start a shell.
_MODULES = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "shelve",
    "marshal",
    "xml",
    "yaml",
}
_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "torch.load",
    "shutil.unpack_archive",
}
_METHODS = {"extractall", "extract"}


def _executes(source):
    """Returns what in a source could execute the data that it reads."""
    unsafe_names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [node.module] if isinstance(node, ast.ImportFrom) else names
            unsafe_names += [name for name in names if name.partition(".")[0] in _MODULES]
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            loads = name.endswith(".load") and name.partition(".")[0] in ("np", "numpy", "jnp")
            unsafe = (
                name in _CALLS
                or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS)
                or options.get("allow_pickle", "False") != "False"
                or options.get("shell", "False") != "False"
                or (loads and "allow_pickle" not in options)
            )
            unsafe_names += [name] if unsafe else []
    return unsafe_names


def test_no_module_executes_data():
    sources = {path: path.read_text() for path in _ROOT.rglob("*.py")}
    unsafe_names = {path: wrong for path, text in sources.items() if (wrong := _executes(text))}
    assert len(sources) > 100
    assert unsafe_names == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import xml.etree.ElementTree as et",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "def f(x):\n    exec(x)",
        "archive.extractall(folder)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "shutil.unpack_archive(path)",
    ],
)
def test_what_executes_data_is_found(source):
    assert _executes(source)


@pytest.mark.parametrize(
    "facts",
    [{"dtype": "O"}, {"shape": [-1, 8]}, {"shape": [True, 8]}, {"chunk": [0, 8]}, {"shape": "ab"}],
    ids=str,
)
def test_a_kept_case_whose_record_is_no_array_is_made_anew(tmp_path, facts):
    image = np.arange(5000).reshape(50, 100)

    def stored():
        return kept.stored(tmp_path, "a", {"image": (0, 1)}, lambda: {"image": image})["image"]

    stored()
    path = tmp_path / "a" / kept.RECORD
    record = json.loads(path.read_text())
    del record["digest"]
    record["large"]["image"] |= facts
    # Whoever writes the file can write its checksum too.
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**record, "digest": digest}))
    np.testing.assert_array_equal(stored(), image)


def test_names_of_any_script_are_read_and_written_back(tmp_path):
    # A label may come in another Unicode form than its image, as from a Mac.
    names = ["caf\u00e9 1", "\u05d0\u05d1\u05d2", "\u60a3\u8005-7", "scan\U0001f9e0", "o\u0301scar"]
    fakes.describe(tmp_path, end=".png", patients={unicodedata.normalize("NFD", names[0]): "p"})
    for seed, name in enumerate(names):
        image = (fakes.image(seed, (8, 8)) % 256).astype(np.uint8)
        fakes.save(tmp_path / "imagesTr" / f"{name}_0000.png", image)
        label = unicodedata.normalize("NFD", name)
        fakes.save(tmp_path / "labelsTr" / f"{label}.png", fakes.label(seed, (8, 8)))
    assert checker.check(tmp_path) == []
    data = folder.load(root=str(tmp_path))
    expected = sorted(unicodedata.normalize("NFC", name) for name in names)
    assert sorted(data.case_names) == expected
    for i, name in enumerate(data.case_names):
        written = tmp_path / "out" / f"{name}.png"
        data.examples.write(i, data.examples[i]["truth"], written)
        own = next((tmp_path / "labelsTr").glob(f"{unicodedata.normalize('NFD', name)}.png"))
        np.testing.assert_array_equal(read_write.read(written).array, read_write.read(own).array)


def test_what_is_shown_of_a_name_cannot_command_a_terminal(tmp_path):
    fakes.make(tmp_path, 2, end=".png", shape=(8, 8))
    fakes.describe(tmp_path, end=".png", patients={"\x1b[2J\u202ecase": "anna"})
    (tmp_path / "imagesTr" / "a\x1b[31m_0000.png").write_bytes(b"")
    shown = "".join(map(str, checker.check(tmp_path)))
    assert r"\x1b[2J\u202ecase" in shown
    assert shown.isprintable()


@pytest.mark.parametrize("fields", [{"scl_slope": np.nan}, {"scl_slope": 0}, {"magic": b"n+1"}])
def test_a_header_that_the_format_allows_is_taken(tmp_path, fields):
    path = tmp_path / "a.nii"
    path.write_bytes(bad_volumes.nifti(**fields))
    np.testing.assert_array_equal(read_write.read(path).array.ravel(), np.arange(24))


def test_labels_that_nobody_gave_may_hold_anything():
    labels = np.zeros((4, 2, 6, 6), np.uint8)
    labels[:, 1] = 255
    given = np.array([[True, False]] * 4)
    labelled = bad_arrays.annotated(labels=labels, rater_masks=given)
    np.testing.assert_array_equal(labelled.rater_masks, given)


def test_a_volume_of_the_other_byte_order_is_read(tmp_path):
    path = tmp_path / "a.nii"
    image = bad_volumes.nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_xyzt_units("mm")
    swapped = bad_volumes.nib.Nifti1Image(
        image.get_fdata().astype(">i2"), np.eye(4), image.header.as_byteswapped(">")
    )
    path.write_bytes(swapped.to_bytes())
    np.testing.assert_array_equal(read_write.read(path).array.ravel(), np.arange(24))


def test_sixteen_bits_stay_sixteen(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bad_volumes.picture((np.arange(64) * 1000).astype(np.uint16).reshape(8, 8)))
    assert read_write.read(path).array.max() == 63_000
