"""Unrolled recurrent layers, in a form that the TFLite converter quantises well."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops


def unrolled_loop(layer: keras.layers.RNN, unrolled: dict[str, int]) -> Callable[..., tuple]:
    """Returns an `inner_loop` for a recurrent layer that computes the same values in unrolled steps.

    When it runs, it puts the layer's name and its number of steps into `unrolled`.

    Keras's own unrolled form masks by selection, and the converter then gives every step of a state the range of the
    first step, which cuts later steps off. Here a masked step adds zero: `old + mask * (new - old)`.
    """

    def inner_loop(sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple:
        del training  # the cell takes it from the model's call
        count = sequences.shape[1]
        if count is None:
            raise ValueError("cannot unroll a recurrent layer whose number of steps is free")
        unrolled[layer.name] = count
        steps = ops.unstack(sequences, count, axis=1)
        masks = [None] * count if mask is None else ops.unstack(ops.cast(mask, sequences.dtype), count, axis=1)
        states, outputs = initial_state, []
        for time in reversed(range(count)) if layer.go_backwards else range(count):
            output, new_states = layer.cell(steps[time], states)
            new_states = keras.tree.pack_sequence_as(states, keras.tree.flatten(new_states))
            if mask is not None:
                blend = partial(_blend, masks[time])
                last = outputs[-1] if outputs and not layer.zero_output_for_mask else ops.zeros_like(output)
                output, new_states = blend(output, last), keras.tree.map_structure(blend, new_states, states)
            states = new_states
            outputs.append(output)
        return outputs[-1], ops.stack(outputs, axis=1), states

    return inner_loop


def _blend(keep: Any, new: Any, old: Any) -> Any:
    return old + ops.reshape(keep, (-1, *[1] * (len(new.shape) - 1))) * (new - old)
