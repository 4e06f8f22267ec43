"""Files that are damaged, forged or of another kind: archives, tables, checkpoints."""

import gzip
import io
import json
import pickle
import struct
import zipfile

import jax
import numpy as np
from bad_inputs import Make, Payload, file, group

from noisyjax.data import source, splits
from noisyjax.data.sources import annotators_npz, archive, bubil, hippocampus, lidc, mnist
from noisyjax.metrics import tabulate
from noisyjax.train.workdir import checkpoints

# --- archives --------------------------------------------------------------------------------

_LAYOUT = {"image": "uint8 N H W"}


def _npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _members(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return stream.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    """An ``.npy`` file of any header."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def npy_claiming(shape: str, descr: str = "'|u1'") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", bytes(64))


def object_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Payload()], object), allow_pickle=True)
    return stream.getvalue()


def _encrypted() -> bytes:
    content = bytearray(_npz(image=np.zeros((1, 2, 2), np.uint8)))
    # The flag of encryption, in the member's header and in the directory.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _lying_about_size() -> bytes:
    content = bytearray(_npz(image=np.zeros((1, 9, 9), np.uint8)))
    # The unpacked size, in the directory.
    offset = content.index(b"PK\x01\x02") + 24
    content[offset : offset + 4] = struct.pack("<I", 50)
    return bytes(content)


def _read_npz(path):
    archive.read(path, _LAYOUT, content="images", max_bytes=2**20)


def _image(header):
    return file("a.npz", _members(("image.npy", header)))


_ARCHIVES = [
    ("of pickled objects", _image(object_array()), "a.npz: expected plain arrays, got .*object"),
    (
        "of a pickle in place of an array",
        _image(pickle.dumps(Payload())),
        "expected plain arrays, got .*magic string",
    ),
    ("a pickle", file("a.npz", pickle.dumps(Payload())), "a.npz: expected an .npz archive"),
    (
        "of 10^18 voxels",
        _image(npy_claiming("(1000000, 1000000, 1000000)")),
        "bytes .* by its header",
    ),
    ("of negative sizes", _image(npy_claiming("(-1, 8, 8)")), "by its header|shape is not valid"),
    (
        "of a header that calls",
        _image(npy_claiming("(1,2,__import__('os').mkdir('EXECUTED'))")),
        "got",
    ),
    ("of a header without end", _image(npy_claiming("(1,2,3)" + " " * 60000)), "got Header info"),
    (
        "of a header that does not end",
        _image(npy("{'descr': '|u1', 'shape': (1,\n")),
        "image: a header that is none",
    ),
    ("of a header of lists", _image(npy("{[]: 1}\n")), "image: a header that is none"),
    ("of True for a size", _image(npy_claiming("(True, 8, 8)")), r"the shape \(True, 8, 8\) by"),
    ("of a header that is none", _image(npy("spoon\n")), "expected plain arrays, got"),
    (
        "of a type that is none",
        _image(npy_claiming("(1, 8, 8)", "'spoon'")),
        "expected plain arrays",
    ),
    (
        "that unpacks to 64 MiB",
        file("a.npz", _npz(image=np.zeros((64, 1024, 1024), np.uint8))),
        "got 67108864 bytes, more than the 1048576 allowed",
    ),
    ("that says it is smaller", file("a.npz", _lying_about_size()), "expected plain arrays, got"),
    ("that is encrypted", file("a.npz", _encrypted()), "expected plain arrays, got .*encrypted"),
    (
        "of names that lead out",
        file("a.npz", _members(("../image.npy", b"x"), ("/etc/image.npy", b"x"))),
        r"expected arrays \('image',\), missing \['image'\]",
    ),
    ("cut off", file("a.npz", _npz(image=np.zeros((1, 8, 8)))[:-30]), "cut off or another one"),
    ("empty", file("a.npz", b""), "a.npz: expected an .npz archive"),
    ("of floats", file("a.npz", _npz(image=np.full((1, 8, 8), np.nan))), "image: expected uint8"),
    ("without examples", file("a.npz", _npz(image=np.zeros((0, 8, 8), np.uint8))), r"got .*\[0, 8"),
]

_DIGITS = {
    "images": np.zeros((3, 4, 4, 1), np.uint8),
    **dict.fromkeys(annotators_npz.RATERS, np.zeros((3, 4, 4), np.uint8)),
    **{f"idx_{name}": np.array([i]) for i, name in enumerate(("train", "val", "test"))},
}
_SOURCES = [
    (
        annotators_npz.load,
        "labels of 255",
        {**_DIGITS, "over": np.full((3, 4, 4), 255, np.uint8)},
        r"over: expected values in 0\.\.1, got 255\.\.255",
    ),
    (
        annotators_npz.load,
        "ids in two parts",
        {**_DIGITS, "idx_val": np.array([0])},
        "expected idx_train, idx_val and idx_test to be distinct ids",
    ),
    (
        annotators_npz.load,
        "ids beyond the images",
        {**_DIGITS, "idx_test": np.array([99])},
        r"ids: expected values in 0\.\.2, got 0\.\.99",
    ),
    (
        hippocampus.load,
        "extents beyond the volume",
        {
            "image": np.zeros((1, 4, 4, 4), np.uint8),
            "label": np.zeros((1, 4, 4, 4), np.uint8),
            "shape": np.array([[4, 4, 9]]),
            "name": np.array(["a"]),
        },
        r"shape\[:, 2\]: expected values in 1\.\.4, got 9\.\.9",
    ),
    (
        lidc.load,
        "masks of another width",
        {
            "image": np.zeros((1, 8, 24), np.uint8),
            "masks_packed": np.zeros((1, 4, 8, 2), np.uint8),
            **{name: np.array([1]) for name in ("patient", "nodule", "slice")},
        },
        "masks_packed: expected 3 bytes for a width of 24, got 2",
    ),
]


def _load_mnist(path):
    mnist.read_idx(path, (60_000, 28, 28))


_IDX = "train-images-idx3-ubyte.gz"
_MNIST = [
    (
        "cut off",
        file(_IDX, gzip.compress(bytes(999))[:-9]),
        "expected md5 f68b.*truncated or anoth",
    ),
    ("of another magic number", file(_IDX, gzip.compress(b"\0\0\x09\x03" + bytes(99))), "md5 f68b"),
    ("that unpacks to more", file(_IDX, gzip.compress(bytes(10**8))), "expected md5 f68b"),
    ("empty", file(_IDX, b""), "expected md5 f68b.* from 0 bytes"),
]


# --- what a run keeps ------------------------------------------------------------------------


def _toy() -> source.Source:
    images = np.zeros((4, 2, 2, 1), np.float32)
    examples, names = source.ArrayExamples(images), ("background", "a")
    return source.Source("toy", examples, 2, names, (1.0, 1.0), has_truth=False)


def _load_splits(path):
    splits.load(path, _toy())


def _division(**changes) -> Make:
    """Makes a file of splits with some of them replaced; digests fit."""
    ids = {"train": [0, 1], "val": [2], "test": [3], **changes}

    def entry(part):
        lists = {"ids": part, "cases": [f"toy[{i}]" for i in part]}
        return {"size": len(part), "sha256": splits.digest(lists), **lists}

    content = {"source": "toy", "num_examples": 4, "others": entry([])}
    content["splits"] = {name: entry(part) for name, part in ids.items()}
    return file("splits.json", json.dumps(content).encode())


def _changed(change) -> Make:
    def make(where):
        path = where / _division()(where)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return path

    return make


def _named(**content) -> Make:
    return file("splits.json", json.dumps(content).encode())


_HUGE = b'{"source": "toy", "num_examples": 4, "splits": {"train": {"ids": [1e999], "size": 1}}}'
_SPLITS = [
    ("foreign ids", _division(test=[99]), r"the 4 cases of toy .*1 removed: toy\[99\]; 1 added"),
    ("negative ids", _division(test=[-1]), r"the 4 cases of toy .*1 removed: toy\[-1\]; 1 added"),
    ("ids twice", _division(train=[0, 0, 1]), "train: expected distinct ids, some come twice"),
    ("no names", _changed(lambda c: c["splits"]["val"].pop("cases")), "with digest .*was changed"),
    ("no others", _changed(lambda c: c.pop("others")), "a file of splits, got KeyError"),
    ("a number as a part", _changed(lambda c: c["splits"].update(val=3)), "a file of splits, got"),
    ("a name of a case as a part", _named(train="toy[0]"), "train: expected a list of the names"),
    ("numbers as names", _named(train=[0, 1]), "train: expected a list of the names"),
    ("foreign names", _named(train=["toy[0]", "b"]), r"train: expected names of .*, got b$"),
    ("a name twice", _named(train=["toy[0]"] * 2), "train: expected distinct ids, some come twice"),
    ("a foreign part", _named(train=["toy[0]"], tests=[]), "expected .*, got .*tests"),
    ("nothing to train on", _named(train=[]), "train: expected cases, got none"),
    (
        "ids in two parts",
        _division(val=[0, 2]),
        r"val share examples, for example toy\[0\]",
    ),
    ("not JSON", file("splits.json", b"{"), "splits.json: expected a file of splits, got .*JSON"),
    ("an empty list", file("splits.json", b"[]"), "splits.json: expected a fold .*got fold 0"),
    ("a list of names", file("splits.json", b'["toy[0]"]'), "expected .*splits_final.json, got"),
    ("a number", file("splits.json", b"7"), "splits.json: expected a file of splits, got .*int"),
    ("a number of 1e999", file("splits.json", _HUGE), "expected a file of splits, got .*1e999"),
    ("nested deeply", file("splits.json", b'{"a":' * 10**5), "a file of splits, got .*too deeply"),
]
_TABLES = [
    ("empty", file("cases.csv", b""), r"cases.csv: expected the columns \('case', .*got \(\)"),
    ("of other columns", file("cases.csv", b"a,b\n1,2\n"), r"cases.csv: .*got \('a', 'b'\)"),
    (
        "of a text for a number",
        file("cases.csv", b"case,class,metric,value\na,b,dice,high\n"),
        "cases.csv: expected .*a number in each row, got .*'high'",
    ),
    (
        "of a short row",
        file("cases.csv", b"case,class,metric,value\na\n"),
        "cases.csv: expected .*got",
    ),
    ("in UTF-16", file("cases.csv", "case,class".encode("utf-16")), "cases.csv: expected .*utf-8"),
]


def _checkpoint(content: bytes) -> Make:
    """Makes a folder of checkpoints with one of step 3 whose files all hold the same."""

    def make(folder):
        for name in ("state/manifest.ocdbt", "state/_METADATA", "digest/metadata"):
            path = folder / "checkpoints" / "3" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        score = folder / "checkpoints" / "3" / "metrics" / "metrics"
        score.parent.mkdir()
        score.write_text('{"score": 0.5}')
        return folder / "checkpoints"

    return make


def _restore(folder):
    with checkpoints.Checkpoints(folder, keep=1, read_only=True) as store:
        store.restore({"w": jax.ShapeDtypeStruct((2,), np.float32)})


_CHECKPOINTS = [
    (
        "of zeros",
        _checkpoint(bytes(99)),
        "checkpoints: none of the checkpoints of steps .3. is good",
    ),
    ("of pickles", _checkpoint(pickle.dumps(Payload())), "none of the checkpoints of steps .3. is"),
    ("of nested JSON", _checkpoint(b"[" * 10**5), "none of the checkpoints of steps .3. is good"),
]


ROWS = [
    *group("npz", _read_npz, _ARCHIVES, bounded=True),
    *[
        row
        for load, name, arrays, match in _SOURCES
        for row in group(
            f"npz of {load.__module__.rpartition('.')[2]}",
            lambda path, load=load: load(path=path),
            [(name, file("a.npz", _npz(**arrays)), match)],
        )
    ],
    *group(
        "npz",
        lambda path: bubil.load(path=path, subset="rat"),
        [("unknown subset", file("a.npz", b""), "subset: expected one of .*, got 'rat'")],
    ),
    *group(
        "npz",
        _read_npz,
        [("absent", lambda _: "none.npz", "none.npz: expected an .npz file with images")],
        error=FileNotFoundError,
    ),
    *group("idx of MNIST", _load_mnist, _MNIST, bounded=True),
    *group(
        "idx of MNIST",
        _load_mnist,
        [("absent", lambda _: _IDX, "missing; expected the four original files")],
        error=FileNotFoundError,
    ),
    *group("splits.json", _load_splits, _SPLITS),
    *group("table of cases", tabulate.read_rows, _TABLES),
    *group("checkpoint", _restore, _CHECKPOINTS, error=checkpoints.Damaged),
]
