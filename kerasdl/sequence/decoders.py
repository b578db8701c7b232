"""Decoders: pairs of functions by which any model writes token after token, and that of recurrent models."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from .rnn.carried_state import recurrent_layers, run_with_state, zero_state


class Decoder(NamedTuple):
    """Decoder: two functions of tensors by which a model writes token after token, both inside a graph.

    Example:
        >>> network = kerasdl.build("gru_language_model", length=None, vocabulary=9, embedding=4, units=4, depth=1)
        >>> decoder = recurrent_decoder(network)
        >>> logits, state = decoder.step(np.array([3]), decoder.start(np.array([[5, 3]]), np.array([2])))
        >>> logits.shape
        TensorShape([1, 9])
    """

    start: Callable[[Any, Any], Any]
    """Takes prompts (B, P) int32 with anything behind them, and their lengths (B,) int32, and returns the state before
    the last token of each: a tree of tensors (B, ...)."""
    step: Callable[[Any, Any], tuple[Any, Any]]
    """Takes a token (B,) of each row and a state, and returns logits (B, V) of the next token and the next state."""


def recurrent_decoder(model: keras.Model) -> Decoder:
    """Returns the decoder of a recurrent language model.

    Args:
        model: functional model from tokens (B, T) to logits (B, T, V), of recurrent layers and layers that compute each
            position by itself.

    Raises:
        ArgumentError: the model has another form.

    Example:
        >>> recurrent_decoder(kerasdl.build("lstm_language_model", vocabulary=9, units=4, embedding=4)).start.__name__
        'start'
    """
    recurrent_layers(model)

    def start(prompts: Any, counts: Any) -> Any:
        is_before = ops.arange(ops.shape(prompts)[1], dtype="int32")[None] < ops.cast(counts, "int32")[:, None] - 1
        return run_with_state(model, prompts, zero_state(model, ops.shape(prompts)[0]), is_before)[1]

    def step(tokens: Any, state: Any) -> tuple[Any, Any]:
        logits, state = run_with_state(model, tokens[:, None], state)
        return logits[:, 0], state

    return Decoder(start, step)
