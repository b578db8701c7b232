"""Detector: true objects as one record, loss over empty and crowded images, predictions in pixels of any image."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from regularized import check_regularizers_count
from squares_scene import squares
from two_squares import average_precision, trained

import kerasdl
from kerasdl import Bundle
from kerasdl.core import ArgumentError
from kerasdl.core.errors import DataError, UnknownNameError
from kerasdl.core.objects import PredictedObjects
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig, fit
from kerasdl.train.objectives.label_checks import label_errors_reported
from kerasdl.vision.detection.detector import Detector, resized
from kerasdl.vision.detection.method import checked_truth, true_batch
from kerasdl.vision.detection.methods import METHODS
from kerasdl.vision.feature_maps import backbone_features

NETS = ("retinanet", "fcos", "yolo_v3", "yolo_v8_n")
ALL = (*NETS, "detr")


LEVELS = {"yolo_v3": {"image_shape": (64, 64, 3), "stages": (1, 1, 1), "channels": 4, "strides": (4, 8)}}


def tiny(name, **settings):
    keras.utils.set_random_seed(1)
    return kerasdl.build(name, **{**kerasdl.spec(name).tiny, **LEVELS.get(name, {}), **settings})


def batch_of(boxes, classes, **more):
    ragged = {"boxes": tf.ragged.constant(boxes, ragged_rank=1, inner_shape=(4,), dtype="float32")}
    return {**ragged, "classes": tf.ragged.constant(classes, dtype="int32"), **more}


def test_true_objects_of_a_batch_become_one_padded_record():
    crowd = tf.ragged.constant([[False, True], [], [False]])
    labels = batch_of([[[0, 0, 4, 4], [1, 1, 9, 9]], [], [[2, 2, 3, 5]]], [[2, 0], [], [1]], crowd=crowd)
    truth = true_batch(labels)
    assert truth.boxes.shape == (3, 3, 4)  # the most objects of an image, and one entry more
    assert truth.valid.numpy().tolist() == [[True, False, False], [False] * 3, [True, False, False]]
    assert truth.crowd.numpy().tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert truth.classes.numpy()[0].tolist() == [2, 0, 0]
    assert truth.boxes.numpy()[2, 0].tolist() == [2, 2, 3, 5]


@pytest.mark.parametrize("padding", [(0, 0), (-1, -1), (0, -1)])
def test_padded_labels_are_those_without_padding(padding):
    boxes, classes = [[[0, 0, 4, 4], [1, 1, 9, 9]], [[2, 2, 3, 5]]], [[2, 0], [1]]
    padded = {
        "boxes": np.array([boxes[0], [*boxes[1], [padding[0]] * 4]], "float32"),
        "classes": np.array([classes[0], [*classes[1], padding[1]]]),
    }
    truth, right = checked_truth(true_batch(padded), (64, 64), 3), true_batch(batch_of(boxes, classes))
    assert (truth.valid.numpy() == right.valid.numpy()).all()
    assert (truth.boxes.numpy() == right.boxes.numpy())[right.valid.numpy()].all()


@pytest.mark.parametrize("labels", [np.zeros((2, 4)), {"boxes": np.zeros((1, 1, 4))}, None])
def test_labels_of_another_form_are_refused(labels):
    with pytest.raises(ArgumentError, match="must be a dict with boxes and classes"):
        true_batch(labels)


def test_boxes_without_a_class_each_are_refused():
    with pytest.raises(DataError, match="each box must have one class; got \\[2, 1\\]"):
        true_batch(batch_of([[[0, 0, 4, 4], [1, 1, 9, 9]]], [[1]]))


BOX = [[8, 8, 30, 30]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"classes": [[3]]}, r"classes must be whole numbers from 0 to 2; got 3"),
        ({"classes": [[-1]]}, r"classes must be whole numbers from 0 to 2; got -1"),
        ({"classes": [[0.5]]}, r"classes must be whole numbers; got 0.5"),
        ({"boxes": [[[8, 8, np.nan, 30]]]}, r"boxes must be finite; got"),
        ({"boxes": [[[30, 30, 8, 8]]]}, r"must be left, top, right, bottom; got \[?30"),
        ({"boxes": [[[0.1, 0.1, 0.5, 1.0]]]}, r"in pixels, not in shares of the image; got \[?0.1"),
        ({"boxes": [[[64, 8, 90, 30]]]}, r"overlap the resized images of 64 x 64 pixels; got \[64"),
        ({"crowd": [[True, False]]}, r"each box must have one entry of crowd; got \[?1[., ]+2"),
    ],
)
def test_values_that_no_detector_can_learn_are_refused(labels, message):
    labels = {"boxes": [BOX], "classes": [[1]], **labels}
    ragged = {name: tf.ragged.constant(value, ragged_rank=1) for name, value in labels.items()}
    with pytest.raises(DataError, match=message):
        checked_truth(true_batch(ragged), (64, 64), 3)


def test_fit_refuses_an_unknown_class_in_one_line():
    images, labels = squares(2, seed=1)
    labels["classes"] = [each + 3 for each in labels["classes"]]
    config = RunConfig(epochs=1, batch_size=2, strategy=None, progress="off")
    with pytest.raises(DataError, match=r"^classes must be whole numbers from 0 to 2; got [345]\.$"):
        fit(Detector(tiny("fcos")), (images, labels), config=config)


def test_boxes_in_shares_of_the_image_are_refused_in_a_graph():
    truth = true_batch(batch_of([[[0.1, 0.1, 0.5, 1.0]]], [[1]]))
    check = tf.function(lambda: checked_truth(truth, (64, 64), 3).boxes)
    message = r"^boxes must be .* in pixels, not in shares of the image; got 0.1 0.1 0.5 1\.$"
    with pytest.raises(DataError, match=message), label_errors_reported():
        check()


def test_inputs_that_are_not_prepared_are_refused_and_weights_of_data_are_left_out():
    detector = Detector(tiny("fcos"))
    for inputs in (np.zeros((1, 64, 64, 3), "uint8"), np.zeros((64, 64, 3), "float32")):
        with pytest.raises(ArgumentError, match=r"must be prepared float images \(B, H, W, C\); got"):
            detector.detect(inputs)
    with pytest.raises(DataError, match="inputs must be finite"):
        detector.detect(np.full((1, 64, 64, 3), np.nan, "float32"))
    for settings in ({"min_score": 2.0}, {"overlap": 3.0}, {"max_boxes": 0}):
        with pytest.raises(ArgumentError, match=next(iter(settings))):
            detector.detect(np.zeros((1, 64, 64, 3), "float32"), **settings)
    with pytest.raises(ArgumentError, match=r"that the network takes, \(64, 64, 3\); got \(32, 64, 3\)"):
        detector.detect(np.zeros((1, 32, 64, 3), "float32"))
    images, labels = squares(2, seed=1)
    with pytest.raises(DataError, match="not in shares of the image"):
        detector.average_precision((images, {**labels, "boxes": [each / 64 for each in labels["boxes"]]}), classes=3)
    weighted = detector.average_precision((images, labels, np.ones(2)), classes=3).result()
    np.testing.assert_equal(weighted, detector.average_precision((images, labels), classes=3).result())
    endless = as_dataset((images, labels)).batches(2).repeat()
    with pytest.raises(ArgumentError, match="labelled data must end"):
        detector.average_precision(endless, classes=3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"classes": np.eye(3)[None, :1]}, r"classes of a batch must be \('B', 'N'\); got \(1, 1, 3\)"),
        ({"classes": np.array([["cat"]])}, "classes of a detector must be numbers; got 'string'"),
        ({"boxes": np.zeros((1, 1, 5))}, r"boxes of a batch must be \('B', 'N', 4\); got \(1, 1, 5\)"),
        ({"boxes": np.array(BOX)}, r"boxes of a batch must be \('B', 'N', 4\); got \(1, 4\)"),
        ({"crowd": np.array([[True, False]])}, r"each box must have one entry of crowd; got \(1, 2\)"),
        ({"classes": np.array([[1, 2]])}, r"each box must have one class; got \(1, 2\)"),
    ],
)
def test_labels_of_another_shape_or_type_are_refused(labels, message):
    with pytest.raises(ArgumentError, match=message):
        true_batch({"boxes": np.array([BOX]), "classes": np.array([[1]]), **labels})


@pytest.mark.parametrize("name", ALL)
def test_loss_is_finite_without_objects_in_crowds_and_for_boxes_of_no_area(name):
    detector = Detector(tiny(name))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype("float32")
    crowd = tf.ragged.constant([[], [True], [False, False]])
    labels = batch_of([[], [[0, 0, 64, 64]], [[5, 5, 5, 5], [60, 60, 64, 64]]], [[], [1], [0, 2]], crowd=crowd)
    with tf.GradientTape() as tape:
        loss = detector.compute_loss(images, labels, detector(images, training=True))
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, detector.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_regularizers_of_the_network_count():
    detector = Detector(tiny(NETS[0]))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    labels = batch_of([[[5, 5, 40, 40]], []], [[1], []])
    check_regularizers_count(detector, lambda: detector.compute_loss(images, labels, detector(images, training=False)))


@pytest.mark.parametrize("name", NETS)
def test_nothing_is_learnt_as_background_inside_a_crowd(name):
    network = tiny(name)
    method = METHODS[network.name]
    heads = network(np.zeros((1, 64, 64, 3), "float32"))
    everywhere = true_batch(batch_of([[[0, 0, 64, 64]]], [[1]], crowd=tf.ragged.constant([[True]])))
    left = true_batch(batch_of([[[0, 0, 32, 64]]], [[1]], crowd=tf.ragged.constant([[True]])))
    assert method.targets(heads, everywhere, (64, 64)).counts.numpy().mean() < 0.2
    counts = method.targets(heads, left, (64, 64)).counts.numpy()
    assert 0.3 < counts.mean() < 0.7
    assert not method.targets(heads, left, (64, 64)).classes.numpy().any()


@pytest.mark.parametrize("name", ALL)
def test_losses_are_one_number_an_image_and_independent_of_the_others(name):
    network = tiny(name)
    method = METHODS[network.name]
    images, labels = squares(4, seed=3)
    x, y = next(iter(as_dataset((images, labels)).batches(4)))
    whole = method.loss(heads := network(x), method.targets(heads, true_batch(y), (64, 64)), (64, 64))
    for place in range(4):
        x1, y1 = next(iter(as_dataset((images, labels))[place : place + 1].batches(1)))
        alone = method.loss(heads := network(x1), method.targets(heads, true_batch(y1), (64, 64)), (64, 64))
        for part, values in whole.items():
            assert values.shape == (4,)
            np.testing.assert_allclose(values[place], alone[part][0], rtol=1e-4, err_msg=part)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_two_squares_are_found_after_some_steps_on_them(name):
    images, labels = squares(2, seed=5)
    x, y = next(iter(as_dataset((images, labels)).batches(2)))
    detector, losses = trained(tiny(name), x, y, 100, 5e-3)
    assert losses[-1] < 0.5 * losses[0]
    assert average_precision(detector, images, y) == 1


def test_predictions_are_in_pixels_of_each_image_and_stop_at_its_edges():
    detector = Detector(tiny("fcos"))
    raw = [np.full((30, 90, 3), 99, "uint8"), np.zeros((64, 64), "uint8"), np.full((200, 10, 3), 255, "uint8")]
    for found, image in zip(detector.predict(raw, min_score=0.0), raw, strict=True):
        assert len(found.boxes) == 100
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2] <= image.shape[1] + 1e-3).all()
        assert (found.boxes[:, 3] <= image.shape[0] + 1e-3).all()
        assert (np.diff(found.scores) <= 0).all()
    assert len(detector.predict(raw[0])) == 1
    deep = detector.predict(raw[2].astype("uint16") * 16, levels=4095, min_score=0.0)  # white of 12 bits
    np.testing.assert_allclose(deep[0].scores, detector.predict(raw[2], min_score=0.0)[0].scores, atol=0.02)
    assert len(detector.predict(raw, max_boxes=7)[0].boxes) <= 7
    assert not len(detector.predict(raw, min_score=1.0)[0].boxes)


def test_one_image_is_drawn_alone_and_several_on_a_sheet():
    detector = Detector(tiny("fcos"))
    image = np.full((60, 80, 3), 200, "uint8")
    plain = detector.draw(image, min_score=1.0)
    assert plain.shape[1] / plain.shape[0] == pytest.approx(80 / 60, rel=0.02)
    assert np.abs(detector.draw(image, ("a", "b", "c"), min_score=0.0).astype(int) - plain).max() > 50
    assert detector.draw([image] * 4, min_score=1.0).shape[0] > plain.shape[0]


def test_boxes_keep_their_place_when_an_image_is_resized():
    objects = PredictedObjects([[0, 0, 32, 16]], [0], [0.5])
    assert resized(objects, (64, 64), (128, 32)).boxes.tolist() == [[0, 0, 16, 32]]


def test_a_network_without_a_method_and_sizes_that_are_free_are_refused():
    image = keras.Input((8, 8, 3))
    net = keras.Model(image, keras.layers.Conv2D(3, 1)(image), name="mine")
    with pytest.raises(ArgumentError, match=r"must be that of its method, one of .* got 'mine'"):
        Detector(net)
    free = Detector(tiny("fcos", image_shape=(None, None, 3)))
    with pytest.raises(ArgumentError, match="needs a network of known sides"):
        free.predict(np.zeros((8, 8, 3), "uint8"))
    assert len(free.detect(np.zeros((1, 96, 64, 3), "float32"))) == 1
    with pytest.raises(ArgumentError, match="must have known sides"):
        _ = free.classes


def test_backbones_are_registered_nets_with_maps_of_the_strides():
    image = keras.Input((64, 64, 3))
    assert list(backbone_features(image, "resnet18", strides=(4, 32))) == ["stride4", "stride32"]
    with pytest.raises(ArgumentError, match="must be a net with feature maps"):
        backbone_features(image, "mlp_mixer_s16", strides=(8,))
    with pytest.raises(UnknownNameError, match="stride64"):
        backbone_features(image, "resnet18", strides=(64,))
    with pytest.raises(UnknownNameError, match="argument of resnet_features"):
        backbone_features(image, "resnet18", {"depth": 3}, strides=(8,))


def test_a_detector_trains_under_fit_and_its_bundle_answers(tmp_path):
    images, labels = squares(16, seed=1)
    network = tiny("fcos")
    config = RunConfig(epochs=2, batch_size=8, strategy=None, progress="off", learning_rate=1e-3)
    run = fit(Detector(network), (images, labels), config=config)
    assert {"loss", "classes_loss", "boxes_loss", "centredness_loss"} <= set(run.history)
    settings = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0), "min_score": 0.0}
    made = {"builder": "fcos", "arguments": kerasdl.spec("fcos").tiny}
    bundle = Bundle.of(
        run.model, name="mine", task="object_detection", preprocess=settings, labels=("r", "g", "b"), **made
    )
    again = kerasdl.load_bundle(bundle.save(tmp_path / "mine.zip"))
    raw = np.random.default_rng(0).integers(0, 255, (40, 80, 3), "uint8")
    (result,) = again.predict(raw)
    assert (result,) == tuple(bundle.predict(raw))
    assert set(result) == {"boxes", "labels", "scores"}
    assert set(result["labels"]) <= {"r", "g", "b"}
    assert len(result["boxes"]) == 100
    rows = again.task.table(result)
    assert rows[0].keys() == {"label", "score", "left", "top", "right", "bottom"}
    figures = again.evaluate(as_dataset((images, labels)))
    assert {"loss", "AP", "AP50", "AP75"} <= set(figures)


def test_a_bundle_of_a_detector_needs_a_label_for_each_class():
    settings = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0)}
    with pytest.raises(Exception, match="a label for each of its 3 classes"):
        Bundle.of(tiny("fcos"), name="mine", task="object_detection", preprocess=settings, labels=("a", "b")).save(
            "mine.zip"
        )
