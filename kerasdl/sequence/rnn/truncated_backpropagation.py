"""Truncated backpropagation through time: a trainer that carries the state from chunk to chunk of a text.

Source: https://doi.org/10.1162/neco.1990.2.4.490 (Williams and Peng 1990) and https://arxiv.org/abs/1409.2329, section
4.1. Gradients end at the borders of a chunk, the state does not.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.train import Trainer

from .carried_state import recurrent_layers, run_with_state, state_names


class TruncatedBackpropagation(Trainer):
    """Trainer of a recurrent language model over chunks that follow one another, such as those of `token_streams`.

    The state behind a chunk is the first state of the next; rows whose `fresh` is 1 begin with zeros. Training and
    validation carry states of their own. They are variables of the trainer, so that a run that was killed goes on from
    the state it had. One device trains; replicas would each see a part of the streams.

    Args:
        network: functional model from tokens (B, T) to logits (B, T, V), such as `lstm_language_model`, or networks by
            role with it as `model`.
        streams: B, rows of each batch.

    Raises:
        ArgumentError: the network has another form, or it is trained on several replicas.

    Example:
        >>> network = kerasdl.build("gru_language_model", length=None, vocabulary=9, embedding=4, units=4, depth=1)
        >>> trainer = TruncatedBackpropagation(network, streams=2)
        >>> data = token_streams(np.arange(60) % 8 + 1, streams=2, length=5)
        >>> config = kerasdl.train.RunConfig(epochs=1, strategy=None, progress="off")
        >>> sorted(kerasdl.train.fit(trainer, data, task="language_modeling", config=config).history)[:2]
        ['bits_per_token', 'learning_rate']
    """

    takes_loss = True

    def __init__(self, network: keras.Model | Mapping[str, keras.Model], *, streams: int):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        self.streams = checks.at_least("streams", streams, 1)
        self.trained_state = self._new_state("trained")
        self.validated_state = self._new_state("validated")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns logits of a chunk from the carried state, and carries on.

        Args:
            inputs: `{"tokens": (B, T), "fresh": (B,)}`.
            training: whether the state is that of training.

        Raises:
            ArgumentError: there are several replicas, or the batch has another number of rows.
        """
        if not isinstance(inputs, Mapping) or set(inputs) != {"tokens", "fresh"}:
            got = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
            checks.refuse("inputs of truncated backpropagation must be tokens and fresh", got, "Use token_streams.")
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            checks.refuse("a carried state must be trained on one replica", "several", "Pass strategy=None.")
        tokens, fresh = inputs["tokens"], tf.convert_to_tensor(inputs["fresh"])
        rows = tf.debugging.assert_equal(
            tf.shape(tokens)[0], self.streams, f"each batch must have the {self.streams} rows of the streams"
        )
        variables = self.trained_state if training else self.validated_state
        with tf.control_dependencies([rows] if rows is not None else []):
            goes_on = 1.0 - tf.reshape(fresh, (-1, 1))
        state = {
            layer.name: tuple(tf.cast(each.value * goes_on, layer.compute_dtype) for each in variables[layer.name])
            for layer in recurrent_layers(self.main)
        }
        logits, following = run_with_state(self.main, tokens, state)
        for name, parts in following.items():
            for variable, value in zip(variables[name], parts, strict=True):
                variable.assign(tf.stop_gradient(tf.cast(value, "float32")))
        return logits

    def _new_state(self, purpose: str) -> dict[str, list[keras.Variable]]:
        return {
            layer.name: [
                self.add_weight(
                    shape=(self.streams, layer.units),
                    initializer="zeros",
                    trainable=False,
                    dtype="float32",
                    name=f"{purpose}_{layer.name}_{part}",
                )
                for part in state_names(layer)
            ]
            for layer in recurrent_layers(self.main)
        }
