"""Probe of sharded weights and optimizer state on TensorFlow: `python tools/sharding_probe.py`, two minutes.

Each part runs in a process of its own on two logical CPUs and prints what it finds; docs/scaling.md tells what follows.

    order       DTensor: a variable that is read after it was written, in a step with two sums over devices
    state       DTensor: weights whole, the optimizer's state sharded, on nets of different layers
    weights     DTensor: weights sharded too
    keras       keras.distribution.ModelParallel
    partitions  the partitioners of tf.distribute
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.experimental import dtensor

SWITCH = "DTENSOR_ENABLE_COMBINE_ALL_REDUCES_OPTIMIZATION"
PARTS = ("order", "state", "weights", "keras", "partitions")
STEPS, EXAMPLES = 5, 8


def main() -> None:
    """Runs all parts, or the named one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS)
    part = parser.parse_args().part
    if part is None:
        for each in PARTS:
            for switch in ("1", "0") if each in ("order", "state") else ("0",):
                print(f"\n{each}" + (f", {SWITCH}={switch}" if each in PARTS[:3] else ""), flush=True)
                child = subprocess.run(
                    [sys.executable, __file__, each], env={**os.environ, SWITCH: switch}, capture_output=True, text=True
                )
                print(child.stdout if child.returncode == 0 else child.stderr[-500:], end="", flush=True)
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    {"order": order, "keras": model_parallel, "partitions": partitions}.get(part, lambda: nets(part))()


# DTensor


def mesh() -> dtensor.Mesh:
    """Returns the two devices as one row."""
    return dtensor.create_mesh([("data", 2)], devices=["CPU:0", "CPU:1"])


def spread(value: tf.Tensor, axis: int | None = None) -> tf.Tensor:
    """Returns a tensor on both devices, replicated or cut along an axis."""
    devices, rank = mesh(), len(value.shape)
    whole = dtensor.copy_to_mesh(tf.convert_to_tensor(value), dtensor.Layout.replicated(devices, rank))
    if axis is None:
        return whole
    specs = ["data" if place == axis else "unsharded" for place in range(rank)]
    return dtensor.relayout(whole, dtensor.Layout(specs, devices))


def gathered(tensor: tf.Tensor) -> np.ndarray:
    """Returns a spread tensor as one array."""
    whole = dtensor.relayout(tensor, dtensor.Layout.replicated(mesh(), len(tensor.shape)))
    return dtensor.unpack(whole)[0].numpy()


def order() -> None:
    """Checks the order of updates with momentum by hand: the weight must move by the momentum of this step."""
    momentum, weight = (dtensor.DVariable(spread(tf.zeros(2))) for _ in range(2))
    x = spread(tf.ones((2, 2)), 0)

    @tf.function(autograph=False)
    def step(x):
        gradient, loss = tf.reduce_sum(x, 0), tf.reduce_sum(x)  # two sums over the devices
        momentum.assign(momentum * 0.5 - gradient)
        weight.assign_add(momentum)
        return loss

    found = []
    for _ in range(3):
        step(x)
        found.append(float(gathered(weight.read_value())[0]))
    print(f"weight after each step: {found}, right: [-2.0, -5.0, -8.5]")


def stack(shape: tuple, *inner: keras.layers.Layer) -> tuple[keras.Model, np.ndarray]:
    """Returns a classifier and a batch for it."""
    model = keras.Sequential([keras.Input(shape), *inner, layers.Dense(4)])
    return model, np.random.default_rng(0).normal(size=(EXAMPLES, *shape)).astype("float32")


def attention() -> tuple[keras.Model, np.ndarray]:
    """Returns a net with attention and a residual."""
    inputs = keras.Input((6, 16))
    x = layers.LayerNormalization()(layers.Add()([inputs, layers.MultiHeadAttention(2, 8)(inputs, inputs)]))
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))
    return model, np.random.default_rng(0).normal(size=(EXAMPLES, 6, 16)).astype("float32")


NETS = {
    "dense": lambda: stack((16,), layers.Dense(32, "relu"), layers.Dense(32, "relu")),
    "three dense": lambda: stack((16,), *(layers.Dense(32, "relu") for _ in range(3))),
    "norms": lambda: stack((16,), layers.Dense(32), layers.LayerNormalization(), layers.BatchNormalization()),
    "attention": attention,
    "convolution": lambda: stack((8, 8, 2), layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D()),
    "depthwise": lambda: stack((8, 8, 4), layers.DepthwiseConv2D(3), layers.GlobalAveragePooling2D()),
    "recurrent": lambda: stack((6, 16), layers.LSTM(16)),
}


def nets(part: str) -> None:
    """Trains each net on one device and on two, with Adam."""
    for name, build in NETS.items():
        wanted, _ = trained(build, lambda: None, lambda: None)
        try:
            given, shares = trained(build, lambda: creator(part == "weights"), lambda: creator(True))
        except (tf.errors.OpError, ValueError) as error:
            reason = str(error).replace("\n", " ").partition("error: ")[2] or str(error)
            print(f"{name:12} fails: {reason[:120]}")
            continue
        apart = max(float(np.abs(one - two).max()) for one, two in zip(wanted, given, strict=True))
        print(f"{name:12} largest difference of a weight after {STEPS} steps {apart:.0e}; {shares}")


def trained(build: Callable, for_weights: Callable, for_state: Callable) -> tuple[list[np.ndarray], str]:
    """Returns the weights after some steps, and the share of weights and optimizer state on one device."""
    keras.utils.set_random_seed(0)
    on_mesh = for_weights() is not None
    with tf.variable_creator_scope(for_weights() or passing):
        model, x = build()
    with tf.variable_creator_scope(for_state() or passing):
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)
    batch = [x, np.arange(EXAMPLES, dtype="int32") % 3]
    batch = [spread(tf.constant(each), 0) if on_mesh else tf.constant(each) for each in batch]

    @tf.function(autograph=False)
    def step(x, y):
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=outputs))
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        return loss

    for _ in range(STEPS):
        step(*batch)
    read = gathered if on_mesh else np.asarray
    weights = [read(each.value.read_value()) for each in model.trainable_weights]
    shares = [share(variables) for variables in (model.variables, optimizer.variables)] if on_mesh else ["", ""]
    return weights, "one device holds {} of the weights, {} of the state".format(*shares)


def passing(next_creator: Callable, **settings: Any) -> tf.Variable:
    """Returns an ordinary variable."""
    return next_creator(**settings)


def creator(cut: bool) -> Callable:
    """Returns a creator of variables on the mesh; with `cut`, large ones are cut along their last even axis."""

    def make(next_creator: Callable, **settings: Any) -> tf.Variable:
        with tf.init_scope():
            initial = settings["initial_value"]
            value = tf.convert_to_tensor(initial() if callable(initial) else initial, settings.get("dtype"))
            even = [axis for axis, size in enumerate(value.shape) if size % 2 == 0]
            axis = even[-1] if cut and even and np.prod(value.shape) >= 64 else None
            return dtensor.DVariable(spread(value, axis), trainable=settings.get("trainable"))

    return make


def share(variables: Sequence[keras.Variable]) -> str:
    """Returns the share of some variables that lies on the first device."""
    here = sum(int(tf.size(dtensor.unpack(each.value.read_value())[0])) for each in variables)
    return f"{here / sum(int(np.prod(each.shape)) for each in variables):.0%}"


# Keras and tf.distribute


def model_parallel() -> None:
    """Prints the placement of the weights of a model under keras.distribution."""
    devices = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], ["cpu:0", "cpu:1"])
    layout = keras.distribution.LayoutMap(devices)
    layout["dense.*kernel"] = (None, "model")
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
    dense = layers.Dense(8)
    dense.build((None, 4))
    kernel = dense.kernel.value
    print(f"the kernel is a {type(kernel).__name__} of shape {tuple(kernel.shape)}, whole on {kernel.device}")


def partitions() -> None:
    """Creates partitioned variables under strategies."""
    sharded = tf.distribute.experimental.partitioners.FixedShardsPartitioner(2)
    for name, strategy in (
        ("MirroredStrategy", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])),
        ("MultiWorkerMirroredStrategy", tf.distribute.MultiWorkerMirroredStrategy()),
    ):
        takes = "variable_partitioner" in type(strategy).__init__.__code__.co_varnames
        with strategy.scope():
            variable = tf.Variable(tf.zeros((8, 4)))
        print(f"{name} takes a variable_partitioner: {takes}; its variables are {type(variable).__name__}")
    print(f"{type(sharded).__name__} cuts (8, 4) into {sharded(tf.TensorShape((8, 4)), tf.float32)}, for", end=" ")
    print("ParameterServerStrategy alone, which Keras 3 does not train under")


if __name__ == "__main__":
    main()
