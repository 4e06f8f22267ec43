"""Eight fake CPU devices, strict promotion and a compilation cache for the whole suite."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# A cache for each process of pytest-xdist: one that reads what another has half written warns.
jax.config.update(
    "jax_compilation_cache_dir",
    os.path.join(
        os.environ.get("JAX_COMPILATION_CACHE_DIR", ".jax_cache"),
        os.environ.get("PYTEST_XDIST_WORKER", ""),
    ),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

_SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def _shared(folder: str) -> pathlib.Path:
    path = pathlib.Path(os.environ.get("NOISYJAX_SHARED", _SHARED)) / folder
    if not path.is_dir():
        pytest.skip(f"the folder {path} is absent (set NOISYJAX_SHARED)")
    return path


@pytest.fixture(scope="session")
def golden():
    """Folder of the golden vectors, or a skip."""
    return _shared("golden")


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real data files, or a skip."""
    return _shared("data")
