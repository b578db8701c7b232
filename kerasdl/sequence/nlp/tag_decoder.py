"""Decoding of a tagger: of a chain the best sequence of tags that a scheme allows, of single tags each best one."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import chain_marginals, constrain_chain, tag_constraints, viterbi
from kerasdl.ops.sequences.tag_schemes import SCHEMES


def decode_tags(
    outputs: Any, tags: Sequence[str], scheme: str, mask: Any = None, *, unroll: bool = False
) -> tuple[Any, Any]:
    """Returns the best tags of the outputs of a tagger, and the probability of each.

    Args:
        outputs: (B, T, K, K) potentials of `kerasdl.layers.CRF`, whose best sequence of the scheme is returned, or
            (B, T, K) logits, whose best tag of each token is.
        tags: name of each tag; none for runs.
        scheme: `BIO`, `BIOES` or `runs`.
        mask: (B, T) booleans, true at tokens; None takes positions of equal potentials for padding.
        unroll: as in `kerasdl.ops.viterbi`.

    Returns:
        (B, T) int32, and (B, T) float32; behind the tokens both mean nothing.
    """
    outputs = ops.convert_to_tensor(outputs)
    if len(outputs.shape) == 3:
        return ops.cast(ops.argmax(outputs, axis=-1), "int32"), ops.max(ops.softmax(outputs), axis=-1)
    if scheme != "runs":
        outputs = constrain_chain(outputs, tag_constraints(tags, scheme), mask)
    chosen, _ = viterbi(outputs, mask, unroll=unroll)
    scores = ops.one_hot(chosen, outputs.shape[-1]) * chain_marginals(outputs, unroll=unroll)
    return chosen, ops.sum(scores, axis=-1)


@keras.saving.register_keras_serializable("kerasdl")
class TagDecoder(keras.layers.Layer):
    """Decoder of a tagger's outputs, chains by Viterbi's algorithm, for exported files.

    Args:
        tags: name of each tag; none for runs.
        scheme: `BIO` or `BIOES`, whose tags follow each other as the scheme says in a chain, or `runs`, which allow
            everything.

    Input:
        Potentials (B, T, K, K) of `kerasdl.layers.CRF`, or logits (B, T, K).

    Returns:
        A dict of `tags` (B, T) int32, and `scores` (B, T), the probability of each; behind the tokens of a text both
        mean nothing.

    Raises:
        ArgumentError: the scheme is unknown, or a tag is none of its.

    Example:
        >>> TagDecoder(["O", "B-A", "I-A"], "BIO")(np.zeros((1, 4, 3, 3), "float32"))["tags"].shape
        TensorShape([1, 4])
    """

    def __init__(self, tags=(), scheme="runs", *, name=None, dtype="float32", trainable=False):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.tags, self.scheme = list(tags), checks.one_of("scheme", scheme, SCHEMES)
        tag_constraints(self.tags, scheme)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs):
        tags, scores = decode_tags(inputs, self.tags, self.scheme, unroll=inputs.shape[1] is not None)
        return {"tags": tags, "scores": scores}

    def get_config(self):
        return {**super().get_config(), "tags": self.tags, "scheme": self.scheme}
