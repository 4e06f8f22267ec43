"""The user's cache: where it is, and that programs are kept unless somebody has chosen."""

import os
import pathlib
import subprocess
import sys

from noisyjax.core import user_cache

_SCRIPT = """
import jax
from noisyjax.core import user_cache
user_cache.keep_programs()
print(jax.config.jax_compilation_cache_dir)
"""


def _chosen(**environment):
    inherited = {n: v for n, v in os.environ.items() if n != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", _SCRIPT]
    run = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_the_cache_is_where_the_user_has_it(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache.folder("cases") == "/somewhere/noisyjax/cases"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somebody")
    assert user_cache.folder("cases") == "/somebody/.cache/noisyjax/cases"


def test_programs_are_kept_unless_a_folder_for_them_is_set(tmp_path):
    own = pathlib.Path(_chosen(XDG_CACHE_HOME=str(tmp_path)))
    assert own.parent == tmp_path / "noisyjax" / "programs"
    assert len(own.name) == 16
    set_before = str(tmp_path / "other")
    assert _chosen(JAX_COMPILATION_CACHE_DIR=set_before) == set_before
