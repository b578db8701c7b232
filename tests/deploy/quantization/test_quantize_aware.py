"""Quantisation-aware training: what it trains, what it leaves, what it saves, and what it gives back."""

import os
import signal
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights, settle_statistics
from precision import heavy

import kerasdl
from kerasdl.core import ArgumentError, ExportError, PredictedObjects, TrueObjects
from kerasdl.core.errors import DataError, UnknownNameError
from kerasdl.core.keras_graph import copied
from kerasdl.deploy import QuantizationScheme, QuantizedModel, load_quantized, quantize_aware, run_exported
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.train import RunConfig
from kerasdl.vision.detection import Detector

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
CONFIG = RunConfig(epochs=2, batch_size=32, learning_rate=1e-3, progress="off")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 128)
    return (rng.normal(size=(128, 12, 12, 3)) + labels[:, None, None, None] - 1.5).astype("float32"), labels


def make_net(seed=0):
    x = image = keras.Input((12, 12, 3), name="image")
    for index, filters in enumerate((8, 16)):
        x = L.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = L.ReLU(name=f"relu{index}")(L.BatchNormalization(name=f"norm{index}")(x))
    return fill_weights(keras.Model(image, L.Dense(4, name="head")(L.GlobalAveragePooling2D()(x))), seed)


@pytest.fixture
def net(data):
    return settle_statistics(make_net(), data[0])


def test_class_weights_reach_the_loss(net, data):
    settings = {"epochs": 1, "batch_size": 32, "learning_rate": 0.1, "optimizer": "sgd", "progress": "off"}
    config = RunConfig(**settings, class_weights=dict.fromkeys(range(4), 0.0))
    quantized = quantize_aware(net, data, loss=LOSS, config=config)
    assert quantized.run.history["loss"] == [0.0]
    for ours, theirs in zip(
        quantized.to_keras().get_layer("head").get_weights(), net.get_layer("head").get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=0.02)  # what rounding does; an update at this rate does more


def test_evaluation_refuses_what_fit_refuses(net, data):
    quantized = quantize_aware(net, data, epochs=0)
    endless = tf.data.Dataset.from_tensors(data).repeat().filter(lambda *batch: True)
    with pytest.raises(ArgumentError, match="data to evaluate must end"):
        quantized.evaluate(endless, loss=LOSS)
    with pytest.raises(ArgumentError, match="whole numbers from 0 to 3"):
        quantized.evaluate((data[0], data[1] + 1), loss=LOSS)
    with pytest.raises(ArgumentError, match="from_logits=False must have a model that gives probabilities"):
        quantized.evaluate(data, loss="sparse_categorical_crossentropy")
    labels = np.eye(4)[data[1]]
    labels[100, 2] = np.nan
    with pytest.raises(DataError, match="finite"):
        quantized.evaluate((data[0], labels), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    images = data[0].copy()
    images[100] = np.nan
    with pytest.raises(DataError, match="data must be finite; a batch holds NaN"):
        quantized.evaluate(tf.data.Dataset.from_tensor_slices((images, data[1])).batch(64), loss=LOSS)
    assert quantized.evaluate(data, loss=LOSS)["loss"] > 0


def test_training_lowers_the_loss_and_leaves_the_source_alone(net, data):
    before = [weight.numpy() for weight in net.weights]
    quantized = quantize_aware(net, data, validation=data, loss=LOSS, metrics=["accuracy"], config=CONFIG)
    assert quantized.run.history["val_loss"][-1] < quantize_aware(net, data, epochs=0).evaluate(data, loss=LOSS)["loss"]
    assert quantized.evaluate(data, loss=LOSS, metrics=["accuracy"])["accuracy"] > 0.3
    for weight, value in zip(net.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_no_epochs_give_back_the_very_model(net, data):
    quantized = quantize_aware(net, data, epochs=0)
    assert quantized.run is None
    for mine, its in zip(quantized.to_keras().weights, net.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())


def test_trained_weights_come_back_as_a_keras_model(net, data):
    quantized = quantize_aware(net, data, loss=LOSS, config=CONFIG)
    restored = quantized.to_keras()
    assert [layer.name for layer in restored.layers] == [layer.name for layer in net.layers]
    assert np.abs(restored.get_layer("conv0").kernel - net.get_layer("conv0").kernel).max() > 1e-4
    expected, given = restored.predict(data[0], verbose=0), quantized.predict(data[0])
    assert np.sqrt(np.mean((expected - given) ** 2) / np.mean(expected**2)) < 0.1


def test_frozen_layers_stay_as_they_are(net, data):
    for name in ("conv0", "norm0"):
        net.get_layer(name).trainable = False
    trained = quantize_aware(net, data, loss=LOSS, config=CONFIG).to_keras()
    for name in ("conv0", "norm0"):
        for mine, its in zip(trained.get_layer(name).weights, net.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(mine.numpy(), its.numpy())
    assert np.abs(trained.get_layer("conv1").kernel - net.get_layer("conv1").kernel).max() > 1e-4


def test_batch_norm_statistics_stand_still(net, data):
    trained = quantize_aware(net, data, loss=LOSS, config=CONFIG).to_keras().get_layer("norm0")
    np.testing.assert_array_equal(trained.moving_mean.numpy(), net.get_layer("norm0").moving_mean.numpy())
    assert np.abs(trained.gamma - net.get_layer("norm0").gamma).max() > 0


def test_saved_and_loaded_it_computes_the_same(net, data, tmp_path):
    quantized = quantize_aware(
        net, data, loss=LOSS, config=CONFIG, scheme=QuantizationScheme(per_channel=False, keep=("zeros",))
    )
    quantized.save(tmp_path / "net.zip")
    loaded = load_quantized(tmp_path / "net.zip")
    np.testing.assert_array_equal(loaded.predict(data[0]), quantized.predict(data[0]))
    assert (loaded.scheme, loaded.report) == (quantized.scheme, quantized.report)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(net, data, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2 and armed:
                armed.clear()
                signal.raise_signal(signal.SIGINT)

    def run(folder):
        keras.utils.set_random_seed(0)
        config = RunConfig(epochs=2, batch_size=32, learning_rate=1e-3, progress="off", folder=folder)
        return quantize_aware(net, data, loss=LOSS, callbacks=[Stop()], config=config)

    armed = []
    undisturbed = run(tmp_path / "one").to_keras()
    armed = [True]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two")
    again = run(tmp_path / "two")
    assert again.run.resumed
    for mine, its in zip(again.to_keras().weights, undisturbed.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())


@pytest.mark.slow
def test_integers_at_the_door(net, data, tmp_path):
    quantized = quantize_aware(net, data, epochs=0)
    report = quantized.export_tflite(
        tmp_path / "net.tflite", integer_io=True, samples=data[0], metadata={"labels": list("abcd")}
    )
    assert "DEQUANTIZE" not in report.operations
    assert any("int8" in note for note in report.notes)
    assert kerasdl.deploy.read_metadata(tmp_path / "net.tflite")["labels"] == list("abcd")
    given = run_exported(tmp_path / "net.tflite", data[0])["head"]
    assert np.mean(given.argmax(-1) == quantized.predict(data[0]).argmax(-1)) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("keep", [("zeros",), ("clusters",), ("zeros", "clusters")])
def test_what_was_pruned_or_clustered_stays_so(keep, net, data, tmp_path):
    kernel = net.get_layer("conv1").kernel
    values = np.linspace(-0.4, 0.4, 7, dtype="float32")
    kernel.assign(values[np.abs(kernel.numpy()[..., None] - values).argmin(-1)])
    kernel.assign(np.where(np.abs(kernel.numpy()) < 0.05, 0, kernel.numpy()))
    scheme = QuantizationScheme(keep=keep)
    quantized = quantize_aware(net, data, loss=LOSS, config=CONFIG, scheme=scheme)
    trained = quantized.to_keras().get_layer("conv1").kernel.numpy()
    assert np.abs(trained - kernel.numpy()).max() > 1e-4
    if "zeros" in keep:
        np.testing.assert_array_equal(trained[kernel.numpy() == 0], 0)
    if "clusters" in keep:
        assert len(np.unique(trained)) == len(np.unique(kernel.numpy())) == 7
    assert quantized.export_tflite(tmp_path / "net.tflite", samples=data[0]).drifts[-1].rmse < 0.05


def test_a_file_that_drifts_is_refused(net, data, tmp_path):
    with pytest.raises(ExportError, match="must stay within 1e-09"):
        quantize_aware(net, data, epochs=0).export_tflite(tmp_path / "net.tflite", samples=data[0], tolerance=1e-9)
    assert not list(tmp_path.iterdir())


def test_several_inputs_and_penalties(tmp_path):
    """Inputs by position or by name, outputs of several heads, and the penalties of the model's own layers."""
    first, second = keras.Input((4,), name="zeta"), keras.Input((6,), name="alpha")
    x = L.Concatenate()([L.Dense(8, kernel_regularizer="l2")(first), second])
    model = fill_weights(keras.Model([first, second], {"a": L.Dense(2, name="a")(x), "b": L.Dense(3, name="b")(x)}))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(32, size)).astype("float32") for size in (4, 6)]
    targets = {"a": rng.normal(size=(32, 2)), "b": rng.normal(size=(32, 3))}
    batches = tf.data.Dataset.from_tensor_slices((tuple(inputs), targets)).batch(32)
    quantized = quantize_aware(model, batches, loss={"a": "mse", "b": "mse"}, config=CONFIG)
    assert quantized.run.history["loss"][1] < quantized.run.history["loss"][0]
    expected, given = quantized.to_keras().predict(inputs, verbose=0), quantized.predict(inputs)
    by_name = quantized.model({"zeta": inputs[0], "alpha": inputs[1]}, training=False)
    for name in ("a", "b"):
        assert np.abs(given[name] - expected[name]).max() < 0.1 * np.abs(expected[name]).max()
        np.testing.assert_allclose(by_name[name], given[name], atol=1e-5)
    assert float(sum(quantized.model.losses)) == pytest.approx(float(sum(quantized.to_keras().losses)), rel=1e-5)
    quantized.export_tflite(tmp_path / "net.tflite", samples=inputs)


def test_a_sequential_model_that_gives_probabilities_is_judged_as_such(data):
    """Keras sees a softmax at the end and looks behind it; here the loss is told."""
    layers = [keras.Input((12, 12, 3)), L.Flatten(), L.Dense(4, activation="softmax", name="head")]
    model = fill_weights(keras.Sequential(layers))
    still = RunConfig(epochs=1, batch_size=32, learning_rate=1e-9, progress="off")
    quantized = quantize_aware(model, data, task="image_classification", config=still)
    chosen = model.predict(data[0], verbose=0)[np.arange(128), data[1]]
    assert quantized.run.history["loss"][0] == pytest.approx(-np.mean(np.log(chosen + 1e-7)), rel=0.1)


def test_data_that_do_not_fit_are_named_with_the_way_to_load_them(net, data):
    digits = kerasdl.data.load("digits").take(40)
    for epochs in (0, 1):
        with pytest.raises(ArgumentError, match=r"float32; got '\(1, 32, 32, 1\) float32'. Load images with load\("):
            quantize_aware(net, digits, epochs=epochs)
    quantized = quantize_aware(net, data, epochs=0, task="image_classification")
    with pytest.raises(ArgumentError, match=r"got '\(None, 32, 32, 1\) float32'. Load images with load\("):
        quantized.evaluate(digits)


def test_data_that_fail_midway_leave_the_rounding_on(net, data):
    quantized = quantize_aware(net, data, epochs=0)

    def broken():
        yield data[0][:32], data[1][:32]
        raise RuntimeError("disk gone")

    spec = (tf.TensorSpec((None, 12, 12, 3)), tf.TensorSpec((None,), tf.int64))
    with pytest.raises(Exception, match="disk gone"):
        quantized.calibrate(tf.data.Dataset.from_generator(broken, output_signature=spec))
    assert all(
        layer.recorded_ranges is None
        for layer in quantized.model.tf_keras_model.layers
        if layer.name.endswith("_rounded")
    )


def test_refusals(net, data, tmp_path):
    with pytest.raises(ArgumentError, match="tuple of names"):
        QuantizationScheme(in_float="head")
    with pytest.raises(UnknownNameError, match="'typo'"):
        quantize_aware(net, data, epochs=0, scheme=QuantizationScheme(in_float=("typo",)))
    with pytest.raises(ArgumentError, match="computes in float32"):
        quantize_aware(net, data, config=RunConfig(mixed_precision="bfloat16"))
    with pytest.raises(ArgumentError, match="Call calibrate first"):
        QuantizedModel(net, QuantizationScheme()).export_tflite(tmp_path / "net.tflite")
    with pytest.raises(ArgumentError, match="keep"):
        QuantizationScheme(keep=("nothing",))
    with pytest.raises(ArgumentError, match=r"\.zip"):
        quantize_aware(net, data, epochs=0).save(tmp_path / "net.keras")
    (tmp_path / "bad.zip").write_text("no archive")
    with pytest.raises(ExportError, match="does not hold a quantised model"):
        load_quantized(tmp_path / "bad.zip")
    quantize_aware(net, data, epochs=0).save(tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as good, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, b'{"unknown": 1}' if name == "scheme.json" else good.read(name))
    with pytest.raises(ExportError, match="unknown"):
        load_quantized(tmp_path / "bad.zip")


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, "0", "1"])
def test_the_caller_keeps_the_keras_he_chose(value):
    environment = {name: text for name, text in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    if value is not None:
        environment["TF_USE_LEGACY_KERAS"] = value
    code = (
        "import os, tensorflow as tf, kerasdl; kerasdl.deploy.quantize_aware, kerasdl.deploy.prune; "
        "print(os.environ.get('TF_USE_LEGACY_KERAS'), tf.keras.layers.Dense.__module__.split('.')[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(value), "tf_keras" if value == "1" else "keras"]


# Nets of keras.applications that are hard for TFMOT, and where to end them: past it the same blocks come again.
HARD = {
    "DenseNet121": "conv3_block2_concat",
    "Xception": "block5_sepconv1_act",
    "ResNet50V2": "conv3_block2_out",
    "EfficientNetB0": "block3b_add",
}


@pytest.mark.parametrize(
    ("name", "end"),
    [
        *[pytest.param(name, end, marks=pytest.mark.slow) for name, end in {**HARD, "MobileNetV3Small": None}.items()],
        *[pytest.param(name, None, marks=pytest.mark.bars) for name in HARD],
    ],
)
def test_nets_that_are_hard_for_tfmot_become_integers(name, end, tmp_path):
    size = 75 if name == "Xception" else 64
    build = getattr(keras.applications, name)
    net = build(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    if end:
        net = keras.Model(net.input, L.Dense(10, name="head")(L.GlobalAveragePooling2D()(net.get_layer(end).output)))
    fill_weights(net)
    inputs = np.random.default_rng(0).normal(size=(32, size, size, 3)).astype("float32")
    settle_statistics(net, inputs)
    quantized = quantize_aware(net, (inputs, np.zeros(32)), epochs=0)
    # Random weights let one rounding grow from layer to layer; that file and model agree is tested layer by layer.
    quantized.export_tflite(tmp_path / "net.tflite", samples=inputs, tolerance=1.0)
    integers, floats = heavy(tmp_path / "net.tflite")
    assert integers["CONV_2D"] > (8 if end else 20)
    assert not floats


def test_pruning_of_a_detector_is_refused_before_anything_is_trained():
    scenes = kerasdl.data.load("shapes", size=8, image_shape=(64, 64, 3))
    network = kerasdl.build("fcos", **kerasdl.spec("fcos").tiny)
    with pytest.raises(ArgumentError, match=r"training of wrapped layers .* got 'fcos of the task object_detection'"):
        kerasdl.deploy.prune(network, scenes, sparsity=0.5)
    bundle = kerasdl.load_bundle("shapes_yolo")
    with pytest.raises(ArgumentError, match=r"one network that answers by itself; .* export with quantize='int8'"):
        quantize_aware(bundle, scenes)
    two_stages = kerasdl.build("faster_rcnn", **kerasdl.spec("faster_rcnn").tiny)
    with pytest.raises(ArgumentError, match=r"faster_rcnn must have the roles \('model', 'box_head'\)"):
        quantize_aware(two_stages, scenes)


@pytest.mark.bars
def test_a_detector_learns_with_rounding_and_its_file_finds_the_same_objects(tmp_path):
    bundle = kerasdl.load_bundle("shapes_yolo")
    network, task = copied(bundle.model), bundle.task
    scenes, test = (bundle.ready(kerasdl.data.load("shapes", split, size=24)) for split in ("train", "test"))
    config = RunConfig(steps=3, batch_size=4, learning_rate=3e-5, progress="off")
    quantized = quantize_aware(network, scenes, validation=test.take(4), config=config)
    history = quantized.run.history
    assert np.isfinite([*history["loss"], *history["val_loss"]]).all()
    before, after = (each.get_weights() for each in (network, quantized.to_keras()))
    assert max(np.abs(one - other).max() for one, other in zip(before, after, strict=True)) > 1e-6
    objects = task.postprocess({"model": network}, bundle.preprocess, (128, 128, 3))
    images, _ = test.arrays()
    report = kerasdl.deploy.export_with_postprocess(quantized, objects, tmp_path / "m.tflite", samples=images)
    assert any("objects of 24 examples" in each for each in report.notes)
    assert [each.name for each in report.outputs] == ["boxes", "classes", "scores", "count"]
    found = run_exported(tmp_path / "m.tflite", images)
    figures = [Detector(quantized.model), Detector(network)]
    own, floats = (each.average_precision(test).result()["AP50"] for each in figures)
    metric = MeanAveragePrecision(test.class_names)
    records = [
        PredictedObjects(*(found[name][place][:count] for name in ("boxes", "classes", "scores")))
        for place, count in enumerate(found["count"])
    ]
    truth = [TrueObjects(labels["boxes"], labels["classes"]) for _, labels in test]
    metric.update_state(truth, records)
    assert floats > 0.8
    np.testing.assert_allclose([own, metric.result()["AP50"]], floats, atol=0.06)
    with pytest.raises(ArgumentError, match="knows its ranges and becomes"):
        kerasdl.deploy.export_with_postprocess(quantized, objects, tmp_path / "m.onnx", samples=images)
