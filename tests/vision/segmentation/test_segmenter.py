"""Segmenter: labels of every form, losses, windows, views, figures, replicas."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import bright_squares
import keras
import numpy as np
import pytest
import tensorflow as tf
from bright_squares import bright, pointwise

import kerasdl
from kerasdl import Bundle
from kerasdl.core import ArgumentError
from kerasdl.core.errors import BundleError, DataError
from kerasdl.data import DataWarning, as_dataset, augment, load
from kerasdl.losses import Dice, PixelCrossEntropy
from kerasdl.metrics import PixelAccuracy
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter
from kerasdl.vision.segmentation.windows import blended_windows

SMALL = dict(batch_size=4, strategy=None, progress="off", shuffle=False)
SETTINGS = {"image_shape": (16, 16, 3), "scale": (-1.0, 1.0)}


def loss_of(segmenter, images, labels, **other):
    return float(segmenter.compute_loss(tf.constant(images), labels, segmenter(images), **other))


def test_squares_are_learnt_and_found():
    images, labels = bright(32)
    config = RunConfig(**SMALL, epochs=8, learning_rate=0.03)
    run = fit(pointwise(), (images, {"semantic": labels}), task="semantic_segmentation", config=config)
    assert run.history["mean_iou"][-1] > 0.95 > run.history["mean_iou"][0]
    others, truth = bright(4, seed=1)
    figures = run.trainer.mean_iou((others, truth))
    assert float(figures.result()) > 0.95
    assert (run.trainer.segment(others).argmax(-1) == truth).mean() > 0.98
    levels = np.round((others + 1) * 127.5).astype("uint8")
    large = levels.repeat(3, axis=1).repeat(2, axis=2)
    found = run.trainer.predict(large)
    assert [each.shape for each in found] == [(48, 32)] * 4
    assert found[0].dtype == np.uint8
    assert (np.stack(found) == truth.repeat(3, axis=1).repeat(2, axis=2)).mean() > 0.95
    assert run.trainer.draw(large[0], ["ground", "red", "green"]).ndim == 3


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
def test_labels_of_every_form_give_one_loss(dtype):
    images, labels = bright(2)
    segmenter = Segmenter(pointwise())
    wanted = loss_of(segmenter, images, labels)
    assert wanted == pytest.approx(float(PixelCrossEntropy()(labels, segmenter(images))), rel=1e-6)
    for form in (labels.astype(dtype), labels[..., None].astype(dtype), {"semantic": labels.astype(dtype), "more": 1}):
        assert loss_of(segmenter, images, form) == pytest.approx(wanted, rel=1e-6)


def test_pixels_of_label_255_count_nowhere():
    images, labels = bright(2)
    segmenter = Segmenter(pointwise())
    labels[:, :8] = 255
    half = PixelCrossEntropy()(labels[:, 8:], segmenter(images)[:, 8:])
    assert loss_of(segmenter, images, labels) == pytest.approx(float(half), rel=1e-5)
    assert segmenter.mean_iou((images, labels)).counts.numpy().sum() == 2 * 8 * 16


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (np.full((2, 16, 16), 3), DataError, "from 0 to 2, or 255 where they do not count; got 3"),
        (np.full((2, 16, 16), -1), DataError, "got -1"),
        (np.full((2, 16, 16), -1, "int8"), DataError, "got -1"),
        ({"semantic": np.zeros((2, 16, 16), int), "pixel_weights": np.full((2, 16, 16), -1.0)}, DataError, "0 or more"),
        ({"semantic": np.zeros((2, 16, 16), int), "pixel_weights": np.full((2, 16, 16), np.nan)}, DataError, "or more"),
        (np.full((2, 16, 16), 0.5), DataError, "got 0.5"),
        (np.zeros((2, 18, 18), int), ArgumentError, r"the size of their images, \(16, 16\); got \(18, 18\)"),
        (np.zeros((2, 16), int), ArgumentError, r"numbers \(B, H, W\)"),
        (np.zeros((2, 16, 16, 3), int), ArgumentError, r"numbers \(B, H, W\)"),
        (np.full((2, 16, 16), "a"), ArgumentError, r"numbers \(B, H, W\)"),
        ({"boxes": np.zeros((2, 1, 4))}, ArgumentError, "must have semantic"),
    ],
)
def test_wrong_labels_are_refused(wrong, error, match):
    segmenter, images = Segmenter(pointwise()), bright(2)[0]
    with pytest.raises(error, match=match):
        loss_of(segmenter, images, wrong)


def test_a_class_beyond_the_network_ends_a_run_with_its_number():
    images, labels = bright(4)
    labels[3, 0, 0] = 7
    with pytest.raises(DataError, match="from 0 to 2, or 255 where they do not count; got 7"):
        fit(Segmenter(pointwise()), (images, labels), config=RunConfig(**SMALL, epochs=1))


@pytest.mark.parametrize("classes", [1, 2])
def test_a_foreground_of_255_is_refused(classes):
    images, labels = bright(4)
    foreground = (labels > 0).astype("uint8") * 255
    segmenter = Segmenter(pointwise(classes))
    for use in (lambda data: fit(segmenter, data, config=RunConfig(**SMALL, epochs=1)), segmenter.mean_iou):
        for form in (foreground, {"semantic": foreground}):
            with pytest.raises(DataError, match="got 0 and 255 alone"):
                use((images, form))
    foreground[0, 0, 0] = 1
    segmenter.mean_iou((images, foreground))


def test_a_foreground_of_255_in_a_pipeline_is_named():
    images, labels = bright(8)
    data = {
        name: tf.data.Dataset.from_tensor_slices((images, maps)).batch(2)
        for name, maps in (("bad", (labels > 0) * 255), ("good", labels))
    }
    config = RunConfig(**SMALL, epochs=1)
    with pytest.warns(DataWarning, match="the first 8 maps of data show 0 and 255 alone"):
        fit(Segmenter(pointwise()), data["bad"].map(lambda x, y: (x, {"semantic": y})), config=config)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        fit(Segmenter(pointwise()), data["good"], config=config)


def test_no_compiler_leaves_out_the_checks_of_labels():
    segmenter = Segmenter(pointwise())
    assert not segmenter.supports_jit
    with pytest.raises(ArgumentError, match="check its labels, which XLA leaves out"):
        segmenter.compile("sgd", jit_compile=True)
    with pytest.raises(ArgumentError, match="checks of labels included; got 'Segmenter'"):
        fit(segmenter, bright(4), config=RunConfig(**SMALL, epochs=1, jit_compile=True))


@pytest.mark.filterwarnings("ignore:shapes has pixels up to 255")
@pytest.mark.parametrize("scale", [(0.0, 1.0), None])
def test_images_are_scaled_as_those_that_were_learnt(scale):
    data = load("shapes", size=4, labels="semantic", image_shape=(32, 32, 3), scale=scale)
    run = fit(Segmenter(pointwise(7, 32)), data, config=RunConfig(**SMALL, epochs=1, learning_rate=1e-4))
    photo = load("shapes", size=1, scale=None, image_shape=(32, 32, 3))[0][0]
    given = run.trainer.predict_scores(photo)[0]
    np.testing.assert_array_equal(given, run.trainer.predict_scores(photo, scale=scale)[0])
    assert np.abs(given - run.trainer.predict_scores(photo, scale=(-1, 1))[0]).max() > 1e-3
    with pytest.raises(ArgumentError, match="scale, where it is a name,"):
        run.trainer.predict(photo, scale="data")


@pytest.mark.parametrize("metric", ["accuracy", keras.metrics.BinaryAccuracy(), keras.metrics.CategoricalAccuracy()])
def test_metrics_that_count_ignored_pixels_are_refused(metric):
    with pytest.raises(ArgumentError, match="know logits and pixels of 255"):
        fit(Segmenter(pointwise(1)), bright(4), metrics=[metric], config=RunConfig(**SMALL, epochs=1))
    segmenter = Segmenter(pointwise())
    run = fit(segmenter, bright(4), metrics=[PixelAccuracy(3, name="own")], config=RunConfig(**SMALL, epochs=1))
    assert run.history["own"] == run.history["pixel_accuracy"]


def test_weights_of_classes_belong_to_the_loss():
    config = RunConfig(**SMALL, epochs=1, class_weights={0: 1.0, 1: 2.0, 2: 2.0})
    with pytest.raises(ArgumentError, match=r"go to the loss, PixelCrossEntropy\(class_weights"):
        fit(Segmenter(pointwise()), bright(4), config=config)


def test_a_network_of_overlapping_classes_makes_no_bundle():
    network = Segmenter(pointwise(), multi_label=True).main
    settings = {"image_shape": (16, 16, 3), "scale": (-1.0, 1.0)}
    with pytest.raises(BundleError, match="gives each pixel one class"):
        Bundle.of(network, name="mine", task="semantic_segmentation", preprocess=settings, labels=("a", "b", "c"))


def test_a_foreground_of_one_channel():
    images, labels = bright(4)
    segmenter = Segmenter(pointwise(1))
    wanted = keras.losses.BinaryCrossentropy(from_logits=True)((labels > 0)[..., None], segmenter(images))
    assert loss_of(segmenter, images, labels > 0) == pytest.approx(float(wanted), rel=1e-5)
    scores = segmenter.predict_scores(np.zeros((1, 9, 7, 3), "uint8"))[0]
    assert scores.shape == (9, 7, 1)
    assert set(np.unique(segmenter.predict(np.zeros((1, 9, 7, 3), "uint8"))[0])) <= {0, 1}
    assert 0 < float(segmenter.mean_iou((images, (labels > 0).astype("uint8"))).result()) < 1


def test_the_loss_of_the_call_and_auxiliary_logits():
    images, labels = bright(2)
    network = pointwise(auxiliary=True)
    outputs = network(images)
    one, other = (float(Dice()(labels, outputs[name])) for name in ("logits", "auxiliary"))
    segmenter = Segmenter(network, loss=Dice(), auxiliary=0.25)
    assert loss_of(segmenter, images, labels) == pytest.approx(one + 0.25 * other, rel=1e-5)
    assert segmenter.identity() != Segmenter(network, loss=Dice(smooth=2.0), auxiliary=0.25).identity()
    both = Segmenter(network, loss=(Dice(), PixelCrossEntropy()), auxiliary=0.0)
    assert loss_of(both, images, labels) == pytest.approx(
        one + float(PixelCrossEntropy()(labels, outputs["logits"])), rel=1e-5
    )
    run = fit(segmenter, (images, labels), config=RunConfig(**SMALL, epochs=1))
    assert run.history["loss"][0] == pytest.approx(one + 0.25 * other, rel=1e-4)
    assert segmenter.predict(np.zeros((20, 20, 3), "uint8"))[0].shape == (20, 20)


def test_weights_of_pixels_and_of_images():
    images, labels = bright(2)
    segmenter = Segmenter(pointwise())
    maps = np.random.default_rng(0).uniform(0, 3, labels.shape).astype("float32")
    surprise = keras.losses.sparse_categorical_crossentropy(labels, segmenter(images), from_logits=True).numpy()
    weighted = {"semantic": labels, "pixel_weights": maps}
    assert loss_of(segmenter, images, weighted) == pytest.approx((surprise * maps).mean(), rel=1e-5)
    both = (surprise * maps).mean(axis=(1, 2)) @ [2.0, 0.5] / 2
    assert loss_of(segmenter, images, weighted, sample_weight=np.array([2.0, 0.5])) == pytest.approx(both, rel=1e-5)
    with pytest.raises(ArgumentError, match="pixel_weights are for PixelCrossEntropy"):
        loss_of(Segmenter(pointwise(), loss=Dice()), images, weighted)


def test_the_middle_of_labels_counts_for_valid_convolutions():
    images, labels = bright(2)
    segmenter = Segmenter(pointwise(padding="valid"), valid=True)
    wanted = float(PixelCrossEntropy()(labels[:, 1:15, 1:15], segmenter(images)))
    assert loss_of(segmenter, images, labels) == pytest.approx(wanted, rel=1e-6)
    found = segmenter.predict(np.zeros((30, 41, 3), "uint8"))[0]  # by windows, of an image continued by its mirror
    assert found.shape == (30, 41)
    segmenter.main.name = "unet_2015"
    assert Segmenter(segmenter.main).valid
    with pytest.raises(BundleError, match="logits of a bundle must have the size of its images"):
        Bundle.of(segmenter.main, name="b", task="semantic_segmentation", preprocess=SETTINGS, labels=("a", "b", "c"))


@pytest.mark.parametrize("size", [(16, 16), (40, 23), (5, 90), (16, 17)])
def test_windows_give_what_the_whole_image_gives(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype("uint8")
    network = pointwise()
    network.layers[1].set_weights([np.random.default_rng(1).normal(0, 1, (3, 3, 3, 8)) * 0, np.ones(8)])  # no border
    point = keras.Model(network.input, keras.layers.Conv2D(3, 1, name="logits")(network.input), name="pointwise")
    scores = Segmenter(point).predict_scores(image, windows=True, overlap=0.5)[0]
    free = keras.Input((None, None, 3))
    whole = keras.Model(free, point.layers[-1](free), name="pointwise")
    np.testing.assert_allclose(scores, Segmenter(whole).predict_scores(image)[0], atol=1e-5)


def test_windows_cover_every_pixel_of_constant_answers():
    for size, window, answer in [
        ((7, 50), (16, 16), (12, 12)),
        ((33, 12), (12, 14), (12, 10)),
        ((1, 1), (4, 4), (4, 4)),
    ]:
        calls = []

        def answers(row, answer=answer, calls=calls):
            calls.append(row.shape)
            return np.full((len(row), *answer, 2), 0.5, "float32")

        found = blended_windows(np.zeros((*size, 3), "float32"), answers, window, answer, 0.3)
        np.testing.assert_allclose(found, np.full((*size, 2), 0.5), atol=1e-6)
        assert {shape[1:3] for shape in calls} == {window}


def test_both_views_of_a_flip_are_averaged():
    images, _ = bright(2)
    segmenter = Segmenter(pointwise())
    mirrored = segmenter.segment(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_allclose(
        segmenter.segment(images, flip=True), (segmenter.segment(images) + mirrored) / 2, atol=1e-6
    )


def test_wrong_arguments_are_refused():
    segmenter, images = Segmenter(pointwise()), bright(2)[0]
    with pytest.raises(ArgumentError, match="inputs must be prepared float images"):
        segmenter.segment(np.zeros((1, 16, 16, 3), "uint8"))
    with pytest.raises(ArgumentError, match="the shape that the network takes"):
        segmenter.segment(images[:, :8])
    with pytest.raises(DataError, match="finite"):
        segmenter.segment(images * np.nan)
    with pytest.raises(ArgumentError, match="overlap"):
        segmenter.predict(np.zeros((20, 20, 3), "uint8"), windows=True, overlap=0.95)
    with pytest.raises(ArgumentError, match="classes of labelled data must be those of the segmenter, 3"):
        segmenter.mean_iou(load("shapes", size=2, labels="semantic", image_shape=(32, 32, 3)))
    free = keras.Input((None, None, 3))
    with pytest.raises(ArgumentError, match="windows need a network of known sides"):
        Segmenter(keras.Model(free, keras.layers.Conv2D(2, 1)(free))).predict(
            np.zeros((9, 9, 3), "uint8"), windows=True
        )
    flat = keras.Input((4,))
    with pytest.raises(ArgumentError, match="one batch of images"):
        Segmenter(keras.Model(flat, keras.layers.Dense(2)(flat)))
    image = keras.Input((8, 8, 3))
    with pytest.raises(ArgumentError, match=r"logits of a segmenter must be \(B, H, W, K\)"):
        Segmenter(keras.Model(image, keras.layers.Flatten()(image)))
    with pytest.raises(ArgumentError, match="logits, and auxiliary"):
        Segmenter(keras.Model(image, {"a": keras.layers.Conv2D(2, 1, name="a")(image)}))
    with pytest.raises(ArgumentError, match="auxiliary"):
        Segmenter(pointwise(), auxiliary=-1.0)
    with pytest.raises(ArgumentError, match=r"the size of its images, \(16, 16\); got \(None, 14, 14, 3\)"):
        Segmenter(pointwise(padding="valid"))
    ended = keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(image))
    with pytest.raises(ArgumentError, match="must be logits; got 'probabilities'"):
        Segmenter(ended)
    with pytest.raises(ArgumentError, match="must take logits"):
        Segmenter(pointwise(), loss=Dice(from_logits=False))
    with pytest.raises(ArgumentError, match="must have its multi_label=False"):
        Segmenter(pointwise(), loss=Dice(multi_label=True))


def test_classes_that_overlap():
    images, labels = bright(16)
    marks = np.stack([labels == 1, labels >= 1], axis=-1)
    config = RunConfig(**SMALL, epochs=8, learning_rate=0.03)
    run = fit(Segmenter(pointwise(2), multi_label=True), (images, {"semantic": marks.astype("uint8")}), config=config)
    assert run.history["mean_iou"][-1] > 0.9
    assert float(run.trainer.mean_iou((images, marks.astype("uint8"))).result()) > 0.9
    found = run.trainer.predict(np.round((images[0] + 1) * 127.5).astype("uint8"))[0]
    assert found.shape == (16, 16, 2)
    assert (found == marks[0]).mean() > 0.95
    with pytest.raises(ArgumentError, match=r"numbers \(B, H, W, 2\)"):
        loss_of(run.trainer, images, labels)
    with pytest.raises(ArgumentError, match="one class a pixel"):
        run.trainer.draw(images[0])


# Labels that move with their images


def test_maps_move_with_their_images_and_do_not_count_outside():
    image = np.random.default_rng(0).integers(1, 256, (8, 8, 3)).astype("uint8")
    data = kerasdl.data.as_dataset((image[None], {"semantic": image[None, ..., 0] % 7})).prepared(scale=None)
    config = RunConfig(augment=augment.Crop(3, fill=0.0))
    moved = 0
    for seed in range(6):
        batch, labels = next(iter(data.batches(1, augment=config.augment, seed=seed)))
        batch, maps = batch.numpy()[0], labels["semantic"].numpy()[0]
        inside = batch.any(axis=-1)
        np.testing.assert_array_equal(maps[inside], batch[inside][:, 0].astype(int) % 7)
        assert (maps[~inside] == 255).all()
        moved += not inside.all()
    assert moved


def test_maps_of_booleans_are_refused_where_they_would_move():
    image = np.ones((2, 8, 8, 3), "uint8")
    for labels in (np.ones((2, 8, 8), bool), {"semantic": np.ones((2, 8, 8), bool)}):
        with pytest.raises(ArgumentError, match="maps of whole numbers to move with their image; got 'bool'"):
            kerasdl.data.as_dataset((image, labels)).batches(2, augment=augment.Crop(3), seed=0)


def test_maps_of_images_of_several_sizes_are_resized_without_blending():
    sizes = [(6, 9), (12, 4), (8, 8)]
    images = [np.zeros((*size, 3), "uint8") for size in sizes]
    maps = [np.arange(size[0] * size[1]).reshape(size).astype("uint8") for size in sizes]
    data = kerasdl.data.as_dataset((images, {"semantic": maps}))
    np.testing.assert_array_equal(data.source.labels["semantic"][1], maps[1])
    large = data.prepared((24, 36, 3)).source.labels["semantic"]
    np.testing.assert_array_equal(large[0], maps[0].repeat(4, axis=0).repeat(4, axis=1))
    assert large.shape == (3, 24, 36)
    train, held = kerasdl.data.hold_out(data.prepared((8, 8, 3)), 0.34)
    assert {train.size, held.size} == {1, 2}
    with pytest.raises(ArgumentError, match="must be resized to known sides"):
        data.prepared((8, 8, 3)).prepared((None, 16, 3))


REPLICAS = """
import json, sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from bright_squares import bright, pointwise
import keras
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter
images, labels = bright(8)
labels[0, :8] = 255
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(0)
    settings = {"batch_size": 4, "progress": "off", "shuffle": False, "strategy": strategy}
    config = RunConfig(**settings, epochs=2, learning_rate=0.01)
    run = fit(Segmenter(pointwise()), (images, labels), validation=(images, labels), config=config)
    print(json.dumps({name: values for name, values in run.history.items()}))
"""


def test_the_epoch_of_the_best_mean_iou_is_kept():
    data = as_dataset(bright(8), task="semantic_segmentation", class_names=("dark", "bright"))
    run = fit(Segmenter(pointwise()), data, validation=data, config=RunConfig(epochs=3, progress="off"))
    assert run.best.value == max(run.history["val_mean_iou"])


@pytest.mark.slow
def test_two_replicas_give_the_figures_of_one():
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(bright_squares.__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, env=env, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    alone, both = (json.loads(line) for line in done.stdout.strip().splitlines()[-2:])
    for name in ("loss", "mean_iou", "pixel_accuracy", "val_loss", "val_mean_iou"):
        np.testing.assert_allclose(both[name], alone[name], rtol=1e-4, err_msg=name)
