r"""Lists everything that is wrong with a folder of images and labels, and how to mend it.

Example:
  python -m noisyjax.cli.check_folder --root=FOLDER --ignore=empty_mask

The folder has nnU-Net's raw layout, with raters beside it where there are several:
  dataset.json                   {"channel_names": {"0": "CT"}, "labels": {"background": 0,
                                 "organ": 1}, "file_ending": ".nii.gz"}
  imagesTr/CASE_0000.nii.gz      a file for each channel
  labelsTr/CASE.nii.gz           the truth; the folder may be absent if there are raters
  ratersTr/RATER/CASE.nii.gz     labels of several raters; any file may be absent
  imagesTs, labelsTs, ratersTs   the same for cases that test; may be absent

Or it is a BIDS data set:
  sub-01/anat/sub-01_T1w.nii.gz  a file for each channel
  derivatives/NAME/sub-01/anat/sub-01_desc-RATER_dseg.nii.gz   labels of several raters
  derivatives/NAME/dseg.tsv      columns index and name of the classes

Where patients have several cases, dataset.json says whose they are, and training and test share no
patient: "patients": {"CASE": "PATIENT"}.

Files are .nii, .nii.gz, .png, .tif, .tiff, or with SimpleITK .mha and .nrrd. Returns 1 if there is
a problem; not every problem is in the way of training, and the last line says how many are.
"""

from absl import app, flags

from noisyjax.cli import options, terminal


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("root", None, "The folder.")
    flags.DEFINE_list("ignore", [], "Kinds of problems that are meant to be so.")
    flags.DEFINE_float(
        "grid_tolerance",
        None,
        "Voxels that a label's corners may lie beside its image's (default .25).",
    )
    flags.mark_flags_as_required(["root"])


def main(argv: list[str]) -> int:
    """Checks the folder that the flags name and prints its problems; returns 1 if there is any."""
    options.expect_flags_only(argv)
    terminal.escape_output()
    from noisyjax.cli import problem_table
    from noisyjax.data.folder import checker

    root, tolerance = flags.FLAGS.root, flags.FLAGS.grid_tolerance
    if tolerance is None:
        tolerance = checker.TOLERANCE
    try:
        problems = checker.check(root, ignore=flags.FLAGS.ignore, tolerance=tolerance)
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    return problem_table.show(root, problems)


if __name__ == "__main__":
    define_flags()
    app.run(main)
