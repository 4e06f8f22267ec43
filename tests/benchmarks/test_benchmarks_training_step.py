"""The sides of the benchmarks do the same work."""

import dataclasses

import jax
import numpy as np
import pytest

from noisyjax import models
from noisyjax.benchmarks import torch_twin, training_step


@pytest.mark.parametrize(
    ("network", "shape"),
    [("unet", (2, 8, 8)), ("unet", (1, 4, 8, 4)), ("highres3dnet", (2, 5, 4, 6))],
)
def test_twin_gives_the_logits_of_our_network(network, shape):
    torch = pytest.importorskip("torch")
    setup = training_step.Setup(shape, (4, 6, 8), network=network)
    image, _ = setup.batch()
    net = models.build(network, setup.num_classes, widths=setup.widths)
    variables = models.init(net, jax.random.key(0), image)
    apply = jax.jit(lambda v, x: net.apply(v, x, train=True, mutable="batch_stats")[0])
    ours = apply(variables, image).logits
    params = torch_twin.from_jax(variables["params"])
    pixels = torch.from_numpy(np.moveaxis(image, -1, 1).copy())
    theirs = torch_twin.NETWORKS[network](params, pixels)
    theirs = np.moveaxis(theirs.detach().numpy(), 1, -1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    count = sum(leaf.numel() for leaf in torch_twin.leaves(params))
    assert count == models.parameter_count(variables)


@pytest.mark.parametrize("native", [False, True])
def test_steps_lower_the_loss(native):
    setup = dataclasses.replace(training_step.SMOKE, shape=(1, 4, 4, 4))
    work = training_step.ours(setup, 1, native=native)
    losses = [work.step() for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("channels_last", [False, True])
def test_peer_steps_lower_the_loss(channels_last):
    threads = pytest.importorskip("torch").get_num_threads()
    work = training_step.torch_peer(training_step.SMOKE, threads, channels_last=channels_last)
    losses = [work.step() for _ in range(20)]
    assert losses[-1] < losses[0]
