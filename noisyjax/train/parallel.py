"""How work is spread over devices: the only place that knows.

Three ways that agree: "pmap", "shard_map", and "vmap", which runs all parts of a batch on one
device and serves as the oracle for the other two. With a single device there is nothing to spread,
and the first two are a plain `jax.jit`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from noisyjax.core import checks

AXIS = "devices"
KINDS = ("pmap", "shard_map", "vmap")

Tree = Any
HostBatch = dict[str, Any]


def pad(batch: HostBatch, multiple: int) -> HostBatch:
    """Makes a batch's size a multiple, by repeating the last example with weight 0.

    Args:
      batch: host arrays ``[B, ...]`` with ``weight`` and ``id``; scalars are given to each example.
      multiple: what the size is to be a multiple of.

    Returns:
      The batch, ``[B', ...]``.
    """
    size = len(batch["id"])
    extra = -size % multiple
    padded = {}
    for name, array in batch.items():
        array = np.asarray(array)
        array = np.broadcast_to(array, (size,)) if array.ndim == 0 else array
        last = np.zeros_like(array[-1:]) if name == "weight" else array[-1:]
        padded[name] = np.concatenate([array, *[last] * extra]) if extra else array
    return padded


def _own(leaf: Any) -> Any:
    # `device_put` may share buffers with its argument, even when asked not to.
    return leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.array(leaf)


@dataclasses.dataclass(frozen=True)
class Parallel:
    """A way to spread work; `build` makes one.

    Attributes:
      kind: one of `KINDS`, or "jit" with a single device.
      devices: all devices that work, of all processes.
      shards: number of equal parts into which a batch of this process is cut.
    """

    kind: str
    devices: tuple[Any, ...]
    shards: int

    @property
    def axis_name(self) -> str | None:
        """The axis to add over, or None when there is nothing to add."""
        return None if self.kind == "jit" else AXIS

    @property
    def _local_devices(self) -> list[Any]:
        return [d for d in self.devices if d.process_index == jax.process_index()]

    @property
    def _one_device(self) -> bool:
        return self.kind in ("jit", "vmap")

    def _sharding(self, devices: Sequence[Any], *axes: str) -> Any:
        if self._one_device:
            return self._local_devices[0]
        # `jax.make_mesh` would make Explicit axes, which linen's convolutions do not take.
        return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(*axes))

    def step(self, function: Callable[[Tree, Tree, Any], Any]) -> Callable[[Tree, Tree, Any], Any]:
        """Compiles ``f(state, batch, key) -> (state, report)``; the state given is used up.

        Args:
          function: the step on one part of a batch. It adds over `axis_name`, so that all parts
            return the same.

        Returns:
          The step, on a `replicate`d state and key and a batch that was `put`.
        """
        if self.kind == "pmap":
            # Without an axis of its own the state need not be taken apart, which is slow.
            axes = {"in_axes": (None, 0, None), "out_axes": (None, None)}
            devices = self.devices if jax.process_count() == 1 else None
            return jax.pmap(function, AXIS, **axes, devices=devices, donate_argnums=0)
        if self.kind == "vmap":
            function = jax.vmap(function, in_axes=(None, 0, None), out_axes=None, axis_name=AXIS)
        if self.kind == "shard_map":
            function = jax.shard_map(
                function,
                mesh=Mesh(np.array(self.devices), (AXIS,)),
                in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
                out_specs=PartitionSpec(),
                # With the check, gradients of replicated parameters arrive already summed.
                check_vma=False,
            )
        return jax.jit(function, donate_argnums=0)

    def put(self, batch: HostBatch) -> dict[str, jax.Array]:
        """Pads this process's part of a batch and moves it to its devices.

        Args:
          batch: as `pad` takes it.

        Returns:
          The batch as `step` takes it.
        """
        batch = pad(batch, self.shards)
        if self.kind in ("pmap", "vmap"):
            batch = jax.tree.map(lambda a: a.reshape(self.shards, -1, *a.shape[1:]), batch)
        sharding = self._sharding(self.devices, AXIS)
        if self._one_device or jax.process_count() == 1:
            return jax.device_put(batch, sharding)
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(sharding, array), batch
        )

    def replicate(self, tree: Tree) -> Tree:
        """Copies a tree to every device; the copy is safe to be used up by `step`."""
        return jax.device_put(jax.tree.map(_own, tree), self._sharding(self.devices))

    def localise(self, tree: Tree) -> Tree:
        """Returns a replicated tree as `map` takes it: on this process's devices only."""
        if jax.process_count() == 1:
            return tree
        return jax.device_put(jax.device_get(tree), self._sharding(self._local_devices))

    def map(self, function: Callable[[Tree, Tree], Tree]) -> Callable[[Tree, HostBatch], Tree]:
        """Compiles ``f(tree, batch) -> values per example``, without exchange between devices.

        Args:
          function: a function of a `localise`d tree and a batch.

        Returns:
          The function on host batches; its values ``[B', ...]`` include those of the padding.
        """
        if not self._one_device:
            function = jax.shard_map(
                function,
                mesh=Mesh(np.array(self._local_devices), (AXIS,)),
                in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
                out_specs=PartitionSpec(AXIS),
                check_vma=False,
            )
        compiled = jax.jit(function)
        sharding = self._sharding(self._local_devices, AXIS)
        parts = 1 if self._one_device else len(self._local_devices)
        return lambda tree, batch: compiled(tree, jax.device_put(pad(batch, parts), sharding))


def build(kind: str, devices: Sequence[Any] | None = None) -> Parallel:
    """Chooses how to spread work.

    Args:
      kind: "pmap", "shard_map" or "vmap".
      devices: the devices, by default all of all processes. "vmap" runs on the first one, with as
        many parts as there are devices.

    Returns:
      The adapter.

    Raises:
      ValueError: if the kind is unknown, or "vmap" is asked for in several processes.
    """
    checks.one_of("parallel", kind, KINDS)
    devices = tuple(jax.devices() if devices is None else devices)
    if kind == "vmap" and jax.process_count() > 1:
        raise ValueError("parallel: vmap works in one process only, expected pmap or shard_map")
    local = [d for d in devices if d.process_index == jax.process_index()]
    return Parallel("jit" if len(devices) == 1 and kind != "vmap" else kind, devices, len(local))
