import base64
import io

import numpy as np
import pytest
from PIL import Image

from noisyjax.tool.page import views


def _square(size=8, start=2, stop=6):
    ids = np.zeros((size, size), np.uint8)
    ids[start:stop, start:stop] = 1
    return ids


def _picture(view):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(view.picture))))


def test_contours_run_halfway_between_voxels():
    ids = np.zeros((4, 4), np.uint8)
    ids[1:3, 1:3] = 1
    # Centres at 3 and 5 of 8, corners cut between them and those at 1 and 7.
    assert views.outline(ids, (8, 8)) == "M2 3l1-1 2 0 1 1 0 2-1 1-2 0-1-1z"
    # Twice as wide.
    assert views.outline(ids, (16, 8)) == "M4 3l2-1 4 0 2 1 0 2-2 1-4 0-2-1z"


def test_contours_of_each_class_and_not_of_what_has_no_label():
    ids = np.zeros((4, 4), np.uint8)
    ids[0, 0], ids[3, 3], ids[0, 3] = 1, 2, 255
    assert views.outline(ids, (4, 4)).count("M") == 2
    assert views.outline(np.full((4, 4), 255, np.uint8), (4, 4)) == ""
    # They close at the border.
    assert views.outline(np.ones((2, 2), np.uint8), (4, 4)).endswith("z")


def test_slices_with_most_in_question_that_are_not_neighbours():
    voxels = np.zeros((4, 4, 12), bool)
    for index, count in enumerate([0, 1, 2, 3, 4, 5, 4, 3, 9, 1, 1, 0]):
        voxels[..., index].flat[:count] = True
    # Ten of twelve have some: the gap is 10 / 4, three slices.
    assert views.choose(voxels, (1.0, 1.0, 1.0)) == [2, 5, 8]
    assert views.choose(voxels, (1.0, 1.0, 1.0), count=1) == [8]
    assert views.choose(np.zeros((4, 4, 12), bool), (1.0, 1.0, 1.0)) == [6]
    assert views.choose(voxels[..., 0], (1.0, 1.0)) == [0]
    # Across voxels that are long.
    assert views.choose(voxels.swapaxes(1, 2), (1.0, 5.0, 1.0), count=1) == [8]


def test_what_is_in_question():
    one, other = _square(), _square(start=3)
    ring, none = (one == 1) & (other == 0), np.full_like(one, 255)
    asked = _square(stop=3) == 1
    for given, region, expected, what in (
        ([one, other], None, ring, "in dispute"),
        ([one, one], None, one == 1, "labelled"),
        ([one, other, none], None, ring, "in dispute"),
        ([one, other], asked, asked, "in question"),
        ([one, other], asked & False, ring, "in dispute"),
    ):
        found, words = views.in_question(given, region)
        np.testing.assert_array_equal(found, expected)
        assert words == what


def test_a_volume_is_shown_with_the_right_on_the_left_and_the_front_on_top():
    array = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(views.plane(array, 1, 2), array[:, :, 1].T[::-1, ::-1])
    # Seen from the front the head is on top.
    assert views.plane(array, 1, 1)[0, 0] == array[1, 1, 3]
    assert views.plane(array[..., None], 1, 2).shape == (3, 2, 1)


def test_pictures_hold_the_masks_with_a_margin_and_square_pixels():
    ids = np.zeros((100, 100, 5), np.uint8)
    ids[20:60, 20:80, 1:4] = 1
    other = ids.copy()
    other[20:60, 20:80, 3] = 0
    image = ids * 100.0 + np.random.default_rng(0).normal(size=ids.shape)
    (view,) = views.views(image, {"a": ids, "b": other}, (1.5, 1.0, 1.0), count=1)
    # The masks cover 60 mm by 60 mm; the margin is a quarter of that.
    assert (view.width, view.height) == (512, 512)
    assert view.title == "axial slice 4 of 5, 2400 voxels in dispute"
    assert view.region == ""
    assert list(view.outlines) == ["a", "b"]
    assert view.outlines["b"] == ""
    # 40 voxels of 1.5 mm and 60 of 1 mm lie in the middle of 60 and 90.
    numbers = view.outlines["a"].replace("l", " ").replace("z", "").replace("-", " -")[1:].split()
    points = np.cumsum(np.array(numbers, int).reshape(-1, 2), axis=0)
    np.testing.assert_allclose(points.min(axis=0), [512 / 6, 512 / 6], atol=1)
    np.testing.assert_allclose(points.max(axis=0), [512 * 5 / 6, 512 * 5 / 6], atol=1)
    pixels = _picture(view)
    assert pixels.shape == (256, 256)
    assert pixels[128, 128] > 200
    assert pixels[4, 4] < 50


def test_the_region_in_question_decides_on_the_slice_and_is_drawn():
    ids = np.zeros((9, 9, 9), np.uint8)
    ids[2:7, 2:7, 2:7] = 1
    region = np.zeros(ids.shape, bool)
    region[3:5, 3:5, 6] = True
    (view,) = views.views(ids * 1.0, {"a": ids}, (1.0, 1.0, 1.0), region=region)
    assert view.title == "axial slice 7 of 9, 4 voxels in question"
    assert view.region.count("M") == 1


@pytest.mark.parametrize(("channels", "shape"), [(3, (256, 256, 3)), (2, (256, 256))])
def test_images_in_colours_or_of_channels(channels, shape):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, channels)).astype(np.uint8)
    (view,) = views.views(image, {"a": _square()}, (1.0, 1.0))
    assert view.title == ""
    assert _picture(view).shape == shape


def test_an_image_of_one_value_or_with_what_is_no_number():
    for image in (np.zeros((8, 8)), np.full((8, 8), np.nan)):
        (view,) = views.views(image, {"a": _square()}, (1.0, 1.0))
        assert _picture(view).max() == 0
