"""What a data set is to the rest of the package: named, random-access examples."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Num

from noisyjax.core import class_regions

Example = dict[str, Any]


@runtime_checkable
class Examples(Protocol):
    """Random access to examples; reading one must not change another, threads read at once.

    ``examples[i]`` is a dict of

    ==============  ============  ================================================================
    ``image``       [*S, K]       float32
    ``id``          []            int32, equal to i
    ``truth``       [*S]          uint8; absent where it is unknown
    ``labels``      [R, *S]       uint8, of the source's own raters; absent if it has none
    ``rater_mask``  [R]           bool, who labelled this image; stands and falls with ``labels``
    ``soft``        [R, *S]       float32, of which ``labels`` are made: probability of class 1; may
                                  be absent
    ==============  ============  ================================================================

    Where truth or labels are `core.ignored.IGNORE`, 255, a voxel is left out.

    They may have a method ``take(indices [B])`` that reads several at once; see `take`. And one,
    ``content(index)``, that returns the `Content` of an example in another way than `content`.
    Those of files that differ in size have `OfFiles` as well.
    """

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, index: int) -> Example:
        """Returns one example."""


@runtime_checkable
class OfFiles(Protocol):
    """Examples that are made of files, whose sizes differ and whose voxels may be others."""

    def at_own_sizes(self) -> "OfFiles":
        """Returns the examples, not fitted to one size."""

    @property
    def on_other_voxels(self) -> bool:
        """Whether the voxels of an example are others than those of its file."""

    @property
    def cache(self) -> str:
        """The folder that keeps the examples, "" for memory."""

    def image(self, index: int) -> Any:
        """Returns an image ``[*T, K]`` at its own size, in memory or of `store.chunked`."""

    def darkest(self, index: int) -> Float[np.ndarray, "K"]:
        """Returns what an image is filled up with beyond its border."""

    def grid(self, index: int) -> Any:
        """Returns the `preprocess.Grid` by which an example lies in its file."""

    def on_file(self, index: int) -> Example:
        """Returns what the files hold: ``truth``, ``labels`` and ``rater_mask``."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
      name: the name it is loaded by.
      examples: see `Examples`.
      num_classes: L, the background included.
      class_names: L names, the background first.
      spacing: size of a voxel along each spatial axis, in mm; ones where there is no unit.
      has_truth: whether examples have ``truth``.
      truth_mask: of which of them it is the truth, ``[N]``; of the others it says nothing. None for
        all, or none, as `has_truth` has it.
      rater_names: names of the source's own raters, in the order of ``labels``; empty if it has
        none.
      persistent_raters: whether rater r is the same person in every example. Where not, a
        confusion matrix per rater has no meaning.
      case_names: a name for each example, for messages and reports, or None.
      groups: the patient (or series, or site) of each example, ``[N]``, or None where examples are
        independent. A split never divides a group.
      splits: the data set's own division, name to ids, or None.
      about: what else reading further images takes, as a run keeps it for its predictions: plain
        values that JSON holds.
      drawn: whether the examples are computed and not read. Their last bits may then differ from
        machine to machine, and nobody can exchange them.
      own_sizes: whether the examples have different sizes.
      soft: whether examples have ``soft``.
      regions: unions of the classes, each of which is to be predicted, or None for the classes.
      weights: what each example counts in training, above 0, ``[N]``; None for all the same.
    """

    name: str
    examples: Examples
    num_classes: int
    class_names: tuple[str, ...]
    spacing: tuple[float, ...]
    has_truth: bool = dataclasses.field(kw_only=True)
    rater_names: tuple[str, ...] = ()
    persistent_raters: bool = True
    case_names: Sequence[str] | None = None
    groups: Integer[np.ndarray, "N"] | None = None
    splits: Mapping[str, Int[np.ndarray, "..."]] | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    drawn: bool = False
    truth_mask: Bool[np.ndarray, "N"] | None = None
    own_sizes: bool = False
    regions: class_regions.Regions | None = None
    soft: bool = False
    weights: Float[np.ndarray, "N"] | None = None

    def __post_init__(self):
        if len(self.class_names) != self.num_classes:
            raise ValueError(
                f"{self.name}: expected {self.num_classes} class names, got {self.class_names}"
            )
        for field in ("case_names", "groups", "truth_mask", "weights"):
            values = getattr(self, field)
            if values is not None and len(values) != len(self.examples):
                raise ValueError(
                    f"{self.name}: expected one of {field} for each of {len(self.examples)} "
                    f"examples, got {len(values)}"
                )

    def truth_is_known(self, ids: Integer[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Returns of which examples the truth is known."""
        if self.truth_mask is None:
            return np.full(len(ids), self.has_truth)
        return self.truth_mask[ids] & self.has_truth

    def case_name(self, example_id: int) -> str:
        """Returns its case name, or the source's name with the id."""
        if self.case_names is not None:
            return self.case_names[example_id]
        return f"{self.name}[{example_id}]"


def at_own_sizes(data: Source) -> Source:
    """Returns a source whose examples keep their sizes, where they have any of their own."""
    if not isinstance(data.examples, OfFiles):
        return data
    examples = data.examples.at_own_sizes()
    return dataclasses.replace(data, examples=examples, own_sizes=examples is not data.examples)


def judged_on_files(data: Source) -> bool:
    """Returns whether examples are judged on the voxels of their files, which are others."""
    examples = data.examples
    if not isinstance(examples, OfFiles):
        return False
    return data.own_sizes or examples.on_other_voxels


class Content(NamedTuple):
    """What a case holds, as a `digest` each of its image and of its truth and labels.

    Both are "" where the content is not known.
    """

    image: str
    labels: str


def digest(parts: Mapping[str, np.ndarray | str | None]) -> str:
    """Returns the SHA-256 of arrays and texts by name, as 16 hexadecimal digits; None is none.

    >>> digest({"truth": np.zeros(3, np.uint8)}) == digest({"truth": np.zeros(3, np.int32)})
    False
    """
    total = hashlib.sha256()
    for name, part in sorted(parts.items()):
        if part is None:
            continue
        if isinstance(part, str):
            total.update(f"{name}: {part};".encode())
        else:
            total.update(f"{name}: {part.dtype.str} {part.shape};".encode())
            total.update(np.ascontiguousarray(part))
    return total.hexdigest()[:16]


class UnreadableCase(RuntimeError):
    """An example that cannot be read; the message names its case and what went wrong."""


def read(data: Source, example_id: int) -> Example:
    """Returns one example of a source; raises `UnreadableCase` if it cannot be read."""
    try:
        return data.examples[example_id]
    except MemoryError:
        raise
    # Whatever a library has to say of a damaged file.
    except Exception as error:
        raise UnreadableCase(
            f"{data.case_name(example_id)}: expected a case that can be read, "
            f"got {type(error).__name__}: {error}"
        ) from error


def read_several(data: Source, ids: Integer[np.ndarray, "B"]) -> Example:
    """Returns several examples, stacked; raises `UnreadableCase` if one cannot be read."""
    try:
        return take(data.examples, ids)
    except MemoryError:
        raise
    except Exception as error:
        # One by one, to find out which.
        for example_id in ids:
            read(data, int(example_id))
        names = [data.case_name(int(example_id)) for example_id in ids]
        raise UnreadableCase(
            f"{names}: expected cases that can be read together, "
            f"got {type(error).__name__}: {error}"
        ) from error


def content(data: Source, example_id: int) -> Content:
    """Returns what an example holds; raises `UnreadableCase` if it cannot be read."""
    if data.drawn:
        return Content("", "")
    if hasattr(data.examples, "content"):
        return data.examples.content(example_id)
    example = read(data, example_id)
    labels = {name: example.get(name) for name in ("truth", "labels", "rater_mask")}
    return Content(digest({"image": example["image"]}), digest(labels))


@dataclasses.dataclass(frozen=True)
class ArrayExamples:
    """Examples that are held in memory, as the arrays of a file.

    Attributes:
      images: ``[N, *S, K]``, of the file's own dtype: kept small, converted when read.
      truths: ``[N, *S]`` uint8, or None.
      labels: ``[N, R, *S]`` uint8, or None.
      rater_masks: ``[N, R]`` bool; None with labels: everyone labelled everything.
      scale: what an image is multiplied by when it is read.
    """

    images: Num[np.ndarray, "N *S K"]
    truths: Integer[np.ndarray, "N *S"] | None = None
    labels: Integer[np.ndarray, "N R *S"] | None = None
    rater_masks: Bool[np.ndarray, "N R"] | None = None
    scale: float = 1.0

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        """Returns one example, its image as float32."""
        return {key: value[0] for key, value in self.take(np.array([index])).items()}

    def take(self, indices: Integer[np.ndarray, "B"]) -> Example:
        """Returns the examples of indices ``[B]``, stacked; much cheaper than one by one."""
        batch = {
            "image": self.images[indices].astype(np.float32) * np.float32(self.scale),
            "id": indices.astype(np.int32),
        }
        if self.truths is not None:
            batch["truth"] = self.truths[indices]
        if self.labels is not None:
            batch["labels"] = self.labels[indices]
            batch["rater_mask"] = (
                np.ones(batch["labels"].shape[:2], bool)
                if self.rater_masks is None
                else self.rater_masks[indices]
            )
        return batch

    def content(self, index: int) -> Content:
        """Returns the digests of the arrays as they are held."""
        held = {"truth": self.truths, "labels": self.labels, "rater_mask": self.rater_masks}
        labels = {n: None if array is None else array[index] for n, array in held.items()}
        return Content(digest({"image": self.images[index]}), digest(labels))


def take(examples: Examples, indices: Integer[np.ndarray, "B"]) -> Example:
    """Returns the examples of indices ``[B]``, stacked; by their own `take` if they have one."""
    if hasattr(examples, "take"):
        return examples.take(indices)
    read = [examples[int(i)] for i in indices]
    return {key: np.stack([example[key] for example in read]) for key in read[0]}


def of_all(
    given: Iterable[Integer[np.ndarray, "*S"]],
    whose: Bool[np.ndarray, "R"],
    *,
    shape: Sequence[int],
) -> Integer[np.ndarray, "R *S"]:
    """Returns the labels of all raters, zeros of those who gave none, ``[R, *S]`` uint8.

    Args:
      given: the labels that there are, in the order of the raters.
      whose: of which raters they are.
      shape: S.

    >>> of_all([np.array([3, 1])], np.array([False, True]), shape=(2,))
    array([[0, 0],
           [3, 1]], dtype=uint8)
    """
    labels = np.zeros((len(whose), *shape), np.uint8)
    for rater, label in zip(np.flatnonzero(whose), given, strict=True):
        labels[rater] = label
    return labels


def upper_half(
    images: Num[np.ndarray, "..."], *, low: float, high: float
) -> Integer[np.ndarray, "..."]:
    """Returns the mask of the intensities at least half way from low to high, uint8 ``[...]``.

    >>> upper_half(np.array([0, 127, 128, 255]), low=0.0, high=255.0)
    array([0, 0, 1, 1], dtype=uint8)
    """
    return (images >= (low + high) / 2).astype(np.uint8)
