r"""Fits Gaussian-field noise to the raters of a data set.

Prints the strength a and the smoothness b (fractions of the side, and voxels), and the mean
pairwise Dice of simulated raters beside that of the real ones.

Example:
  python -m noisyjax.cli.fit_noise --source=bubil --option=path=bubil.npz --option=subset=rat
"""

from absl import app, flags, logging


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("source", None, "A data set with raters of its own, for example lidc.")
    flags.DEFINE_multi_string("option", [], "NAME=VALUE of the data set's options; repeatable.")
    flags.DEFINE_integer("images", 50, "The first so many images.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the simulated raters.")
    flags.mark_flags_as_required(["source"])


def main(argv: list[str]) -> None:
    """Fits and prints one line."""
    if len(argv) > 1:
        raise app.UsageError(f"expected flags only, got {argv[1:]}")
    from noisyjax.core import rng
    from noisyjax.data import sources
    from noisyjax.studies import fitted_raters

    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    wrong = [option for option in given.option if "=" not in option]
    if wrong:
        raise app.UsageError(f"--option: expected NAME=VALUE, got {wrong}")
    options = dict(option.split("=", 1) for option in given.option)
    try:
        data = sources.load(given.source, **options)
    except TypeError as error:
        raise app.UsageError(f"--option: {given.source}: {error}") from error
    count = min(given.images, len(data.examples))
    key = rng.purpose_key(given.seed, "noise")
    found = fitted_raters.fit(key, data, range(count))
    sides = data.examples[0]["image"].shape[:-1]
    print(
        f"{data.name}: a {found.a:.4f} ({found.a * sides[0]:.2f} of {sides[0]} voxels), "
        f"b {found.b:.3f}; Dice of two raters: real {found.real_dice:.3f}, "
        f"simulated {found.simulated_dice:.3f} ({found.images} images)"
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
