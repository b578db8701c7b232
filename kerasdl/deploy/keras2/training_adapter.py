"""A tf_keras model in the clothes of a Keras 3 one, so that the engine trains and the exporters write it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tf_keras

from kerasdl.core import checks
from kerasdl.core.outputs.activation import gives_probabilities
from kerasdl.core.outputs.loss_scale import from_logits, over_probabilities


class LegacyTrainee(keras.Model):
    """A tf_keras model that `kerasdl.train.fit` trains as it trains any other, with Keras 3 optimizers and losses.

    Its weights are Keras 3 variables over the very TensorFlow variables of the tf_keras model.

    Args:
        legacy: the tf_keras model.
        source: the Keras 3 model that it stands for; inputs and outputs are named and nested as there.
        settings: plain values that tell a run of it from others, such as a sparsity.
        again: makes the tf_keras model a second time, for the scope of a strategy; None where that cannot be.
    """

    def __init__(
        self,
        legacy: tf_keras.Model,
        source: keras.Model,
        settings: Mapping[str, Any],
        again: Callable[[], tf_keras.Model] | None = None,
    ):
        super().__init__(name=source.name)
        object.__setattr__(self, "legacy", legacy)  # Keras 3 would try to track its layers
        object.__setattr__(self, "source", source)
        weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in source.weights))
        self.settings = {**settings, "weights": weights.hexdigest()[:16]}
        self.again = again
        trained = {id(variable) for variable in legacy.trainable_variables}  # a frozen layer's say they are trainable
        self.held = [
            keras.Variable(variable, trainable=id(variable) in trained, dtype=variable.dtype.name)
            for variable in legacy.variables
        ]
        for held, variable in zip(self.held, legacy.variables, strict=True):
            held.constraint = variable.constraint
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the tf_keras model."""
        if isinstance(inputs, Mapping) and not isinstance(self.input, Mapping):
            inputs = [inputs[each.name] for each in self.source.inputs]
        values = keras.tree.flatten(inputs)
        outputs = self.legacy(values if len(values) > 1 else values[0], training=training)
        return keras.tree.pack_sequence_as(self.output, keras.tree.flatten(outputs))

    def compile(self, *args: Any, loss: Any = None, **settings: Any) -> None:
        """Compiles as Keras does; a loss of logits takes probabilities where the model gives them.

        Keras's own `fit` sees the softmax at the end of a model and looks behind it; rounded outputs hide it.
        """
        if from_logits(loss) and gives_probabilities(self.source):
            loss = over_probabilities(loss)
        super().compile(*args, loss=loss, **settings)

    def built_again(self) -> "LegacyTrainee":
        """Returns the same model with variables of its own, in the scope that the caller is in."""
        if self.again is None:
            rule = "a model whose layers are wrapped for training must train on one device"
            checks.refuse(rule, self.source.name, "Pass RunConfig(strategy=None), and start one process.")
        return LegacyTrainee(self.again(), self.source, self.settings, self.again)

    def run_identity(self) -> dict[str, Any]:
        """Tells this run from those with other settings."""
        return self.settings

    @property
    def losses(self) -> list[Any]:
        """The penalties of the tf_keras layers."""
        return [*super().losses, *self.legacy.losses]

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The inputs of the source."""
        return self.source.inputs

    @property
    def input(self) -> Any:
        """The inputs of the source, nested as its call takes them."""
        return self.source.inputs[0] if isinstance(self.source, keras.Sequential) else self.source.input

    @property
    def outputs(self) -> list[keras.KerasTensor]:
        """The outputs of the source."""
        return self.source.outputs

    @property
    def output(self) -> Any:
        """The outputs of the source, nested as its call gives them."""
        return self.source.outputs[0] if isinstance(self.source, keras.Sequential) else self.source.output

    @property
    def output_names(self) -> list[str]:
        """The names of the source's outputs."""
        return getattr(self.source, "output_names", None) or [self.source.layers[-1].name]


def refuse_mixed_precision(mixed_precision: str | None) -> None:
    """Refuses what tf_keras layers, made for float32, cannot do."""
    if mixed_precision is not None:
        checks.refuse("training over the bridge computes in float32", f"mixed_precision={mixed_precision!r}")
