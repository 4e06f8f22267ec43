r"""Trains and evaluates what a config describes.

Example:
  python -m noisyjax.cli.train --config=configs/cm_trace.py:digits --workdir=runs/digits \
      --config.method=majority --config.seed=1

Running it again goes on where it stopped. On SIGTERM it saves a checkpoint and returns 143.

Several processes, which may be on several hosts, train one run together if each is given
``--coordinator=HOST:PORT --num_processes=N --process_id=I``, and by themselves under ``srun``,
``mpirun``, in an indexed Job of Kubernetes and on Cloud TPU. All see the same workdir; process 0
writes it.
"""

from absl import flags, logging
from ml_collections import config_flags

from noisyjax.cli import allocator, options, terminal
from noisyjax.core import memory


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    config_flags.DEFINE_config_file(
        "config", None, "The run's config file, for example configs/cm_trace.py.", lock_config=True
    )
    flags.DEFINE_string("workdir", None, "Folder of the run; running again resumes it.")
    flags.DEFINE_enum(
        "allocator",
        "kept",
        list(memory.TUNABLES),
        "On Linux, start anew with the GLIBC_TUNABLES of this name unless that variable is set; "
        "see noisyjax.core.memory. Training on a CPU loses a quarter of its time without.",
    )
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0, of a run in several processes."
    )
    flags.DEFINE_integer("num_processes", None, "How many processes train the run together.")
    flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
    flags.DEFINE_integer(
        "start_seconds", 45, "How long the first of several processes waits for the others."
    )
    flags.DEFINE_bool(
        "detect", True, "Look for the run's other processes; --nodetect trains alone under srun."
    )
    flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    """Trains what the flags name and prints where the results are."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    allocator.start_anew(flags.FLAGS.allocator)
    # Imported late, for a process that starts anew would import it twice.
    from noisyjax import train
    from noisyjax.core import user_cache
    from noisyjax.train import config_fields
    from noisyjax.train.devices import distributed

    logging.set_verbosity(logging.WARNING)
    user_cache.keep_programs()
    with options.one_message():
        config_fields.resolve(flags.FLAGS.config)
        distributed.connect(
            flags.FLAGS.coordinator,
            flags.FLAGS.num_processes,
            flags.FLAGS.process_id,
            automatic=flags.FLAGS.detect,
            start_seconds=flags.FLAGS.start_seconds,
        )
    with options.one_message(), distributed.abort_all_on_error():
        _, summary = train.train_and_evaluate(flags.FLAGS.config, flags.FLAGS.workdir)
    if not distributed.is_writer():
        return
    for name in ("test_dice", "test_cm_rmse", "test_nll", "seconds_train"):
        if name in summary:
            print(f"{name} {summary[name]:.4f}")
    print(f"results: {flags.FLAGS.workdir}")


if __name__ == "__main__":
    define_flags()
    options.run(main)
