"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

import rich.console
import rich.table
import rich.text

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def show(tables: Iterable[Table]) -> None:
    """Prints tables, each of a title, headings and rows of texts."""
    console = rich.console.Console()
    if not console.is_terminal:
        # A file has no width.
        console.width = 200
    for title, head, body in tables:
        table = rich.table.Table(title=title, title_justify="left")
        for number, heading in enumerate(head):
            numbers = any(row[number][:1].isdigit() for row in body)
            justify = "right" if numbers and number else "left"
            table.add_column(rich.text.Text(heading), justify=justify)
        for row in body:
            # Names of cases and raters may hold what the console reads as markup.
            table.add_row(*map(rich.text.Text, row))
        console.print(table)
