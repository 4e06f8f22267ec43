"""Encoders: the sides and channels of their maps, the projection of a strided unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisyjax.models import encoders


@pytest.mark.parametrize(
    ("name", "channels"),
    [("vgg16", [128, 256, 512, 512, 512]), ("resnet34", [64, 64, 128, 256, 512])],
)
@pytest.mark.parametrize("sides", [(64, 96), (33, 70), (9, 33, 40)])
def test_every_map_halves_the_sides(name, channels, sides):
    image = jnp.zeros((1, *sides, 1))
    maps, _ = jax.eval_shape(encoders.ENCODERS[name]().init_with_output, jax.random.key(0), image)
    assert [m.shape[-1] for m in maps] == channels
    for level, m in enumerate(maps, 1):
        assert m.shape[1:-1] == tuple(-(-side // 2**level) for side in sides)


def test_vgg16_has_thirteen_convolutions_and_resnet34_thirty_six():
    """ResNet's 33 of 3x3 and 7x7, and a projection for each of its four stages."""
    for name, number in (("vgg16", 13), ("resnet34", 33 + 4)):
        shapes = jax.eval_shape(
            encoders.ENCODERS[name]().init, jax.random.key(0), jnp.zeros((1, 32, 32, 1))
        )
        kernels = [p for p, _ in jax.tree.leaves_with_path(shapes) if p[-1].key == "kernel"]
        assert len(kernels) == number


def test_resnet_maps_are_rectified_and_a_constant_image_shift_changes_nothing(
    variables_of, quick_jit
):
    """The image is normalised by its running averages, so shifting both leaves every map."""
    net = encoders.ResNet34(widths=(4, 8, 8))
    image = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 12, 1)), jnp.float32)
    variables = variables_of(net, image)
    shifted = jax.tree.map(lambda x: x, variables)
    shifted["batch_stats"]["norm_image"]["mean"] += 3.0
    apply = quick_jit(net.apply)
    for one, two in zip(apply(variables, image), apply(shifted, image + 3.0), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)
        assert (one >= 0).all()
        assert one.max() > 0
