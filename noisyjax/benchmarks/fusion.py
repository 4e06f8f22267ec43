"""STAPLE beside SimpleITK's filters and crowd-kit's Dawid-Skene, on the same labels.

SimpleITK visits every voxel in every iteration. Both run until they stop by their own rule, which
for its multi-label filter is as strict as for the binary one: at the filter's own threshold of 1e-5
single voxels still change sides. crowd-kit estimates the prior as well, so that its probabilities
are slightly others, and wants a table with a row per vote, which is made before.
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from noisyjax import fusion
from noisyjax.benchmarks import harness


@dataclasses.dataclass(frozen=True)
class Setup:
    """Labels of one image, or of many that are pooled.

    Attributes:
      shape: ``S`` of the labels.
      num_raters: R.
      num_classes: L.
      images: N, 0 for one image that is not pooled.
      peer: "SimpleITK", "crowdkit", or "" for none.
    """

    shape: tuple[int, ...]
    num_raters: int
    num_classes: int = 2
    images: int = 0
    peer: str = "SimpleITK"

    def labels(self) -> np.ndarray:
        """Nested balls seen by raters who are wrong at random, ``[(N,) R, *S]`` uint8."""
        rng = np.random.default_rng(0)
        axes = [(np.arange(size) + 0.5) / size - 0.5 for size in self.shape]
        radius = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij", sparse=True)))
        shells = self.num_classes - 1
        truth = sum((radius < 0.4 * (k + 1) / shells).astype(np.uint8) for k in range(shells))
        shape = (max(self.images, 1), self.num_raters, *self.shape)
        labels = np.broadcast_to(truth, shape).copy()
        for rater in range(self.num_raters):
            wrong = rng.random((shape[0], *self.shape), np.float32) < 0.02 * (rater + 1)
            labels[:, rater] = (labels[:, rater] + wrong) % self.num_classes
        return labels if self.images else labels[0]

    def sides(self) -> dict[str, Callable[[int], harness.Work]]:
        """Ours and its peer by name."""
        peers = {"SimpleITK": sitk_staple, "crowdkit": dawid_skene}
        sides = {"ours": functools.partial(our_staple, self)}
        if self.peer:
            sides[self.peer] = functools.partial(peers[self.peer], self)
        return sides


SETUPS = {
    "staple_128": Setup((128,) * 3, 5),
    "staple_256": Setup((256,) * 3, 7),
    "staple_multi": Setup((96,) * 3, 5, num_classes=3),
    "staple_crowdkit": Setup((128, 128), 5, peer="crowdkit"),
    "staple_pooled": Setup((128, 128), 4, images=856, peer=""),
}


def our_staple(setup: Setup, threads: int) -> harness.Work:
    """Compiles `fusion.staple`, or `fusion.pooled_staple` of many images.

    A step returns probabilities ``[*S, L]``.
    """
    del threads
    labels = jnp.asarray(setup.labels())
    fuse = fusion.pooled_staple if setup.images else fusion.staple
    jitted = jax.jit(lambda labels: fuse(labels, setup.num_classes))
    compiled, compile_s = harness.compiled(jitted, labels)
    return harness.Work(
        lambda: jax.block_until_ready(compiled(labels).probs), labels.size, compile_s
    )


def sitk_staple(setup: Setup, threads: int) -> harness.Work:
    """Builds SimpleITK's STAPLE filter, with more than two classes its multi-label one.

    A step returns the probability of the foreground, or class ids (L: undecided).
    """
    start = time.perf_counter()
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    labels = setup.labels()
    images = [SimpleITK.GetImageFromArray(label) for label in labels]
    if setup.num_classes > 2:
        staple = SimpleITK.MultiLabelSTAPLEImageFilter()
        staple.SetTerminationUpdateThreshold(1e-7)
    else:
        staple = SimpleITK.STAPLEImageFilter()
        staple.SetForegroundValue(1)
    return harness.Work(
        lambda: SimpleITK.GetArrayFromImage(staple.Execute(images)),
        labels.size,
        time.perf_counter() - start,
    )


def dawid_skene(setup: Setup, threads: int) -> harness.Work:
    """Builds crowd-kit's Dawid-Skene and its table of votes.

    A step returns probabilities ``[*S, L]``.
    """
    del threads
    start = time.perf_counter()
    import pandas
    from crowdkit import aggregation

    labels = setup.labels()
    worker, task = np.indices((len(labels), labels[0].size)).reshape(2, -1)
    votes = pandas.DataFrame({"task": task, "worker": worker, "label": labels.reshape(-1)})

    def step():
        fitted = aggregation.DawidSkene(n_iter=1000, tol=1e-7).fit(votes)
        probs = fitted.probas_.sort_index()[sorted(fitted.probas_.columns)]
        return probs.to_numpy().reshape(*setup.shape, setup.num_classes)

    return harness.Work(step, labels.size, time.perf_counter() - start)
