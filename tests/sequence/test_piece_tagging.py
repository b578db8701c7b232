"""Taggers over pieces: words are read and tagged at their first piece."""

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError, BundleError, get_task
from kerasdl.data import as_dataset
from kerasdl.sequence import load_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "par", "##is", "x", "in", "s", "##ee", ",", "ann"]
LABELS = ("O", "B-PER", "B-LOC")


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return load_tokenizer(tmp_path / "vocab.txt")


def bundle_of(tokenizer, name="bert_tagger", **changes):
    own = {"encoder": "bert_tiny", **kerasdl.spec(name).arguments, "classes": len(LABELS)}
    arguments = {**kerasdl.spec(name).tiny, **own, "length": 12, "vocabulary": len(WORDS)}
    settings = {"length": 12, "padding_id": 0, "segments": name == "bert_tagger", "tokenizer": tokenizer.to_text()}
    settings["tags"] = list(LABELS)
    named = {"name": "pieces", "task": "token_tagging", "labels": LABELS, "builder": name, "arguments": arguments}
    return Bundle.of(kerasdl.build(name, **arguments), preprocess=settings | changes, **named)


def test_labels_stand_at_the_first_piece_of_each_word(tokenizer):
    assert tokenizer.encoded("ann see, in paris").tokens[1:-1] == ("ann", "s", "##ee", ",", "in", "par", "##is")
    data = as_dataset((np.array(["ann see, in paris", "in"]), np.array(["B-PER O O B-LOC", "O"])))
    for name in ("bert_tagger", "distilbert_tagger"):
        ready = bundle_of(tokenizer, name).ready(data)
        inputs, labels = ready.arrays()
        tokens = inputs["tokens"] if name == "bert_tagger" else inputs
        assert tokens.tolist() == [[2, 11, 8, 9, 10, 7, 4, 5, 3, 0, 0, 0], [2, 7, 3] + 9 * [0]]
        assert labels.tolist() == [[-1, 1, 0, -1, -1, 0, 2, -1, -1, -1, -1, -1], [-1, 0] + 10 * [-1]]


def test_answers_are_read_there_and_places_are_those_of_the_text(tokenizer):
    bundle = bundle_of(tokenizer)
    head = bundle.model.get_layer("head")
    head.set_weights([0 * head.kernel.numpy(), np.zeros(3)])
    outputs = np.zeros((1, 12, 3))
    for place, tag in {1: 1, 2: 0, 3: 2, 4: 2, 5: 0, 6: 2, 7: 0}.items():  # further pieces say something else
        outputs[0, place, tag] = 9
    inputs, context = bundle.task.preprocess(["ann see, in paris"], bundle.preprocess)
    assert set(inputs) == {"tokens", "segments"}
    (result,) = bundle.task.decode(outputs, LABELS, context)
    assert result["tokens"] == ["ann", "see,", "in", "paris"]
    assert result["tags"] == ["B-PER", "O", "O", "B-LOC"]
    assert [(each["label"], each["text"], each["start"]) for each in result["entities"]] == [
        ("PER", "ann", 0),
        ("LOC", "paris", 12),
    ]
    two = bundle.predict(["ann", "see in paris"])
    assert [len(each["tags"]) for each in two] == [1, 3]
    assert bundle.predict([["see", "in", "paris"]])[0]["tags"] == two[1]["tags"]


def test_texts_without_piece_too_long_or_of_a_chain_are_refused(tokenizer):
    bundle = bundle_of(tokenizer)
    with pytest.raises(ArgumentError, match="at most 12 pieces; got 14"):
        bundle.predict(["paris " * 6])
    with pytest.raises(ArgumentError, match="each word of a text must have a piece"):
        bundle.predict(["ann \u0001 paris"])
    with pytest.raises(BundleError, match=r'Set preprocess\["segments"\] = True'):
        bundle_of(tokenizer, segments=False)
    chain = kerasdl.build("bilstm_crf", **{**kerasdl.spec("bilstm_crf").tiny, "word_length": 0, "classes": 3})
    with pytest.raises(ArgumentError, match="since a chain would count every piece"):
        settings = {"length": 8, "padding_id": 0, "tokenizer": tokenizer.to_text()}
        get_task("token_tagging").check(settings, LABELS, chain)
