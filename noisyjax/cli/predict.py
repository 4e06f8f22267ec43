r"""Segments a folder of images by a run of configs/folder.py.

Example:
  python -m noisyjax.cli.predict --workdir=runs/folder --images=FOLDER --output=SEGMENTATIONS \
      --checkpoint=best

The run's folder is all that is needed of it, so that it can be copied to another machine without
the images that it was trained on.

The images are named as those, CASE_0000.nii.gz and so on for each channel, or CASE.nii.gz if there
is one channel; they may be of any size. CASE.nii.gz is written with the class of each voxel, on the
voxels of the image. An image that cannot be read is named and the others go on; then 1 is returned.
"""

import sys

from absl import app, flags

from noisyjax.cli import options, terminal


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("images", None, "Folder of the images.")
    flags.DEFINE_string("output", None, "Folder for the segmentations.")
    flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Which checkpoint.")
    flags.DEFINE_bool(
        "probabilities",
        False,
        "Also write the probability of each class but the background, to probabilities/NUMBER/, "
        "and of each region, to region_probabilities/NUMBER/.",
    )
    flags.mark_flags_as_required(["workdir", "images", "output"])


def main(argv: list[str]) -> None:
    """Segments what the flags name and prints what could not be."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    from noisyjax.train import predict

    terminal.only_warnings()
    given = flags.FLAGS
    with options.one_message():
        outcomes = predict.predict_folder(
            given.workdir,
            given.images,
            given.output,
            checkpoint=given.checkpoint,
            probabilities=given.probabilities,
            shown=True,
        )
    failed = [outcome for outcome in outcomes if outcome.path is None]
    for outcome in failed:
        print(f"{outcome.case}: {outcome.fault}")
    written = len(outcomes) - len(failed)
    print(f"{written} segmentation{'' if written == 1 else 's'}: {given.output}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    define_flags()
    app.run(main)
