"""What is kept for later processes in the user's cache: prepared cases and compiled programs."""

import hashlib
import os
import pathlib
import platform

import jax


def folder(name: str) -> str:
    """Returns a folder of noisyjax in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "noisyjax", name)


def keep_programs(kept_in: str = "") -> None:
    """Keeps compiled programs for later processes, unless a folder for them is set already.

    That is JAX's option ``jax_compilation_cache_dir`` (``JAX_COMPILATION_CACHE_DIR``). By default
    they lie in the user's cache, apart for each kind of processor, as programs are made for it.
    """
    if jax.config.jax_compilation_cache_dir is None:
        kept_in = kept_in or os.path.join(folder("programs"), _processor())
        jax.config.update("jax_compilation_cache_dir", kept_in)


def _processor() -> str:
    """Names the kind of processor by what it can do."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    text = f"{platform.system()} {platform.machine()} {platform.processor()} {features}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
