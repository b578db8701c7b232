"""Heads over text encoders: a class for each text, a tag for each token, and the span of an answer (BERT,
https://arxiv.org/abs/1810.04805).

Deviations: RoBERTa and ELECTRA drop units before the pooling layer too; here dropout stands before the last layer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

from .albert import ALBERT, albert_features
from .bert import EXPORTS, SIZES, bert_features, pooled, text_inputs
from .distilbert import DISTILBERT
from .electra import ELECTRA
from .roberta import ROBERTA


@dataclass(frozen=True)
class TextEncoder:
    """An encoder of texts with the sizes of its paper."""

    network: str
    """Name of its network."""
    features: Callable[..., Any]
    """Function from inputs and sizes to hidden states (B, T, D)."""
    sizes: Mapping[str, Any]
    """Arguments of that function."""
    segments: bool = True
    """Whether it reads segments."""
    activation: str = "tanh"
    """Activation of the dense layer over the first token."""


ENCODERS = {
    **{name: TextEncoder("bert", bert_features, {**sizes, "segment_ids": 2}) for name, sizes in SIZES.items()},
    "distilbert_base": TextEncoder("distilbert", bert_features, DISTILBERT, False, "relu"),
    "roberta_base": TextEncoder("roberta", bert_features, ROBERTA, False),
    "albert_base": TextEncoder("albert", albert_features, {**ALBERT, "activation": "gelu_tanh"}),
    "electra_small": TextEncoder("electra", bert_features, ELECTRA, True, "gelu"),
}
PEERS = "kerasdl.sequence.transformer.encoder_peers"
TAGGERS = ("bert", "distilbert", "roberta", "albert", "electra")
CLASSIFIER_MAPS = {
    **dict.fromkeys(("bert_classifier", "bert_tiny_classifier", "minilm_classifier"), "BERT"),
    **{f"{name}_classifier": name.upper() for name in TAGGERS},
}
# One tiny net for all: what encoders differ in, their own nets have.
TINY = dict(
    encoder="bert_tiny",
    length=8,
    vocabulary=60,
    classes=3,
    width=32,
    depth=2,
    heads=2,
    hidden=64,
    positions=16,
    dropout=0.0,
)


def chosen_encoder(
    encoder: str, length: int | None, sizes: Mapping[str, Any]
) -> tuple[TextEncoder, dict, dict[str, Any]]:
    """Returns an encoder, its inputs and the arguments of its features; sizes that are None are those of its paper.

    Raises:
        ArgumentError: there is no such encoder, or it has no embeddings of another width.
    """
    chosen = ENCODERS[checks.one_of("encoder", encoder, ENCODERS)]
    inputs = text_inputs(length, segments=chosen.segments)
    given = {name: value for name, value in sizes.items() if value is not None}
    if "padding_id" in given and "first_position" in chosen.sizes:
        given["first_position"] = given["padding_id"] + 1
    if "embedding" in given and "embedding" not in chosen.sizes:
        checks.refuse("embedding is for albert_base and electra_small, whose embeddings are narrower", encoder)
    return chosen, inputs, {**chosen.sizes, **given}


def _encoded(encoder: str, length: int | None, sizes: Mapping[str, Any]) -> tuple[TextEncoder, dict, Any]:
    """Returns an encoder, its inputs and its hidden states."""
    chosen, inputs, arguments = chosen_encoder(encoder, length, sizes)
    return chosen, inputs, chosen.features(**inputs, **arguments)


def _model(inputs: dict, outputs: Any, name: str) -> keras.Model:
    return keras.Model(inputs if len(inputs) > 1 else inputs["tokens"], outputs, name=name)


@register(
    task="text_classification",
    paper="https://arxiv.org/abs/1810.04805",
    variants={
        "bert_classifier": {},
        "bert_tiny_classifier": {"encoder": "bert_tiny"},
        "minilm_classifier": {"encoder": "minilm_l6"},
        "distilbert_classifier": {"encoder": "distilbert_base"},
        "roberta_classifier": {"encoder": "roberta_base"},
        "albert_classifier": {"encoder": "albert_base"},
        "electra_classifier": {"encoder": "electra_small"},
    },
    params={
        "bert_classifier": 109_483_778,
        "bert_tiny_classifier": 4_386_178,
        "minilm_classifier": 22_713_986,
        "distilbert_classifier": 66_955_010,
        "roberta_classifier": 124_647_170,
        "albert_classifier": 11_685_122,
        "electra_classifier": 13_549_314,
    },
    reference="the classes ...ForSequenceClassification of transformers: the encoder, its pooling layer, a dense layer",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": {name: f"{PEERS}:{peer}" for name, peer in CLASSIFIER_MAPS.items()}},
    free={"length": None},
    tiny=TINY,
)
def bert_classifier(
    length: int | None = 128,
    *,
    encoder: str = "bert_base",
    classes: int = 2,
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
) -> keras.Model:
    """Text classifier over an encoder: its first token through a dense layer, dropout, and a logit for each class.

    Source: https://arxiv.org/abs/1810.04805, section 4.1 and figure 4 (a) and (b).

    Args:
        length: T, tokens in a padded text, or None for any; exports to TFLite want it known.
        encoder: a name of this family's encoders: `bert_tiny` to `bert_large`, `minilm_l6`, `distilbert_base`,
            `roberta_base`, `albert_base` or `electra_small`.
        classes: outputs.
        vocabulary: token ids run from 0 to `vocabulary - 1`; None takes the encoder's, like the arguments below.
        embedding: width of the embeddings, of ALBERT and ELECTRA.
        width: D, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        hidden: width of the hidden layer of each perceptron.
        positions: the longest text in tokens.
        segment_ids: ids of segments.
        activation: of the perceptrons: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings, in each block and before the last layer, from 0 to 1.
        padding_id: token id of the padding, which no token sees.

    Returns:
        A model from `{"tokens", "segments"}`, each (B, T) int32, or from tokens alone for DistilBERT and RoBERTa, to
        logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> kerasdl.build("bert_tiny_classifier", length=16, classes=4).output_shape
        (None, 4)
    """
    form = dict(width=width, depth=depth, heads=heads, hidden=hidden, activation=activation, dropout=dropout)
    tables = dict(vocabulary=vocabulary, embedding=embedding, positions=positions, segment_ids=segment_ids)
    chosen, inputs, x = _encoded(encoder, length, dict(**form, **tables, epsilon=epsilon, padding_id=padding_id))
    logits = prediction_head(pooled(x, activation=chosen.activation), classes, dropout=dropout)
    return _model(inputs, logits, f"{chosen.network}_classifier")


@register(
    task="token_tagging",
    paper="https://arxiv.org/abs/1810.04805",
    variants={
        "bert_tagger": {},
        "distilbert_tagger": {"encoder": "distilbert_base"},
        "roberta_tagger": {"encoder": "roberta_base"},
        "albert_tagger": {"encoder": "albert_base"},
        "electra_tagger": {"encoder": "electra_small"},
    },
    params={
        "bert_tagger": 108_898_569,
        "distilbert_tagger": 66_369_801,
        "roberta_tagger": 124_061_961,
        "albert_tagger": 11_099_913,
        "electra_tagger": 13_485_321,
    },
    reference="the classes ...ForTokenClassification of transformers: the encoder without pooler, and a dense layer",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": {f"{name}_tagger": f"{PEERS}:{name.upper()}" for name in TAGGERS}},
    free={"length": None},
    tiny=TINY,
)
def bert_tagger(
    length: int | None = 128,
    *,
    encoder: str = "bert_base",
    classes: int = 9,
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
) -> keras.Model:
    """Token tagger over an encoder: dropout, and a logit of each tag at each token.

    Source: https://arxiv.org/abs/1810.04805, section 5.3 and figure 4 (d).

    Args:
        length: as in `bert_classifier`, like the arguments not named here.
        encoder: as there.
        classes: tags.
        vocabulary: as there.
        embedding: as there.
        width: as there.
        depth: as there.
        heads: as there.
        hidden: as there.
        positions: as there.
        segment_ids: as there.
        activation: as there.
        epsilon: as there.
        dropout: as there.
        padding_id: as there.

    Returns:
        A model from the inputs of `bert_classifier` to logits (B, T, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> kerasdl.build("bert_tagger", encoder="bert_tiny", length=16, classes=5).output_shape
        (None, 16, 5)
    """
    form = dict(width=width, depth=depth, heads=heads, hidden=hidden, activation=activation, dropout=dropout)
    tables = dict(vocabulary=vocabulary, embedding=embedding, positions=positions, segment_ids=segment_ids)
    chosen, inputs, x = _encoded(encoder, length, dict(**form, **tables, epsilon=epsilon, padding_id=padding_id))
    x = layers.Dropout(dropout, name="head_drop")(x)
    logits = layers.Dense(checks.at_least("classes", classes, 1), dtype="float32", name="head")(x)  # (B, T, K)
    return _model(inputs, logits, f"{chosen.network}_tagger")


@register(
    task="question_answering",
    paper="https://arxiv.org/abs/1810.04805",
    variants={
        "bert_answerer": {},
        "bert_tiny_answerer": {"encoder": "bert_tiny"},
        "distilbert_answerer": {"encoder": "distilbert_base"},
        "roberta_answerer": {"encoder": "roberta_base"},
        "albert_answerer": {"encoder": "albert_base"},
        "electra_answerer": {"encoder": "electra_small"},
    },
    params={
        "bert_answerer": 108_893_186,
        "bert_tiny_answerer": 4_369_666,
        "distilbert_answerer": 66_364_418,
        "roberta_answerer": 124_056_578,
        "albert_answerer": 11_094_530,
        "electra_answerer": 13_483_522,
    },
    reference="the classes ...ForQuestionAnswering of transformers: the encoder without pooler, and a dense layer",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": {f"{name}_answerer": f"{PEERS}:{name.upper()}" for name in TAGGERS}},
    free={"length": None},
    tiny={name: value for name, value in TINY.items() if name != "classes"},
)
def bert_answerer(
    length: int | None = 384,
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
) -> keras.Model:
    """Extractive question answering over an encoder: a logit of each token to begin the answer, and one to end it.

    Source: https://arxiv.org/abs/1810.04805, section 4.2 and figure 4 (c).

    Args:
        length: as in `bert_classifier`, like the arguments not named here; the tokens of question and text together.
        encoder: as there.
        vocabulary: as there.
        embedding: as there.
        width: as there.
        depth: as there.
        heads: as there.
        hidden: as there.
        positions: as there.
        segment_ids: as there.
        activation: as there.
        epsilon: as there.
        dropout: as there.
        padding_id: as there.

    Returns:
        A model from the inputs of `bert_classifier` to logits (B, 2, T) in float32, those of the first token of the
        answer before those of its last one.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> kerasdl.build("bert_tiny_answerer", length=16).output_shape
        (None, 2, 16)
    """
    form = dict(width=width, depth=depth, heads=heads, hidden=hidden, activation=activation, dropout=dropout)
    tables = dict(vocabulary=vocabulary, embedding=embedding, positions=positions, segment_ids=segment_ids)
    chosen, inputs, x = _encoded(encoder, length, dict(**form, **tables, epsilon=epsilon, padding_id=padding_id))
    x = layers.Dropout(dropout, name="head_drop")(x)
    x = layers.Dense(2, dtype="float32", name="head")(x)  # (B, T, 2)
    return _model(inputs, layers.Permute((2, 1), dtype="float32", name="spans")(x), f"{chosen.network}_answerer")
