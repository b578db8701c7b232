"""Llama and Qwen2: causal transformers with root-mean-square norms, gated perceptrons and rotary positions.

Llama (https://arxiv.org/abs/2302.13971) has no biases; Qwen2 (https://arxiv.org/abs/2407.10671) has biases of queries,
keys and values. Heads of keys and values are shared by groups of queries' heads in the nets that say so
(https://arxiv.org/abs/2305.13245), and the small nets have one matrix for embedding and logits.
"""

import keras
from keras import layers

from kerasdl.blocks import encoder_block, sequence_norm
from kerasdl.core import checks, register
from kerasdl.layers import RotaryEmbedding

from .gpt2 import MASKED

# Tables of the papers: https://arxiv.org/abs/2302.13971 (2), https://arxiv.org/abs/2401.02385 (2),
# https://arxiv.org/abs/2407.21783 (3), https://arxiv.org/abs/2407.10671 (1).
LLAMA_7B = {"vocabulary": 32_000, "width": 4096, "depth": 32, "heads": 32, "shared_heads": 32, "hidden": 11_008}
TINYLLAMA_1B = {"vocabulary": 32_000, "width": 2048, "depth": 22, "heads": 32, "shared_heads": 4, "hidden": 5632}
LLAMA3_8B = {
    **{"vocabulary": 128_256, "width": 4096, "depth": 32, "heads": 32, "shared_heads": 8, "hidden": 14_336},
    **{"base": 500_000.0, "epsilon": 1e-5},
}
QWEN2 = {"base": 1_000_000.0, "query_bias": True}
QWEN2_500M = {"vocabulary": 151_936, "width": 896, "depth": 24, "heads": 14, "shared_heads": 2, "hidden": 4864}
QWEN2_1_5B = {"vocabulary": 151_936, "width": 1536, "depth": 28, "heads": 12, "shared_heads": 2, "hidden": 8960}
QWEN2_7B = {"vocabulary": 152_064, "width": 3584, "depth": 28, "heads": 28, "shared_heads": 4, "hidden": 18_944}


@register(
    task="language_modeling",
    paper="https://arxiv.org/abs/2302.13971",
    variants={
        "llama_7b": LLAMA_7B,
        "llama3_8b": LLAMA3_8B,
        "tinyllama_1b": {**TINYLLAMA_1B, "epsilon": 1e-5},
        "qwen2_0_5b": {**QWEN2, **QWEN2_500M, "tied": True},
        "qwen2_1_5b": {**QWEN2, **QWEN2_1_5B, "tied": True},
        "qwen2_7b": {**QWEN2, **QWEN2_7B},
    },
    params={
        "llama_7b": 6_738_415_616,
        "llama3_8b": 8_030_261_248,
        "tinyllama_1b": 1_100_048_384,
        "qwen2_0_5b": 494_032_768,
        "qwen2_1_5b": 1_543_714_304,
        "qwen2_7b": 7_615_616_512,
    },
    reference="the papers' tables, summed in tests/sequence/transformer/test_decoder_nets.py",
    qat="partial",
    exports={"int16x8": MASKED},
    weights={"hugging-face": "kerasdl.sequence.transformer.decoder_peers:LLAMA"},
    tags=("transformer", "decoder"),
    free={"length": None},
    tiny=dict(length=8, vocabulary=50, width=16, depth=2, heads=4, shared_heads=2, hidden=24),
)
def llama(
    length: int | None = 2048,
    *,
    vocabulary: int = 32_000,
    width: int = 4096,
    depth: int = 32,
    heads: int = 32,
    shared_heads: int | None = None,
    hidden: int = 11_008,
    base: float = 10_000.0,
    epsilon: float = 1e-6,
    query_bias: bool = False,
    tied: bool = False,
) -> keras.Model:
    """Llama's form of a causal language model, Qwen2's with biases of queries, keys and values.

    The network reads tokens without a mask: padding stands behind a text, and what comes later changes no logits.

    Source: https://arxiv.org/abs/2302.13971, section 2.2 and table 2; https://arxiv.org/abs/2407.10671, section 2.2.1.

    Args:
        length: tokens of an example, or None for any.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        width: D of the token vectors.
        depth: blocks.
        heads: attention heads of the queries of each block; they divide the width.
        shared_heads: heads of keys and values, each for a group of the queries' heads; None takes `heads`.
        hidden: width of the perceptron's hidden layer.
        base: the longest wavelength of the rotary positions over 2 pi.
        epsilon: epsilon of the norms.
        query_bias: whether queries, keys and values have biases, as in Qwen2.
        tied: whether the logits are products with the embedding, in place of a matrix of their own.

    Returns:
        A model from token ids (B, length) in int32 to logits (B, length, vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> small = {"vocabulary": 100, "width": 32, "depth": 2, "heads": 4, "shared_heads": 2, "hidden": 64}
        >>> kerasdl.build("qwen2_0_5b", length=64, **small).output_shape
        (None, 64, 100)
    """
    checks.at_least("vocabulary", vocabulary, 2)
    checks.at_least("depth", depth, 1)
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    if tied:
        vectors = layers.ReversibleEmbedding(vocabulary, width, reverse_dtype="float32", name="embedding")
    else:
        vectors = layers.Embedding(vocabulary, width, name="embedding")
    x, rotary = vectors(tokens), RotaryEmbedding(base, name="rotary")  # (B, T, D)
    kind = {"normalisation": "rms", "epsilon": epsilon}
    form = dict(norm="before", **kind, activation="silu", gated=True, use_bias=False, query_bias=query_bias)
    for block in range(1, depth + 1):
        seen = dict(causal=True, rotary=rotary, shared_heads=shared_heads)
        x = encoder_block(x, heads, hidden=hidden, **form, **seen, name=f"block{block}")
    x = sequence_norm(x, **kind, name="norm")
    if tied:
        logits = vectors(x, reverse=True)
    else:
        logits = layers.Dense(vocabulary, use_bias=False, dtype="float32", name="head")(x)  # (B, T, V)
    return keras.Model(tokens, logits, name="llama")
