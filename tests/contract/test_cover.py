"""The cover is up to date and holds what it says; features tell apart what converters treat differently, no more."""

import json

import keras
import pytest
from cases import COVER, COVERABLE, EVERY_CLASS, EXPORTED, PROVED, UNPROVEN
from covering import cover_of, features_of_net
from graph_features import features_of

import kerasdl

L = keras.layers
COVERED = json.loads(COVER.read_text())["nets"]
HELD = {feature for features in COVERED.values() for feature in features}


@pytest.mark.parametrize("name", COVERABLE)
def test_net_brings_nothing_that_the_cover_lacks(name, net):
    features = features_of_net(name, net(name).model)
    assert not features - HELD, f"{name} brings new features, run: make cover\n" + "\n".join(sorted(features - HELD))
    lost = {*COVERED.get(name, ())} - features
    assert not lost, f"{name} no longer has features that it covers, run: make cover\n" + "\n".join(sorted(lost))


@pytest.mark.skipif(bool(PROVED), reason="the cover is the choice of every day")
def test_exported_nets_are_the_cover_with_every_family():
    assert set(EXPORTED) == set(COVERED) <= set(COVERABLE)
    families = {kerasdl.spec(name).family for name in kerasdl.list_models()} - {*UNPROVEN}
    assert {kerasdl.spec(name).family for name in COVERED} == families


@pytest.mark.skipif(bool(PROVED), reason="the cover is the choice of every day")
def test_nets_of_every_class_have_the_layers_of_the_cover(net):
    classes = [{type(layer) for name in names for layer in net(name).model.layers} for names in (EVERY_CLASS, EXPORTED)]
    assert set(EVERY_CLASS) < set(EXPORTED)
    assert classes[0] == classes[1]


def test_cover_is_the_fewest_nets_and_every_feature():
    features = {"all but c": {"a", "b", "d"}, "a and b": {"a", "b"}, "c": {"c"}, "c and d": {"c", "d"}}
    assert sorted(cover_of(features)) == ["all but c", "c"]
    assert sorted(cover_of(features | {"new": {"e"}})) == ["all but c", "c", "new"]
    # Greedy takes "middle" first, and then needs both of the others, which hold all that it does.
    three = {"middle": {"b", "c", "d", "e"}, "left": {"a", "b", "c"}, "right": {"d", "e", "f"}}
    assert sorted(cover_of(three)) == ["left", "right"]


def net(body, shape=(8, 8, 4)):
    image = keras.Input(shape, name="image")
    return features_of(keras.Model(image, body(image)))


def conv(x, filters=8, size=3, **settings):
    return L.Conv2D(filters, size, **settings)(x)


def norm_first(x):
    return L.ReLU()(L.BatchNormalization()(conv(x)))


def shared(x):
    layer = L.Conv2D(4, 1)
    return layer(layer(x))


DIFFERENT = {
    "class": (conv, lambda x: L.DepthwiseConv2D(3)(x)),
    "stride": (conv, lambda x: conv(x, strides=2)),
    "dilation": (conv, lambda x: conv(x, dilation_rate=2)),
    "even kernel": (conv, lambda x: conv(x, size=2)),
    "kernel of one": (conv, lambda x: conv(x, size=1)),
    "kernel of one row": (conv, lambda x: conv(x, size=(1, 3))),
    "some groups": (conv, lambda x: conv(x, groups=2)),
    "a group for each channel": (lambda x: conv(x, groups=2), lambda x: conv(x, groups=4)),
    "padding": (conv, lambda x: conv(x, padding="same")),
    "bias": (conv, lambda x: conv(x, use_bias=False)),
    "activation": (conv, lambda x: conv(x, activation="gelu")),
    "axis": (lambda x: L.LayerNormalization()(x), lambda x: L.LayerNormalization(axis=[1, 2])(x)),
    "order of folding": (norm_first, lambda x: L.BatchNormalization()(L.ReLU()(conv(x)))),
    "bound of a rectifier": (lambda x: L.ReLU()(x), lambda x: L.ReLU(6.0)(x)),
    "fan-out": (lambda x: L.ReLU()(conv(x)), lambda x: L.Multiply()([y := conv(x), L.ReLU()(y)])),
    "calls": (lambda x: conv(conv(x, 4, 1), 4, 1), shared),
    "spread": (
        lambda x: L.Add()([x, L.GlobalAveragePooling2D(keepdims=True)(x)]),
        lambda x: L.Add()([x, L.UpSampling2D(8)(L.GlobalAveragePooling2D(keepdims=True)(x))]),
    ),
    "outputs": (lambda x: L.ReLU()(conv(x)), lambda x: [y := conv(x), L.ReLU()(y)]),
    "call with a mask": (lambda x: L.Softmax()(x), lambda x: L.Softmax()(x, mask=L.Activation("relu")(x))),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_a_converter_treats_differently_is_another_feature(what):
    one, other = map(net, DIFFERENT[what])
    assert other - one


def test_sizes_modulo_the_stride_and_free_sizes_are_features():
    def strided(x):
        return conv(x, strides=2, padding="same")

    even, odd, free = net(strided), net(strided, (7, 7, 4)), net(strided, (None, None, 4))
    assert odd - even
    assert free - even - odd
    assert net(strided, (6, 6, 4)) == even


def test_dtype_rank_and_layers_within_layers_are_features():
    floats, numbers = keras.Input((8, 4)), keras.Input((8, 4), dtype="int32")
    one, other = (features_of(keras.Model(x, L.Flatten()(x))) for x in (floats, numbers))
    assert other - one
    plain, backwards = (
        features_of(keras.Model(floats, L.Bidirectional(L.GRU(3, reset_after=after))(floats)))
        for after in (True, False)
    )
    assert backwards - plain


def test_names_widths_rates_and_initialisers_are_none():
    one = net(lambda x: L.Dropout(0.1)(conv(x, 8, name="first")))
    other = net(lambda x: L.Dropout(0.5)(conv(x, 16, name="second", kernel_initializer="zeros")), (10, 12, 4))
    assert one == other
