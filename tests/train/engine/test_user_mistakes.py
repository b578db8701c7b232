"""Mistakes of new users in a call of `fit`: each is answered in one line that says what to do."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.deploy import export_tflite, quantize_aware
from kerasdl.train import LoopConfig, RunConfig, TrainingWarning, fit

QUIET = RunConfig(epochs=1, progress="off")


@pytest.mark.parametrize(
    ("arguments", "settings", "text"),
    [
        ((1, 2, 3), {"epochs": 3}, r"got 'epochs'\. Pass config=RunConfig\(epochs=\.\.\.\)\. .*fit\(model, \(x, y\)\)"),
        ((1, 2, 3), {}, r"fit takes model and train by position, all else by name; got '3 arguments'"),
        ((1, 2), {"validation_data": 3}, "Did you mean 'validation'"),
        ((1, 2), {"lr": 3}, r"RunConfig\(learning_rate="),
        ((1, 2), {"batch_size": 3}, r"RunConfig\(batch_size="),
        ((1,), {"x": 2, "y": 3}, "arrays as a pair"),
        ((1, 2), {"lossed": "mse"}, "Did you mean 'loss'"),
    ],
)
def test_arguments_of_keras_fit_are_refused_with_their_place(arguments, settings, text):
    with pytest.raises(ArgumentError, match=text):
        fit(*arguments, **settings)


@pytest.mark.parametrize(
    ("call", "settings", "text"),
    [
        (quantize_aware, {"validation_data": 3}, r"got 'validation_data'\. Did you mean 'validation'"),
        (quantize_aware, {"lr": 3}, r"RunConfig\(learning_rate="),
        (export_tflite, {"optimizations": [1]}, r"got 'optimizations'\. Pass quantize="),
        (export_tflite, {"representative_dataset": 3}, "Did you mean 'representative'"),
        (Bundle.finetune, {"lr": 3}, r"finetune takes .*; got 'lr'\. Did you mean 'learning_rate'"),
        (Bundle.finetune, {"batch_size": 3}, r"RunConfig\(batch_size="),
    ],
)
def test_arguments_of_keras_and_tensorflow_are_refused_where_ours_have_other_names(call, settings, text):
    with pytest.raises(ArgumentError, match=text):
        call(1, **settings)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lr", "'learning_rate'"),
        ("leraning_rate", "'learning_rate'"),
        ("verbose", 'progress="off"'),
        ("loss", "to fit"),
    ],
)
def test_unknown_settings_are_refused_with_the_right_one(name, text):
    with pytest.raises(ArgumentError, match=rf"RunConfig takes .*; got '{name}'\. .*{text}"):
        RunConfig(**{name: 1})


def test_settings_show_what_differs_and_help_has_a_sentence_for_each():
    assert repr(RunConfig()) == "RunConfig()"
    assert repr(RunConfig(epochs=3, schedule="cosine")) == "RunConfig(epochs=3, schedule='cosine')"
    assert eval(repr(RunConfig(clip_norm=1.0))) == RunConfig(clip_norm=1.0)
    for settings in (RunConfig, LoopConfig):
        text = inspect.getdoc(settings)
        assert all(f"\n    {field.name}: " in text for field in dataclasses.fields(settings))
    assert len(str(inspect.signature(fit))) < 700
    assert "config: kerasdl.train.config.RunConfig = RunConfig()" in str(inspect.signature(fit))


def images(classes=4):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (12, 4, 4, 3)).astype(np.float32), np.arange(12) % classes


def net(outputs=4):
    tensor = keras.Input((4, 4, 3))
    return keras.Model(tensor, keras.layers.Dense(outputs)(keras.layers.Flatten()(tensor)))


def test_labels_that_tell_no_loss_are_refused_with_the_remedy():
    x, y = images()
    cases = {
        r"CategoricalCrossentropy\(from_logits=True\), or their numbers, labels.argmax": np.eye(4, dtype="float32")[y],
        r"np.unique\(labels, return_inverse=True\)": np.array(["a", "b", "c", "d"])[y],
        r"task= \(.*image_classification": np.zeros((12, 4, 4, 3), np.float32),
    }
    for text, labels in cases.items():
        with pytest.raises(ArgumentError, match=f"the data do not tell their task.*{text}"):
            fit(net(), (x, labels), config=QUIET)


def test_a_pipeline_of_images_and_whole_numbers_needs_no_loss(capsys):
    pipeline = tf.data.Dataset.from_tensor_slices(images()).batch(6)
    run = fit(net(), pipeline, validation=pipeline, config=RunConfig(epochs=1))
    assert {"accuracy", "val_accuracy"} <= set(run.history)
    told = capsys.readouterr().out
    assert "loss: sparse_categorical_crossentropy, since labels are whole numbers and 'functional" in told
    assert "has 4 outputs" in told


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("a", "b"), "lacks \\['c'\\]"),
        (("a", "b", "x"), "lacks \\['c'\\] and has also \\['x'\\]"),
        (("b", "a", "c"), "order"),
    ],
)
def test_validation_of_other_classes_is_refused(names, text):
    train = as_dataset(images(3), class_names=("a", "b", "c"))
    other = as_dataset(images(len(names)), class_names=names, name="other")
    with pytest.raises(
        ArgumentError, match=f"must have the 3 classes of the training data, in their order; got .*{text}"
    ):
        fit(net(3), train, validation=other, config=QUIET)
    fit(net(3), train, validation=images(2), config=QUIET)  # numbered classes may be fewer


def test_classes_with_one_example_are_named_at_the_start(capsys):
    x, _ = images()
    fit(net(), (x, [0] * 6 + [1] + [3] * 5), config=RunConfig(epochs=1))
    assert "few examples to learn from: '1' 1, '2' 0\n" in capsys.readouterr().out
    fit(net(), (x[:4], np.arange(4)), config=RunConfig(epochs=1))
    assert "few examples" not in capsys.readouterr().out


def test_a_single_class_and_a_missing_head_are_named():
    x, y = images()
    with pytest.warns(TrainingWarning, match="all 12 labels of data are 0: there is nothing to tell apart"):
        fit(net(), (x, np.zeros(12, int)), config=QUIET)
    tensor = keras.Input((4, 4, 3))
    features = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Conv2D(8, 3)(tensor))
    with pytest.warns(TrainingWarning, match=r"pooling layer 'pool' with 8 features.*4 classes: the head is missing"):
        fit(keras.Model(tensor, features), (x, y), config=QUIET)


@pytest.mark.parametrize("is_built", [True, False])
def test_a_headless_sequential_is_named_built_or_not(is_built):
    layers = [keras.layers.Conv2D(8, 3), keras.layers.GlobalAveragePooling2D(name="pool"), keras.layers.Dropout(0.1)]
    model = keras.Sequential([keras.Input((4, 4, 3))] * is_built + layers)
    with pytest.warns(TrainingWarning, match=r"pooling layer 'pool' with 8 features.*4 classes: the head is missing"):
        fit(model, images(), config=QUIET)


def test_a_headless_backbone_inside_a_sequential_is_named():
    tensor = keras.Input((4, 4, 3))
    features = keras.Model(tensor, keras.layers.GlobalMaxPooling2D(name="pool")(keras.layers.Conv2D(8, 3)(tensor)))
    with pytest.warns(TrainingWarning, match="pooling layer 'pool' with 8 features"):
        fit(keras.Sequential([keras.Input((4, 4, 3)), features]), images(), config=QUIET)


@pytest.mark.parametrize("is_built", [True, False])
def test_more_outputs_than_names_of_classes_are_named(is_built, recwarn):
    data = as_dataset(images(3), class_names=("cat", "dog", "cow"), name="pets")
    flat = [keras.layers.Flatten(), keras.layers.Dense(10)]
    with pytest.warns(TrainingWarning, match=r"has 10 outputs, and pets has 3 classes.*Dense\(3\)"):
        fit(keras.Sequential([keras.Input((4, 4, 3))] * is_built + flat), data, config=QUIET)
    recwarn.clear()
    fit(net(3), data, config=QUIET)
    fit(net(10), images(3), config=QUIET)  # numbered classes may be more than those of the examples
    assert not [each for each in recwarn if issubclass(each.category, TrainingWarning)]
