"""A tf_keras model in the clothes of a Keras 3 one, so that the engine trains and the exporters write it."""

from typing import Any

import keras
import tf_keras


class LegacyTrainee(keras.Model):
    """A tf_keras model that `kerasdl.train.fit` trains as it trains any other, with Keras 3 optimizers and losses.

    Its weights are Keras 3 variables over the very TensorFlow variables of the tf_keras model.

    Args:
        legacy: the tf_keras model.
        source: the Keras 3 model that it stands for; inputs and outputs are named and nested as there.
    """

    def __init__(self, legacy: tf_keras.Model, source: keras.Model):
        super().__init__(name=source.name)
        object.__setattr__(self, "legacy", legacy)  # Keras 3 would try to track its layers
        object.__setattr__(self, "source", source)
        trained = {id(variable) for variable in legacy.trainable_variables}  # a frozen layer's say they are trainable
        self.held = [
            keras.Variable(variable, trainable=id(variable) in trained, dtype=variable.dtype.name)
            for variable in legacy.variables
        ]
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the tf_keras model."""
        values = keras.tree.flatten(inputs)
        outputs = self.legacy(values if len(values) > 1 else values[0], training=training)
        return keras.tree.pack_sequence_as(self.source._outputs_struct, keras.tree.flatten(outputs))

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The inputs of the source."""
        return self.source.inputs

    @property
    def input(self) -> Any:
        """The inputs of the source, nested as its call takes them."""
        return self.source.input

    @property
    def outputs(self) -> list[keras.KerasTensor]:
        """The outputs of the source."""
        return self.source.outputs

    @property
    def output(self) -> Any:
        """The outputs of the source, nested as its call gives them."""
        return self.source.output

    @property
    def output_names(self) -> list[str]:
        """The names of the source's outputs."""
        return self.source.output_names
