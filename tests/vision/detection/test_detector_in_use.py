"""Detectors as people use them: parts of batches, averages of precision as monitor, thresholds, data in shares."""

import ast
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from squares_scene import squares

import kerasdl
from kerasdl import Bundle
from kerasdl.core import ArgumentError
from kerasdl.core.errors import DataError
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig, fit
from kerasdl.train.engine.mixed_precision import mixed_precision_scope
from kerasdl.vision.detection import AveragePrecision, Detector
from kerasdl.vision.detection.detector import SETTINGS
from kerasdl.vision.detection.method import true_batch
from kerasdl.vision.detection.task import asked

SMALL = dict(batch_size=4, strategy=None, progress="off", shuffle=False)


def small(bias=-3.0):
    """A network of FCOS's heads over one convolution: quick to trace, without batch norm."""
    image = keras.Input((64, 64, 3), name="image")
    x = keras.layers.Conv2D(8, 8, strides=8, activation="relu", name="stem")(image)
    heads = {}
    for name, width, start in (("classes", 3, bias), ("boxes", 4, 1.0), ("centredness", 1, 0.0)):
        name, start = f"{name}_stride8", keras.initializers.Constant(start)
        heads[name] = keras.layers.Conv2D(width, 1, bias_initializer=start, dtype="float32", name=name)(x)
    return keras.Model(image, heads, name="fcos")


def bundle_of(network, **settings):
    settings = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0), **settings}
    return Bundle.of(network, name="mine", task="object_detection", preprocess=settings, labels=("r", "g", "b"))


def test_parts_of_the_loss_are_means_over_images_where_a_micro_batch_is_empty():
    images, labels = squares(5, seed=1)
    network = small()
    detector = Detector(network)
    x, y = next(iter(as_dataset((images, labels)).batches(5)))
    truth, heads = true_batch(y), network(x)
    method = detector.method
    parts = method.loss(heads, method.targets(heads, truth, (64, 64)), (64, 64))
    detector.compute_loss(x, y, heads)
    assert sorted(each.name for each in detector.metrics) == sorted(f"{name}_loss" for name in parts)
    run = fit(detector, (images, labels), config=RunConfig(**SMALL, epochs=1, accumulation=2, learning_rate=0.0))
    for name, each in parts.items():
        assert run.history[f"{name}_loss"][0] == pytest.approx(float(np.mean(each)), rel=1e-4), name


def test_an_image_of_weight_0_teaches_nothing():
    images, labels = squares(2, seed=1)
    network = small()
    detector, rows = Detector(network), as_dataset((images, labels))

    def gradients(count, weights):
        x, y = next(iter(rows[:count].batches(count)))
        with tf.GradientTape() as tape:
            loss = detector.compute_loss(x, y, detector(x, training=True), weights)
        return tape.gradient(loss, network.trainable_weights)

    for both, alone in zip(gradients(2, tf.constant([1.0, 0.0])), gradients(1, None), strict=True):
        np.testing.assert_allclose(2 * both, alone, rtol=1e-4, atol=1e-6)  # Keras divides by the number of images


def test_label_smoothing_which_no_detector_uses_is_refused():
    with pytest.raises(ArgumentError, match=r"computes its own loss must leave label_smoothing at 0; got 0\.1"):
        fit(Detector(small()), squares(2, seed=1), config=RunConfig(**SMALL, epochs=1, label_smoothing=0.1))


def test_no_compiler_leaves_out_the_checks_of_labels():
    detector = Detector(small())
    assert not detector.supports_jit  # else Keras compiles it on a GPU, where ragged boxes fail
    with pytest.raises(ArgumentError, match="checks of labels included; got 'Detector'"):
        fit(detector, squares(2, seed=1), config=RunConfig(**SMALL, epochs=1, jit_compile=True))


def test_average_precision_chooses_the_epoch_and_stops_the_run():
    data = squares(4, seed=1)
    settings = dict(epochs=9, learning_rate=0.0, monitor=("val_AP50", "max"), patience=2)
    run = fit(Detector(small()), data, callbacks=[AveragePrecision(data)], config=RunConfig(**SMALL, **settings))
    assert len(run.history["val_AP50"]) == 3  # the first one is the best, two more bring nothing
    expected = Detector(run.model).average_precision(data, classes=3).result()
    assert run.history["val_AP50"][0] == pytest.approx(float(expected["AP50"]), abs=1e-6)
    with pytest.raises(ArgumentError, match="AveragePrecision measures a Detector"):
        keras.utils.set_random_seed(0)
        image = keras.Input((64, 64, 3))
        net = keras.Model(image, keras.layers.Conv2D(1, 64)(image))
        fit(net, (data[0], np.zeros((4, 1, 1, 1))), loss="mse", callbacks=[AveragePrecision(data)], config=RunConfig())


def test_boxes_found_in_16_bits_do_not_stay_in_16_bits():
    network = small(bias=0.0)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    expected = Detector(network).detect(images)[0].boxes
    detector = Detector(network)
    with mixed_precision_scope(detector, "bfloat16"):
        rough = detector.detect(images)[0].boxes
    assert rough.shape != expected.shape or np.abs(rough - expected).max() > 1e-3
    np.testing.assert_allclose(detector.detect(images)[0].boxes, expected, atol=1e-4)


def test_thresholds_under_other_names_are_refused_with_ours():
    detector = Detector(small())
    for ours, names in SETTINGS.items():
        for theirs in names:
            with pytest.raises(ArgumentError, match=f"{theirs!r}. Did you mean '{ours}'"):
                detector.predict(np.zeros((8, 8, 3), "uint8"), **{theirs: 0.5})


def test_a_bundle_names_objects_down_to_its_own_least_score():
    network = small(bias=-9.0)  # scores of about 0.01
    raw = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    assert not bundle_of(network).predict(raw)[0]["boxes"]
    bundle = bundle_of(network, min_score=0.001)
    (answer,) = bundle.predict(raw)
    assert answer["boxes"]
    assert max(answer["scores"]) < 0.05
    decoder = bundle.task.postprocess(bundle.networks, bundle.preprocess, (64, 64, 3)).get_layer("objects")
    assert decoder.min_score == 0.001
    usual = bundle_of(network, min_score=0.7)
    assert usual.task.postprocess(usual.networks, usual.preprocess, (64, 64, 3)).get_layer("objects").min_score == 0.05


def test_a_bundle_compiles_its_detector_once_and_answers_by_its_present_weights():
    bundle = bundle_of(small(bias=0.0), min_score=0.0)
    raw = np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8)
    first = bundle.predict(raw)
    kept = asked(bundle.networks)
    assert bundle.predict(raw) == first
    assert asked(bundle.networks) is kept
    assert len(kept.compiled_steps) == 1
    bundle.model.set_weights([0.9 * each for each in bundle.model.get_weights()])
    assert bundle.predict(raw) != first


def test_boxes_in_shares_are_refused_before_a_larger_size_hides_them():
    images, labels = squares(2, seed=1)
    pixels = np.uint8(127.5 * np.clip(images, -1, 1) + 127.5)
    dataset = as_dataset((pixels, {**labels, "boxes": [each / 64 for each in labels["boxes"]]}))
    with pytest.raises(DataError, match="in pixels, not in shares of the image; got"):
        dataset.prepared((256, 256, 3))
    assert as_dataset((pixels, labels)).prepared((256, 256, 3)).input_shape == (256, 256, 3)
    tiny_boxes = [np.array([[0, 0, 1, 1]], "float32")] * 2  # the first pixel, which shares would name the whole image
    assert as_dataset((pixels, {**labels, "boxes": tiny_boxes, "classes": [[0], [1]]})).prepared((256, 256, 3))


def test_a_two_stage_bundle_is_tuned_to_other_classes():
    head = {**kerasdl.spec("faster_rcnn_box_head").tiny, "proposals": None}
    networks = {
        "model": kerasdl.build("faster_rcnn", **kerasdl.spec("faster_rcnn").tiny),
        "box_head": kerasdl.build("faster_rcnn_box_head", **{**head, "classes": 3}),
    }
    bundle = bundle_of(networks)
    made, fresh = bundle.task.for_labels(bundle.networks, tuple("abcde"))
    assert fresh == ["classes", "boxes"]
    assert made["box_head"].output["classes"].shape[-1] == 6
    assert made["box_head"].output["boxes"].shape[-1] == 24
    assert list(made["box_head"].input) == list(networks["box_head"].input)
    for mine, its in ((made["model"], networks["model"]), (made["box_head"], networks["box_head"])):
        assert mine is not its
        for layer in its.layers:
            if layer.name not in fresh:
                for one, other in zip(mine.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_tuned_two_stage_bundle_is_saved_and_answers(tmp_path):
    head = {**kerasdl.spec("faster_rcnn_box_head").tiny, "proposals": None, "classes": 3}
    networks = {
        "model": kerasdl.build("faster_rcnn", **kerasdl.spec("faster_rcnn").tiny),
        "box_head": kerasdl.build("faster_rcnn_box_head", **head),
    }
    data = kerasdl.data.load("stickers:noto", size=4, image_shape=(64, 64, 3), scale=None)
    quiet = RunConfig(batch_size=4, progress="off", strategy=None)
    tuned = bundle_of(networks, min_score=0.0).finetune(data, epochs=1, config=quiet)
    assert tuned.labels == data.class_names
    again = kerasdl.load_bundle(tuned.save(tmp_path / "tuned.zip"))
    (answer,) = again.predict(np.zeros((40, 80, 3), "uint8"))
    assert set(answer["labels"]) <= set(data.class_names)
    assert {"loss", "AP50"} <= set(again.evaluate(data))


def test_raw_images_of_several_sizes_are_resized_with_their_boxes():
    rng = np.random.default_rng(0)
    sizes = ((40, 80), (64, 64), (32, 50))
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    boxes = [np.array([[8, 4, 40, 20]], "float32")] * 3
    labels = {"boxes": boxes, "classes": [np.array([1])] * 3}
    data = bundle_of(small()).ready((images, labels))
    assert data.input_shape == (64, 64, 3)
    x, y = next(iter(data.batches(3)))
    assert x.shape == (3, 64, 64, 3)
    for found, box, (height, width) in zip(y["boxes"].numpy(), boxes, sizes, strict=True):
        np.testing.assert_allclose(found, box * ([64 / width, 64 / height] * 2), rtol=1e-6)
    with pytest.raises(DataError, match="differ in size"):
        fit(Detector(small()), (images, labels), config=RunConfig(**SMALL, epochs=1))
    prepared = [each.astype("float32") / 127.5 - 1 for each in images]
    with pytest.raises(ArgumentError, match="must be an array, or arrays that differ in their length alone"):
        fit(Detector(small()), (prepared, labels), config=RunConfig(**SMALL, epochs=1))
    whole = {"boxes": [[[8, 4, 41, 21]], [], [[5, 5, 9, 9]]], "classes": [[1], [], [2]]}  # lists of whole numbers
    _, y = next(iter(bundle_of(small()).ready((images, whole)).batches(3)))
    assert y["boxes"].row_lengths().numpy().tolist() == [1, 0, 1]
    np.testing.assert_allclose(y["boxes"].values[0], [8 * 0.8, 4 * 1.6, 41 * 0.8, 21 * 1.6], rtol=1e-6)
    with pytest.raises(DataError, match="differ in size and batches need one"):
        tall = [np.zeros((side, 64, 3), "float32") for side in (40, 64, 32)]
        fit(Detector(small()), (tall, labels), config=RunConfig(**SMALL, epochs=1))


def test_fit_makes_a_detector_of_a_network_whose_data_have_boxes():
    data = as_dataset(squares(4, seed=1), task="object_detection")
    run = fit(small(), data, config=RunConfig(**SMALL, epochs=1))
    assert isinstance(run.trainer, Detector)
    assert "centredness_loss" in run.history


REPLICAS = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from squares_scene import squares
from test_detector_in_use import SMALL, small
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import Detector
start, data = small(), squares(5, seed=1)
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    network = small()
    network.set_weights(start.get_weights())
    config = RunConfig(**{**SMALL, "strategy": strategy}, epochs=2, optimizer="sgd", learning_rate=0.01)
    history = fit(Detector(network), data, config=config).history
    print([round(float(value), 5) for value in [*history["loss"], *history["boxes_loss"]]])
    print([round(float(np.abs(each).sum()), 4) for each in network.get_weights()])
"""


@pytest.mark.slow
def test_two_replicas_learn_what_one_device_learns():
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    settings = dict(capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
    result = subprocess.run([sys.executable, "-c", REPLICAS], **settings)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [line for line in result.stdout.splitlines() if line.startswith("[")]
    figures, weights, *others = [np.array(ast.literal_eval(line)) for line in lines]
    np.testing.assert_allclose(others[0], figures, rtol=1e-3)
    np.testing.assert_allclose(others[1], weights, rtol=1e-4)


def test_a_bundle_is_not_measured_on_data_of_other_classes():
    data = as_dataset(squares(2, seed=1), task="object_detection", class_names=("a", "b", "c"))
    with pytest.raises(ArgumentError, match=r"must have its classes \('r', 'g', 'b'\)"):
        bundle_of(small()).evaluate(data)
    with pytest.raises(ArgumentError, match="classes of labelled data must be those of the detector, 3"):
        Detector(small()).average_precision(squares(2, seed=1), classes=4)
