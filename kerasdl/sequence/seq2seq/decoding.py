"""Decoding: an encoder runs once, a decoder token by token, greedy or with a beam; each is one graph."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.ops import beam_search

from .encoder_decoder import decode, encode, lengths_of, parts_of, states_of
from .pairs import END, PADDING, START


def greedy(network: keras.Model, source: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns the likeliest next token again and again, (B, length) int32, 0 behind the end token.

    The loop stops when every sequence has ended.
    """
    parts = parts_of(network)
    fixed, state = _encoded(parts, source)
    rows = tf.shape(source)[0]

    def body(place, token, done, state, written):
        logits, state, _ = decode(parts, token[:, None], source, {**fixed, **state})
        token = tf.where(done, PADDING, tf.argmax(logits[:, 0], -1, tf.int32))
        return place + 1, token, done | (token == END), state, written.write(place, token)

    place, _, _, _, written = tf.while_loop(
        lambda place, token, done, state, written: (place < length) & ~tf.reduce_all(done),
        body,
        (
            tf.constant(0),
            tf.fill([rows], START),
            tf.zeros([rows], tf.bool),
            state,
            tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=(None,)),
        ),
    )
    return tf.pad(tf.transpose(written.stack()), [[0, 0], [0, length - place]])


def beam(network: keras.Model, source: tf.Tensor, length: int, width: int, length_penalty: float) -> tf.Tensor:
    """Returns the best hypothesis of a beam search, (B, length) int32, 0 behind the end token."""
    parts = parts_of(network)
    fixed, state = _encoded(parts, source)

    def step(token, state):
        logits, after, _ = decode(parts, token[:, None], state["source"], {**state["fixed"], **state["state"]})
        return logits[:, 0], {**state, "state": after}

    rows = tf.fill([tf.shape(source)[0]], START)
    begin = {"source": source, "fixed": fixed, "state": state}
    search = {"width": width, "length": length, "end": END, "length_penalty": length_penalty}
    return beam_search(step, begin, rows, **search).tokens[:, 0]


def _encoded(parts: Mapping[str, keras.Layer], source: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what stays the same for all steps, and the first state."""
    encoded = encode(parts, source)
    names = states_of(parts)
    return (
        {name: value for name, value in encoded.items() if name not in names},
        {name: encoded[name] for name in names},
    )


def encoder_and_step(networks: Mapping[str, keras.Model]) -> dict[str, keras.Model]:
    """Returns two models of the layers of a network: `encoder`, and `step`, which takes and gives the state.

    `encoder` gives `hidden`, of an LSTM `cell`, and with attention `memory`. `step` takes these, a `token` (B, 1) and
    with attention the `source`, and gives `logits` (B, K), `next_hidden` and `next_cell`.
    """
    network = networks["model"]
    parts, (length, _) = parts_of(network), lengths_of(network)
    source = keras.Input((length,), dtype="int32", name="source")
    encoded = encode(parts, source)
    encoder = keras.Model(source, encoded, name="encoder")
    fed = {name: keras.Input(tensor.shape[1:], name=name) for name, tensor in encoded.items()}
    token = keras.Input((1,), dtype="int32", name="token")
    source = keras.Input((length,), dtype="int32", name="source")
    logits, state, _ = decode(parts, token, source, fed)
    outputs = {"logits": keras.layers.Reshape((logits.shape[-1],), dtype="float32", name="logits")(logits)}
    outputs |= {f"next_{name}": tensor for name, tensor in state.items()}
    inputs = {"token": token, **({"source": source} if "memory" in fed else {}), **fed}
    return {"encoder": encoder, "step": keras.Model(inputs, outputs, name="step")}


def samples_of(networks: Mapping[str, keras.Model], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns inputs of both models of `encoder_and_step`: sources, and the steps of a decoder along the targets."""
    fixed = networks["encoder"].predict(inputs["source"], verbose=0)
    fixed = {**fixed, "source": inputs["source"]}
    wanted = [tensor.name for tensor in networks["step"].inputs]
    steps = []
    for token in inputs["target"].T:
        steps.append({name: token[:, None] if name == "token" else fixed[name] for name in wanted})
        after = networks["step"].predict(steps[-1], verbose=0)
        fixed |= {name.removeprefix("next_"): after[name] for name in after if name.startswith("next_")}
    together = {name: keras.ops.concatenate([step[name] for step in steps]) for name in wanted}
    return {"encoder": inputs["source"], "step": {name: keras.ops.convert_to_numpy(x) for name, x in together.items()}}
