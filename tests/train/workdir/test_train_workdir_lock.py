import errno
import json
import logging
import os
import socket
import subprocess
import sys

import pytest

from noisyjax.train.workdir import lock, metrics_log

fcntl = pytest.importorskip("fcntl")


def test_a_second_run_is_told_who_is_there(tmp_path):
    folder = tmp_path / "run"
    with lock.held(folder):
        expected = rf"{folder}: .*process {os.getpid()} on {socket.gethostname()}, .* in {folder}"
        with pytest.raises(lock.WorkdirLocked, match=expected), lock.held(folder):
            pass
        with lock.held(tmp_path / "other"):
            pass
    with lock.held(folder):
        assert json.loads((folder / lock.FILE).read_text())["pid"] == os.getpid()


def test_of_several_folders_none_stays_locked_when_one_is_taken(tmp_path):
    with (
        lock.held(tmp_path / "b"),
        pytest.raises(lock.WorkdirLocked),
        lock.held([tmp_path / "a", tmp_path / "b"]),
    ):
        pass
    with lock.held([tmp_path / "a", tmp_path / "b"]):
        pass


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path):
    program = (
        "import contextlib, fcntl, os, signal, sys\n"
        "file = open(sys.argv[1], 'a+')\n"
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = tmp_path / lock.FILE
    command = [sys.executable, "-c", program, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        unread = "one whose name cannot be read"
        with pytest.raises(lock.WorkdirLocked, match=unread), lock.held(tmp_path):
            pass
        process.kill()
    with lock.held(tmp_path):
        pass


def test_without_locks_of_the_file_system_a_warning_says_so(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level(logging.WARNING, logger="absl"), lock.held(tmp_path):
        assert f"{tmp_path}: cannot be locked ([Errno {errno.ENOLCK}]" in caplog.text


def test_a_folder_that_was_replaced_is_noticed(tmp_path):
    folder = tmp_path / "run"
    lock.check(folder)
    with lock.held(folder), metrics_log.MetricsWriter(folder) as writer:
        writer.write(1, {"loss": 1.0})
        folder.rename(tmp_path / "moved")
        with pytest.raises(lock.WorkdirReplaced, match=f"{folder}: expected the working directory"):
            lock.check(folder)
        folder.mkdir()
        (folder / lock.FILE).touch()
        with pytest.raises(lock.WorkdirReplaced):
            writer.write(2, {"loss": 1.0})
    lock.check(folder)
    assert [path.name for path in folder.iterdir()] == [lock.FILE]


def test_a_file_where_the_folder_should_be_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(OSError, match=r"folder that can be written to.*/run'"),
        lock.held(tmp_path / "run"),
    ):
        pass
