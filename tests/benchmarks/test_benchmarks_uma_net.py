"""The sides of the UMA-Net benchmark train the same network on the same batch."""

import pickle

import pytest

from noisyjax.benchmarks import uma_net


def test_steps_lower_the_loss_and_count_the_same_parameters():
    works = {name: make(1) for name, make in uma_net.SMOKE.sides().items()}
    assert len({work.params for work in works.values()}) == 1
    for work in works.values():
        losses = [work.step() for _ in range(20)]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", uma_net.SETUPS)
def test_sides_can_be_sent_to_a_process(name):
    setup = uma_net.SETUPS[name]
    for make in setup.sides().values():
        assert pickle.loads(pickle.dumps(make)).args == (setup,)
    batch = setup.batch()
    assert batch["labels"].shape == (setup.shape[0], 5, *setup.shape[1:])
    assert 0.05 < float(batch["labels"].mean()) < 0.5
