"""Epochs that fit into a time."""

import pytest

from noisyjax.tool.training import speed

SPEED = speed.Speed(begin=10.0, step=0.5, validation=0.0, steps_per_epoch=10)


def test_what_the_beginning_leaves_is_for_steps():
    # 98 of 100 s, without 10 s, are 176 steps of half a second.
    assert speed.epochs_for(SPEED, 100.0) == (17, 17)
    assert speed.epochs_for(SPEED._replace(begin=48.0), 100.0) == (10, 10)


def test_validations_take_a_tenth_at_most():
    # Of 88 s 8.8 are for validation: four of 2 s; 80 s are left for 16 epochs.
    assert speed.epochs_for(SPEED._replace(validation=2.0), 100.0) == (16, 4)
    # None fits: one, at the end.
    assert speed.epochs_for(SPEED._replace(validation=20.0), 100.0) == (17, 17)


@pytest.mark.parametrize("seconds", [1.0, 12.0])
def test_there_is_an_epoch_in_any_time(seconds):
    assert speed.epochs_for(SPEED, seconds) == (1, 1)
