"""Adapter that presents a tf_keras model as a Keras 3 model, so that `fit` trains it and the exporters write it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from kerasdl.core import checks
from kerasdl.core.outputs.activation import gives_probabilities
from kerasdl.core.outputs.loss_scale import from_logits, over_probabilities
from kerasdl.core.registry.tasks import Task, get_task


class TFKerasAdapter(keras.Model):
    """A Keras 3 model over a tf_keras model, which `kerasdl.train.fit` trains with Keras 3 optimizers and losses.

    Its weights are Keras 3 variables over the very TensorFlow variables of the tf_keras model.

    Args:
        tf_keras_model: the tf_keras model.
        source: the Keras 3 model that it replaces; inputs and outputs are named and nested as there.
        settings: plain values, such as a sparsity, by which a run of this model differs from others.
        rebuild: makes the tf_keras model a second time, for the scope of a strategy; None where that is not possible.
    """

    def __init__(
        self,
        tf_keras_model: tf_keras.Model,
        source: keras.Model,
        settings: Mapping[str, Any],
        rebuild: Callable[[], tf_keras.Model] | None = None,
    ):
        super().__init__(name=source.name)
        object.__setattr__(self, "tf_keras_model", tf_keras_model)  # Keras 3 would try to track its layers
        object.__setattr__(self, "source", source)
        weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in source.weights))
        self.settings = {**settings, "weights": weights.hexdigest()[:16]}
        self.rebuild = rebuild
        # The variables of a frozen layer call themselves trainable; those of the model that are count.
        trained = {id(variable) for variable in tf_keras_model.trainable_variables}
        self.keras_variables = [
            keras.Variable(variable, trainable=id(variable) in trained, dtype=variable.dtype.name)
            for variable in tf_keras_model.variables
        ]
        for keras_variable, variable in zip(self.keras_variables, tf_keras_model.variables, strict=True):
            keras_variable.constraint = variable.constraint
        self.built = True

    @tf.autograph.experimental.do_not_convert  # layers of Keras 3 have no Python branches on tensors
    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the tf_keras model."""
        if isinstance(inputs, Mapping) and not isinstance(self.input, Mapping):
            inputs = [inputs[each.name] for each in self.source.inputs]
        values = keras.tree.flatten(inputs)
        outputs = self.tf_keras_model(values if len(values) > 1 else values[0], training=training)
        return keras.tree.pack_sequence_as(self.output, keras.tree.flatten(outputs))

    def compile(self, *args: Any, loss: Any = None, **settings: Any) -> None:
        """Compiles as Keras does; a loss of logits takes probabilities where the model gives them.

        Keras's own `fit` sees the softmax at the end of a model and reads the logits before it; where outputs are
        rounded, Keras does not see it.
        """
        if from_logits(loss) and gives_probabilities(self.source):
            loss = over_probabilities(loss)
        super().compile(*args, loss=loss, **settings)

    def built_again(self) -> "TFKerasAdapter":
        """Returns the same model with variables of its own, in the scope that the caller is in."""
        if self.rebuild is None:
            rule = "a model whose layers are wrapped for training must train on one device"
            checks.refuse(rule, self.source.name, "Pass RunConfig(strategy=None), and start one process.")
        return TFKerasAdapter(self.rebuild(), self.source, self.settings, self.rebuild)

    def run_identity(self) -> dict[str, Any]:
        """Returns the settings by which a run of this model differs from others."""
        return self.settings

    @property
    def losses(self) -> list[Any]:
        """The penalties of the tf_keras layers."""
        return [*super().losses, *self.tf_keras_model.losses]

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
    def input_shape(self) -> Any:
        """The shapes of the inputs of the source."""
        return self.source.input_shape

    @property
    def output_names(self) -> list[str]:
        """The names of the source's outputs."""
        return getattr(self.source, "output_names", None) or [self.source.layers[-1].name]


def refuse_mixed_precision(mixed_precision: str | None) -> None:
    """Refuses mixed precision: the tf_keras layers of a bridged model compute in float32."""
    if mixed_precision is not None:
        checks.refuse("training over the bridge computes in float32", f"mixed_precision={mixed_precision!r}")


def task_with_trainer(task: Task | str | None, train: Any) -> Task | None:
    """Returns the task whose loss only its trainer has, such as detection; None where a loss of the outputs is known.

    Args:
        task: the task of the call; None takes that of the data.
        train: the training data.
    """
    name = getattr(train, "task", "unknown") if task is None else task
    known = None if name == "unknown" else get_task(name)
    has_loss = known is None or known.trainer is None or known.loss() is not None
    return None if has_loss else known


def refuse_task_with_trainer(model: Any, task: Task | str | None, train: Any, doing: str) -> None:
    """Refuses to train a network over the bridge whose loss only the trainer of its task has, such as a detector.

    Args:
        model: the model of the call.
        task: as in `task_with_trainer`, as is `train`.
        train: the training data.
        doing: the function that trains, for the message.

    Raises:
        ArgumentError: the task has a trainer and no loss.
    """
    if (known := task_with_trainer(task, train)) is None:
        return
    rule = f"{doing} trains a copy in Keras 2, which a trainer that computes its loss from raw outputs cannot hold"
    hint = "Export with quantize='int8', which corrects biases of a bundle, or leave the network as it is."
    checks.refuse(rule, f"{getattr(model, 'name', model)} of the task {known.name}", hint)
