"""What is kept of examples is bounded in bytes."""

import numpy as np

from noisyjax.data.labels import cache


def test_what_was_used_least_recently_goes():
    kept = cache.Cache(100)
    for i in range(2):
        kept.put(i, {"labels": np.zeros(40, np.uint8)})
    assert not kept.overflowed
    for i in range(2, 9):
        kept.put(i, {"labels": np.zeros(40, np.uint8)})
    assert [i for i in range(9) if kept.get(i) is not None] == [7, 8]
    kept.get(7)
    kept.put(9, {"labels": np.zeros(40, np.uint8)})
    assert kept.overflowed
    assert kept.get(8) is None
    assert kept.get(7) is not None
