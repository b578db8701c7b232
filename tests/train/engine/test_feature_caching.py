"""Cached features: the same weights as without, after any kill too; what could differ is computed anew, and said."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights
from keras import layers

import kerasdl
from kerasdl.core import memory
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig, finetune, fit
from kerasdl.train.engine import feature_caching, fit_state
from kerasdl.train.engine.feature_caching import feature_cache
from kerasdl.train.loop.hooks import RunCallback

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(22, 32, 32, 3)).astype("float32"), RNG.integers(0, 4, 22).astype("int32")
WEIGHTS = RNG.uniform(0.5, 1.5, 22).astype("float32")
SMALL = IMAGES[:, :4, :4]
HELD = RNG.normal(size=(9, 32, 32, 3)).astype("float32"), RNG.integers(0, 4, 9).astype("int32")
CONFIG = RunConfig(epochs=3, batch_size=8, learning_rate=1e-2, progress="off")
TASK = "image_classification"


def lite():
    """EfficientNet-Lite with dropout before its head; the layers below are frozen."""
    keras.utils.set_random_seed(7)  # of the dropout
    model = fill_weights(kerasdl.build("efficientnet_lite0", **kerasdl.spec("efficientnet_lite0").tiny))
    for layer in model.layers[:-2]:
        layer.trainable = False
    return model


def dropping(seed=0):
    """A small net with dropout before its head; all below is frozen."""
    keras.utils.set_random_seed(7)
    return fill_weights(small(layers.BatchNormalization(name="norm", trainable=False), layers.Dropout(0.3)), seed)


def staged():
    """Two blocks to be set free one after the other."""
    x = image = keras.Input((4, 4, 3))
    for name in ("block1", "block2"):
        x = layers.Conv2D(5, 3, padding="same", name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_act")(layers.BatchNormalization(name=f"{name}_bn")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return fill_weights(keras.Model(image, layers.Dense(4, name="head")(x)))


def small(change=lambda x: x, above=lambda x: x):
    """A frozen layer, something else, and a head."""
    x = image = keras.Input((4, 4, 3))
    x = change(layers.Conv2D(5, 3, name="conv", trainable=False)(x))
    return keras.Model(image, layers.Dense(4, name="head")(above(layers.GlobalAveragePooling2D(name="pool")(x))))


@pytest.fixture
def caches(monkeypatch):
    """The caches that runs made, None where one made none."""
    made = []

    def spy(*args):
        cache, notes = feature_cache(*args)
        made.append(cache)
        return cache, notes

    monkeypatch.setattr(fit_state, "feature_cache", spy)
    return made


def assert_same(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=a.path)


@pytest.mark.parametrize(
    ("make", "side", "more"),
    [(lite, 32, {}), (dropping, 4, {"class_weights": "balanced", "ema": 0.9, "accumulation": 2})],
)
def test_a_run_learns_the_same_with_cached_features(caches, make, side, more):
    runs = []
    images, held = (each[:, :side, :side] for each in (IMAGES, HELD[0]))
    for on in (True, False):
        config = dataclasses.replace(CONFIG, cache_features=on, **more)
        settings = dict(validation=(held, HELD[1]), task=TASK, config=config)
        runs.append(fit(make(), (images, LABELS, WEIGHTS), **settings))
    cached, plain = runs
    width = cached.model.get_layer("head").kernel.shape[0]
    assert caches[0].train.source.inputs.shape == (22, width)
    assert caches[0].validation.source.inputs.shape == (9, width)
    assert caches[1] is None
    assert_same(cached.model, plain.model)
    for name, values in plain.history.items():
        np.testing.assert_allclose(cached.history[name], values, atol=1e-5, err_msg=name)
    assert np.abs(cached.model.get_layer("head").kernel - make().get_layer("head").kernel).max() > 0.01


def test_each_stage_of_fine_tuning_caches_what_is_frozen_in_it(caches):
    models = [staged(), staged()]
    for model, on in zip(models, (True, False), strict=True):
        config = dataclasses.replace(CONFIG, epochs=6, cache_features=on)
        finetune(model, (SMALL, LABELS), groups=2, freeze="gradual", task=TASK, config=config)
    head, top, everything = caches[:3]
    assert head.border._keras_history.operation.name == "pool"
    assert top.border._keras_history.operation.name == "block1_act"
    assert everything is None
    assert_same(*models)


class Kill(RunCallback):
    """Ends a run before one of its updates."""

    def __init__(self, at):
        self.left = at

    def begin_step(self, batch):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("again", [True, False])
def test_a_killed_run_goes_on_with_the_weights_of_its_checkpoint(tmp_path, caches, again):
    """The second process brings other frozen weights, which give way to those kept; a cache may come or go."""
    undisturbed, killed, other = dropping(), dropping(), dropping(seed=5)
    config = dataclasses.replace(CONFIG, folder=tmp_path, save_every=1)
    settings = dict(validation=(HELD[0][:, :4, :4], HELD[1]), task=TASK)
    data = (SMALL, LABELS)
    fit(undisturbed, data, **settings, callbacks=[Kill(0)], config=dataclasses.replace(config, folder=None))
    with pytest.raises(KeyboardInterrupt):
        fit(killed, data, **settings, callbacks=[Kill(5)], config=config)
    more = dataclasses.replace(config, cache_features=again)
    assert fit(other, data, **settings, callbacks=[Kill(0)], config=more).resumed
    assert [cache is not None for cache in caches] == [True, True, again]
    assert_same(other, undisturbed)


def test_a_finished_run_computes_no_features(tmp_path, caches):
    config = dataclasses.replace(CONFIG, folder=tmp_path)
    for _ in range(2):
        fit(dropping(), (SMALL, LABELS), task=TASK, config=config)
    assert [cache.train is not None for cache in caches] == [True, False]


def test_several_inputs_and_a_sequential_net_go_along(caches):
    one, two = keras.Input((3,), name="one"), keras.Input((2,), name="two")
    hidden = layers.Dense(8, activation="tanh", trainable=False)(layers.Concatenate()([one, two]))
    both = keras.Model({"one": one, "two": two}, layers.Dense(2)(hidden))
    rows = {"one": RNG.normal(size=(20, 3)).astype("float32"), "two": RNG.normal(size=(20, 2)).astype("float32")}
    row = keras.Sequential([keras.Input((3,)), layers.Dense(8, trainable=False), layers.Dense(2)])
    for model, inputs in ((both, rows), (row, rows["one"])):
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        for each, on in ((model, True), (twin, False)):
            config = dataclasses.replace(CONFIG, cache_features=on)
            fit(each, (inputs, LABELS[:20] % 2), task="tabular_classification", config=config)
        assert caches[-2].train.source.inputs.shape == (20, 8)
        assert_same(model, twin)


def test_a_model_is_left_as_it_was(tmp_path):
    model = dropping()
    fit(model, (SMALL, LABELS), task=TASK, config=CONFIG)
    model.save(tmp_path / "model.keras")
    for twin in (keras.models.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        twin.set_weights(model.get_weights())
        np.testing.assert_allclose(twin(SMALL[:2]), model(SMALL[:2]), atol=1e-5)
    assert np.isfinite(model.evaluate(SMALL, LABELS, verbose=0)).all()


class OverBatch(layers.Layer):
    def call(self, x):
        return x - keras.ops.mean(x, axis=0, keepdims=True)


class Penalised(layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return x


class OwnDraw(layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


def forked():
    x = image = keras.Input((4, 4, 3))
    x = layers.Conv2D(5, 3, trainable=False)(x)
    parts = [layers.Dense(4)(layers.Flatten()(x)), layers.Dense(4)(layers.GlobalAveragePooling2D()(x))]
    return keras.Model(image, layers.Add()(parts))


def masked():
    x = words = keras.Input((4,))
    x = layers.Embedding(9, 5, mask_zero=True, trainable=False)(x)
    return keras.Model(words, layers.Dense(4)(layers.LSTM(3)(x)))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: small(layers.Dropout(0.1, name="drop")), None),
        (lambda: small(layers.BatchNormalization(center=False, scale=False)), "change something .*Assign"),
        (lambda: small(OwnDraw()), "draw or change"),
        (lambda: small(OverBatch()), "depends on the others in its batch"),
        (lambda: small(Penalised()), "add to the loss"),
        (lambda: small(layers.Conv2D(5, 1, activity_regularizer="l2", trainable=False)), "add to the loss"),
        (forked, "take 2 tensors"),
        (masked, "take 2 tensors"),
    ],
)
def test_frozen_layers_that_may_give_other_features_are_not_cached(model, reason):
    model = model()
    inputs = RNG.integers(0, 9, (22, 4)) if model.input_shape == (None, 4) else SMALL
    cache, notes = feature_cache(model, as_dataset((inputs, LABELS)), None, CONFIG, (), False)
    if reason is None:  # the cut is below what draws
        assert cache.border._keras_history.operation.name == "conv"
    else:
        assert cache is None
        assert re.search(reason, *notes)


def test_a_net_that_learns_or_draws_from_its_first_layer_on_is_not_cached():
    image = keras.Input((4, 4, 3))
    for name, first in {"learns": layers.Conv2D(3, 1, name="learns"), "flips": layers.RandomFlip(name="flips")}.items():
        x = layers.Conv2D(5, 3, trainable=False)(first(image))
        model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
        cache, notes = feature_cache(model, as_dataset((SMALL, LABELS)), None, CONFIG, (), False)
        assert cache is None
        assert f"'{name}', which learns or draws at random" in notes[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"augment": lambda image, seed: image}, "augmentation"),
        ({"mix": kerasdl.data.augment.Mixup(classes=4)}, "mixing"),
        ({"mixed_precision": "bfloat16"}, "mixed_precision"),
        ({"remat": True}, "remat"),
        ({"swa": 0.5}, "swa"),
        ({"validation_steps": 1}, "validation_steps"),
    ],
)
def test_settings_that_make_features_differ_are_told(changes, reason):
    config = dataclasses.replace(CONFIG, **changes)
    cache, notes = feature_cache(small(), as_dataset((SMALL, LABELS)), None, config, (), False)
    assert cache is None
    assert reason in notes[0]


def test_data_callbacks_and_devices_that_make_features_differ_are_told():
    data = as_dataset((SMALL, LABELS))
    pipeline = as_dataset(tf.data.Dataset.from_tensor_slices((SMALL, LABELS)).batch(8))

    class Looking(RunCallback):
        def inspect(self, seen):
            pass

    for reason, (train, validation, callbacks, several) in {
        "is a pipeline": (pipeline, None, (), False),
        "is a pipeline, ": (data, pipeline, (), False),
        "Keras callback": (data, None, (keras.callbacks.EarlyStopping(),), False),
        "single updates": (data, None, (Looking(),), False),
        "replicas": (data, None, (), True),
    }.items():
        cache, notes = feature_cache(small(), train, validation, CONFIG, callbacks, several)
        assert cache is None
        assert reason in notes[0]


@pytest.mark.parametrize(("limit", "free", "fits"), [(440, 1e9, True), (439, 1e9, False), (1e9, 1759, False)])
def test_features_beyond_the_memory_are_not_cached(monkeypatch, limit, free, fits):
    monkeypatch.setattr(feature_caching, "LIMIT", limit)
    monkeypatch.setattr(feature_caching, "available_memory", lambda: free)
    cache, notes = feature_cache(small(), as_dataset((SMALL, LABELS)), None, CONFIG, (), False)  # 22 x 5 floats
    assert (cache is not None) == fits
    assert fits or "22 examples have 0 MB of features" in notes[0]
    assert 2**20 < memory.available_memory() < 2**50


def test_where_nothing_is_to_be_gained_nothing_is_said():
    data = as_dataset((SMALL, LABELS))
    free = small()
    free.get_layer("conv").trainable = True
    off, once = (dataclasses.replace(CONFIG, **each) for each in ({"cache_features": False}, {"epochs": 1}))
    for model, config in ((free, CONFIG), (small(), off), (small(), once)):
        assert feature_cache(model, data, None, config, (), False) == (None, [])
