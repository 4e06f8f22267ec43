"""Eight fake CPU devices, strict promotion, and compilation that is quick and cached."""

import gc
import os
import pathlib
from importlib import metadata

# The suite compiles much and runs what it has compiled on little: without LLVM's optimisation it
# takes half as long. Notebooks and commands that tests start inherit it; 0 tests what users run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Nor in several parts, nor with XLA's newer emitters, which compile for twice as long: jaxlib 0.11
# has no others, and a flag that is unknown ends the process.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * metadata.version("jaxlib").startswith("0.10.")
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    else "",
)
# The same program is compiled again and again, by one test after the other.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax
import pytest

_QUICK = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
jax.config.update("jax_disable_most_optimizations", _QUICK)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# One cache for all processes of pytest-xdist and the commands that tests start.
_CACHE = os.path.abspath(os.environ.get("JAX_COMPILATION_CACHE_DIR", ".jax_cache"))
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
jax.config.update("jax_compilation_cache_dir", _CACHE)
jax.config.update(
    "jax_persistent_cache_min_compile_time_secs",
    float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]),
)


def pytest_collection_modifyitems(items):
    """Begins with the files that take longest, so that no process waits for them at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish():
    """Looks for garbage seldom, and not among what is imported: it took a twelfth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


_SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def _shared(folder: str) -> pathlib.Path:
    path = pathlib.Path(os.environ.get("NOISYJAX_SHARED", _SHARED)) / folder
    if not path.is_dir():
        pytest.skip(f"the folder {path} is absent (set NOISYJAX_SHARED)")
    return path


@pytest.fixture(scope="session", autouse=True)
def clear_caches():
    """Compiled programs stay after each cell of a study: other tests have use for them."""
    clear = jax.clear_caches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "clear_caches", lambda: None)
        yield clear


@pytest.fixture(scope="module", autouse=True)
def _bounded_maps(clear_caches):
    """Forgets compiled programs before there are so many that the system maps no more memory.

    Each takes several maps. Linux allows a process 65,530, and XLA ends the process at the limit.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        clear_caches()


@pytest.fixture
def optimised():
    """Compiles as users do: for a test that computes for longer than it compiles."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", _QUICK)


@pytest.fixture(scope="session")
def golden():
    """Folder of the golden vectors, or a skip."""
    return _shared("golden")


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real data files, or a skip."""
    return _shared("data")
