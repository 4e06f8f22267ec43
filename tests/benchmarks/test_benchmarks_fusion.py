"""The sides of the fusion benchmarks do the same work."""

import pickle

import numpy as np
import pytest

from noisyjax.benchmarks import fusion


@pytest.mark.parametrize("name", fusion.SETUPS)
def test_every_entry_has_our_side_and_its_peer(name):
    setup = fusion.SETUPS[name]
    sides = setup.sides()
    assert set(sides) == {"ours", setup.peer} - {""}
    pickle.dumps(sides)


# pandas deprecates what crowd-kit calls.
@pytest.mark.filterwarnings("ignore:The (copy|inplace) keyword:DeprecationWarning")
@pytest.mark.parametrize(("peer", "classes"), [("SimpleITK", 2), ("SimpleITK", 3), ("crowdkit", 2)])
def test_sides_find_the_same_truth(peer, classes):
    pytest.importorskip({"crowdkit": "crowdkit.aggregation"}.get(peer, peer))
    setup = fusion.Setup((30, 32), 5, num_classes=classes, peer=peer)
    ours, theirs = (side(1) for side in setup.sides().values())
    assert ours.params == theirs.params
    probs, other = np.asarray(ours.step()), theirs.step()
    if other.ndim == probs.ndim:
        other = other.argmax(-1)
    elif classes == 2:
        other = other > 0.5
    np.testing.assert_array_equal(probs.argmax(-1), other)
