"""No method learns from what is ignored: by all raters, or of a rater by that one alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from noisyjax import methods
from noisyjax.core import ignored, rng
from noisyjax.methods import deep_supervision, mr_net, network, self_calib
from noisyjax.models import segmentation

_BATCH, _SHAPE, _RATERS, _CLASSES = 2, (4, 6), 3, 2
# Of the first example: ignored by everyone in the last two columns, by the first rater in a corner.
_BY_ALL, _BY_ONE = (0, slice(None), slice(4, None)), (0, slice(2), slice(2))
_STAGES = {
    name: {"warmup_steps": 99, "frozen_segmenter_steps": 0, "min_raters_for_consensus": 0}
    for name in ("cm_trace", "no_trace", "low_rank_cm", "global_cm")
}
_OPTIONS = {
    **_STAGES,
    "prob_unet": {"widths": (4,), "convs_per_level": 1},
    "uma_net": {"temperature": 0.3, "widths": (4,), "warmup_steps": 99},
    "self_calib": {"recurrences": 2, "window": 3},
    "pint": {"warmup_steps": 99},
}


class _Voxelwise(nn.Module):
    """A network without neighbourhoods."""

    @nn.compact
    def __call__(self, image, *, train=False, keys=None, weight=None):
        logits = nn.Dense(_CLASSES)(image)
        return segmentation.Segmentation(logits, jnp.tile(image, 4), (logits[:, ::2, ::2],))


def _batch():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, _CLASSES, (_BATCH, _RATERS, *_SHAPE)).astype(np.uint8)
    truth = draw.integers(0, _CLASSES, (_BATCH, *_SHAPE)).astype(np.uint8)
    target = draw.dirichlet(np.ones(_CLASSES), (_BATCH, *_SHAPE)).astype(np.float32)
    truth[_BY_ALL], target[_BY_ALL] = ignored.IGNORE, 0
    for rater in range(_RATERS):
        labels[:, rater][_BY_ALL] = ignored.IGNORE
    labels[:, 0][_BY_ONE] = ignored.IGNORE
    batch = {
        "image": draw.normal(size=(_BATCH, *_SHAPE, 1)).astype(np.float32),
        "labels": labels,
        # Zeros stand for the label of who gave none.
        "rater_mask": np.array([[True, True, False], [True, True, True]]),
        "truth": truth,
        "target": target,
        "weight": np.ones(_BATCH, np.float32),
        "id": np.arange(_BATCH, dtype=np.int32),
    }
    labels[0, 2] = 0
    return jax.tree.map(jnp.asarray, batch)


class _Probes:
    """Stands in for `network.run`: what a module gives is constant but for a probe added to it.

    A gradient of a probe is what a loss reads at that voxel of that output, by itself.
    """

    def __init__(self):
        self.names, self.shapes, self.values = [], [], None
        self._run = network.run

    def __call__(self, name, module, variables, *arguments, **options):
        output, state = self._run(name, module, variables, *arguments, **options)
        if isinstance(output, segmentation.Segmentation):
            deep = tuple(self._probe(f"{name} deep", one) for one in output.deep)
            output = output._replace(logits=self._probe(name, output.logits), deep=deep)
            return output._replace(features=jax.lax.stop_gradient(output.features)), state
        return jax.tree.map(lambda one: self._probe(name, one), output), state

    def _probe(self, name, output):
        output = jax.lax.stop_gradient(output)
        halves = tuple(-(-n // 2) for n in _SHAPE)
        if not any(output.shape[i : i + 2] in (_SHAPE, halves) for i in (1, 2)):
            return output
        self.names.append(name)
        self.shapes.append(output.shape)
        return output if self.values is None else output + self.values[len(self.names) - 1]


@pytest.mark.parametrize("name", methods.METHODS)
def test_no_output_has_a_gradient_where_its_labels_are_ignored(monkeypatch, name):
    sizes = {"num_raters": _RATERS, "num_classes": _CLASSES}
    method = methods.build(name, _Voxelwise(), **sizes, **_OPTIONS.get(name, {}))
    batch, draw = _batch(), np.random.default_rng(1)
    shapes = jax.eval_shape(method.init, rng.root_key(0), batch)
    variables = jax.tree.map(lambda s: jnp.asarray(draw.uniform(size=s.shape), s.dtype), shapes)
    probes = _Probes()
    monkeypatch.setattr(network, "run", probes)

    def loss(values, step):
        probes.names, probes.shapes, probes.values = [], [], values
        return method.loss_fn(variables, batch, rng.root_key(1), step)[0]

    jax.eval_shape(lambda: loss(None, jnp.int32(0)))
    values = [jnp.asarray(draw.normal(scale=0.1, size=s), jnp.float32) for s in probes.shapes]
    run = jax.jit(jax.grad(loss))
    # In a first stage, if there is one, and in the last one.
    stages = [run(values, jnp.int32(step)) for step in (0, 300)]
    read = [np.stack(own) for own in zip(*stages, strict=True)]
    assert any(np.abs(gradient[:, 0]).max() > 0 for gradient in read)
    for index, (module, gradient) in enumerate(zip(probes.names, read, strict=True)):
        assert np.isfinite(gradient).all()
        if module.endswith(" deep"):
            target = batch["target"][0]
            sides = tuple(-(-n // 2) for n in target.shape[:-1])
            target = deep_supervision.nearest(target, sides)
            assert (gradient[:, 0][:, ~np.asarray(target.any(-1))] == 0).all()
            continue
        of_raters = gradient.shape[2] == _RATERS
        # Of the first example: stages, raters or one for all, space.
        every = gradient[:, 0] if of_raters else gradient[:, :1]
        assert (every[:, :, *_BY_ALL[1:]] == 0).all(), module
        if of_raters or (name == "separate" and index == 0):
            assert (every[:, 0, *_BY_ONE[1:]] == 0).all(), module


def test_a_share_of_a_rater_who_ignored_a_voxel_goes_to_the_others():
    labels = jax.nn.one_hot(jnp.array([[[1, 255]], [[0, 0]], [[0, 255]]]), 2)
    mixed = mr_net.mixed_label(jnp.array([[0.5, 0.25, 0.25]]), jnp.moveaxis(labels, 0, 1))
    np.testing.assert_allclose(mixed[0], [[0.5, 0.5], [1, 0]], rtol=1e-6)
    nobody = mr_net.mixed_label(jnp.array([[0.5, 0.0, 0.5]]), jnp.moveaxis(labels, 0, 1))
    np.testing.assert_allclose(nobody[0], [[0.5, 0.5], [0, 0]])
    mask = jnp.array([True, False, True])
    calibrated = self_calib.calibrated_label(jnp.zeros((3, 2)), labels[:, 0], mask)
    np.testing.assert_allclose(calibrated, [[0.5, 0.5], [0, 0]])
