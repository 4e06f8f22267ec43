"""Work on a folder case by case, in which a damaged case does not stop the others."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

from noisyjax.core import progress
from noisyjax.tool import folder

# Reading and writing packed files leaves a second core idle, and a third thread gains nothing.
_THREADS = 2
# Shorter work shows no bar.
_SECONDS = 2.0


def run(
    names: Sequence[str],
    work: Callable[[str], Any],
    done: Callable[[str, Any], None],
    *,
    title: str,
) -> list[str]:
    """Does the work for each case, two at a time, and shows how far it is.

    Args:
      names: of the cases.
      work: of a case, by its name; a `folder.FolderError` means that the case cannot be used. Any
        other error ends all work.
      done: is called with the name and what `work` returned, one case after the other in the order
        of the names.
      title: of the progress bar.

    Returns:
      What is wrong with the cases that cannot be used.
    """
    problems = []
    pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
    try:
        waiting = {name: pool.submit(work, name) for name in names}
        with progress.Progress(len(names), name=title, shown=True, after=_SECONDS) as bar:
            for number, name in enumerate(names, start=1):
                try:
                    # Let go of, for it may be large.
                    result = waiting.pop(name).result()
                except folder.FolderError as error:
                    problems += error.problems
                else:
                    done(name, result)
                bar.update(number, {})
    finally:
        pool.shutdown(cancel_futures=True)
    return problems
