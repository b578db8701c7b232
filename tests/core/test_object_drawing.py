"""Pictures of objects, by their pixels: boxes in place, names inside the picture, colours of classes, sheets."""

import numpy as np
import pytest

from kerasdl.core import PredictedObjects, TrueObjects, draw_objects, draw_scenes
from kerasdl.core.display.colours import class_colours
from kerasdl.core.errors import ArgumentError
from kerasdl.ops import encode_mask

WHITE = np.full((600, 800, 3), 255, np.uint8)
FIRST, SECOND = map(np.array, class_colours(2))


def of_colour(picture, colour):
    return (picture == colour).all(axis=-1)


def one(box=(100, 200, 300, 400), kind=0, score=0.9):
    return PredictedObjects([box], [kind], [score])


def test_a_box_stands_at_its_pixels_and_leaves_those_inside():
    picture = draw_objects(WHITE, one())
    assert picture.shape == WHITE.shape
    assert picture.dtype == np.uint8
    drawn = of_colour(picture, FIRST)
    rows, columns = np.flatnonzero(drawn[:, 200]), np.flatnonzero(drawn[300])
    assert (rows.min(), rows.max() + 1) == (200, 400)
    assert (columns.min(), columns.max() + 1) == (100, 300)
    assert (picture[210:390, 110:290] == 255).all()
    assert (WHITE == 255).all()  # the image itself stays


def test_masks_are_tinted_inside_a_line_at_their_pixels():
    mask = np.zeros((600, 800), bool)
    mask[250:350, 150:250] = True
    alone = draw_objects(WHITE, one())
    for masks in ([mask], [mask.astype("uint8")], [encode_mask(mask)]):
        picture = draw_objects(WHITE, PredictedObjects([(100, 200, 300, 400)], [0], [0.9], masks))
        changed = (picture != alone).any(axis=-1)
        np.testing.assert_array_equal(changed, mask)
        np.testing.assert_allclose(picture[300, 200], (FIRST + 255) / 2, atol=1)
        assert of_colour(picture, FIRST)[250, 150:250].all()
    small = PredictedObjects([(10, 20, 30, 40)], [0], [0.9], [mask[::10, ::10]])
    assert not (draw_objects(WHITE[::10, ::10], small) == 255).all(axis=-1)[150:210, 90:150].any()
    sheet = draw_scenes([WHITE[::10, ::10]], [small], side=400)[8:, 8:]
    assert not (sheet == 255).all(axis=-1)[125:175, 75:125].any()
    unseen = draw_objects(WHITE, PredictedObjects([(100, 200, 300, 400)], [0], [0.1], [mask]), min_score=0.5)
    assert (unseen == 255).all()
    with pytest.raises(ArgumentError, match="masks must have the size of the image"):
        draw_objects(WHITE, PredictedObjects([(100, 200, 300, 400)], [0], [0.9], [mask.T]))


def test_small_images_are_enlarged_by_a_whole_factor():
    image = np.arange(30 * 40, dtype=np.uint8).reshape(30, 40)
    picture = draw_objects(image, one((10, 10, 30, 20)))
    assert picture.shape == (360, 480, 3)
    drawn = of_colour(picture, FIRST)
    assert np.flatnonzero(drawn[:, 240]).max() + 1 == 20 * 12
    np.testing.assert_array_equal(picture[-12, ::12, 0], image[-1])


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (740, 560, 800, 600), (-50, -50, 900, 700), (790, 10, 900, 12)])
def test_a_name_is_whole_inside_the_picture(box):
    """Its letters, white on any class's dark colour, are as many pixels as those of a name in the middle."""
    letters = [
        of_colour(draw_objects(WHITE // 2, one(each), ["zebra"]), 255).sum() for each in (box, (300, 300, 400, 400))
    ]
    assert letters[0] == letters[1] > 50


def run_of(row):
    """Returns the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return max(edges[1::2] - edges[::2], default=0)


def test_names_do_not_hide_one_another_where_there_is_room():
    alone = of_colour(draw_objects(WHITE, one()), FIRST).sum()
    boxes = [(100, 200, 300, 400), (104, 204, 304, 404)]
    picture = draw_objects(WHITE, PredictedObjects(boxes, [0, 1], [0.9, 0.9]))
    assert of_colour(picture, FIRST).sum() > 0.8 * alone
    assert of_colour(picture, SECOND).sum() > 0.8 * alone


def test_a_crowd_is_dashed():
    whole = of_colour(draw_objects(WHITE, TrueObjects([(100, 200, 300, 400)], [0])), FIRST)
    dashed = of_colour(draw_objects(WHITE, TrueObjects([(100, 200, 300, 400)], [0], [True])), FIRST)
    assert 0.3 < dashed[300:410].sum() / whole[300:410].sum() < 0.7


def test_low_scores_and_boxes_beyond_the_image_are_left_out():
    assert (draw_objects(WHITE, one(score=0.1), min_score=0.2) == 255).all()
    assert (draw_objects(WHITE, one((900, 10, 950, 20))) == 255).all()
    assert not (draw_objects(WHITE, one(score=0.2), min_score=0.2) == 255).all()


def test_grey_floats_and_opacity_are_the_same_picture():
    grey = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    expected = draw_objects(grey, one((5, 5, 20, 20)))
    colour = grey[..., None].repeat(3, axis=-1)
    opaque = np.concatenate([colour, np.full((48, 64, 1), 255, np.uint8)], axis=-1)
    for image in (grey[..., None], colour, colour / 255.0, (colour / 255.0).astype("float32"), opaque):
        np.testing.assert_array_equal(draw_objects(image, one((5, 5, 20, 20))), expected)
    opaque[..., 3] = 0
    assert (draw_objects(opaque, PredictedObjects([], [], [])) == 255).all()


def test_eighty_classes_have_colours_of_their_own():
    colours = class_colours(80)
    assert len(set(colours)) == 80
    assert colours[:10] == class_colours(10)
    names = [f"class {k}" for k in range(80)]
    boxes = [(k % 10 * 78 + 5, k // 10 * 72 + 5, k % 10 * 78 + 70, k // 10 * 72 + 60) for k in range(80)]
    picture = draw_objects(WHITE, TrueObjects(boxes, np.arange(80)), names)
    assert all(of_colour(picture, colour).sum() > 200 for colour in colours)


def test_a_long_name_is_cut_to_the_picture_and_keeps_its_score():
    name = "an endless name of a class " * 4
    picture = draw_objects(WHITE[:100, :200] // 2, one((10, 40, 60, 90)), [name], least_side=1)
    plate = of_colour(picture, FIRST).any(axis=0)
    assert 150 < run_of(plate) <= 200
    other = draw_objects(WHITE[:100, :200] // 2, one((10, 40, 60, 90), score=0.1), [name], least_side=1)
    assert (other != picture).any()


def test_scenes_stand_in_rows_of_their_tallest_picture():
    images = [WHITE, WHITE[:300, :600], WHITE[:, :300], WHITE[:60, :80]]
    truth = [TrueObjects([(10, 10, 50, 50)], [0])] * 4
    guesses = [one((10, 10, 50, 50), kind=1)] * 4
    sheet = draw_scenes(images, truth, labels=["a", "b"], columns=2, side=160)
    assert sheet.shape == (8 + 120 + 8 + 160 + 8, 8 + 2 * 168, 3)
    both = draw_scenes(images, truth, guesses, ["a", "b"], columns=2, side=160)
    assert both.shape == (sheet.shape[0] + 24, 8 + 2 * (2 * 168 + 8), 3)
    assert of_colour(both[:, :176], FIRST).sum() > 100
    assert not of_colour(both[:, :176], SECOND).any()
    assert of_colour(both[:, 176:344], SECOND).sum() > 100


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: draw_objects(np.zeros((4, 4, 2), np.uint8), one()), "1, 3 or 4 channels"),
        (lambda: draw_objects(np.zeros((2, 4, 4, 3), np.uint8), one()), "shape"),
        (lambda: draw_objects(np.zeros((0, 4, 3), np.uint8), one()), "shape"),
        (lambda: draw_objects(np.full((4, 4, 3), 200.0), one()), "floats from 0 to 1; got 'float64 from 200.0"),
        (lambda: draw_objects(np.full((4, 4, 3), np.nan), one()), "floats from 0 to 1"),
        (lambda: draw_objects(np.zeros((4, 4, 3), np.int64), one()), "uint8"),
        (lambda: draw_objects(WHITE, one(kind=2), ["a", "b"]), "name every class; the highest is 2"),
        (lambda: draw_objects(WHITE, one(), least_side=0), "least_side"),
        (lambda: draw_scenes([], []), "at least one image"),
        (lambda: draw_scenes([WHITE], []), "true must hold a record for each"),
        (lambda: draw_scenes([WHITE], [one()], []), "predicted must hold a record for each"),
        (lambda: draw_scenes([WHITE], [one()], columns=0), "columns"),
        (lambda: draw_scenes([WHITE], [one()], side=8), "side"),
    ],
)
def test_arguments_that_break_their_rule_are_refused(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
