"""Every malformed input is refused by one clear error, and leaves nothing behind."""

import pathlib
import pickle
import sys
import tracemalloc

import bad_inputs
import jaxtyping
import pytest

TABLE = bad_inputs.table()
# What a refusal may allocate in Python and NumPy, in bytes; the files are some kilobytes.
_MOST_BYTES = 32 * 2**20
# What Python reports when something is unpickled or a program is started.
_EVENTS = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
_seen: list[str] = []
_refused: set[str] = set()


def _note(event, _):
    if event in _EVENTS:
        _seen.append(event)


# It cannot be taken away again.
sys.addaudithook(_note)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the type checks that only the tests switch on."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _content(folder: pathlib.Path) -> dict[str, int]:
    """What lies in a folder, but for what Python keeps of a config that it has compiled."""
    paths = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {
        str(path.relative_to(folder)): -1 if path.is_dir() else path.lstat().st_size
        for path in paths
    }


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_is_refused(bad, tmp_path, monkeypatch):
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.chdir(folder)
    given = bad.make(folder)
    before = _content(tmp_path)
    _seen.clear()
    if bad.bounded:
        tracemalloc.start()
    try:
        with pytest.raises(bad.error, match=bad.match) as caught:
            bad.call(given)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert _seen == []
    assert type(caught.value) is bad.error
    assert len(str(caught.value)) < 2000
    assert most < _MOST_BYTES  # 0 unless traced
    # Nothing new, nothing half-written, and no marker of a payload that was executed.
    assert _content(tmp_path) == before
    _refused.add(bad.name)


def test_the_table_is_long_and_has_no_row_twice():
    names = [bad.name for bad in TABLE]
    assert len(set(names)) == len(names)
    assert len(names) >= 80
    # For -rP; fewer where only some rows were run.
    print(f"inputs refused: {len(_refused)} of {len(names)}")


def test_what_is_unpickled_or_started_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _seen.clear()
    pickle.loads(pickle.dumps(bad_inputs.Payload()))
    assert _seen == ["pickle.find_class"]
    assert (tmp_path / bad_inputs.MARKER).is_dir()
