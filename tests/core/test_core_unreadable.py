import errno
import io
import os

import pytest

from noisyjax.core import unreadable


def failed(cause, text="damaged"):
    """Returns an error that was raised from another one."""
    try:
        raise ValueError(text) from cause
    except ValueError as error:
        return error


def test_the_cause_of_the_system_is_raised_as_it_is(tmp_path):
    cause = OSError(errno.EMFILE, "Too many open files", "a")
    with pytest.raises(OSError, match="Too many open files: 'a'") as raised:
        unreadable.raise_cause(failed(failed(cause)), tmp_path)
    assert raised.value is cause


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_cause_that_is_told_as_a_text_is_one_of_the_system(tmp_path, code):
    text = f"INTERNAL: error reading x: [OS error {code}: {os.strerror(code)}]"
    with pytest.raises(OSError, match=f"{os.strerror(code)}: '{tmp_path}'") as raised:
        unreadable.raise_cause(failed(None, text), tmp_path)
    assert raised.value.errno == code


def test_a_file_that_cannot_be_read_is_found(tmp_path):
    (tmp_path / "whole").write_bytes(b"1" * 3_000_000)
    unreadable.raise_cause(failed(None), tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=f"{tmp_path}/inner/loop") as raised:
        unreadable.raise_cause(failed(None), tmp_path)
    assert raised.value.errno == errno.ELOOP


def test_files_are_read_to_their_end(tmp_path, monkeypatch):
    class OnDamagedDisk(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 2**20:
                raise OSError(errno.EIO, "Input/output error", "large")
            return super().read(size)

    (tmp_path / "large").touch()
    disk = OnDamagedDisk(b"1" * (2**20 + 1))
    monkeypatch.setattr(unreadable, "open", lambda *_: disk, raising=False)
    with pytest.raises(OSError, match="Input/output error: 'large'"):
        unreadable.raise_cause(failed(None), tmp_path)


@pytest.mark.parametrize(
    "cause", [None, FileNotFoundError(errno.ENOENT, "gone"), OSError("cannot decode"), EOFError()]
)
def test_damage_is_not_the_systems(tmp_path, cause):
    unreadable.raise_cause(failed(cause), tmp_path / "absent")
