"""Private API of Keras that the engine uses, so that a change in Keras fails here first."""

import inspect

import keras
import tensorflow as tf

from kerasdl.train.distribute.gradient_sums import reductions_by_engine


def test_the_keras_is_one_whose_inside_is_known():
    assert keras.__version__.startswith("3.15."), "read this file's tests again before you allow another Keras"


def test_an_optimizer_sums_gradients_over_replicas_by_one_method():
    method = keras.optimizers.Optimizer._all_reduce_sum_gradients
    assert list(inspect.signature(method).parameters) == ["self", "grads_and_vars"]
    assert "_all_reduce_sum_gradients" in inspect.getsource(keras.optimizers.Optimizer._backend_update_step)


def test_the_summing_is_off_for_the_time_of_a_run_alone():
    optimizer = keras.optimizers.SGD(1.0)
    pairs = [(tf.constant(1.0), tf.Variable(2.0))]
    with reductions_by_engine([keras.optimizers.LossScaleOptimizer(optimizer)]):
        assert optimizer._all_reduce_sum_gradients(pairs) == pairs
        assert "_all_reduce_sum_gradients" in vars(optimizer)
    assert "_all_reduce_sum_gradients" not in vars(optimizer)


def test_layers_inside_layers_can_be_walked():
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((None, 3, 8), (None, 3, 8))
    names = {type(layer).__name__ for layer in attention._flatten_layers()}
    assert {"MultiHeadAttention", "EinsumDense", "Dropout"} <= names
