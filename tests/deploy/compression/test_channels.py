"""`prune_channels`: what is left computes what the whole model does with the removed channels at zero."""

import keras
import numpy as np
import pytest
from filling import fill_weights, settle_statistics

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.core.keras_graph import all_layers
from kerasdl.deploy.compression.channel_pruning import ChannelGroup, channel_groups, prune_channels
from kerasdl.deploy.profiling.model_profile import profile_model

L = keras.layers


def conv(x, filters, name, kernel=3, **settings):
    x = L.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv", **settings)(x)
    return L.ReLU(name=f"{name}_relu")(L.BatchNormalization(name=f"{name}_bn")(x))


def sequential():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            *(L.Conv2D(8, 3, activation="relu", name="first"), L.MaxPooling2D()),
            *(L.Conv2D(10, 3, name="second"), L.LeakyReLU(), L.Flatten()),
            *(L.Dense(12, activation="gelu", name="hidden"), L.Dropout(0.5), L.Dense(5, name="head")),
        ]
    )


def dense_blocks():
    """Concatenations of concatenations, each normalised before its next convolution, as in DenseNet."""
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, padding="same", name="stem")(image)
    for block in range(3):
        y = L.ReLU()(L.BatchNormalization(name=f"bn{block}")(x))
        x = L.Concatenate()([x, L.Conv2D(4, 3, padding="same", name=f"growth{block}")(y)])
    return keras.Model(image, L.Dense(5, name="head")(L.GlobalAveragePooling2D()(x)))


def decoder():
    """Down and up again with a skip, as in U-Net; separable, transposed and PReLU."""
    image = keras.Input((8, 8, 3))
    skip = L.PReLU(shared_axes=(1, 2), name="slope")(L.SeparableConv2D(6, 3, padding="same", name="down")(image))
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="swish", name="middle")(skip)
    x = L.Conv2DTranspose(6, 3, strides=2, padding="same", name="up")(x)
    x = L.Concatenate()([L.UpSampling2D()(L.AveragePooling2D(2)(skip)), x])
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    return keras.Model(image, L.Conv2D(2, 1, name="head")(L.Cropping2D(1)(x)))


def shared():
    image = keras.Input((8, 8, 3))
    x = conv(image, 6, "stem")
    again = L.Conv2D(6, 3, padding="same", activation="relu", name="again")
    norm = L.BatchNormalization(name="norm")
    x = norm(again(norm(again(x))))
    return keras.Model(image, L.Dense(5, name="head")(L.GlobalMaxPooling2D()(x)))


def two_inputs():
    series, features = keras.Input((10, 4), name="series"), keras.Input((7,), name="features")
    x = L.GlobalAveragePooling1D()(L.Conv1D(8, 3, padding="causal", activation="relu", name="series_conv")(series))
    y = L.Dense(8, activation="relu", name="features_dense")(features)
    joined = L.Concatenate()([L.Multiply()([x, y]), y])
    return keras.Model({"series": series, "features": features}, L.Dense(3, name="head")(joined))


def operations(nested=True):
    """A gate of bare operations, reshapes, and a part that is a model of its own."""

    def part(x):
        return conv(conv(x, 8, "inner"), 6, "inner_out")

    image = keras.Input((8, 8, 3))
    x = conv(image, 6, "stem")
    inside = keras.Input((8, 8, 6))
    x = keras.Model(inside, part(inside))(x) if nested else part(x)
    gate = L.Reshape((1, 1, 6), name="spread")(L.GlobalAveragePooling2D()(x))
    gate = L.Conv2D(6, 1, name="gate")(gate)
    x = x * keras.ops.relu6(gate + 3.0) / 6.0
    x = keras.ops.maximum(x, L.Conv2D(6, 1, name="other")(x))
    return keras.Model(image, L.Dense(4, name="head", activation="softmax")(L.Reshape((-1,))(x)))


def registered(name):
    return lambda: kerasdl.build(name, **kerasdl.spec(name).tiny)


MODELS = {
    **{"sequential": sequential, "dense_blocks": dense_blocks, "decoder": decoder, "shared": shared},
    **{"two_inputs": two_inputs, "operations": lambda: operations(nested=False)},
    **{
        name: registered(name)
        for name in ("resnet18", "resnet50_keras", "mobilenet_v2", "mobilenet_v3_large", "vit_base", "mlp")
    },
}


def filled(build, seed=0):
    model = fill_weights(build(), seed)
    inputs = examples(model)
    return settle_statistics(model, inputs), inputs


def examples(model):
    rng = np.random.default_rng(1)
    arrays = {tensor.name: rng.normal(size=(16, *tensor.shape[1:])).astype("float32") for tensor in model.inputs}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def without_removed(model, pruned):
    """Returns a copy of a flat model whose filters, biases, scales and shifts that `pruned` lacks are zero.

    Which they are is read off the values of the biases and scales that are left.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in (layer for layer in copy.layers if layer.weights):
        pairs = list(zip(layer.weights, pruned.get_layer(layer.name).weights, strict=True))
        pairs = [(weight, left) for weight, left in pairs if weight.name in ("gamma", "beta", "bias")]
        if not pairs or isinstance(layer, L.MultiHeadAttention):
            continue
        # Among many float32 values two of one vector may be equal by chance, but not two of both.
        stays = np.all([np.isin(weight.numpy(), left.numpy()) for weight, left in pairs], axis=0)
        for weight, _ in pairs:
            weight.assign(weight.numpy() * stays)
        if not (hasattr(layer, "filters") or hasattr(layer, "units")):
            continue
        axis = -2 if isinstance(layer, L.Conv2DTranspose) else -1
        kernel = next(weight for weight in layer.weights if weight.name in ("kernel", "pointwise_kernel"))
        shape = [1] * len(kernel.shape)
        shape[axis] = -1
        kernel.assign(kernel.numpy() * stays.reshape(shape))
    return copy


def logits(model, inputs):
    return np.asarray(model(inputs, training=False))


def assert_equals_zeroed(model, pruned, inputs, atol=1e-5):
    zeroed = logits(without_removed(model, pruned), inputs)
    np.testing.assert_allclose(logits(pruned, inputs), zeroed, rtol=0, atol=atol * max(1, np.abs(zeroed).max()))
    assert np.abs(logits(model, inputs) - zeroed).max() > 0.01 * np.abs(zeroed).max()  # what went away mattered


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_model_with_the_removed_channels_at_zero(name):
    model, inputs = filled(MODELS[name])
    before = [weight.numpy() for weight in model.weights]
    pruned = prune_channels(model, 0.5, divisor=2)
    assert_equals_zeroed(model, pruned, inputs)
    assert pruned.count_params() < 0.8 * model.count_params()
    assert [layer.name for layer in pruned.layers if layer.weights] == [
        layer.name for layer in model.layers if layer.weights
    ]
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_bare_operations_and_nested_models_are_opened():
    flat, inputs = filled(lambda: operations(nested=False))
    nested = operations()
    inner = {layer.name: layer for layer in all_layers(nested)}
    for layer in flat.layers:
        if layer.weights:
            inner[layer.name].set_weights(layer.get_weights())
    pruned = prune_channels(nested, 0.5, divisor=1)
    assert not any(isinstance(layer, keras.Model) for layer in pruned.layers)
    assert pruned.get_layer("spread").target_shape == (1, 1, 3)
    assert (pruned.get_layer("inner_conv").filters, pruned.get_layer("inner_out_conv").filters) == (4, 3)
    assert_equals_zeroed(flat, pruned, inputs)


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_zeroed_model_for_random_graphs(seed):
    rng = np.random.default_rng(seed)

    def build():
        image = keras.Input((6, 6, 3))
        tensors = [conv(image, 4, "stem")]
        for step in range(8):
            kind, x = rng.integers(6), tensors[rng.integers(len(tensors))]
            alike = [tensor for tensor in tensors if tensor.shape == x.shape]
            other = alike[rng.integers(len(alike))]
            if kind == 0:
                x = L.Add()([conv(x, x.shape[-1], f"step{step}"), other])
            elif kind == 1:
                x = L.Multiply()([x, other])
            elif kind == 2:
                x = L.Concatenate()([x, tensors[rng.integers(len(tensors))]])
            elif kind == 3:
                x = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
            else:
                x = conv(x, int(rng.integers(2, 9)), f"step{step}")
            tensors.append(x)
        joined = L.Concatenate()(tensors[-2:])
        return keras.Model(image, L.Dense(3, name="head")(L.Flatten()(L.MaxPooling2D(2)(joined))))

    model, inputs = filled(build, seed)
    pruned = prune_channels(model, 0.5, divisor=1)
    zeroed = logits(without_removed(model, pruned), inputs)
    np.testing.assert_allclose(logits(pruned, inputs), zeroed, atol=1e-5 * max(1, np.abs(zeroed).max()))
    assert profile_model(pruned).macs < 0.75 * profile_model(model).macs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DenseNet121", "EfficientNetB0", "MobileNetV3Small", "ResNet50V2", "Xception"])
def test_keras_applications(name):
    keras.config.set_dtype_policy("float64")  # in float32, so deep a net with odd statistics shows every rounding
    size = 71 if name == "Xception" else 64
    settings = {"weights": None, "input_shape": (size, size, 3), "classes": 10, "classifier_activation": None}
    model, inputs = filled(lambda: getattr(keras.applications, name)(**settings))
    assert_equals_zeroed(model, prune_channels(model, macs=0.5), inputs, atol=1e-9)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "dense_blocks", "sequential", "vit_base"])
@pytest.mark.parametrize("share", [0.85, 0.6])
def test_reaches_a_share_of_the_macs_and_no_less_than_needed(name, share):
    model, inputs = filled(MODELS[name])
    pruned = prune_channels(model, macs=share, divisor=1)
    assert share - 0.15 < profile_model(pruned).macs / profile_model(model).macs <= share
    assert_equals_zeroed(model, pruned, inputs)


def two_layers():
    x = keras.Input((6,))
    y = L.BatchNormalization(name="norm")(L.Dense(16, name="hidden")(x))
    return keras.Model(x, L.Dense(3, name="head")(y))


def test_keeps_the_channels_that_weigh_most():
    model, _ = filled(two_layers)
    importance = np.abs(model.get_layer("hidden").kernel.numpy()).sum(axis=0)
    pruned = prune_channels(model, 0.5, divisor=1).get_layer("hidden")
    best = np.sort(np.argsort(importance)[8:])
    np.testing.assert_array_equal(pruned.kernel.numpy(), model.get_layer("hidden").kernel.numpy()[:, best])

    gamma = model.get_layer("norm").gamma.numpy()
    pruned = prune_channels(model, 0.25, criterion="bn_gamma", divisor=1).get_layer("norm")
    np.testing.assert_array_equal(pruned.gamma.numpy(), gamma[np.sort(np.argsort(np.abs(gamma))[4:])])


def test_tied_channels_go_by_their_mean_weight():
    x = keras.Input((4,))
    y = L.Add()([L.Dense(3, use_bias=False, name="one")(x), L.Dense(3, use_bias=False, name="two")(x)])
    model = keras.Model(x, L.Dense(2, name="head")(y))
    model.get_layer("one").kernel.assign(np.tile([[1.0, 6.0, 2.0]], (4, 1)))  # over their mean: 1/3, 2, 2/3
    model.get_layer("two").kernel.assign(np.tile([[100.0, 10.0, 40.0]], (4, 1)))  # 2, 1/5, 4/5
    pruned = prune_channels(model, 0.34, divisor=1)
    np.testing.assert_array_equal(pruned.get_layer("one").kernel.numpy()[0], [1.0, 6.0])


def test_counts_are_multiples_and_no_group_goes_below_one():
    model, _ = filled(lambda: kerasdl.build("mobilenet_v2", image_shape=(32, 32, 3), width=0.5, classes=4))
    pruned = prune_channels(model, 0.3)
    counts = {layer.name: layer.filters for layer in pruned.layers if isinstance(layer, L.Conv2D) and layer.groups == 1}
    counts = {name: count for name, count in counts.items() if "depthwise" not in name}
    assert all(count % 8 == 0 for count in counts.values())
    assert counts["stem_conv"] == 8 < counts["last_conv"] == 896  # 0.7 * 16 is 11.2, 0.7 * 1280 is 896
    least = prune_channels(model, 0.999, divisor=1)
    assert least.get_layer("last_conv").filters == 1
    assert np.isfinite(logits(least, examples(model))).all()


def test_groups_and_what_keeps_them_whole():
    image = keras.Input((8, 8, 3))
    x = L.Add()([L.Conv2D(8, 3, padding="same", name="one")(image), L.Conv2D(8, 1, name="two")(image)])
    y = L.Conv2D(8, 3, padding="same", groups=2, name="grouped")(L.Conv2D(4, 1, name="ahead")(x))
    z = L.Conv2D(6, 1, activation="softmax", name="soft")(L.Conv2D(5, 1, name="chosen")(y))
    model = keras.Model(image, L.Dense(3, name="head")(L.Flatten()(L.Conv2D(7, 1, name="last")(z))))
    assert channel_groups(model, keep=["chos*"]) == (
        ChannelGroup(("one", "two"), 8, None),
        ChannelGroup(("ahead",), 4, "'grouped', a Conv2D"),
        ChannelGroup(("chosen",), 5, "keep"),
        ChannelGroup(("soft",), 6, "the activation of 'soft'"),
        ChannelGroup(("last",), 7, None),
        ChannelGroup(("head",), 3, "the output"),
    )
    pruned = prune_channels(model, 0.5, divisor=1, keep=["chos*"])
    kept = {layer.name: layer.filters for layer in pruned.layers if hasattr(layer, "filters")}
    assert kept == {"one": 4, "two": 4, "ahead": 4, "grouped": 8, "chosen": 5, "soft": 6, "last": 4}


@pytest.mark.parametrize(
    "layer",
    [
        L.LayerNormalization(),
        L.Softmax(),
        L.Permute((2, 1)),
        L.GRU(4, return_sequences=True),
        L.Dropout(0.5, noise_shape=(None, 6, 8)),
        L.BatchNormalization(axis=1),
        L.PReLU(shared_axes=(1, 2)),
        L.TimeDistributed(L.Dense(4)),
        L.Rescaling(np.arange(8.0).tolist()),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_mixes_or_counts_channels_keeps_them(layer):
    x = keras.Input((6, 4))
    y = layer(L.Conv1D(8, 1, name="ahead")(x))
    model = keras.Model(x, L.Dense(3, name="head")(L.Dense(8, name="free")(L.Flatten()(y))))
    groups = {group.layers: group.fixed_by for group in channel_groups(model)}
    assert groups[("ahead",)] == f"{layer.name!r}, a {type(layer).__name__}"
    assert groups[("free",)] is None


@pytest.mark.slow
def test_result_saves_trains_and_keeps_its_form(tmp_path):
    model, inputs = filled(MODELS["mobilenet_v3_large"])
    pruned = prune_channels(model, 0.5, divisor=2)
    assert (type(pruned), pruned.name, pruned.output_shape) == (type(model), model.name, model.output_shape)
    assert [tensor.name for tensor in pruned.inputs] == [tensor.name for tensor in model.inputs]
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras")
    np.testing.assert_array_equal(logits(loaded, inputs), logits(pruned, inputs))
    targets = np.arange(len(inputs)) % 4
    pruned.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = pruned.fit(inputs, targets, epochs=25, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]

    named, _ = filled(two_inputs)
    assert sorted(prune_channels(named, 0.5, divisor=2).input) == ["features", "series"]


@pytest.mark.slow
def test_pruned_model_reaches_tflite(tmp_path):
    model, inputs = filled(MODELS["mobilenet_v2"])
    pruned = prune_channels(model, 0.5, divisor=4)
    whole, less = (
        kerasdl.deploy.export_tflite(each, tmp_path / f"{index}.tflite", samples=inputs)
        for index, each in enumerate((model, pruned))
    )
    assert less.worst_relative < 1e-4
    assert less.bytes < whole.bytes
    assert less.operations == whole.operations


def test_refusals():
    model = two_layers()
    for arguments in ({}, {"ratio": 0.5, "macs": 0.5}):
        with pytest.raises(ArgumentError, match="one of ratio and macs must be given"):
            prune_channels(model, **arguments)
    for value in (0, 1, 1.5, "half"):
        with pytest.raises(ArgumentError, match="ratio must be"):
            prune_channels(model, value)
    with pytest.raises(ArgumentError, match=r"macs must be 0\.\d+ or more, as the rest cannot be removed; got 0\.01"):
        prune_channels(model, macs=0.01)
    with pytest.raises(ArgumentError, match=r"some group must be larger than divisor=16 once pruned; got \[16\]"):
        prune_channels(model, 0.5, divisor=16)
    with pytest.raises(ArgumentError, match="a name in keep must fit a layer; got 'hiden'"):
        prune_channels(model, 0.5, keep=["hiden"])
    with pytest.raises(
        ArgumentError, match=r"every layer keeps all of its channels; got .*'hidden' by keep, 'head' by the output"
    ):
        prune_channels(model, 0.5, keep=["hidden"])
    plain = keras.Sequential([keras.Input((4,)), L.Dense(8, name="only"), L.Dense(3, name="head")])
    with pytest.raises(ArgumentError, match="'only' by having no bn_gamma"):
        prune_channels(plain, 0.5, criterion="bn_gamma")
    with pytest.raises(ArgumentError, match="criterion must be one of"):
        prune_channels(model, 0.5, criterion="l2")
    with pytest.raises(ArgumentError, match="functional or Sequential"):
        prune_channels(type("Own", (keras.Model,), {})(), 0.5)
