"""The rules of a plan beside nnU-Net's own choices, and worked by hand.

What nnU-Net 2.8.1 chose on these folders (``nnUNetv2_extract_fingerprint -d D``, then
``nnUNetv2_plan_experiment -d D``) stands here with axes in our order, which is its turned round.
"""

import numpy as np
import pytest

from noisyjax.tool.plan import intensities, mirroring, patch, spacing, topology

_ISOTROPIC = ((2, 2, 2),) * 3
# Spacing, median case -> patch, strides, number of kernels that skip the slices, widths.
_NNUNET = {
    # The 130 training cases of the Decathlon whose masks are kept; 3d_fullres.
    "hippocampus": ((1.0, 1.0, 1.0), (35, 50, 36), (40, 56, 40), _ISOTROPIC, 0, (32, 64, 128, 256)),
    # 3d_fullres.
    "a crop of one spleen": (
        (0.794922, 0.794922, 5.0),
        (164, 166, 26),
        (192, 192, 28),
        ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1)),
        2,
        (32, 64, 128, 256, 320, 320),
    ),
    # 2d, slices of a spinal cord as PNG.
    "slices": (
        (1.0, 1.0),
        (318, 318),
        (320, 320),
        ((2, 2),) * 6,
        0,
        (32, 64, 128, 256, 512, 512, 512),
    ),
    # As published (Isensee et al. 2021, Supplementary Note 6): the patch of the prostate and the
    # numbers of halvings, 6, 6 and 2.
    "prostate, published": (
        (0.62, 0.62, 3.6),
        (320, 256, 20),
        (320, 256, 20),
        ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1), (2, 2, 1)),
        2,
        (32, 64, 128, 256, 320, 320, 320),
    ),
}


@pytest.mark.parametrize("name", _NNUNET)
def test_patch_and_network_are_those_of_nnunet(name):
    extents, median, size, strides, flat, widths = _NNUNET[name]
    network = patch.largest(extents, median, fits=lambda network: True)
    assert network.patch == size
    assert network.strides == strides
    assert network.widths == widths
    assert [row[-1] for row in network.kernels] == [1] * flat + [3] * (len(widths) - flat)
    assert {kernel for row in network.kernels for kernel in row[:2]} == {3}


def test_a_patch_is_shortened_where_it_is_largest_against_the_median_case():
    # nnU-Net's plan of the whole spleen data set: its patch, which 8 GB allow, and its halvings.
    median, extents = (512, 512, 187), (0.79, 0.79, 1.6)
    most = 192 * 160 * 64
    network = patch.largest(extents, median, fits=lambda n: np.prod(n.patch) <= most)
    assert network.patch == (160, 192, 64)
    assert network.strides == ((2, 2, 1), *[(2, 2, 2)] * 4)
    assert network.kernels == ((3, 3, 1), *[(3, 3, 3)] * 5)
    with pytest.raises(ValueError, match="memory: expected enough for a step on two patches"):
        patch.largest(extents, median, fits=lambda network: False)


def test_the_batch_is_that_of_nnunet():
    network = topology.of_patch((40, 56, 40), (1.0, 1.0, 1.0))
    # 260 cases as published, and the 130 of which nnU-Net was asked.
    assert patch.batch(network, (36, 50, 35), 260, fitting=99)[0] == 9
    assert patch.batch(network, (36, 50, 35), 130, fitting=99)[0] == 5
    assert patch.batch(network, (36, 50, 35), 260, fitting=4.9) == (4, "what fits the memory")
    assert patch.batch(network, (36, 50, 35), 5, fitting=99) == (
        2,
        "the least: there are few cases",
    )


def test_a_small_network_has_an_eighth_of_the_operations():
    full, small = (
        topology.of_patch((128, 128, 128), (1.0, 1.0, 1.0), small=small) for small in (False, True)
    )
    assert small.widths == (16, 32, 64, 128, 128, 128)
    assert (small.patch, small.strides) == (full.patch, full.strides)
    assert topology.operations(small) < topology.operations(full) / 3.9


def test_numbers_and_operations_of_two_levels_by_hand():
    network = topology.Network((8, 4), ((2, 2),), ((3, 1), (3, 3)), (2, 4), 2)
    assert network.sides == [(8, 4), (4, 2)]
    # Two maps of the encoder, four of the decoder; two at the bottom.
    assert topology.activations(network) == 6 * 2 * 32 + 2 * 4 * 8
    # 1 to 2, 2 to 2; 4 to 2, 2 to 2; and 2 to 4, 4 to 4, of three operations times two.
    top, bottom = 3 * 32 * (2 + 4 + 8 + 4), 9 * 8 * (8 + 16)
    assert topology.operations(network) == 6 * (top + bottom)


@pytest.mark.parametrize(
    ("spacings", "shapes", "expected"),
    [
        # The median.
        ([[1, 1, 2], [2, 1, 2], [3, 1, 2]], [[64, 64, 64]] * 3, (2, 1, 2)),
        # Thick slices: the 10th percentile of 4 to 8.
        ([[1, 1, 4], [1, 1, 6], [1, 1, 8]], [[200, 200, 30]] * 3, (1, 1, 4.4)),
        # No less than the next axis' spacing: the 10th percentile is .2.
        ([[1, 1, 0.2]] * 2 + [[1, 1, 9]] * 3, [[200, 200, 30]] * 5, (1, 1, 1)),
        # Thick, but so many that they are no slices.
        ([[1, 1, 4], [1, 1, 6], [1, 1, 8]], [[90, 90, 30]] * 3, (1, 1, 6)),
    ],
)
def test_spacing(spacings, shapes, expected):
    chosen = spacing.target(np.array(spacings, float), np.array(shapes))
    assert chosen.value == pytest.approx(expected)
    assert ("10th percentile" in chosen.reason) == (expected[2] not in (2, 6))


def test_a_coarser_spacing_moves_the_finer_axes_first():
    assert spacing.coarser((1.0, 1.0, 1.5)) == (1.03, 1.03, 1.545)
    assert spacing.coarser((1.0, 2.5, 3.0)) == (1.03, 2.5, 3.0)


@pytest.mark.parametrize(
    ("channel", "share", "expected"),
    [
        ("CT", 1.0, "ct"),
        ("ct", 0.1, "ct"),
        ("noNorm", 0.1, "none"),
        ("rescale_to_0_1", 1.0, "rescale_to_0_1"),
        ("rgb_to_0_1", 1.0, "rgb_to_0_1"),
        ("zscore", 1.0, "z_score"),
        ("MRI", 0.75, "z_score"),
        ("MRI", 0.74, "z_score_nonzero"),
    ],
)
def test_normalisation_by_name(channel, share, expected):
    assert intensities.normalisation(channel, nonzero_share=share)[0] == expected


def test_statistics_of_the_foreground():
    values = np.array([0, 10, 20, 30], np.int16)
    assert intensities.statistics(values) == pytest.approx((0.15, 29.85, 15, 125**0.5))
    assert intensities.statistics(values[:0]) == (0, 1, 0, 1)


def _cases(apart, *, count=8, seed=0):
    """Two classes a vector apart in each case, moved by a voxel or so."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(0, 20, (count, 1, 3)).repeat(2, axis=1)
    positions[:, 1] += np.asarray(apart) + rng.normal(0, 1, (count, 3))
    return positions


_EQUAL = np.full((8, 2, 1), 100.0) + [[0.0], [1.0]], np.full((8, 2, 1), 30.0)


def test_mirroring_is_off_where_it_exchanges_two_classes():
    positions, sizes = _cases((40, 3, -6)), np.full((8, 2), 500.0)
    assert mirroring.exchanged(positions, sizes, *_EQUAL) == {0: [(0, 1)]}
    names = ("left kidney", "right kidney")
    free, reason = mirroring.axes({0: [(0, 1)]}, 3, names)
    assert free == (1, 2)
    assert reason == "not along axis 0, which exchanges left kidney and right kidney"
    assert mirroring.axes({}, 2, names) == ((0, 1), "mirroring exchanges no classes")


def test_mirroring_stays_on_where_classes_can_be_told_apart():
    positions, sizes = _cases((40, 3, -6)), np.full((8, 2), 500.0)
    # A liver and a spleen; two intensities; now left and now right; within each other; never both.
    larger = sizes * [1, 6]
    brighter = np.full((8, 2, 1), 100.0) + [[0.0], [60.0]]
    changing = positions.copy()
    changing[::2] = changing[::2, ::-1]
    within = _cases((0, 0, 0))
    alone = positions.copy()
    alone[::2, 0], alone[1::2, 1] = np.nan, np.nan
    assert mirroring.exchanged(positions, larger, *_EQUAL) == {}
    assert mirroring.exchanged(positions, sizes, brighter, _EQUAL[1]) == {}
    assert mirroring.exchanged(changing, sizes, *_EQUAL) == {}
    assert mirroring.exchanged(within, sizes, *_EQUAL) == {}
    assert mirroring.exchanged(alone, sizes, *_EQUAL) == {}
