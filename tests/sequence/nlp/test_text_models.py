"""Classifiers and taggers of raw texts: single texts, pairs, several labels, words and pieces; the bundle's answers."""

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.sequence import TextClassifier, TokenTable, TokenTagger, train_tokenizer
from kerasdl.train import RunConfig

TEXTS = [f"the {word} is {kind} number {k}" for k in range(6) for word in ("cat", "saw") for kind in ("old", "new")]
LABELS = np.array(["saw" in text for text in TEXTS], np.int32)
QUIET = RunConfig(progress="off", batch_size=8)
SMALL = dict(embedding=8, units=8)


def test_a_classifier_answers_as_its_bundle(tmp_path):
    data = as_dataset((np.array(TEXTS), LABELS), task="text_classification", class_names=("animal", "tool"))
    made = TextClassifier.from_data(data, **SMALL)
    bundle = Bundle.of(**made.bundle_parts("things"))
    assert made.predict(["the cat", "a saw"]) == bundle.predict(["the cat", "a saw"])
    assert made.labels == bundle.labels == ("animal", "tool")
    tuned = bundle.finetune(data, epochs=30, freeze="none", learning_rate=0.02, config=QUIET)
    assert [each["label"] for each in tuned.predict(["the cat is old", "the saw is new"])] == ["animal", "tool"]
    np.testing.assert_array_equal(made.ready(data).arrays()[0], bundle.ready(data).arrays()[0])
    assert kerasdl.load_bundle(tuned.save(tmp_path / "things.zip")).manifest.builder == "gru_classifier"


def test_pairs_of_texts_have_segments_and_a_tokenizer_of_both():
    pairs = np.array([[text, f"zebra {text.split()[1]}"] for text in TEXTS])
    data = as_dataset((pairs, LABELS), task="text_classification", class_names=("no", "yes"))
    sizes = dict(width=16, depth=1, heads=2, hidden=32, positions=64)
    made = TextClassifier.from_data(data, "bert_tiny_classifier", **sizes)
    ready = made.ready(data)
    assert ready.source.inputs["segments"].max() == 1
    assert (ready.source.inputs["tokens"] == 1).sum() == 0, "every word has an id"
    answers = made.predict([tuple(pair) for pair in pairs[:2]])
    assert answers == Bundle.of(**made.bundle_parts("pairs")).predict(pairs[:2].tolist())
    recurrent = TextClassifier.from_data(data, **SMALL)
    assert recurrent.predict(pairs[:1].tolist())[0]["label"] in ("no", "yes")


def test_several_labels_a_text(tmp_path):
    rows = np.array([["cat" in text, "old" in text, "number" in text] for text in TEXTS], np.float32)
    task = "multi_label_text_classification"
    data = as_dataset((np.array(TEXTS), rows), task=task, class_names=("cat", "old", "numbered"))
    made = TextClassifier.from_data(data, **SMALL)
    assert made.multi_label
    bundle = Bundle.of(**made.bundle_parts("several"))
    assert bundle.task.name == task
    tuned = bundle.finetune(data, epochs=30, freeze="none", learning_rate=0.02, config=QUIET)
    assert tuned.evaluate(data)["accuracy"] > 0.95
    (answer,) = kerasdl.load_bundle(tuned.save(tmp_path / "several.zip")).predict(["the saw is old number 1"])
    assert set(answer["labels"]) == {"old", "numbered"}
    assert made.predict(TEXTS[:2]) == bundle.predict(TEXTS[:2])


def test_taggers_of_words_and_of_pieces_answer_as_their_bundles():
    names = kerasdl.data.load("names").take(40)
    for net, sizes in (
        ("bilstm_crf", dict(units=8, embedding=8)),
        ("bert_tagger", dict(encoder="bert_tiny", width=16, depth=1, heads=2, hidden=32)),
    ):
        made = TokenTagger.from_data(names, net, vocabulary=200, **sizes)
        bundle = Bundle.of(**made.bundle_parts("names"))
        text = str(names.source.inputs[0])
        assert made.predict([text]) == bundle.predict([text])
        assert len(made.predict([text])[0]["tags"]) == len(text.split())
        assert made.ready(names).source.labels.shape == bundle.ready(names).source.labels.shape
        assert made.settings["scheme"] == "BIO"
        assert set(bundle.evaluate(names)) >= {"f1", "accuracy", "loss"}


def test_parts_that_do_not_fit_are_refused():
    tokenizer = train_tokenizer(TEXTS, "word", 40)
    network = kerasdl.build("gru_classifier", length=8, vocabulary=40, classes=2, **SMALL)
    with pytest.raises(ArgumentError, match="labels must name each of the 2 outputs; got 3"):
        TextClassifier(network, tokenizer, ["a", "b", "c"])
    with pytest.raises(ArgumentError, match="length must be that of the network, 8; got 9"):
        TextClassifier(network, tokenizer, ["a", "b"], length=9)
    free = kerasdl.build("gru_classifier", length=None, vocabulary=40, classes=2, **SMALL)
    with pytest.raises(ArgumentError, match="length must be given"):
        TextClassifier(free, tokenizer, ["a", "b"])
    assert TextClassifier(free, tokenizer, ["a", "b"], length=5).settings["length"] == 5
    with pytest.raises(ArgumentError, match="the task of bert_tagger"):
        TextClassifier.from_data(kerasdl.data.load("sentiment").take(4), "bert_tagger")
    with pytest.raises(ArgumentError, match="texts with named classes"):
        TextClassifier.from_data(kerasdl.data.load("iris"))
    with pytest.raises(ArgumentError, match="texts with their tags"):
        TokenTagger.from_data(kerasdl.data.load("sentiment").take(4))
    with pytest.raises(ArgumentError, match="the task of gru_classifier"):
        TokenTagger.from_data(kerasdl.data.load("names").take(4), "gru_classifier")
    table = TokenTable.of(TEXTS)
    with pytest.raises(ArgumentError):
        TokenTagger(network, table, ["a", "b"])
