"""The prepared cases of a folder: made from their files, or taken from the disk."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from noisyjax.core import progress, user_cache
from noisyjax.data import source
from noisyjax.data.folder import case_files, checker, nnunet_layout, problem_kinds, workers
from noisyjax.data.store import kept
from noisyjax.data.volumes import preprocess, read_write

# Prepared cases of so many bytes in all are held in memory.
IN_MEMORY = 2**30
# Seconds until it is shown how far preparation is.
_QUIET = 3.0
# Axes of a prepared case that are cut to chunks, by the number of its spatial axes.
_CUT = {
    n: {
        "image": tuple(range(n)),
        "labels": tuple(range(1, n + 1)),
        "given": tuple(range(1, n + 1)),
        "soft": tuple(range(1, n + 1)),
    }
    for n in (2, 3)
}


class How(NamedTuple):
    """How cases are prepared.

    Attributes:
      to: voxels of the prepared cases, in mm.
      options: further ones of `preprocess.prepare`.
      cache: the folder that keeps them, "" for memory.
      tolerance: of grids, as in `checker.read_case`.
    """

    to: tuple[float, ...]
    options: Mapping[str, Any]
    cache: str
    tolerance: float | int


def fatal(problems: Sequence[problem_kinds.Problem]) -> list[problem_kinds.Problem]:
    """Returns the problems that a folder cannot be trained with."""
    return [problem for problem in problems if problem.kind not in problem_kinds.HARMLESS]


def refuse(root: str | pathlib.Path, problems: Sequence[problem_kinds.Problem]) -> None:
    """Raises `ValueError` for what a folder cannot be trained on."""
    found = fatal(problems)
    if found:
        listed = "\n  ".join(str(problem) for problem in found[:5])
        more = f"\n  and {len(found) - 5} more" if len(found) > 5 else ""
        raise ValueError(
            f"{root}: expected a folder without problems, got\n  {listed}{more}\n"
            f"All of them: python -m noisyjax.cli.check_folder --root={root}"
        )


def peek(case: nnunet_layout.Case, layout: nnunet_layout.Layout) -> read_write.Volume:
    """Reads the header of a case's first channel."""
    path = case.images[0]
    sidecar = case.sidecar(path)
    try:
        return read_write.to_ras(read_write.peek(path, sidecar=sidecar))
    except read_write.UnreadableError as error:
        path = sidecar if error.fault == "sidecar" else path
        file = path.relative_to(layout.root).as_posix()
        got = str(error).removeprefix(f"{path}: ")
        refuse(layout.root, [problem_kinds.problem(error.fault, file=file, got=got)])
        raise


def digests(case: nnunet_layout.Case) -> dict[pathlib.Path, str]:
    """Returns the digest of each file, none at all if one cannot be read."""
    paths = [*case.paths, *filter(None, map(case.sidecar, case.paths))]
    try:
        return {path: kept.of_file(path) for path in paths}
    except OSError:
        # Whoever reads the case says it better.
        return {}


def content(case: nnunet_layout.Case, of_files: Mapping[pathlib.Path, str]) -> source.Content:
    """Returns what a case holds, by the digests of its files."""
    if not of_files:
        return source.Content("", "")

    def of(files: Mapping[str, pathlib.Path]) -> str:
        parts = {name: of_files[path] for name, path in files.items()}
        beside = {f"{name}, beside it": case.sidecar(path) for name, path in files.items()}
        parts |= {name: of_files[path] for name, path in beside.items() if path}
        return source.digest(parts)

    labels = {f"rater {name}": path for name, path in case.raters.items()}
    truth = {} if case.truth is None else {"truth": case.truth}
    images = {f"channel {i}": path for i, path in enumerate(case.images)}
    return source.Content(of(images), of(labels | truth))


def name_of(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    how: How,
    of_files: Mapping[pathlib.Path, str],
) -> str:
    """Returns the name that a prepared case has on the disk: of all that it is made from."""
    made_by = {
        **how.options,
        "version": preprocess.VERSION,
        "tolerance": float(how.tolerance),
        "spacing": how.to,
        "classes": len(layout.class_names),
        **({"ids": layout.class_ids} if layout.class_ids[-1] >= len(layout.class_ids) else {}),
        **({"ignored": True} if layout.classes != layout.class_names else {}),
        **({"soft": True} if layout.soft else {}),
        "channels": len(case.images),
        "truth": case.truth is not None,
        "raters": layout.rater_names,
        "own": sorted(case.raters),
    }
    return kept.digest(of_files.values(), made_by)


def of_case(
    case: nnunet_layout.Case,
    layout: nnunet_layout.Layout,
    how: How,
    *,
    of_files: Mapping[pathlib.Path, str],
) -> kept.Arrays:
    """Returns one case of `case_files.prepare`, made from its files or taken from the disk.

    Raises `ValueError` if something is wrong with it.
    """

    def make() -> dict[str, Any]:
        read = checker.read_case(case, layout, tolerance=how.tolerance)
        refuse(layout.root, read.problems)
        return case_files.prepare(read, layout, to=how.to, options=how.options)

    if not (how.cache and of_files):
        return make()
    axes = _CUT[len(how.to)]
    return kept.stored(how.cache, name_of(case, layout, how, of_files), axes, make)


def all_cases(
    layout: nnunet_layout.Layout, errors: Mapping[str, str], how: How, *, skip_damaged: bool
) -> tuple[tuple[kept.Arrays | str, ...], tuple[source.Content, ...]]:
    """Returns each prepared case, or what is wrong with it if damaged ones are to be skipped.

    And what the files hold, which are read for it once more just before. Several processes make
    what is not on the disk yet.

    Args:
      errors: of cases that are known to be damaged, by name.
    """
    cases = layout.cases
    of_files = [digests(case) for case in cases]
    there = _make_ahead(layout, errors, how, of_files) if how.cache else {}
    prepared = []
    name = f"preparing, kept in {how.cache}" if how.cache else "preparing"
    with progress.Progress(len(cases), name=name, shown=True, after=_QUIET) as bar:
        for case, own in zip(cases, of_files, strict=True):
            try:
                known = errors.get(case.name) or there.get(len(prepared))
                prepared.append(known or of_case(case, layout, how, of_files=own))
            except (OSError, ValueError) as error:
                if not skip_damaged:
                    raise
                prepared.append(str(error))
            bar.update(len(prepared), {})
    return tuple(prepared), tuple(map(content, cases, of_files))


def _make_ahead(
    layout: nnunet_layout.Layout,
    errors: Mapping[str, str],
    how: How,
    of_files: Sequence[Mapping[pathlib.Path, str]],
) -> dict[int, kept.Arrays]:
    """Lets several processes prepare what is not on the disk, if that is much.

    Returns what was there before, by the number of the case.
    """
    there, missing = {}, []
    for number, (case, own) in enumerate(zip(layout.cases, of_files, strict=True)):
        if own and case.name not in errors:
            arrays = kept.read(pathlib.Path(how.cache) / name_of(case, layout, how, own))
            if arrays is None:
                missing.append(case.name)
            else:
                there[number] = arrays
    if missing:
        workers.prepare(layout.root, how._asdict(), missing, voxels=_largest(layout, how))
    return there


def _largest(layout: nnunet_layout.Layout, how: How) -> int:
    """Returns the voxels of the largest prepared case, as far as headers tell."""
    return max((math.prod(shape) for shape in _shapes(layout, how)), default=0)


def _shapes(layout: nnunet_layout.Layout, how: How) -> list[tuple[int, ...]]:
    shapes = []
    for case in layout.cases:
        try:
            header = peek(case, layout)
            shapes.append(
                preprocess.resampled_shape(header.shape, spacing=header.spacing, to=how.to)
            )
        except (OSError, ValueError):
            # It is said when the case is read.
            continue
    return shapes


def cache_folder(layout: nnunet_layout.Layout, how: How) -> str:
    """Returns where prepared cases are kept: the folder that is given, "" for in memory.

    Without one, those that take much more than `IN_MEMORY` are kept in the user's cache.
    """
    if how.cache:
        return how.cache
    labels = 1 + len(layout.rater_names)
    size = 4 * len(layout.channel_names) + labels
    if sum(size * math.prod(shape) for shape in _shapes(layout, how)) <= IN_MEMORY:
        return ""
    return user_cache.folder("cases")
