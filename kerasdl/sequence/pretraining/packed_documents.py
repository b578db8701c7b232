"""Causal transformers over packed rows: no token sees another document, and positions begin anew with each.

Source: https://arxiv.org/abs/2107.02027, section 3.2. The graph of the model is replayed with its own layers, so that
networks need no argument for it, and what is trained is the model itself.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kerasdl.core.keras_graph import replay
from kerasdl.layers import DocumentBias, DocumentPositions, DotProductAttention

from ..transformer.cached_decoding import POSITIONS, cached_attentions


def packed_model(model: keras.Model) -> keras.Model:
    """Returns a causal transformer that reads packed rows, with the layers and weights of the model.

    Trained on the rows of `kerasdl.data.text.pack_documents` it changes the weights of the model, which then reads
    single texts.

    Args:
        model: functional model from tokens (B, T) to logits (B, T, V), such as `kerasdl.build("gpt_nano")`.

    Returns:
        A model from `{"tokens": (B, T), "documents": (B, T)}` int32 to logits (B, T, V).

    Raises:
        ArgumentError: the model has another form; the text names the layer.

    Example:
        >>> model = kerasdl.build("gpt_nano", length=6, vocabulary=9, width=8, depth=1, heads=2)
        >>> data = kerasdl.data.text.pack_documents([[5, 6], [7]], 6)
        >>> packed_model(model)(data.arrays()[0]).shape
        TensorShape([1, 6, 9])
    """
    cached_attentions(model)  # refuses by name a layer that would mix documents
    tokens, documents = (
        keras.Input(model.inputs[0].shape[1:], dtype="int32", name=name) for name in ("tokens", "documents")
    )
    apart = DocumentBias(name="document_bias")(documents)  # (B, 1, T, T)
    positions = DocumentPositions(name="document_positions")(documents)  # (B, T)

    def substitute(operation: keras.Operation) -> Callable:
        if isinstance(operation, POSITIONS):
            return lambda x: operation([x, positions])
        if not isinstance(operation, DotProductAttention):
            return operation

        def attend(inputs: Any, bias: Any = None, **seen: Any) -> Any:
            both = apart if bias is None else layers.Add(name=f"{operation.name}_apart")([bias, apart])
            return operation(inputs, bias=both, **seen)

        return attend

    logits = replay(model, [tokens], substitute)
    return keras.Model({"tokens": tokens, "documents": documents}, logits, name=f"packed_{model.name}")
