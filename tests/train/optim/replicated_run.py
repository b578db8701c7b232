"""Wrappers and averages on two logical CPUs: `python replicated_run.py` prints what each came to, as JSON.

Each replica gets the gradient of the whole batch, as the step of `fit` hands it on; the same is done on one device.
"""

import json
import sys

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras
import numpy as np
import tensorflow as tf

from kerasdl.train.distribute.gradient_sums import reductions_by_engine
from kerasdl.train.engine.weight_averaging import WeightAverage, averaged, estimate_statistics
from kerasdl.train.optim.lookahead import Lookahead
from kerasdl.train.optim.sharpness_aware import SharpnessAware

OPTIMIZERS = {
    "lookahead": lambda: Lookahead(keras.optimizers.Adam(0.1), sync_period=2),
    "averages": lambda: Lookahead(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), sync_period=2),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(Lookahead("adamw", sync_period=2), initial_scale=4.0),
    "sharpness aware": lambda: SharpnessAware(Lookahead("sgd", sync_period=2), rho=0.5),
}
STATE = np.random.default_rng(0)
INPUTS = STATE.normal(size=(6, 3)).astype(np.float32)
GRADIENTS = [[STATE.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,), (4,), (4,))] for _ in range(5)]


def make_model():
    keras.utils.set_random_seed(0)
    tensor = keras.Input((3,))
    x = keras.layers.Dense(4, name="dense")(tensor)
    return keras.Model(tensor, keras.layers.BatchNormalization(name="norm")(keras.layers.Dropout(0.5, seed=3)(x)))


def local(variables, strategy):
    """Returns the values of variables on each replica, as lists."""
    each = [strategy.experimental_local_results(variable.value) for variable in variables]
    return [[value.numpy().tolist() for value in replica] for replica in zip(*each, strict=True)]


def train(strategy, make):
    with strategy.scope():
        model, optimizer = make_model(), make()
        optimizer.build(model.trainable_weights)
        average = WeightAverage(model)

    def update(*gradients):
        weights = model.trainable_weights
        if isinstance(optimizer, SharpnessAware):
            with optimizer.displaced(gradients, weights):
                gradients = [gradient + weight for gradient, weight in zip(gradients, weights, strict=True)]
        optimizer.apply(list(gradients), weights)

    step = tf.function(lambda *gradients: strategy.run(update, args=gradients), autograph=False)
    with reductions_by_engine([optimizer]):
        for gradients in GRADIENTS:
            step(*map(tf.constant, gradients))
            average.update()
    found = {"weights": local(model.trainable_weights, strategy), "state": local(optimizer.variables, strategy)}
    innermost = getattr(optimizer.inner_optimizer, "inner_optimizer", optimizer.inner_optimizer)
    if innermost.use_ema:
        with averaged(model, optimizer):
            found["averaged"] = local(model.trainable_weights, strategy)
        found["after"] = local(model.trainable_weights, strategy)
    average.assign_to_model()
    found["mean"] = local(model.trainable_weights, strategy)
    estimate_statistics(model, [INPUTS, INPUTS[:4]])
    found["statistics"] = local(model.variables, strategy)
    return found


def main():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    places = {
        "one": tf.distribute.get_strategy(),
        "two": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    found = {
        name: {place: train(strategy, make) for place, strategy in places.items()} for name, make in OPTIMIZERS.items()
    }
    json.dump({"kerasdl": kerasdl.__version__, "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
