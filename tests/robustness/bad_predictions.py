"""Predictions that others have made, as files."""

import io
import pickle
import zipfile

import folder_fakes as fakes
import numpy as np
from bad_inputs import Payload, group

from noisyjax.tool import folder
from noisyjax.tool.evaluation import predictions

SIZE = (8, 8)


def _archive(**members):
    """The bytes of an archive of arrays, or of bytes as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if not isinstance(content, bytes):
                array, content = content, io.BytesIO()
                np.save(content, array, allow_pickle=True)
                content = content.getvalue()
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def _header(shape):
    """An array that claims a shape, and has no values."""
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue()


def _made(content, name="case_00.npz"):
    """Makes a folder of three pictures, and predictions of the first."""

    def make(where):
        fakes.make(where / "folder", 3, end=".png", shape=SIZE, raters=("anna",))
        path = where / "p" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        # nnU-Net leaves a pickle beside; it is not read.
        (where / "p" / "case_00.pkl").write_bytes(pickle.dumps(Payload()))
        return where

    return make


def _read(where):
    opened = folder.open_folder(where / "folder")
    return predictions.find(where / "p", opened, partial=True).read("case_00")


_OBJECTS = np.array([Payload()], object)
_FILES = [
    ("of pickles", _made(_archive(probabilities=_OBJECTS)), "case_00.npz: .*allow_pickle=False"),
    ("a pickle itself", _made(pickle.dumps(Payload())), "case_00.npz: expected an .npz archive"),
    ("cut off", _made(_archive(probabilities=np.zeros((3, 1, 8, 8)))[:-40]), "cut off or another"),
    (
        "of a huge header",
        _made(_archive(probabilities=_header((3, 1, 2**20, 2**20)))),
        "case_00.npz: expected plain arrays, got probabilities: .* by its header",
    ),
    (
        "of whole numbers",
        _made(_archive(probabilities=np.zeros((3, 1, 8, 8), int))),
        "case_00.npz: probabilities: expected float .3, Z, Y, X., got int64",
    ),
    ("of another kind", _made(b"P5 8 8", "case_00.png"), "case_00.png: expected"),
    ("of a class by a path", _made(b"", "probabilities/.../case_00.png"), "expected a class"),
    ("of a foreign rater", _made(b"", "raters/zoe/case_00.png"), "zoe: expected a rater of .*anna"),
    ("of no case", _made(b"", "other.png"), r"expected predictions as case_00.png, got none"),
]

ROWS = group("predictions", _read, _FILES, error=folder.FolderError, bounded=True)
