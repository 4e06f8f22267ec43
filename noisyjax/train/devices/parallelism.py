"""How work is spread over devices: the only place that knows.

Four ways that agree: "pmap" and "shard_map" give each device a part of the batch; "vmap" runs all
parts on one device and serves as their oracle; "spatial" also cuts each image along its first axis,
for volumes that do not fit one device: there the compiler adds the exchange of borders that
convolutions need. With a single device there is nothing to spread, and all but "vmap" are a plain
`jax.jit`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from noisyjax.core import checks, compilation

AXIS = "devices"
SPACE = "space"
KINDS = ("pmap", "shard_map", "vmap", "spatial")

# Of the arrays of a batch that have spatial axes, which is the first one.
_FIRST_SPATIAL = {"image": 1, "truth": 1, "target": 1, "labels": 2}

Tree = Any
HostBatch = dict[str, Any]


def pad(batch: HostBatch, multiple: int) -> HostBatch:
    """Makes a batch's size a multiple, by repeating the last example with weight 0.

    The host arrays ``[B, ...]``, with ``weight`` and ``id``, become ``[B', ...]``; scalars are
    given to each example.
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


def _global(where: NamedSharding, leaf: Any) -> jax.Array:
    """Makes an array of all processes of one that each of them has."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _global(where, np.asarray(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.make_array_from_process_local_data(where, leaf, leaf.shape)


def _compiled(function: Callable[..., Any], devices: Sequence[Any], **how: Any) -> Any:
    options = compilation.options(devices[0].platform)
    return jax.jit(function, compiler_options=options, **how)


@dataclasses.dataclass(frozen=True)
class Parallel:
    """A way to spread work; `build` makes one.

    Attributes:
      kind: one of `KINDS`, or "jit" with a single device.
      devices: all devices that work, of all processes.
      shards: number of equal parts into which a batch of this process is cut.
      microbatches: number of equal pieces that a device takes of its part, one after the other.
      spatial_shards: number of devices that share one image, each with a slab of it.
    """

    kind: str
    devices: tuple[Any, ...]
    shards: int
    microbatches: int = 1
    spatial_shards: int = 1

    @property
    def axis_name(self) -> str | None:
        """The axis to add over, or None when there is nothing to add."""
        return None if self.kind in ("jit", "spatial") else AXIS

    @property
    def _local_devices(self) -> list[Any]:
        return [d for d in self.devices if d.process_index == jax.process_index()]

    @property
    def _one_device(self) -> bool:
        return self.kind in ("jit", "vmap")

    def _mesh(self, devices: Sequence[Any]) -> Mesh:
        # `jax.make_mesh` would make Explicit axes, which linen's convolutions do not take.
        if self.spatial_shards == 1:
            # As `pmap` makes it: given a state on another mesh it compiles twice.
            return Mesh(np.array(devices), (AXIS,))
        return Mesh(np.array(devices).reshape(-1, self.spatial_shards), (AXIS, SPACE))

    def _everywhere(self, devices: Sequence[Any]) -> Any:
        if self._one_device:
            return self._local_devices[0]
        return NamedSharding(self._mesh(devices), PartitionSpec())

    def _spread(self, devices: Sequence[Any], batch: HostBatch) -> Any:
        """Where the arrays of a batch go: a device, or a sharding for each."""
        if self._one_device:
            return self._local_devices[0]
        mesh = self._mesh(devices)

        def of(name: str) -> NamedSharding:
            if self.spatial_shards == 1 or name not in _FIRST_SPATIAL:
                return NamedSharding(mesh, PartitionSpec(AXIS))
            axis = _FIRST_SPATIAL[name]
            length = batch[name].shape[axis]
            if length % self.spatial_shards:
                raise ValueError(
                    f"spatial_shards: expected a divisor of the {length} voxels along the first "
                    f"axis of {name}, got {self.spatial_shards}"
                )
            return NamedSharding(mesh, PartitionSpec(AXIS, *[None] * (axis - 1), SPACE))

        return {name: of(name) for name in batch}

    def step(self, function: Callable[[Tree, Tree, Any], Any]) -> Callable[[Tree, Tree, Any], Any]:
        """Compiles ``f(state, batch, key) -> (state, report)``; the state given is used up.

        The function works on one part of a batch and adds over `axis_name`, so that all parts
        return the same. State and key are to be `replicate`d, and the batch `put`.
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
                mesh=self._mesh(self.devices),
                in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
                out_specs=PartitionSpec(),
                # With the check, gradients of replicated parameters arrive already summed.
                check_vma=False,
            )
        if self.kind == "spatial":
            # The compiler might leave parts of the state on one device each.
            where = self._everywhere(self.devices)
            return _compiled(function, self.devices, donate_argnums=0, out_shardings=where)
        return _compiled(function, self.devices, donate_argnums=0)

    def put(self, batch: HostBatch) -> dict[str, jax.Array]:
        """Pads this process's part of a batch and moves it to its devices, as `step` takes it."""
        batch = pad(batch, self.shards * self.microbatches)
        if self.kind in ("pmap", "vmap"):
            batch = jax.tree.map(lambda a: a.reshape(self.shards, -1, *a.shape[1:]), batch)
        shardings = self._spread(self.devices, batch)
        if self._one_device or jax.process_count() == 1:
            return jax.device_put(batch, shardings)
        return jax.tree.map(jax.make_array_from_process_local_data, shardings, batch)

    def replicate(self, tree: Tree) -> Tree:
        """Copies a tree to every device; the copy is safe to be used up by `step`."""
        # Of several processes `pmap` takes and returns what is on its own devices.
        own = self._one_device or self.kind == "pmap" or jax.process_count() == 1
        where = self._everywhere(self._local_devices if own else self.devices)
        tree = jax.tree.map(_own, tree)
        if own:
            return jax.device_put(tree, where)
        # `device_put` would compare the processes' values, and finds NaN different from NaN.
        return jax.tree.map(functools.partial(_global, where), tree)

    def localise(self, tree: Tree) -> Tree:
        """Returns a replicated tree as `map` takes it: on this process's devices only."""
        if jax.process_count() == 1:
            return tree
        return jax.device_put(jax.device_get(tree), self._everywhere(self._local_devices))

    def map(self, function: Callable[[Tree, Tree], Tree]) -> Callable[[Tree, HostBatch], Tree]:
        """Compiles ``f(tree, batch) -> values per example``, without exchange between devices.

        The tree is to be `localise`d; the values ``[B', ...]`` include those of the padding.
        """
        local = self._local_devices
        if self.axis_name and not self._one_device:
            function = jax.shard_map(
                function,
                mesh=self._mesh(local),
                in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
                out_specs=PartitionSpec(AXIS),
                check_vma=False,
            )
        compiled = _compiled(function, local)
        parts = 1 if self._one_device else len(local) // self.spatial_shards

        def mapped(tree: Tree, batch: HostBatch) -> Tree:
            batch = pad(batch, parts)
            return compiled(tree, jax.device_put(batch, self._spread(local, batch)))

        return mapped


def build(
    kind: str,
    devices: Sequence[Any] | None = None,
    *,
    microbatches: int = 1,
    spatial_shards: int = 1,
) -> Parallel:
    """Chooses how to spread work.

    Args:
      kind: "pmap", "shard_map", "vmap" or "spatial".
      devices: the devices, by default all of all processes. "vmap" runs on the first one, with as
        many parts as there are devices. (On a CPU with jaxlib 0.10 XLA crashes where a part is
        one example and the annotators' heads are spatial.)
      microbatches: see `Parallel`; more than 1 for gradients that are accumulated.
      spatial_shards: see `Parallel`; more than 1 with "spatial" only.

    Raises:
      ValueError: if the kind is unknown, "vmap" is asked for in several processes, the shards
        of an image do not fit the devices, or both these and microbatches are asked for.
    """
    checks.one_of("parallel", kind, KINDS)
    checks.positive("train.accumulate", microbatches)
    checks.positive("spatial_shards", spatial_shards)
    devices = tuple(jax.devices() if devices is None else devices)
    if kind == "vmap" and jax.process_count() > 1:
        raise ValueError("parallel: vmap works in one process only, expected pmap or shard_map")
    if spatial_shards > 1 and kind != "spatial":
        raise ValueError(f"spatial_shards: expected parallel to be 'spatial', got {kind!r}")
    local = [d for d in devices if d.process_index == jax.process_index()]
    if len(local) % spatial_shards:
        raise ValueError(
            f"spatial_shards: expected a divisor of {len(local)} devices, got {spatial_shards}"
        )
    if spatial_shards > 1 and microbatches > 1:
        # XLA's partitioner gets it wrong: gradients are off by parts in a hundred.
        raise ValueError(f"train.accumulate: expected 1 with spatial_shards, got {microbatches}")
    kind = "jit" if len(devices) == 1 and kind != "vmap" else kind
    return Parallel(kind, devices, len(local) // spatial_shards, microbatches, spatial_shards)
