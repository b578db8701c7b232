"""A tiny net with examples and its outputs, built once for all rows of a process."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from filling import fill_weights
from keras.src import backend  # the functions behind keras.ops, which have no public names

import kerasdl
from kerasdl.core import get_task
from kerasdl.deploy.formulas.patching import replaced_functions


def by_groups() -> AbstractContextManager[None]:
    """Convolves group by group inside the block: Keras compiles a grouped convolution anew in each call."""
    return replaced_functions(backend.nn, conv=_conv)


def _conv(usual: Callable, inputs: Any, kernel: Any, *settings: Any, **named: Any) -> tf.Tensor:
    groups = inputs.shape[-1] // kernel.shape[-2]
    if groups == 1:
        return usual(inputs, kernel, *settings, **named)
    pairs = zip(tf.split(inputs, groups, -1), tf.split(tf.convert_to_tensor(kernel), groups, -1), strict=True)
    return tf.concat([usual(part, own, *settings, **named) for part, own in pairs], -1)


def leaves(tree: Any) -> list[np.ndarray]:
    """Returns the leaves of a tree of tensors or arrays as arrays, in the order of a model's outputs."""
    return [np.asarray(leaf) for leaf in keras.tree.flatten(tree)]


def fed(model: keras.Model, inputs: Any) -> Any:
    """Returns inputs in the structure in which a model takes them: those that come by name, in its order."""
    if isinstance(inputs, Mapping) and not isinstance(model.input, Mapping):
        inputs = [inputs[tensor.name] for tensor in model.inputs]
    return keras.tree.pack_sequence_as(model.input, keras.tree.flatten(inputs))


@dataclass(frozen=True)
class Net:
    """A tiny preset with filled weights."""

    spec: kerasdl.ModelSpec
    model: keras.Model
    inputs: Any
    """Four examples, in the structure of the model's inputs."""
    targets: Any
    outputs: Any
    """Outputs of the model for the inputs: an array or a tree of arrays."""
    initial: list[np.ndarray]
    """The weights with which it was built."""

    @contextmanager
    def untrained(self) -> Iterator[keras.Model]:
        """Gives the model with the weights with which it was built, to be trained; then it gets its own back."""
        filled = self.model.get_weights()
        self.model.set_weights(self.initial)
        try:
            yield self.model
        finally:
            self.model.set_weights(filled)


@functools.cache
def tiny_net(name: str) -> Net:
    """Builds the tiny net of a registered name, once."""
    return make_net(name)


def make_net(name: str) -> Net:
    """Builds the tiny net of a registered name."""
    spec = kerasdl.spec(name)
    model = kerasdl.build(name, **spec.tiny)
    initial = model.get_weights()
    inputs, targets = get_task(spec.task).example(fill_weights(model), 4, 0)
    inputs = fed(model, inputs)
    with by_groups():
        outputs = keras.tree.map_structure(np.asarray, model(inputs, training=False))
    return Net(spec, model, inputs, targets, outputs, initial)
