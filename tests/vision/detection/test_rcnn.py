"""R-CNN and Fast R-CNN: windows, searched proposals, crops with context, equal counts, one image by heart."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.vision.detection import RCNN, FastRCNN
from kerasdl.vision.detection.two_stage.fast_rcnn import FastRCNNMethod
from kerasdl.vision.detection.two_stage.rcnn import CropMethod
from kerasdl.vision.detection.two_stage.windows import WindowMethod

BOXES = np.array([(6, 8, 28, 30), (36, 26, 60, 50)], "float32")
FEW = dict(sides=(24.0,), ratios=(1.0,), samples=32)


def squares():
    image = np.full((1, 64, 64, 3), -0.8, "float32")
    for (left, top, right, bottom), colour in zip(BOXES.astype(int), ((1, -1, -1), (-1, -1, 1)), strict=True):
        image[0, top:bottom, left:right] = colour
    return image, {"boxes": [BOXES], "classes": [np.array([0, 2], "int32")]}


def fast(**settings):
    tiny = {**kerasdl.spec("fast_rcnn_box_head").tiny, "proposals": None, **settings}
    main = kerasdl.build("fast_rcnn", **kerasdl.spec("fast_rcnn").tiny)
    return {"model": main, "box_head": kerasdl.build("fast_rcnn_box_head", **tiny)}


def crops():
    return kerasdl.build("rcnn", **kerasdl.spec("rcnn").tiny)


def test_windows_are_those_of_a_plain_loop():
    method = WindowMethod(sides=(16.0, 32.0), ratios=(0.25, 1.0), step=0.5)
    expected = []
    for side, step in ((16, 8), (32, 16)):
        for top in range(0, 40, step):
            for left in range(0, 48, step):
                for width, height in ((2 * side, side / 2), (side, side)):
                    x, y = left + step / 2, top + step / 2
                    expected.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    expected = np.clip(expected, 0, [48, 40, 48, 40])
    np.testing.assert_allclose(method.windows((40, 48)), expected)
    np.testing.assert_allclose(method.proposals(tf.zeros((2, 40, 48, 3)))[1], expected)


def test_a_search_gives_the_proposals_padded_clipped_and_without_specks():
    def search(image):
        return [(0, 0, 9, 9), (5, 5, 5.5, 9), (40, 40, 99, 99)][: 2 if image.mean() < 0 else 3]

    images = tf.stack([-tf.ones((64, 64, 3)), tf.ones((64, 64, 3))])
    for call in (lambda method: method.proposals(images), lambda method: tf.function(method.proposals)(images)):
        found = call(WindowMethod(search=search, most=4)).numpy()
        assert found[0].tolist() == [[0, 0, 9, 9], [0] * 4, [0] * 4, [0] * 4]
        assert found[1].tolist() == [[0, 0, 9, 9], [0] * 4, [40, 40, 64, 64], [0] * 4]
    with pytest.raises(ArgumentError, match="must return boxes"):
        WindowMethod(search=lambda image: np.zeros((3, 5))).proposals(images)


def test_a_box_with_context_stands_in_the_middle_of_its_crop():
    widened = CropMethod(context=8).with_context(tf.constant([[[10.0, 20.0, 34.0, 44.0]]]), (40, 40))
    np.testing.assert_allclose(widened, [[[2, 12, 42, 52]]])
    with pytest.raises(ArgumentError, match="twice the context"):
        CropMethod(context=20).with_context(tf.zeros((1, 1, 4)), (40, 40))


def test_the_networks_over_vgg_have_equal_counts_whether_whole_or_in_parts():
    with unallocated():
        names = ("fast_rcnn", "fast_rcnn_box_head", "rcnn")
        main, head, whole = (kerasdl.build(name).count_params() for name in names)
    with unallocated():
        vgg = kerasdl.build("vgg16", classes=21).count_params()
    assert main + head == whole == vgg + 4_097 * 21 * 4


def learnt(trainer, steps, rate):
    trainer.compile(keras.optimizers.Adam(rate))
    images, labels = squares()
    data = kerasdl.data.as_dataset((images, labels))
    batch = next(iter(data.batches(1)))
    losses = [float(trainer.train_on_batch(*batch, return_dict=True)["loss"]) for _ in range(steps)]
    return losses, trainer.average_precision(data, classes=3).result()["AP50"]


def test_fast_rcnn_learns_one_image():
    keras.utils.set_random_seed(0)
    trainer = FastRCNN(fast(), FastRCNNMethod(**FEW))
    losses, ap = learnt(trainer, 60, 3e-3)
    assert losses[-1] < 0.3 * losses[0]
    assert ap > 0.99
    images = tf.constant(squares()[0])
    given, expected = trainer.joined()(images, training=False), trainer.heads(images)
    for name in ("proposals", "classes", "boxes"):
        np.testing.assert_allclose(given[name], expected[name], atol=1e-4)


def test_rcnn_learns_one_image_and_takes_crops_in_parts():
    keras.utils.set_random_seed(0)
    trainer = RCNN(crops(), (64, 64, 3), CropMethod(**FEW, context=4, crops_at_once=50))
    losses, ap = learnt(trainer, 60, 3e-3)
    assert losses[-1] < 0.3 * losses[0]
    assert ap > 0.99
    images = tf.constant(squares()[0])
    boxes = trainer.proposals(images, images, False)
    assert boxes.shape[1] % 50
    at_once = trainer._classified(images, boxes, False)
    for name, each in at_once.items():
        np.testing.assert_allclose(trainer.heads(images)[name], each, atol=1e-5)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="known sides"):
        RCNN(crops(), (None, None, 3))
    with pytest.raises(ArgumentError, match="known sides"):
        kerasdl.vision.fast_rcnn((64, 64, 3)) and kerasdl.build("fast_rcnn_box_head", image_shape=(None, None, 3))
    with pytest.raises(ArgumentError, match="known sides"):
        kerasdl.vision.rcnn((None, None, 3))
    with pytest.raises(ArgumentError, match="region_maps_stride8"):
        FastRCNN(fast(stride=8))
