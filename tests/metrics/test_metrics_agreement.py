"""Agreement beyond chance against the golden file, other packages and values by hand."""

import jax
import jax.numpy as jnp
import krippendorff
import numpy as np
import pytest
from sklearn import metrics as peer

from noisyjax.metrics import agreement

_THREE = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]])
_MISSING = np.array([[1, 1, 0], [1, 1, 0], [1, 255, 0]])
_UNEVEN = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 255]])


def _labels(seed, raters=4, shape=(9, 8), classes=3, gaps=0.2):
    """Labels of raters who agree on about half of the pixels."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, shape)
    own = draw.integers(0, classes, (raters, *shape))
    labels = np.where(draw.random((raters, *shape)) < 0.6, truth, own)
    return np.where(draw.random(labels.shape) < gaps, 255, labels).astype(np.uint8)


@pytest.mark.parametrize("case", range(17, 22))
def test_golden(golden, case):
    with np.load(golden / "multirater.npz") as file:
        given = {
            key.partition(".")[2]: file[key] for key in file.files if key.startswith(f"{case}.")
        }
    labels, classes = given["labels"], int(given["num_classes"])
    kappa = agreement.fleiss_kappa(labels, classes)
    np.testing.assert_allclose(kappa, given["fleiss_kappa"], rtol=1e-9)
    alpha = agreement.krippendorff_alpha(labels, classes)
    np.testing.assert_allclose(alpha, given["krippendorff_alpha"], rtol=1e-9)
    pairs = agreement.cohen_kappa(labels, classes)
    np.testing.assert_allclose(pairs, given["cohen_kappa"], rtol=1e-9)
    if not np.isnan(given["cohen_kappa_mean"]):
        np.testing.assert_allclose(np.nanmean(pairs), given["cohen_kappa_mean"], rtol=1e-9)
    np.testing.assert_allclose(agreement.icc(given["volumes"]), given["icc_2_1"], rtol=1e-9)
    if "conformity_index" in given:
        index = agreement.conformity_index(labels)
        np.testing.assert_allclose(index, given["conformity_index"], rtol=1e-9)


@pytest.mark.parametrize(
    ("labels", "kappa", "alpha"),
    [
        (_THREE, 0.55, 0.6),
        (_MISSING, 1.0, 1.0),
        # P_o is 2/3 and the share of class 1 is 6/11.
        (_UNEVEN, 0.3278, 1 / 3),
    ],
)
def test_kappa_and_alpha_by_hand(labels, kappa, alpha):
    np.testing.assert_allclose(agreement.fleiss_kappa(labels, 2), kappa, atol=1e-4)
    np.testing.assert_allclose(agreement.krippendorff_alpha(labels, 2), alpha, rtol=1e-9)


def test_cohen_by_hand():
    expected = [[np.nan, 1, 0.4], [1, np.nan, 0.4], [0.4, 0.4, np.nan]]
    np.testing.assert_allclose(agreement.cohen_kappa(_THREE, 2), expected)


def test_conformity_by_hand():
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])
    assert agreement.conformity_index(labels) == (1 + 2 + 1) / (2 + 3 + 3)
    # Class 0 holds the complements: they share 2, 1, 1 of 3, 2, 3.
    assert agreement.conformity_index(labels, index=0) == (2 + 1 + 1) / (3 + 2 + 3)
    every = agreement.conformity_index_of_sums(agreement.sums(labels, 2))
    np.testing.assert_allclose(every, [0.5, 0.5])
    # Of the third pixel only the pair that labelled it counts.
    gap = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 255, 0]])
    assert agreement.conformity_index(gap) == (1 + 2 + 1) / (2 + 2 + 2)


@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_alpha_equals_krippendorffs(gaps):
    labels = _labels(0, gaps=gaps)
    units = np.where(labels == 255, np.nan, labels).reshape(len(labels), -1)
    expected = krippendorff.alpha(units, level_of_measurement="nominal")
    np.testing.assert_allclose(agreement.krippendorff_alpha(labels, 3), expected, rtol=1e-9)


def test_cohen_equals_scikit_learn():
    labels = _labels(1)
    kappa = agreement.cohen_kappa(labels, 3)
    for q in range(4):
        for r in range(q):
            both = (labels[q] != 255) & (labels[r] != 255)
            expected = peer.cohen_kappa_score(labels[q, both], labels[r, both])
            np.testing.assert_allclose([kappa[q, r], kappa[r, q]], expected, rtol=1e-9)


def test_fleiss_equals_statsmodels():
    # statsmodels 0.15.0: fleiss_kappa(aggregate_raters(labels.T)[0]).
    labels = np.array(
        [
            [0, 1, 2, 2, 1, 0, 1, 2, 0, 1],
            [0, 1, 2, 1, 1, 0, 1, 2, 0, 0],
            [0, 1, 1, 2, 1, 0, 2, 2, 0, 1],
            [0, 0, 2, 2, 1, 1, 1, 2, 0, 1],
        ]
    )
    np.testing.assert_allclose(agreement.fleiss_kappa(labels, 3), 0.5445920303605312, rtol=1e-12)


_SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)


def test_icc_equals_pingouins_and_the_papers():
    # Shrout and Fleiss 1979, Table 4: .29; pingouin 0.7.0, ICC(A,1).
    np.testing.assert_allclose(agreement.icc(_SHROUT_FLEISS), 0.28976378, atol=5e-9)
    np.testing.assert_allclose(agreement.icc(jnp.asarray(_SHROUT_FLEISS)), 0.28976378, atol=5e-9)
    np.testing.assert_allclose(
        agreement.icc(np.array([[10.0, 12], [20, 21], [30, 33]])), 0.9783, atol=5e-5
    )


def test_icc_leaves_out_images_that_a_rater_lacks():
    more = np.concatenate([_SHROUT_FLEISS, [[5, np.nan, 7, 7]]])
    np.testing.assert_allclose(agreement.icc(more), agreement.icc(_SHROUT_FLEISS), rtol=1e-12)
    for few in (_SHROUT_FLEISS[:1], _SHROUT_FLEISS[:, :1], np.full((3, 2), 4.0)):
        assert np.isnan(agreement.icc(few))


def test_images_are_pooled_by_adding_their_sums():
    images = [_labels(seed) for seed in range(3)]
    together = np.concatenate(images, axis=1)
    sums = [agreement.sums(labels, 3) for labels in images]
    added = jax.tree.map(lambda *parts: sum(parts), *sums)
    for one, other in zip(added, agreement.sums(together, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    kappa = agreement.fleiss_kappa_of_sums(added)
    assert kappa == agreement.fleiss_kappa(together, 3)
    assert agreement.krippendorff_alpha_of_sums(added) == agreement.krippendorff_alpha(together, 3)
    tables = sum(agreement.rater_tables(labels, 3) for labels in images)
    np.testing.assert_array_equal(
        agreement.cohen_kappa_of_tables(tables), agreement.cohen_kappa(together, 3)
    )
    # More than float32, or int32, could hold.
    many = jax.tree.map(lambda part: part * 10**9, added)
    np.testing.assert_allclose(agreement.fleiss_kappa_of_sums(many), kappa, rtol=1e-12)


def test_pieces_change_nothing(monkeypatch):
    labels = _labels(2)
    whole = agreement.sums(labels, 3), agreement.rater_tables(labels, 3)
    monkeypatch.setattr(agreement, "_PIECE", 7)
    for one, other in zip(agreement.sums(labels, 3), whole[0], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(agreement.rater_tables(labels, 3), whole[1])


def test_absent_raters_and_other_pixels_are_left_out():
    labels = _labels(3, raters=5)
    mask, where = np.array([True, False, True, True, True]), labels[0] != 1
    wild = labels.copy()
    wild[1] = 77
    cut = labels[mask][:, where]
    kappa = agreement.fleiss_kappa(jnp.asarray(wild), 3, rater_mask=jnp.asarray(mask), where=where)
    assert kappa == agreement.fleiss_kappa(cut, 3)
    pairs = agreement.cohen_kappa(wild, 3, rater_mask=mask, where=where)
    assert np.isnan(pairs[1]).all()
    np.testing.assert_array_equal(pairs[np.ix_(mask, mask)], agreement.cohen_kappa(cut, 3))
    index = agreement.conformity_index(wild, rater_mask=mask, where=where)
    assert index == agreement.conformity_index(cut)


@pytest.mark.parametrize(
    "labels",
    [np.zeros((3, 4), int), np.ones((1, 4), int), np.full((3, 4), 255), np.zeros((3, 0), int)],
    ids=["one class", "one rater", "no label", "no pixel"],
)
def test_undefined(labels):
    assert np.isnan(agreement.fleiss_kappa(labels, 2))
    assert np.isnan(agreement.krippendorff_alpha(labels, 2))
    assert np.isnan(agreement.cohen_kappa(labels, 2)).all()
    assert np.isnan(agreement.conformity_index(labels))


def test_names_of_classes_do_not_matter():
    labels = _labels(4)
    renamed = np.where(labels == 255, 255, (labels + 1) % 3)
    for metric in (agreement.fleiss_kappa, agreement.krippendorff_alpha):
        np.testing.assert_allclose(metric(renamed, 3), metric(labels, 3), rtol=1e-12)


def test_bad_labels_are_named():
    with pytest.raises(ValueError, match=r"labels: expected classes in 0\.\.1 or 255, got 2"):
        agreement.fleiss_kappa(_labels(5), 2)
