"""Summariser: texts to texts by the tokens of its network, ROUGE of what it writes, refusals."""

import pytest
from filling import fill_weights

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.metrics import rouge
from kerasdl.sequence import Summarizer, train_tokenizer

TEXTS = ["a cat sat on a mat", "the dog ran", "the cat ran on the mat and the dog sat"]
SIZES = dict(length=6, target_length=4, embedding=8, units=12)


def summarizer_of(tokenizer, **changes):
    """Returns a summariser whose answers differ without training."""
    network = fill_weights(kerasdl.build("seq2seq", **{**SIZES, "vocabulary": tokenizer.vocabulary, **changes}))
    for name, factor in {"head": 6.0, "target_embedding": 4.0}.items():
        layer = network.get_layer(name)
        layer.set_weights([factor * weight for weight in layer.get_weights()])
    return Summarizer(network, tokenizer)


def test_summaries_are_what_the_network_writes_and_rouge_is_of_them():
    tokenizer = train_tokenizer(TEXTS, "word", 20)
    summarizer = summarizer_of(tokenizer)
    given = summarizer.summarise(TEXTS)
    rows = summarizer.translate(tokenizer.encode_batch(TEXTS, 6)).tolist()
    assert given == [tokenizer.decode(row[: row.index(3)] if 3 in row else row) for row in rows]
    assert len(set(given)) > 1
    assert summarizer.measure(TEXTS, given) == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    assert summarizer.measure(TEXTS, TEXTS) == rouge(TEXTS, given)
    wide = summarizer.translate(tokenizer.encode_batch(TEXTS, 6), width=3)
    assert summarizer.summarise(TEXTS, width=3)[0] == tokenizer.decode([t for t in wide[0] if t > 3])


def test_other_tokenizers_are_refused():
    tokenizer = train_tokenizer(TEXTS, "word", 20)
    with pytest.raises(ArgumentError, match="at most 9 tokens"):
        summarizer_of(tokenizer, vocabulary=9)
    bart = kerasdl.build("bart_base", **{**kerasdl.spec("bart_base").tiny, "vocabulary": tokenizer.vocabulary})
    with pytest.raises(ArgumentError, match="must pad with 1"):
        Summarizer(bart, tokenizer)
    with pytest.raises(ArgumentError, match="a list of texts"):
        summarizer_of(tokenizer).summarise("a cat")
