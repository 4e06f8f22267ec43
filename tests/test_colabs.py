"""Every notebook runs from top to bottom, and is stored without outputs.

One kernel runs one notebook after the other, so that libraries are imported and programs compiled
once; what a notebook has defined is forgotten before the next. The quick start has its own.
"""

import contextlib
import os
import pathlib

import nbformat
import pytest

nbclient = pytest.importorskip("nbclient")

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_NOTEBOOKS = sorted((_ROOT / "colabs").glob("*.ipynb"))


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.source[:60]
        assert cell.get("execution_count") is None


@contextlib.contextmanager
def _kernel(as_users=False):
    """A client whose kernel runs; compiles quickly or as users do."""
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=300,
        resources={"metadata": {"path": str(_ROOT / "colabs")}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOISYJAX_SMOKE", "1")
        if as_users:
            patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
            patch.delenv("XLA_FLAGS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        with client.setup_kernel():
            yield client


@pytest.fixture(scope="module")
def kernel():
    with _kernel() as client:
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, request):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    with contextlib.ExitStack() as own:
        if path.stem == "quickstart":
            client = own.enter_context(_kernel(as_users=True))
        else:
            client = request.getfixturevalue("kernel")
        client.nb = notebook
        client.reset_execution_trackers()
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert pictures, "the notebook draws nothing"
