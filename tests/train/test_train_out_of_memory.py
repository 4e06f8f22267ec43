import errno

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.train import config_fields, out_of_memory


def raising(function, folder):
    with out_of_memory.explain(config_fields.default(), folder / "checkpoints"):
        function()


def too_much_for_xla():
    jax.block_until_ready(jax.jit(lambda: jnp.zeros(10**13))())


@pytest.mark.parametrize("function", [too_much_for_xla, lambda: np.empty(10**15)])
def test_memory_that_runs_out_names_what_takes_less(tmp_path, function):
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)
    (tmp_path / "checkpoints" / "13.orbax-checkpoint-tmp").mkdir()
    with pytest.raises(MemoryError) as error:
        raising(function, tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: out of memory (")
    # Of another run, and of one that goes on.
    remedy = "more microbatches of each batch, one after the other; in another workdir"
    assert f"\n  train.accumulate (now 1): {remedy}\n" in message
    assert "\n  train.batch_size (now 32): smaller; in another workdir\n" in message
    assert "\n  remat (now False): " in message
    assert f"latest checkpoint is {tmp_path}/checkpoints/12;" in message


def test_a_network_that_cannot_recompute_is_not_asked_to():
    config = config_fields.default()
    with config.unlocked():
        config.model.name = "highres3dnet"
    assert "remat" not in out_of_memory.remedies(config)


def test_a_full_disk_is_told_from_memory_that_runs_out(tmp_path):
    def full():
        raise ValueError("RESOURCE_EXHAUSTED: c/8: No space left on device [os_error_code='28']")

    with pytest.raises(OSError, match=r"the disk is full .*c/8.*no checkpoint yet") as error:
        raising(full, tmp_path)
    assert error.value.errno == errno.ENOSPC


def test_other_errors_pass(tmp_path):
    for kind in (ValueError, FileNotFoundError, RuntimeError):

        def other(kind=kind):
            raise kind("something else")

        with pytest.raises(kind, match="^something else$"):
            raising(other, tmp_path)
