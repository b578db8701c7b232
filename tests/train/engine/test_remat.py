"""Gradient checkpointing: the same outputs, gradients and state as the model itself, with less memory."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights
from keras import layers

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.train.engine import gradient_checkpointing
from kerasdl.train.engine.gradient_checkpointing import rematerialized
from kerasdl.train.engine.train_steps import make_train_step


class Penalty(layers.Layer):
    """Adds a penalty, counts its calls in training and draws from the generator that no layer owns."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, x, training=False):
        if training:
            self.calls.assign_add(1)
            x += keras.random.normal(keras.ops.shape(x), dtype=x.dtype)
        self.add_loss(keras.ops.mean(x**2))
        return x


class Wrapped(layers.Layer):
    """Has a part that trains, and no `training` of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.drop = layers.BatchNormalization(), layers.Dropout(0.4, seed=11)

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x):
        return self.drop(self.norm(x))


class OwnDraw(layers.Layer):
    """Draws random numbers in a way that a second pass cannot repeat."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


def residual_net():
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2")(x)
    for number in range(3):
        y = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Dropout(0.3, seed=number)(y)
        y = layers.Conv2D(4, 3, padding="same", activity_regularizer=keras.regularizers.L2(0.1))(y)
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))
    x = layers.RandomFlip(seed=5)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def skipping_net():
    """Long skips, free sizes, and two outputs, one of them from the middle."""
    x = inputs = keras.Input((None, None, 2), name="picture")
    skips = []
    for width in (2, 4, 8):
        x = layers.Conv2D(width, 3, padding="same", activation="tanh")(x)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    middle = layers.Dense(3, name="middle")(layers.GlobalAveragePooling2D()(x))
    for skip in reversed(skips):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = Wrapped()(layers.Conv2D(4, 3, padding="same", activation="tanh")(x))
    end = layers.Dense(3, name="end")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, {"end": end, "middle": middle})


def sequence_net():
    """Token ids, masks, a state kept from batch to batch, a frozen layer, one shared, and two inputs."""
    ids = keras.Input((6,), batch_size=4, dtype="int32", name="ids")
    other = keras.Input((6, 4), batch_size=4, name="other")
    embedded = layers.Embedding(10, 4, mask_zero=True)(ids)
    shared, frozen = layers.Dense(4, activation="tanh"), layers.Dense(4)
    x = layers.LSTM(4, return_sequences=True, dropout=0.2, recurrent_dropout=0.2, seed=3)(shared(embedded))
    x = layers.Add()([x, other])  # from here on without a mask
    x = layers.LayerNormalization()(layers.Add()([Penalty()(shared(x)), frozen(x)]))
    x = layers.MultiHeadAttention(2, 2, dropout=0.1, seed=4)(x, x)
    x = layers.GRU(4, stateful=True)(shared(x))
    frozen.trainable = False
    return keras.Model([ids, other], layers.Dense(3)(x))


def sequential():
    stack = [layers.Dense(6, activation="tanh"), layers.BatchNormalization(), layers.Dropout(0.2, seed=1)]
    return keras.Sequential([keras.Input((4,)), *stack, layers.Dense(6, activation="tanh"), layers.Dense(3)])


def examples(model, rng, count=4):
    def values(tensor):
        shape = [count, *(8 if size is None else size for size in tensor.shape[1:])]
        if tensor.dtype == "int32":
            return rng.integers(0, 10, shape).astype("int32")
        return rng.normal(size=shape).astype(tensor.dtype)

    inputs = [values(tensor) for tensor in model.inputs]
    return inputs if len(inputs) > 1 else inputs[0]


def differentiable(model, forward, x, compiled=True):
    """Returns the loss, the gradients and all variables after a pass in training."""

    def gradients(x):
        with tf.GradientTape() as tape:
            outputs = keras.tree.flatten(forward(x, training=True))
            fit = sum(tf.reduce_mean(tf.sin(tf.cast(output, tf.float64)) ** 2) for output in outputs)
            loss = fit + sum(tf.cast(penalty, tf.float64) for penalty in model.losses)
        return loss, tape.gradient(loss, model.trainable_weights)

    loss, found = (tf.function(gradients, autograph=False) if compiled else gradients)(x)
    state = [variable.numpy() for variable in model.variables]
    return float(loss), [tf.convert_to_tensor(each).numpy().astype(float) for each in found], state


def both(build, segments=None):
    """Returns two models with the same values, the second with its rematerialized form."""
    first, second = build(), build()
    fill_weights(first)
    for source, target in zip(first.variables, second.variables, strict=True):
        target.assign(source.numpy())
    return first, second, rematerialized(second, segments)


def cut_everywhere(model, nodes, most):
    return list(range(1, len(nodes)))


NETS = [residual_net, skipping_net, sequence_net, sequential]
COMPILED = [pytest.param(net, True, marks=pytest.mark.slow) for net in NETS[:3]]


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize(("build", "compiled"), [*((net, False) for net in NETS), (sequential, True), *COMPILED])
def test_outputs_gradients_and_state_are_those_of_the_model(build, compiled, everywhere, monkeypatch):
    keras.config.set_dtype_policy("float64")
    if everywhere:
        monkeypatch.setattr(gradient_checkpointing, "_cut_positions", cut_everywhere)
    plain, model, lean = both(build)
    assert len(lean.segments) > 1
    x = examples(model, np.random.default_rng(1))
    for _ in range(2):  # the second pass starts from moved statistics and random states
        keras.utils.set_random_seed(7)  # the generator that no layer owns
        loss, wanted, state = differentiable(plain, plain, x, compiled)
        keras.utils.set_random_seed(7)
        lean_loss, given, lean_state = differentiable(model, lean, x, compiled)
        assert lean_loss == pytest.approx(loss, rel=1e-13)
        scale = max(np.abs(gradient).max() for gradient in wanted)
        for one, two in zip(wanted, given, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14 * scale)
        for one, two in zip(state, lean_state, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-13, atol=1e-15)
    outputs = []
    for each in (model, lean):
        for layer in model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()
        outputs.append(keras.tree.flatten(each(x, training=False)))
    for one, two in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_mask_of_an_output(monkeypatch):
    """Losses leave out the masked steps of a sequence."""
    monkeypatch.setattr(gradient_checkpointing, "_cut_positions", cut_everywhere)
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True)(ids)
    model = keras.Model(ids, layers.Dense(3)(layers.Dense(4, activation="tanh")(x)))
    model.compile("sgd", keras.losses.MeanSquaredError())
    batch = tf.constant([[1, 2, 0, 0, 0, 0], [3, 4, 5, 0, 0, 0]])
    losses = []
    for forward in (model, rematerialized(model)):
        with tf.GradientTape() as tape:
            outputs = forward(batch, training=True)
            losses.append(float(model.compute_loss(batch, tf.ones((2, 6, 3)), outputs)))
        np.testing.assert_array_equal(outputs._keras_mask, batch != 0)
        assert tape.gradient(outputs, model.trainable_weights)[0] is not None
    assert losses[0] == losses[1]


def test_every_number_of_segments_gives_the_same_gradients():
    keras.config.set_dtype_policy("float64")
    plain, model, _ = both(residual_net)
    x = examples(model, np.random.default_rng(1))
    start = [variable.numpy() for variable in model.variables]
    _, wanted, _ = differentiable(plain, plain, x, compiled=False)
    counts = []
    for segments in (2, 3, 5, 100):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        lean = rematerialized(model, segments)
        counts.append(len(lean.segments))
        for one, two in zip(wanted, differentiable(model, lean, x, compiled=False)[1], strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-15)
    assert 1 < counts[0] <= 2 < counts[2] <= 5
    assert counts == sorted(counts)


def test_mixed_precision():
    """Layers that compute in float32, the moving statistics among them, see float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")

    def build():
        model = residual_net()
        end = layers.Dense(3, dtype="float32")(layers.BatchNormalization(dtype="float32")(model.layers[-2].output))
        return keras.Model(model.inputs, end)

    plain, model, lean = both(build)
    x = examples(model, np.random.default_rng(1))
    _, wanted, state = differentiable(plain, plain, x)
    _, given, lean_state = differentiable(model, lean, x)
    for one, two in zip([*wanted, *state], [*given, *lean_state], strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5 * np.abs(one).max())


def test_an_output_that_takes_no_part_and_one_of_integers():
    """The gradient of one output alone, and a segment without anything to learn."""
    ids = keras.Input((6,), dtype="int32")
    numbers = layers.Embedding(10, 8, name="table")(layers.Maximum(name="clip")([ids, layers.Identity()(ids)]))
    x, spare = layers.Dense(64)(numbers), layers.Dense(16, name="spare")(numbers)
    for _ in range(4):
        x = layers.Dense(8, activation="tanh")(layers.Dense(64)(x))
    model = keras.Model(ids, [x, layers.Dense(2)(spare), layers.Identity()(ids)])
    lean = rematerialized(model)
    assert len(lean.segments) > 2
    batch, found = tf.constant(np.arange(12).reshape(2, 6) % 10, "int32"), []

    for forward in (model, lean):

        def gradients(batch, forward=forward):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(forward(batch, training=True)[0] ** 2)
            return tape.gradient(loss, model.trainable_weights)

        found.append([gradients(batch), tf.function(gradients, autograph=False)(batch)])
    for plain, other in zip(*found, strict=True):
        assert [each is None for each in plain] == [each is None for each in other]
        for one, two in zip(plain, other, strict=True):
            if one is not None:
                np.testing.assert_allclose(tf.convert_to_tensor(two), tf.convert_to_tensor(one), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny", "lstm_classifier", "mobilenet_v2"])
def test_training_of_a_registered_model(name):
    """After some updates every variable, of the optimizer too, is that of a run without."""

    def build():
        return kerasdl.build(name, **kerasdl.spec(name).tiny)

    plain, model, lean = both(build)
    rng = np.random.default_rng(2)
    batches = [(examples(model, rng), rng.integers(0, 3, 4).astype("int32")) for _ in range(3)]
    states = []
    for trained, variables in ((plain, plain), (lean, model)):
        trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        step, stream = make_train_step(trained), iter(batches)
        dataset = iter(
            tf.data.Dataset.from_generator(lambda stream=stream: stream, output_signature=signature(batches))
        )
        losses = [float(step(dataset)["loss"]) for _ in batches]
        others = [variable for variable in trained.optimizer.variables if "velocity" not in variable.path]
        states.append((losses, [variable.numpy() for variable in [*variables.variables, *others]]))
    np.testing.assert_allclose(states[0][0], states[1][0], rtol=1e-5)
    for one, two in zip(states[0][1], states[1][1], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=3e-4)


def signature(batches):
    return tf.nest.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batches[0])


def test_the_layers_and_variables_are_the_same():
    model = residual_net()
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    lean = rematerialized(model)
    assert [id(layer) for layer in lean.layers] == [id(layer) for layer in model.layers]
    assert [id(variable) for variable in lean.variables] == [id(variable) for variable in model.variables]
    assert lean.output_names == model.output_names
    assert [len(layer._inbound_nodes) for layer in model.layers] == calls
    names = [name for segment in lean.segments for name in segment]
    assert sorted(names) == sorted(layer.name for layer in model.layers[1:])


def test_cuts_are_where_little_crosses():
    x = inputs = keras.Input((32,))
    for number in range(12):
        wide = layers.Dense(512, name=f"wide{number}")(x)
        x = layers.Add(name=f"add{number}")([x, layers.Dense(32, name=f"narrow{number}")(wide)])
    lean = rematerialized(keras.Model(inputs, x))
    assert len(lean.segments) > 6
    assert not any(segment[-1].startswith("wide") for segment in lean.segments)


def test_a_gradient_of_gradients():
    keras.config.set_dtype_policy("float64")
    plain, model, lean = both(sequential)
    x = tf.constant(examples(model, np.random.default_rng(1)))
    found = []
    for forward, owner in ((plain, plain), (lean, model)):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(forward(x, training=True) ** 2)
            slope = tf.reduce_sum(inner.gradient(total, x) ** 2)
        found.append(outer.gradient(slope, owner.trainable_weights[0]).numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10)


def test_what_cannot_be_repeated_is_refused():
    x = inputs = keras.Input((16,))
    for _ in range(6):
        x = layers.Dense(16)(OwnDraw()(layers.Dense(64)(x)))
    lean = rematerialized(keras.Model(inputs, x))
    with pytest.raises(ArgumentError, match=r"keras\.random"):
        tf.function(lambda x: lean(x, training=True), autograph=False)(tf.zeros((2, 16)))


def test_what_has_no_graph_is_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    class Altered(keras.Model):
        def call(self, x, training=None, mask=None):
            return super().call(x) * 2

    tensor = keras.Input((2,))
    for model in (Subclassed(), Altered(tensor, layers.Dense(2)(tensor)), keras.Sequential([layers.Dense(2)]), 3):
        with pytest.raises(ArgumentError, match="functional or Sequential"):
            rematerialized(model)
    with pytest.raises(ArgumentError, match="segments must be an integer of 2 or more"):
        rematerialized(residual_net(), 1)
