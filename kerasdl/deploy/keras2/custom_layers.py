"""Layers that a bridged model needs and tf_keras lacks: a wrapped Keras 3 layer, the matrix product, masked scores."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from ..export.tracing import for_inference

MARK = "<tensor {}>"


def form_of(args: tuple, kwargs: dict, is_tensor: Any) -> tuple[tuple, list]:
    """Returns the form of a call, (args, kwargs) with a mark in place of each tensor, and the tensors in order."""
    tensors: list = []

    def mark(value):
        if not is_tensor(value):
            return value
        tensors.append(value)
        return MARK.format(len(tensors) - 1)

    return keras.tree.map_structure(mark, (args, kwargs)), tensors


@tf_keras.utils.register_keras_serializable("kerasdl", name="Carried")  # the name in files that were saved earlier
class WrappedKeras3Layer(tf_keras.layers.Layer):
    """A Keras 3 layer, or a function of `keras.ops`, inside a tf_keras model; the weights belong to this layer.

    Args:
        operation: the built Keras 3 layer or operation. Its own weights are read once, by `build`, and never written.
        forms: the forms of its calls: (args, kwargs) with `MARK.format(i)` in place of tensor i, and, where tensors
            have masks, a dict from the tensor's number, as text, to the mark of its mask.
        method: "__call__", or "compute_mask" for the mask that the layer puts on its output.

    Input:
        The tensor, or a list of the tensors, of the call; `form` is the index of the call's form.

    Returns:
        What the Keras 3 layer returns.

    Example:
        >>> layer = WrappedKeras3Layer(keras.layers.Rescaling(0.5), [((MARK.format(0),), {})])
        >>> layer(tf.ones((1, 2))).numpy()
        array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, operation: keras.Operation, forms: list[tuple], method: str = "__call__", **settings):
        super().__init__(autocast=False, **settings)
        self._untracked = SimpleNamespace(
            operation=operation, forms=forms
        )  # tf_keras would track the layer's variables
        self.method = method
        self.supports_masking = True

    @property
    def operation(self) -> keras.Operation:
        """The Keras 3 layer or operation."""
        return self._untracked.operation

    @property
    def forms(self) -> list[tuple]:
        """The forms of its calls; a shared layer may get one more."""
        return self._untracked.forms

    def build(self, input_shape):
        """Copies the weights."""
        has_weights = self.method == "__call__" and isinstance(self.operation, keras.layers.Layer)
        variables = self.operation.variables if has_weights else []
        self._untracked.pairs = [(variable, self._copy(variable, index)) for index, variable in enumerate(variables)]
        super().build(input_shape)

    @property
    def pairs(self) -> list[tuple[keras.Variable, tf.Variable]]:
        """Each variable of the Keras 3 layer with its copy in this layer."""
        return self._untracked.pairs

    def call(self, inputs, training=None, form=0):
        """Calls the Keras 3 layer."""
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if self.method == "compute_mask" or not isinstance(self.operation, keras.layers.Layer):
            return self.call_form(self.operation, tensors, form)
        run = partial(self._call_layer, training=bool(training))
        return keras.tree.map_structure(_without_mask, self.call_form(run, tensors, form))

    def call_form(self, function: Any, tensors: list, form: int, attach_mask: Any = None) -> Any:
        """Calls a function, or its `compute_mask`, on tensors in the places that a form has for them.

        Args:
            function: the layer or function that is called.
            tensors: the tensors of the call.
            form: the index of the form.
            attach_mask: a function that returns a tensor with a mask on it; None puts the mask on a copy.
        """
        args, kwargs, *masks = self.forms[form]
        for index, mark in (masks[0] if masks else {}).items():
            mask = tensors[int(mark.removeprefix("<tensor ").removesuffix(">"))]
            tensors[int(index)] = (attach_mask or _with_mask)(tensors[int(index)], mask)
        by_mark = {MARK.format(index): tensor for index, tensor in enumerate(tensors)}
        args, kwargs = keras.tree.map_structure(
            lambda leaf: by_mark.get(leaf, leaf) if isinstance(leaf, str) else leaf, (args, kwargs)
        )
        return function.compute_mask(*args) if self.method == "compute_mask" else function(*args, **kwargs)

    def compute_mask(self, inputs, mask=None):
        """Returns None: a bridged model passes masks as arguments."""
        return None

    def get_config(self):
        """Returns the Keras 3 layer, serialised, and the forms."""
        serialized = keras.saving.serialize_keras_object({"operation": self.operation, "forms": self.forms})
        return {**super().get_config(), "held": serialized, "method": self.method}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        serialized = keras.saving.deserialize_keras_object(config.pop("held"))
        config.pop("autocast", None)
        return cls(serialized["operation"], [tuple(form) for form in serialized["forms"]], **config)

    def _copy(self, variable: keras.Variable, index: int) -> tf.Variable:
        copy = self.add_weight(
            name=f"{index}_{variable.name}",
            shape=variable.shape,
            dtype=variable.dtype,
            initializer="zeros",
            trainable=variable.trainable,
            regularizer=getattr(variable, "regularizer", None),
            constraint=getattr(variable, "constraint", None),
        )
        copy.assign(tf.convert_to_tensor(variable.value))
        return copy

    def _call_layer(self, *args: Any, training: bool, **kwargs: Any) -> Any:
        scope = keras.StatelessScope(state_mapping=self.pairs, collect_losses=True)
        before = [scope.get_current_value(variable) for variable, _ in self.pairs]
        with for_inference(self.operation), scope:  # in float32
            outputs = self.operation(*args, training=training, **kwargs)
        for loss in scope.losses:
            self.add_loss(loss)
        if training or getattr(self.operation, "stateful", False):
            for (variable, copy), value in zip(self.pairs, before, strict=True):
                if scope.get_current_value(variable) is not value:
                    copy.assign(scope.get_current_value(variable))
        return outputs


@tf_keras.utils.register_keras_serializable("kerasdl")
class Product(tf_keras.layers.Layer):
    """The matrix product of two stacks of matrices.

    Args:
        transposed: whether the second is transposed first.

    Input:
        A list of two tensors, (..., I, J) and (..., J, K), or (..., K, J) where transposed.

    Returns:
        (..., I, K).

    Example:
        >>> Product()([tf.ones((2, 3)), tf.ones((3, 4))]).shape
        TensorShape([2, 4])
    """

    def __init__(self, transposed: bool = False, **settings):
        super().__init__(**settings)
        self.transposed, self.supports_masking = transposed, True

    def call(self, inputs):
        """Multiplies."""
        return tf.matmul(*inputs, transpose_b=self.transposed)

    def compute_mask(self, inputs, mask=None):
        """Returns None: rows and columns are no time steps."""
        return None

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "transposed": self.transposed}


@tf_keras.utils.register_keras_serializable("kerasdl")
class MaskedScores(tf_keras.layers.Layer):
    """Attention scores with a very low score in place of the masked ones.

    Args:
        masks: the kinds of the masks, in order: "query" (B, T), "key" (B, S), "attention" (B, T, S) or (B, N, T, S).
        causal: whether keys after the query are masked too.
        low: the very low score.

    Input:
        The scores (B, N, T, S), or a list of them and of the masks, booleans.

    Returns:
        (B, N, T, S).

    Example:
        >>> MaskedScores(causal=True)(tf.ones((1, 1, 2, 2))).numpy()[0, 0]
        array([[ 1.e+00, -1.e+09],
               [ 1.e+00,  1.e+00]], dtype=float32)
    """

    def __init__(self, masks: tuple[str, ...] = (), causal: bool = False, low: float = -1e9, **settings):
        super().__init__(**settings)
        self.masks, self.causal, self.low, self.supports_masking = tuple(masks), causal, low, True

    def call(self, inputs):
        """Replaces the masked scores."""
        scores, *masks = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        visible = tf.ones(tf.shape(scores)[-2:], "bool")
        if self.causal:
            visible = tf.linalg.band_part(visible, -1, 0)
        for kind, mask in zip(self.masks, masks, strict=True):
            visible = tf.logical_and(visible, _over_scores(kind, tf.cast(mask, "bool")))
        return tf.where(visible, scores, tf.cast(self.low, scores.dtype))

    def compute_mask(self, inputs, mask=None):
        """Returns None: queries and keys are no time steps."""
        return None

    def get_config(self):
        """Returns the settings."""
        return {**super().get_config(), "masks": self.masks, "causal": self.causal, "low": self.low}


def _over_scores(kind: str, mask: tf.Tensor) -> tf.Tensor:
    if kind == "query":
        return mask[:, None, :, None]
    if kind == "key":
        return mask[:, None, None, :]
    return mask if len(mask.shape) == 4 else mask[:, None]


def _with_mask(tensor: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    tensor = tf.identity(tensor)
    tensor._keras_mask = mask
    return tensor


def _without_mask(tensor: Any) -> Any:
    if getattr(tensor, "_keras_mask", None) is not None:
        del tensor._keras_mask  # tf_keras would pass it on by itself
    return tensor
