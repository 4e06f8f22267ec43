"""What every study's config holds; the studies beside this file fill it in.

A study is a grid of trainings. Its axes are ordered lists of levels, a level a name with the fields
of the base config that it changes; see `noisyjax.studies.grid`.
"""

from collections.abc import Sequence

import ml_collections


def new(
    title: str, base: ml_collections.ConfigDict, axes: Sequence, *, seeds: Sequence[int], columns
) -> ml_collections.ConfigDict:
    """Returns a study without extras."""
    config = ml_collections.ConfigDict()
    config.title = title
    config.base = base
    with config.base.unlocked():
        # The study has a bar of its own.
        config.base.progress = False
    config.axes = tuple(axes)
    config.seeds = tuple(seeds)
    # (number of the summary, heading, format) of each column of the table.
    config.columns = tuple(columns)
    # Axes whose levels are repetitions, such as folds: the table has mean and sd over them.
    config.repeats = ()
    # Several rows of the table from one training, see `noisyjax.studies.readout`.
    config.readouts = ()
    # (number, heading, format, axis): one more table each, the axis across.
    config.pivots = ()
    # (number, heading, axis, pairs of its levels, "t" or "wilcoxon"): paired tests over the
    # repetitions, Holm's correction over all of an entry.
    config.comparisons = ()
    # (number, label, axis along x, axis of the lines): one plot each.
    config.plots = ()
    # Metrics of cases to be shown for low, medium and high agreement of the raters.
    config.consensus = ()
    # The metric of the learning curves.
    config.curve = "val_dice"
    # Runs whose annotators are drawn.
    config.showcases = ()
    # Reports of studies of one kind, keys of `study._REPORTS`: "noise_ratio".
    config.reports = ()
    # Runs at a time, each on cores of its own; 0 for one per core.
    config.workers = 0
    return config
