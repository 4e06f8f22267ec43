"""The process that prepares a part of the cases of a folder, see `noisyjax.data.folder.workers`.

    python -m noisyjax.data.folder.prepare_part < TASK

A task is an object of JSON: "root", "how" of `prepared.How`, and the names of "cases".
"""

import contextlib
import json
import sys

from noisyjax.data.folder import layouts, prepared


def main() -> None:
    """Prepares the cases of a task, and prints a line for each."""
    task = json.load(sys.stdin)
    layout = layouts.read(task["root"])
    how = prepared.How(**{**task["how"], "to": tuple(task["how"]["to"])})
    wanted = set(task["cases"])
    for case in layout.cases:
        if case.name in wanted:
            # Who takes the case meets what is wrong with it again, and says it.
            with contextlib.suppress(OSError, ValueError):
                prepared.of_case(case, layout, how, of_files=prepared.digests(case))
            print(case.name, flush=True)


if __name__ == "__main__":
    main()
