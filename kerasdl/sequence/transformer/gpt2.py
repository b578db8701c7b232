"""GPT-2: causal transformer with the norm before each branch (Radford et al. 2019).

The file has the four nets of the paper's table 2, and `gpt_nano`, a net of the same form that a laptop trains in half
an hour. The logits are products with the embedding, so that one matrix serves both ends.

Deviations: attention weights are not dropped in training, and the weights of the branches' ends are not scaled by depth
when they are drawn.
"""

import keras
from keras import layers

from kerasdl.blocks import encoder_block, sequence_norm
from kerasdl.core import checks, register
from kerasdl.layers import LearnedPositions

MASKED = "the mask of causal attention takes the whole range of a tensor of 16 bits, so that scores are lost"

# Width, blocks and heads of the paper's table 2; heads are 64 wide.
SMALL = {"width": 768, "depth": 12, "heads": 12}
MEDIUM = {"width": 1024, "depth": 24, "heads": 16}
LARGE = {"width": 1280, "depth": 36, "heads": 20}
XL = {"width": 1600, "depth": 48, "heads": 25}
NANO = {"length": 256, "positions": 256, "vocabulary": 512, "width": 128, "depth": 4, "heads": 4}
EPSILON = 1e-5


@register(
    task="language_modeling",
    paper="https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf",
    variants={"gpt2_small": SMALL, "gpt2_medium": MEDIUM, "gpt2_large": LARGE, "gpt2_xl": XL, "gpt_nano": NANO},
    params={
        "gpt2_small": 124_439_808,
        "gpt2_medium": 354_823_168,
        "gpt2_large": 774_030_080,
        "gpt2_xl": 1_557_611_200,
        "gpt_nano": 891_648,
    },
    reference="GPT2LMHeadModel of transformers, tied; summed in tests/sequence/transformer/test_decoder_nets.py",
    qat="partial",
    exports={"int16x8": MASKED},
    weights={"hugging-face": "kerasdl.sequence.transformer.decoder_peers:GPT2"},
    tags=("transformer", "decoder"),
    free={"length": None},
    tiny=dict(length=8, positions=16, vocabulary=50, width=16, depth=2, heads=2),
)
def gpt2(
    length: int | None = 1024,
    *,
    vocabulary: int = 50_257,
    positions: int = 1024,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int | None = None,
    dropout: float = 0.1,
) -> keras.Model:
    """GPT-2, a causal language model: logits of the next token at each position.

    The network reads tokens without a mask: padding stands behind a text, and what comes later changes no logits.

    Source: Radford et al. 2019, section 2.3 and table 2; the perceptron of https://arxiv.org/abs/1606.08415.

    Args:
        length: tokens of an example, or None for any up to `positions`.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        positions: rows of the table of positions, the longest text.
        width: D of the token vectors.
        depth: blocks.
        heads: attention heads of each block; they divide the width.
        hidden: width of the perceptron's hidden layer; None takes four times the width.
        dropout: rate behind the positions and of each branch, from 0 to 1.

    Returns:
        A model from token ids (B, length) in int32 to logits (B, length, vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("gpt2_small", length=64, vocabulary=100, width=32, depth=2, heads=2).output_shape
        (None, 64, 100)
    """
    checks.at_least("vocabulary", vocabulary, 2)
    checks.at_least("depth", depth, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    vectors = layers.ReversibleEmbedding(vocabulary, width, reverse_dtype="float32", name="embedding")
    x = LearnedPositions(positions, name="positions")(vectors(tokens))  # (B, T, D)
    x = layers.Dropout(dropout, name="embedding_drop")(x)
    form = dict(hidden=hidden or 4 * width, norm="before", epsilon=EPSILON, activation="gelu_tanh", causal=True)
    for block in range(1, depth + 1):
        x = encoder_block(x, heads, **form, dropout=dropout, name=f"block{block}")
    x = sequence_norm(x, epsilon=EPSILON, name="norm")
    logits = vectors(x, reverse=True)  # (B, T, V)
    return keras.Model(tokens, logits, name="gpt2")
