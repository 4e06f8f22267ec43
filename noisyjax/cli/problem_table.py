"""The problems of a folder as a table on the terminal."""

from collections.abc import Sequence

import rich.console
import rich.table
import rich.text

from noisyjax.data.folder import problem_kinds


def show(root: str, problems: Sequence[problem_kinds.Problem]) -> int:
    """Prints what is wrong with a folder; returns how a command ends: 1 if anything is, else 0."""
    console = rich.console.Console()
    if not console.is_terminal:
        # A file has no width.
        console.width = 160
    if not problems:
        console.print(f"{root}: no problem found", markup=False)
        return 0
    table = rich.table.Table("kind", "file", "problem", "what to do", show_lines=True)
    for problem in problems:
        cells = (problem.kind, problem.file, problem.message, problem.remedy)
        # Names of files may hold what the console reads as markup.
        table.add_row(*(rich.text.Text(cell) for cell in cells))
    console.print(table)
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    fatal = sum(problem.kind not in problem_kinds.HARMLESS for problem in problems)
    console.print(f"{root}: {count}, {fatal} in the way of training", markup=False)
    return 1
