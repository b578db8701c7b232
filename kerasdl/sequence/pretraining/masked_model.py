"""Masked language models: an encoder of texts and, at each token, logits of the token that stood there.

Source: BERT, https://arxiv.org/abs/1810.04805, section 3.1. The head is that of BERT's authors: a dense layer, a norm,
and products with the vectors of the tokens, which one matrix gives at both ends.

Deviations: the bias of the logits begins with small random numbers instead of zeros.
"""

import keras
from keras import layers

from kerasdl.blocks import sequence_norm
from kerasdl.core import checks, register
from kerasdl.layers import LearnedVector, TanhGELU

from ..transformer.bert import pooled
from ..transformer.text_heads import PEERS, TINY, chosen_encoder

VOCABULARY, ACTIVATION, EPSILON = 30_522, "gelu", 1e-12
"""Values of BERT, where the table of an encoder names none."""
MAPS = {
    **dict.fromkeys(("bert_masked_lm", "bert_tiny_masked_lm", "bert_mini_masked_lm"), "BERT"),
    **{f"{name}_masked_lm": name.upper() for name in ("distilbert", "roberta", "albert")},
    "electra_generator": "ELECTRA",
}
"""Name maps of the weights of Hugging Face, by registered name."""


@register(
    task="masked_language_modeling",
    paper="https://arxiv.org/abs/1810.04805",
    variants={
        "bert_masked_lm": {},
        "bert_tiny_masked_lm": {"encoder": "bert_tiny"},
        "bert_mini_masked_lm": {"encoder": "bert_mini"},
        "distilbert_masked_lm": {"encoder": "distilbert_base"},
        "roberta_masked_lm": {"encoder": "roberta_base"},
        "albert_masked_lm": {"encoder": "albert_base"},
        "electra_generator": {"encoder": "electra_small"},
    },
    params={
        "bert_masked_lm": 109_514_298,
        "bert_tiny_masked_lm": 4_416_698,
        "bert_mini_masked_lm": 11_201_594,
        "distilbert_masked_lm": 66_985_530,
        "roberta_masked_lm": 124_697_433,
        "albert_masked_lm": 11_221_680,
        "electra_generator": 13_546_682,
    },
    reference="the classes ...ForMaskedLM of transformers; summed in tests/sequence/pretraining/test_masked_lm.py",
    qat="partial",
    exports={"int16x8": "the table of tied vectors does not convert: its kernel has scales of one channel alone"},
    tags=("transformer",),
    weights={"hugging-face": {name: f"{PEERS}:{peer}" for name, peer in MAPS.items()}},
    free={"length": None},
    tiny={name: value for name, value in TINY.items() if name != "classes"},
)
def bert_masked_lm(
    length: int | None = 128,
    *,
    encoder: str = "bert_base",
    vocabulary: int | None = None,
    embedding: int | None = None,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    hidden: int | None = None,
    positions: int | None = None,
    segment_ids: int | None = None,
    activation: str | None = None,
    epsilon: float | None = None,
    dropout: float = 0.1,
    padding_id: int | None = None,
    pairs: bool = False,
) -> keras.Model:
    """Masked language model over an encoder: logits of the token at each place, by the vectors of the tokens.

    Source: https://arxiv.org/abs/1810.04805, section 3.1.

    Args:
        length: T, tokens in a padded text, or None for any; exports to TFLite want it known.
        encoder: a name of the family's encoders, as of `bert_classifier`.
        vocabulary: token ids run from 0 to `vocabulary - 1`; None takes the encoder's, like the arguments below.
        embedding: width of the embeddings, of ALBERT and ELECTRA.
        width: D, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        hidden: width of the hidden layer of each perceptron.
        positions: the longest text in tokens.
        segment_ids: ids of segments.
        activation: of the perceptrons and of the head: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings and in each block, from 0 to 1.
        padding_id: token id of the padding, which no token sees.
        pairs: whether two logits over the pooled first token come too: whether a second sentence follows, or is in
            order.

    Returns:
        A model from `{"tokens", "segments"}`, each (B, T) int32, or from tokens alone for DistilBERT and RoBERTa, to
        logits (B, T, V) in float32; with `pairs` to `{"logits": (B, T, V), "pair": (B, 2)}`.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> kerasdl.build("bert_tiny_masked_lm", length=16, vocabulary=1000).output_shape
        (None, 16, 1000)
    """
    form = dict(width=width, depth=depth, heads=heads, hidden=hidden, activation=activation, dropout=dropout)
    tables = dict(vocabulary=vocabulary, embedding=embedding, positions=positions, segment_ids=segment_ids)
    sizes = dict(**form, **tables, epsilon=epsilon, padding_id=padding_id)
    chosen, inputs, arguments = chosen_encoder(encoder, length, sizes)
    rows = checks.at_least("vocabulary", arguments.get("vocabulary", VOCABULARY), 2)
    columns = arguments.get("embedding", arguments["width"])
    vectors = layers.ReversibleEmbedding(rows, columns, reverse_dtype="float32", name="embedding")
    states = chosen.features(**inputs, **{**arguments, "vocabulary": rows}, table=vectors)  # (B, T, D)
    own = arguments.get("activation", ACTIVATION)
    x = layers.Dense(columns, name="head_dense")(states)
    x = TanhGELU(name="head_gelu_tanh")(x) if own == "gelu_tanh" else layers.Activation(own, name=f"head_{own}")(x)
    x = sequence_norm(x, epsilon=arguments.get("epsilon", EPSILON), name="head_norm")
    logits = LearnedVector(dtype="float32", name="head_bias")(vectors(x, reverse=True))  # (B, T, V)
    outputs = {"logits": logits, "pair": _pair_logits(states, chosen.activation)} if pairs else logits
    inputs = inputs if len(inputs) > 1 else inputs["tokens"]
    return keras.Model(inputs, outputs, name=f"{chosen.network}_masked_lm")


def _pair_logits(states, activation: str):
    """Returns the logits (B, 2) of a pair of sentences over the pooled first token."""
    return layers.Dense(2, dtype="float32", name="pair")(pooled(states, activation=activation))
