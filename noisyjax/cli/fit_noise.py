r"""Fits noise to a data set: to its raters, or to a wanted Dice.

Without --dice, Gaussian-field noise is fitted to the raters. Printed are the strength a and the
smoothness b (fractions of the side, and voxels), and the mean pairwise Dice of simulated raters
beside that of the real ones. With it, the strength is printed at which each of the five noises of
`noisyjax.noise.annotation` has that mean Dice to the truths.

Example:
  python -m noisyjax.cli.fit_noise --source=bubil --option=path=bubil.npz --option=subset=rat
  python -m noisyjax.cli.fit_noise --source=digits --images=250 --dice=0.8 --dice=0.7
"""

import itertools
from collections.abc import Iterable
from typing import Any

from absl import app, flags, logging

from noisyjax.cli import options, terminal


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("source", None, "A data set, for example lidc.")
    flags.DEFINE_multi_string(
        "option",
        [],
        "NAME=VALUE of the data set's options; repeatable. Of several values of one name all are "
        "loaded; for --dice they then count as one data set.",
    )
    flags.DEFINE_integer("images", 50, "The first so many images.", lower_bound=1)
    flags.DEFINE_multi_float("dice", [], "Mean Dice of noisy labels to the truths; repeatable.")
    flags.DEFINE_integer("seed", 0, "Seed of the simulated raters.")
    flags.mark_flags_as_required(["source"])


def main(argv: list[str]) -> None:
    """Fits and prints."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    from noisyjax.core import rng
    from noisyjax.studies.raters import noise_fit, noise_levels

    logging.set_verbosity(logging.WARNING)
    given = flags.FLAGS
    key = rng.purpose_key(given.seed, "noise")
    chosen = _combinations(options.parse("option", given.option))
    loaded = [options.load_source(given.source, each) for each in chosen]
    if given.dice:
        truths = noise_levels.truths(loaded, count=given.images)
        for dice in given.dice:
            print(f"{given.source}: {len(truths)} truths, mean Dice {dice}")
            for name, solved in noise_levels.solve(key, truths, dice=dice).items():
                print(f"  {name:16s} strength {solved.strength:.4g}, Dice {solved.dice:.4f}")
        return
    for data in loaded:
        fitted = noise_fit.fit(key, data, range(min(given.images, len(data.examples))))
        sides = data.examples[0]["image"].shape[:-1]
        print(
            f"{data.name}: a {fitted.a:.4f} ({fitted.a * sides[0]:.2f} of {sides[0]} voxels), "
            f"b {fitted.b:.3f}; Dice of two raters: real {fitted.real_dice:.3f}, "
            f"simulated {fitted.simulated_dice:.3f} ({fitted.images} images)"
        )


def _combinations(given: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Returns the options of each load: every combination of the values."""
    values: dict[str, list] = {}
    for name, value in given:
        values.setdefault(name, []).append(value)
    return [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]


if __name__ == "__main__":
    define_flags()
    app.run(main)
