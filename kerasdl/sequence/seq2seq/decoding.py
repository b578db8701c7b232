"""Decoding: an encoder runs once, a decoder token by token, greedy or with a beam; each is one graph.

Both halves are models, as an exported file has them: `encoder` from a source to what stays and to the first state, and
`step` from a token and that to logits and the next state. The state of a recurrent decoder is what its cells carry,
that of a transformer a cache of keys and values.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.ops import beam_search

from ..transformer.memory_steps import encoder_and_cached_step
from .encoder_decoder import decode, encode, is_recurrent, lengths_of, parts_of
from .pairs import END, PADDING, START

NEXT = "next_"


def first_state(halves: Mapping[str, keras.Model], source: tf.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what the steps take unchanged, and the first state: of the encoder, or zeros where it gives none."""
    given, rows = {**halves["encoder"](source, training=False), "source": source}, tf.shape(source)[0]
    carried = {name.removeprefix(NEXT) for name in halves["step"].output if name.startswith(NEXT)} | {"position"}
    fixed, state = {}, {}
    for tensor in halves["step"].inputs:
        if tensor.name in carried:
            zeros = given.get(tensor.name)
            state[tensor.name] = tf.zeros((rows, *tensor.shape[1:]), tensor.dtype) if zeros is None else zeros
        elif tensor.name != "token":
            fixed[tensor.name] = given[tensor.name]
    return fixed, state


def next_logits(
    halves: Mapping[str, keras.Model], token: tf.Tensor, fixed: Mapping[str, Any], state: Mapping[str, Any]
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns logits (B, K) behind tokens (B,), and the next state."""
    given = halves["step"]({"token": token[:, None], **fixed, **state}, training=False)
    after = {name: given[NEXT + name] for name in state if name != "position"}
    return given["logits"], after | ({"position": state["position"] + 1} if "position" in state else {})


def greedy(
    halves: Mapping[str, keras.Model],
    source: tf.Tensor,
    length: int,
    *,
    start: int = START,
    end: int = END,
    padding: int = PADDING,
) -> tf.Tensor:
    """Returns the likeliest next token again and again, (B, length) int32, padding behind the end token.

    The loop stops when every sequence has ended. A sequence whose logits are not numbers ends with -1.
    """
    fixed, state = first_state(halves, source)
    rows = tf.shape(source)[0]

    def body(place, token, done, state, written):
        logits, state = next_logits(halves, token, fixed, state)
        token = tf.where(tf.reduce_any(tf.math.is_nan(logits), -1), -1, tf.argmax(logits, -1, tf.int32))
        token = tf.where(done, padding, token)
        return place + 1, tf.maximum(token, 0), done | (token == end) | (token < 0), state, written.write(place, token)

    place, _, _, _, written = tf.while_loop(
        lambda place, token, done, state, written: (place < length) & ~tf.reduce_all(done),
        body,
        (
            tf.constant(0),
            tf.fill([rows], start),
            tf.zeros([rows], tf.bool),
            state,
            tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=(None,)),
        ),
    )
    return tf.pad(tf.transpose(written.stack()), [[0, 0], [0, length - place]], constant_values=padding)


def beam(
    halves: Mapping[str, keras.Model],
    source: tf.Tensor,
    length: int,
    width: int,
    length_penalty: float,
    *,
    start: int = START,
    end: int = END,
    padding: int = PADDING,
) -> tf.Tensor:
    """Returns the best hypothesis of a beam search, (B, length) int32, padding behind the end token.

    A sequence whose score is no number is -1.
    """
    fixed, state = first_state(halves, source)

    def step(token, state):
        logits, after = next_logits(halves, token, state["fixed"], state["state"])
        return logits, {**state, "state": after}

    rows = tf.fill([tf.shape(source)[0]], start)
    search = {"width": width, "length": length, "end": end, "length_penalty": length_penalty}
    found = beam_search(step, {"fixed": fixed, "state": state}, rows, **search)
    tokens = tf.where(tf.range(length)[None] < found.lengths[:, :1], found.tokens[:, 0], padding)
    return tf.where(tf.math.is_nan(found.scores[:, :1]), -1, tokens)


def encoder_and_step(networks: Mapping[str, keras.Model], places: int | None = None) -> dict[str, keras.Model]:
    """Returns two models of the layers of a network: `encoder`, and `step`, which takes and gives the state.

    Of a transformer see `encoder_and_cached_step`; `places` is the longest target, None that of the network. Of a
    recurrent network `encoder` gives `hidden`, of an LSTM `cell`, and with attention `memory`; `step` takes these, a
    `token` (B, 1) and with attention the `source`, and gives `logits` (B, K), `next_hidden` and `next_cell`.

    Raises:
        ArgumentError: the network is another one, or a transformer for targets of any length and `places` is None.
    """
    network = networks["model"]
    length, target_length = lengths_of(network)
    if not is_recurrent(network):
        places = target_length if places is None else places
        if places is None:
            hint = "Build it with target_length= and set its weights."
            checks.refuse("the target of a transformer in two halves must have a longest length", None, hint)
        return encoder_and_cached_step(network, places)
    parts = parts_of(network)
    source = keras.Input((length,), dtype="int32", name="source")
    encoded = encode(parts, source)
    encoder = keras.Model(source, encoded, name="encoder")
    fed = {name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name) for name, tensor in encoded.items()}
    token = keras.Input((1,), dtype="int32", name="token")
    source = keras.Input((length,), dtype="int32", name="source")
    logits, state, _ = decode(parts, token, source, fed)
    outputs = {"logits": keras.layers.Reshape((logits.shape[-1],), dtype="float32", name="logits")(logits)}
    outputs |= {f"next_{name}": tensor for name, tensor in state.items()}
    inputs = {"token": token, **({"source": source} if "memory" in fed else {}), **fed}
    return {"encoder": encoder, "step": keras.Model(inputs, outputs, name="step")}


def samples_of(networks: Mapping[str, keras.Model], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns inputs of both models of `encoder_and_step`: sources, and the steps of a decoder along the targets."""
    fixed, state = first_state(networks, keras.ops.convert_to_tensor(inputs["source"]))
    steps = []
    for token in inputs["target"].T:
        steps.append({"token": token[:, None], **fixed, **state})
        _, state = next_logits(networks, keras.ops.convert_to_tensor(token), fixed, state)
    together = {name: keras.ops.concatenate([step[name] for step in steps]) for name in steps[0]}
    return {"encoder": inputs["source"], "step": {name: keras.ops.convert_to_numpy(x) for name, x in together.items()}}
