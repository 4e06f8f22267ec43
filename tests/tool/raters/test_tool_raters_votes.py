"""Counted patterns of votes."""

import numpy as np

from noisyjax.fusion import patterns
from noisyjax.metrics import agreement
from noisyjax.tool.raters import votes


def test_tables_of_added_images_are_those_of_the_voxels():
    labels = np.random.default_rng(1).integers(0, 3, (3, 40)).astype(np.uint8)
    labels[labels == 2] = 255
    codes, tally = patterns.of_image(labels, 2)
    parts = [votes.count(codes[part], tally) for part in np.split(np.arange(40), 4)]
    tables = votes.joint(votes.add(parts), 2)
    np.testing.assert_array_equal(tables, agreement.rater_tables(labels, 2))
