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

Where patients have several cases, dataset.json says whose they are, and training and test share no
patient: "patients": {"CASE": "PATIENT"}.

Files are .nii, .nii.gz, .png, .tif, .tiff, or with SimpleITK .mha and .nrrd. Returns 1 if there is
a problem; not every problem is in the way of training, and the last line says how many are.
"""

import sys

from absl import app, flags

from noisyjax.cli import options


def define_flags() -> None:
    """Defines the flags; not on import, for the commands share names."""
    flags.DEFINE_string("root", None, "The folder.")
    flags.DEFINE_list("ignore", [], "Kinds of problems that are meant to be so.")
    flags.mark_flags_as_required(["root"])


def main(argv: list[str]) -> None:
    """Checks the folder that the flags name and prints its problems."""
    options.expect_flags_only(argv)
    import rich.console
    import rich.table
    import rich.text

    from noisyjax.data.folder import checker, problem_kinds

    root = flags.FLAGS.root
    try:
        problems = checker.check(root, ignore=flags.FLAGS.ignore)
    except ValueError as error:
        raise app.UsageError(str(error)) from error
    console = rich.console.Console()
    if not console.is_terminal:
        # A file has no width.
        console.width = 160
    if not problems:
        console.print(f"{root}: no problem found", markup=False)
        return
    table = rich.table.Table("kind", "file", "problem", "what to do", show_lines=True)
    for problem in problems:
        cells = (problem.kind, problem.file, problem.message, problem.remedy)
        # Names of files may hold what the console reads as markup.
        table.add_row(*(rich.text.Text(cell) for cell in cells))
    console.print(table)
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    fatal = sum(problem.kind not in problem_kinds.HARMLESS for problem in problems)
    console.print(f"{root}: {count}, {fatal} in the way of training", markup=False)
    sys.exit(1)


if __name__ == "__main__":
    define_flags()
    app.run(main)
