"""Bundles whose models have several inputs or outputs: data made ready, samples, preprocessing in the graph."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from registering import registering

import kerasdl
from kerasdl import Bundle
from kerasdl.bundles.operations.data_preparation import draw_samples
from kerasdl.bundles.operations.exports import with_preprocessing
from kerasdl.core import ArgumentError, BundleError, Task, register_task
from kerasdl.data import as_dataset


def halved(raw, settings):
    """Halves images; the context is their sizes."""
    return np.asarray(raw, "float32")[:, ::2, ::2], [each.shape for each in raw]


def halved_with_boxes(data, settings):
    images, labels = data.arrays()
    return as_dataset((halved(images, settings)[0], {"boxes": labels["boxes"] / 2}))


PLAIN = Task(
    name="boxes_of_halves",
    module=__name__,
    loss=lambda: None,
    metrics=list,
    monitor=("val_loss", "min"),
    check=lambda settings, labels, model: None,
    preprocess=halved,
    preprocess_layers=lambda settings, shape: [layers.AveragePooling2D(2, name="halved")],
    decode=lambda outputs, labels, context: outputs,
    replace_head=None,
    example=None,
    predict=lambda networks, inputs, batch_size: networks["model"].predict(inputs, verbose=0),
)
MOVING = dataclasses.replace(PLAIN, name="moving_boxes_of_halves", ready=halved_with_boxes)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registering():
        register_task(PLAIN)
        register_task(MOVING)
        yield


def looking():
    """Two outputs, of one layer that is called twice, under other keys than the names of layers."""
    image = keras.Input((4, 4, 1), name="image")
    layer = layers.Dense(3, name="shared")
    x = layers.Flatten(name="flat")(image)
    narrow = layers.Dense(3, name="narrow")(x)
    return keras.Model(
        image, {"second": layer(layers.ReLU(name="relu")(narrow)), "first": layer(narrow)}, name="looking"
    )


def two_inputs():
    left, right = keras.Input((2,), name="left"), keras.Input((3,), dtype="int32", name="right")
    joined = layers.Concatenate(name="joined")([left, layers.Rescaling(1.0, name="as_float")(right)])
    return keras.Model([left, right], layers.Dense(1, name="head")(joined), name="pair")


def bundle_of(model, task=PLAIN, **settings):
    return Bundle.of(model, name="it", task=task, preprocess=settings)


IMAGES = np.random.default_rng(0).uniform(size=(6, 8, 8, 1)).astype("float32")
BOXES = np.array([[0, 0, 4, 8]] * 6, "float32")


def test_labels_follow_their_inputs_where_the_task_says_how_and_else_are_refused():
    ready = bundle_of(looking(), MOVING).ready((IMAGES, {"boxes": BOXES}))
    assert ready.input_shape == (4, 4, 1)
    np.testing.assert_array_equal(ready.arrays()[1]["boxes"], BOXES / 2)
    with pytest.raises(ArgumentError, match="those of the task boxes_of_halves follow its preprocessing"):
        bundle_of(looking()).ready((IMAGES, {"boxes": BOXES}))


def test_raw_images_without_settings_to_prepare_them_are_refused():
    with pytest.raises(ArgumentError, match=r"must have \['image_shape', 'scale'\] among its settings"):
        bundle_of(looking()).ready(as_dataset(((IMAGES * 255).astype("uint8"), BOXES), task="boxes_of_halves"))


@pytest.mark.parametrize("as_tuple", [False, True])
def test_samples_of_several_inputs_come_in_the_dtypes_of_each(as_tuple):
    given = {"left": np.ones((5, 2)), "right": np.ones((5, 3), "int64")}
    data = as_dataset(((given["left"], given["right"]) if as_tuple else given, np.zeros(5)))
    samples = draw_samples(bundle_of(two_inputs()), data, None)
    left, right = samples if as_tuple else (samples["left"], samples["right"])
    assert (left.dtype, right.dtype) == ("float32", "int32")


def test_inputs_alone_calibrate_a_model_of_two_outputs(tmp_path):
    """They come raw, and no label stands beside them."""
    report = bundle_of(looking()).export(tmp_path / "net.onnx", representative=IMAGES)
    assert report.worst_relative < 1e-4


def test_the_preprocessing_stands_before_every_output():
    model = looking()
    whole = bundle_of(model).deployable((8, 8, 1))
    assert whole.input_shape == (None, 8, 8, 1)
    given, expected = whole(IMAGES), model(layers.AveragePooling2D(2)(IMAGES))
    assert sorted(given) == ["first", "second"]
    for key, right in expected.items():
        np.testing.assert_allclose(given[key], right, rtol=1e-5, atol=1e-6)
    assert np.abs(given["first"] - given["second"]).max() > 1e-3
    model.get_layer("narrow").kernel.assign(np.zeros((16, 3)))
    np.testing.assert_array_equal(whole(IMAGES)["first"], given["first"])  # no weight is shared


def test_models_inside_a_model_are_opened_though_layers_share_a_name():
    inner = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 1, name="conv")], name="inner")
    image = keras.Input((4, 4, 1), name="image")
    x = inner(layers.Conv2D(1, 1, name="conv")(image))
    model = keras.Model(image, layers.Flatten(name="flat")(x))
    whole = with_preprocessing(model, [], (4, 4, 1))
    np.testing.assert_allclose(whole(IMAGES[:, ::2, ::2]), model(IMAGES[:, ::2, ::2]), rtol=1e-6)
    assert not any(isinstance(layer, keras.Model) for layer in whole.layers)


def under_a_head(base, shape, **mode):
    image = keras.Input(shape, name="image")
    x = keras.Sequential([keras.Input(shape), layers.RandomFlip(name="flip", seed=0)], name="augmented")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(base(x, **mode))
    return keras.Model(image, layers.Dense(2, name="head")(x), name="mine")


def backbone():
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="head")(image))
    return keras.Model(image, x, name="backbone")


def pictures(model, **more):
    settings = {"image_shape": model.input_shape[1:], "scale": (-1, 1)}
    return Bundle.of(model, name="mine", task="image_classification", preprocess=settings, labels=("a", "b"), **more)


def test_a_backbone_under_a_head_becomes_one_flat_graph_that_loads(tmp_path):
    model = under_a_head(backbone(), (8, 8, 3), training=False)
    bundle = pictures(model)
    assert [layer.name for layer in bundle.model.layers] == ["image", "flip", "head", "norm", "pool", "head_1"]
    again = kerasdl.load_bundle(bundle.save(tmp_path / "mine.zip")).model
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
    for each in (bundle.model, again):
        np.testing.assert_array_equal(each(images, training=False), model(images, training=False))
    model.layers[-1].kernel.assign(np.zeros((4, 2)))
    assert np.abs(bundle.model(images, training=False)).max() > 1e-3  # no weight is shared


@pytest.mark.parametrize("frozen", [True, False])
def test_a_backbone_trains_as_it_did_under_its_head(frozen, tmp_path):
    base = backbone()
    base.trainable = not frozen
    base.get_layer("norm").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    model = under_a_head(base, (8, 8, 3))
    flat = kerasdl.load_bundle(pictures(model).save(tmp_path / "mine.zip")).model
    for each in (model, flat):
        each.compile("sgd", "mse")
        each.fit(np.ones((4, 8, 8, 3)), np.ones((4, 2)), verbose=0)
    for mine, its in zip(flat.weights, model.weights, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-6)
    assert np.array_equal(flat.get_layer("norm").moving_mean, [1.0, 2.0, 3.0, 4.0]) == frozen


def test_what_cannot_be_opened_is_refused_by_name(tmp_path):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ArgumentError, match=r"must be functional or Sequential and built; got \"'own', a Own\""):
        pictures(under_a_head(Own(name="own"), (8, 8, 3)))
    image = keras.Input((8, 8, 3), name="image")
    scaled = pictures(keras.Model(image, layers.Dense(2)(layers.Flatten()(image / 127.5))))
    with pytest.raises(BundleError, match=r"no operation outside a layer.*such as Rescaling"):
        scaled.save(tmp_path / "mine.zip")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50V2", "EfficientNetB0", "DenseNet121"])
def test_backbones_of_keras_applications_are_saved(name, tmp_path):
    base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(64, 64, 3))
    base.trainable = False
    model = under_a_head(base, (64, 64, 3), training=False)
    bundle = pictures(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 70, 3), dtype="uint8")
    again = kerasdl.load_bundle(bundle.save(tmp_path / "mine.zip"))
    np.testing.assert_array_equal(again.logits(images), bundle.logits(images))
    assert len(again.model.trainable_weights) == 2


def test_several_inputs_are_refused_by_name():
    with pytest.raises(ArgumentError, match=r"must have one input; got \['left', 'right'\]"):
        bundle_of(two_inputs()).deployable((2,))
