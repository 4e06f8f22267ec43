"""A small page with names that would do harm if they were markup."""

import numpy as np

from noisyjax.tool.page import page, views

HARM = '<img src=x onerror="window.harm=1"></script><script>window.harm=1</script>'
RATERS = ("anna", HARM, 'ben, "the second"')
# Dice of each case.
DICE = {HARM: 0.5, "case_2": None, "case_10": 0.25, "case_3": 0.75}


def drawn():
    """The pictures of one case."""
    rows, columns = np.mgrid[:32, :32]
    radius = np.hypot(rows - 16, columns - 16)
    ids = {name: (radius < 6 + r).astype(np.uint8) for r, name in enumerate(RATERS)}
    return views.views(200.0 - radius, ids, (1.0, 1.0), region=(radius > 6) & (radius < 8))


def small(*, decide=True):
    """A row for each label of four cases, three of them with pictures."""
    columns = [
        page.Column("case", "case"),
        page.Column("rater", "rater"),
        page.Column("dice", "Dice", "number"),
        page.Column("kind", "kind"),
    ]
    rows = [
        [name, rater, dice and dice + r / 100, ("shifted", "missing part", None)[r]]
        for name, dice in DICE.items()
        for r, rater in enumerate(RATERS)
    ]
    return page.Page(
        title=f"Audit of {HARM}",
        done="Labels were compared with what was learnt from the others. It took a minute.",
        finding=f"The label of {HARM} is wrong.",
        tables=[page.Table("Labels", columns, rows, note=HARM)],
        cases=[page.Case(name, drawn(), {HARM: HARM}) for name in list(DICE)[:3]],
        decide=decide,
    )
