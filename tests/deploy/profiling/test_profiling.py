"""`profile_model`: published and closed-form counts, memory and receptive fields, and models of every shape."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from unallocated import unallocated

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.deploy.profiling.model_profile import profile_model

L = keras.layers
apps = keras.applications

# Giga multiply-accumulates as torchvision 0.28 documents them (its weights' metadata), and as the papers round them.
PUBLISHED = {
    "resnet18": (lambda: kerasdl.build("resnet18"), 1.814),
    "resnet50": (lambda: kerasdl.build("resnet50"), 4.089),
    "mobilenet_v2": (lambda: kerasdl.build("mobilenet_v2"), 0.301),
    "vit_base": (lambda: kerasdl.build("vit_base"), 17.564),
    "vgg16": (lambda: apps.VGG16(weights=None), 15.470),
    "densenet121": (lambda: apps.DenseNet121(weights=None), 2.834),
    "inception_v3": (lambda: apps.InceptionV3(weights=None), 5.713),
    "efficientnet_b0": (lambda: apps.EfficientNetB0(weights=None), 0.386),
    "efficientnet_v2_s": (lambda: apps.EfficientNetV2S(weights=None), 8.366),
    "mobilenet_v3_large": (lambda: apps.MobileNetV3Large(input_shape=(224, 224, 3), weights=None), 0.217),
    "convnext_tiny": (lambda: apps.ConvNeXtTiny(weights=None), 4.456),
}
# Receptive field of the last convolution, of https://distill.pub/2019/computing-receptive-fields, table 1.
FIELDS = {
    "vgg16": (lambda: apps.VGG16(weights=None), 212),
    "mobilenet": (lambda: apps.MobileNet(weights=None), 315),
    "resnet_v1_50": (lambda: apps.ResNet50(weights=None), 483),
    "inception_v3": (lambda: apps.InceptionV3(weights=None), 1311),
    "resnet18": (lambda: kerasdl.build("resnet18"), 435),
}


def model_of(layer, *shapes, call=None):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, call(layer, *inputs) if call else layer(inputs[0] if len(inputs) == 1 else inputs))


def macs_of(layer, *shapes, call=None):
    return profile_model(model_of(layer, *shapes, call=call)).macs


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("efficientnet_v2_s", "densenet121") else name
        for name in PUBLISHED
    ],
)
def test_published_macs(name):
    build, giga = PUBLISHED[name]
    with unallocated():
        model = build()
    assert profile_model(model).macs / 1e9 == pytest.approx(giga, rel=0.01)
    assert model.weights[0]._value is None  # counting allocated nothing


@pytest.mark.parametrize("name", FIELDS)
def test_published_receptive_field(name):
    build, pixels = FIELDS[name]
    with unallocated():
        model = build()
    fields = [row.receptive_field for row in profile_model(model).rows if row.receptive_field]
    assert fields[-1] == (pixels, pixels)


def attend(layer, x, y):
    return layer(x, y)


CLOSED_FORMS = {
    "conv": (L.Conv2D(5, 3), [(8, 9, 4)], 6 * 7 * 5 * 9 * 4),
    "same_strided": (L.Conv2D(5, 3, strides=2, padding="same"), [(7, 7, 4)], 4 * 4 * 5 * 9 * 4),
    "grouped": (L.Conv2D(6, 3, groups=2), [(8, 8, 4)], 6 * 6 * 6 * 9 * 2),
    "dilated": (L.Conv2D(5, 3, dilation_rate=2, padding="same"), [(7, 7, 4)], 7 * 7 * 5 * 9 * 4),
    "dilated_depthwise": (L.DepthwiseConv2D(3, dilation_rate=2, padding="same"), [(7, 7, 4)], 7 * 7 * 4 * 9),
    "causal": (L.Conv1D(5, 3, padding="causal", dilation_rate=2), [(9, 4)], 9 * 5 * 3 * 4),
    "conv3d": (L.Conv3D(5, 2), [(4, 4, 4, 3)], 27 * 5 * 8 * 3),
    "depthwise": (L.DepthwiseConv2D(3, depth_multiplier=2), [(8, 8, 4)], 36 * 9 * 8),
    "separable": (L.SeparableConv2D(5, 3), [(8, 8, 4)], 36 * (9 * 4 + 4 * 5)),
    "separable1d": (L.SeparableConv1D(5, 3), [(8, 4)], 6 * (3 * 4 + 4 * 5)),
    "transpose": (L.Conv2DTranspose(5, 3, strides=2), [(8, 8, 4)], 64 * 9 * 4 * 5),
    "transpose1d": (L.Conv1DTranspose(5, 3, strides=2), [(8, 4)], 8 * 3 * 4 * 5),
    "transpose3d": (L.Conv3DTranspose(5, 2), [(3, 3, 3, 4)], 27 * 8 * 4 * 5),
    "dense": (L.Dense(5), [(4,)], 20),
    "dense_on_images": (L.Dense(5), [(3, 3, 4)], 9 * 20),
    "einsum": (L.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3)), [(7, 4)], 7 * 4 * 6),
    "einsum_ellipsis": (L.EinsumDense("...x,xy->...y", output_shape=6), [(7, 4)], 7 * 4 * 6),
    "dot": (L.Dot(axes=2), [(5, 8), (6, 8)], 5 * 6 * 8),
    "attention": (L.Attention(), [(5, 8), (6, 8)], 2 * 5 * 6 * 8),
    "lstm": (L.LSTM(3), [(7, 4)], 7 * 4 * (4 + 3) * 3),
    "lstm_unrolled": (L.LSTM(3, unroll=True), [(7, 4)], 7 * 4 * (4 + 3) * 3),
    "gru": (L.GRU(3, return_sequences=True), [(7, 4)], 7 * 3 * (4 + 3) * 3),
    "simple_rnn": (L.SimpleRNN(3), [(7, 4)], 7 * (4 + 3) * 3),
    "bidirectional": (L.Bidirectional(L.LSTM(3)), [(7, 4)], 2 * 7 * 4 * (4 + 3) * 3),
    "conv_lstm": (L.ConvLSTM2D(3, 3, padding="same"), [(5, 6, 6, 2)], 5 * 36 * 9 * (2 + 3) * 12),
    "time_distributed": (L.TimeDistributed(L.Conv2D(3, 3)), [(5, 8, 8, 4)], 5 * 36 * 9 * 4 * 3),
    "embedding": (L.Embedding(9, 4), [(7,)], 0),
    "norm": (L.LayerNormalization(), [(7, 4)], 0),
    "pool": (L.AveragePooling2D(2), [(8, 8, 4)], 0),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name):
    layer, shapes, macs = CLOSED_FORMS[name]
    assert macs_of(layer, *shapes) == macs


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2)])
def test_attention_counts_projections_and_both_products(heads, groups):
    size, queries, keys, width = 3, 5, 6, 8
    layer = L.MultiHeadAttention(heads, size) if groups == heads else L.GroupQueryAttention(size, heads, groups)
    projections = 2 * queries * width * heads * size + 2 * keys * width * groups * size
    products = 2 * heads * queries * keys * size
    assert macs_of(layer, (queries, width), (keys, width), call=attend) == projections + products


class Twice(L.Layer):
    """A layer of a user: a dense layer inside and a product of its own. It may be traced, not run."""

    def __init__(self):
        super().__init__()
        self.inner = L.Dense(6)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        if isinstance(x, np.ndarray) or (not isinstance(x, keras.KerasTensor) and hasattr(x, "numpy")):
            raise AssertionError("the model was run")
        x = self.inner(x)
        return keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1)))


def test_custom_layers_and_bare_operations():
    x = keras.Input((5, 4))
    y = keras.ops.matmul(Twice()(x), x)  # (5, 5) by (5, 4)
    model = keras.Model(x, keras.ops.einsum("btc,btd->bcd", y, x) + 1.0)
    profile = profile_model(model)
    assert profile.macs == 5 * 4 * 6 + 5 * 5 * 6 + 5 * 5 * 4 + 5 * 4 * 4
    assert [row.macs for row in profile.rows] == [270, 100, 80, 0]
    assert [row.kind for row in profile.rows] == ["Twice", "Matmul", "Einsum", "Add"]


def test_of_two_branches_the_larger_counts():
    x = keras.Input((5,))
    assert profile_model(keras.Model(x, keras.ops.inner(x, x))).macs == 5  # a plain product where one is a scalar


def test_shared_and_nested_models():
    inner_input = keras.Input((8,))
    inner = keras.Model(inner_input, L.Dense(8, name="inside")(inner_input), name="inner")
    x = keras.Input((8,))
    profile = profile_model(keras.Model(x, L.Dense(2, name="head")(inner(inner(x)))))
    assert [row.name for row in profile.rows] == ["inside", "inside", "head"]
    assert [row.parameters for row in profile.rows] == [72, 0, 18]
    assert (profile.parameters, profile.macs) == (90, 64 + 64 + 16)


def test_memory_of_a_chain_and_of_a_shortcut():
    x = keras.Input((100,))
    chain = L.Dense(10)(L.ReLU()(L.Dense(50)(x)))
    profile = profile_model(keras.Model(x, chain))
    assert profile.peak_activation_bytes == 4 * (100 + 50)  # the input and what the first layer makes of it
    assert profile.activation_bytes == 4 * (50 + 50 + 10)

    x = keras.Input((100,))
    y = L.Dense(60)(x)
    z = L.Dense(60)(L.Dense(90)(y))
    profile = profile_model(keras.Model(x, L.Add()([y, z])))
    assert profile.peak_activation_bytes == 4 * (60 + 90 + 60)  # y waits while z is made
    early = keras.Model(x, [y, z])
    assert profile_model(early).peak_activation_bytes == 4 * (60 + 90 + 60)


def test_receptive_field_by_hand():
    x = image = keras.Input((64, 48, 1))
    expected = []
    for layer, size in (
        (L.Conv2D(2, 5), (5, 5)),
        (L.MaxPooling2D(), (6, 6)),  # 5 + 1
        (L.Conv2D(2, 5), (14, 14)),  # + 4 * 2
        (L.AveragePooling2D((2, 1)), (16, 14)),
        (L.Conv2D(2, (1, 3), dilation_rate=(1, 2)), (16, 22)),  # jumps 4 and 2: + 4 * 2
        (L.BatchNormalization(), (16, 22)),
        (L.UpSampling2D(2), (16, 22)),  # jumps 2 and 1
        (L.Conv2D(2, 3), (20, 24)),
        (L.Conv2DTranspose(2, 4, strides=2), (22, 25)),  # two inputs meet in an output
        (L.Dense(3), (22, 25)),
        (L.GlobalAveragePooling2D(), None),
        (L.Dense(3), None),
    ):
        x = layer(x)
        expected.append(size)
    assert [row.receptive_field for row in profile_model(keras.Model(image, x)).rows] == expected


def test_receptive_field_of_merges_gates_and_sequences():
    image = keras.Input((32, 32, 4))
    wide, narrow = L.Conv2D(4, 7, padding="same")(image), L.Conv2D(4, 1)(image)
    gate = L.Conv2D(4, 1)(L.GlobalAveragePooling2D(keepdims=True)(wide))
    merged = L.Multiply(name="gated")([L.Concatenate(name="joined")([wide, narrow])[..., :4], gate])
    rows = {row.name: row.receptive_field for row in profile_model(keras.Model(image, merged)).rows}
    assert rows["joined"] == rows["gated"] == (7, 7)

    tokens = keras.Input((50,), dtype="int32")
    x = L.Embedding(9, 4, name="embedded")(tokens)
    for rate in (1, 2, 4, 8):
        x = L.Conv1D(4, 2, padding="causal", dilation_rate=rate, name=f"conv{rate}")(x)
    attended = L.MultiHeadAttention(2, 4, name="attended")(x, x)
    rows = {row.name: row.receptive_field for row in profile_model(keras.Model(tokens, attended)).rows}
    assert rows["embedded"] == (1,)
    assert rows["conv8"] == (16,)  # WaveNet's doubling
    assert rows["attended"] is None

    letters = keras.Input((6, 10), dtype="int32")
    x = L.Conv2D(4, (1, 3), name="letters")(L.Embedding(9, 4)(letters))  # of each of six words
    rows = {row.name: row.receptive_field for row in profile_model(keras.Model(letters, x)).rows}
    assert rows["letters"] == (1, 3)


def test_free_sizes_are_given():
    image, other = keras.Input((None, None, 3), name="image"), keras.Input((4,), name="other")
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3, padding="same")(image))
    model = keras.Model([image, other], L.Concatenate()([x, other]))
    assert profile_model(model, input_shape={"image": (10, 20, 3)}).macs == 200 * 27 * 2
    with pytest.raises(ArgumentError, match="every size of input 'image' must be known"):
        profile_model(model)
    with pytest.raises(ArgumentError, match=r"input_shape of 'image' must fit \(None, None, 3\); got \(10, 20, 4\)"):
        profile_model(model, input_shape={"image": (10, 20, 4)})
    alone = keras.Model(image, x)
    assert profile_model(alone, input_shape=(10, 20, 3)).macs == 200 * 27 * 2
    with pytest.raises(ArgumentError, match="functional or Sequential"):
        profile_model(type("Own", (keras.Model,), {})())


def test_leaves_the_model_as_it_is():
    image, flip = keras.Input((8, 8, 3)), L.RandomFlip(name="flip")
    x = L.BatchNormalization()(flip(flip(image)), training=True)
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))
    before = [variable.numpy() for variable in model.variables]
    profile_model(model)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
    assert len(flip._inbound_nodes) == 2


def test_json_and_table(tiny):
    profile = profile_model(tiny("mobilenet_v2"))
    read = json.loads(profile.to_json())
    assert read["macs"] == profile.macs == sum(row["macs"] for row in read["rows"])
    assert read["parameters"] == sum(row["parameters"] for row in read["rows"]) == tiny("mobilenet_v2").count_params()
    lines = profile.table().splitlines()
    assert lines[2].split() == ["stem_conv", "Conv2D", "16x16x8", "216", "55,296", "8.2", "kB", "3"]
    assert lines[-2].split()[:3] == ["total", f"{profile.parameters:,}", f"{profile.macs:,}"]
    assert len({len(line) for line in lines[:2]}) == 1


def test_picture_shows_each_layer_by_its_length(tmp_path):
    x = keras.Input((10,))
    profile_model(keras.Model(x, L.Dense(100)(L.Dense(50)(L.Dense(200)(x))))).plot(tmp_path / "profile.png")
    picture = np.asarray(Image.open(tmp_path / "profile.png").convert("RGB")).astype(int)
    blue = picture[..., 2] - picture[..., 0] > 150
    middle = blue.shape[1] // 2
    for half, expected in (
        (blue[:, :middle], [2_000, 10_000, 5_000]),  # multiply-accumulates
        (blue[:, middle:], [200, 50, 100]),  # activations
    ):
        lengths = half.sum(axis=1)
        edges = np.flatnonzero(np.diff(lengths > 0)) + 1
        bars = [lengths[start:stop].max() for start, stop in edges.reshape(-1, 2)]
        np.testing.assert_allclose(bars / np.max(bars), expected / np.max(expected), atol=0.02)
