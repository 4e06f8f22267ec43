"""How much labels stand out among those of their rater."""

import numpy as np
import pytest

from noisyjax.tool.audit import measures, scores


def _measured(count, seed=0, volume=0.0):
    rng = np.random.default_rng(seed)
    return [
        [
            measures.Measures(
                regret=abs(rng.normal(0.05, 0.01)),
                volume=rng.normal(volume, 0.05),
                offset=rng.normal(volume, 0.1),
                far=1.0,
                moved=abs(rng.normal(0.3, 0.1)),
                surprise=abs(rng.normal(0.1, 0.02)),
            )
        ]
        * 2
        for _ in range(count)
    ]


def test_what_is_wrong_comes_first():
    rows = _measured(30)
    rows[7] = [one._replace(volume=-1.0, offset=-2.0, regret=0.3) for one in rows[7]]
    made = scores.score(rows, ["a"] * 30, voxel=1.0)
    assert made.score.argmax() == 7
    assert made.suspect.nonzero()[0].tolist() == [7]
    assert (made.looked_at | ~made.suspect).all()
    assert made.score.max() <= 1
    assert made.by_class.shape == (30, 2)


def test_a_habit_is_no_fault():
    """A rater who draws all wide is like one who draws all right."""
    usual, wide = _measured(20), _measured(20, volume=0.8)
    raters = ["usual"] * 20 + ["wide"] * 20
    made = scores.score(usual + wide, raters, voxel=1.0)
    np.testing.assert_allclose(made.score[:20], made.score[20:], atol=1e-6)
    # One of theirs that is as others draw it stands out.
    odd = scores.score(usual + [usual[0], *wide[1:]], raters, voxel=1.0)
    assert odd.score.argmax() == 20


def test_raters_with_few_labels_are_taken_together():
    values = np.arange(12.0)[:, None]
    raters = [f"r{n}" for n in range(12)]
    np.testing.assert_array_equal(
        scores.standardised(values, raters, 0.1), scores.standardised(values, ["one"] * 12, 0.1)
    )


def test_what_cannot_be_measured():
    rows = _measured(20)
    rows[3] = [one._replace(offset=np.nan, moved=np.nan) for one in rows[3]]
    assert scores.score(rows, ["a"] * 20, voxel=1.0).score.argmax() == 3
    # Of a class that is nowhere nothing can be, and no label is at fault.
    nowhere = [[one, other._replace(offset=np.nan, moved=np.nan)] for one, other in _measured(20)]
    assert not scores.score(nowhere, ["a"] * 20, voxel=1.0).suspect.any()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_labels_have_scores(count):
    made = scores.score(_measured(count), ["a"] * count, voxel=1.0)
    assert np.isfinite(made.score).all()
