"""Task text_encoding, and pairs of texts for classifiers: strings in, vectors and labels out."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.cli.text_start import text_bundle
from kerasdl.core import ArgumentError, BundleError, DataError, get_task
from kerasdl.data import as_dataset
from kerasdl.deploy import run_exported
from kerasdl.sequence import encode, load_tokenizer
from kerasdl.train import RunConfig

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "green", "car", "bus", "ship", "a", "the"]
TEXTS = ["the red car", "a blue ship", "green"]


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return load_tokenizer(tmp_path / "vocab.txt")


def settings_of(tokenizer, **changes):
    return {"length": 8, "padding_id": 0, "segments": True, "tokenizer": tokenizer.to_text(), **changes}


def bundle_of(tokenizer, name="bert_tiny", labels=(), **changes):
    classes = {"classes": len(labels)} if labels else {}
    arguments = {**kerasdl.spec(name).tiny, "vocabulary": len(WORDS), **classes}
    model = fill_weights(kerasdl.build(name, **arguments))
    named = {"name": "texts", "task": kerasdl.spec(name).task, "labels": labels}
    named |= {"builder": name, "arguments": arguments}
    return Bundle.of(model, preprocess=settings_of(tokenizer, **changes), **named)


def states_of(bundle, tokenizer, text):
    """Returns the hidden states of one text without its padding."""
    tokens, segments = tokenizer.encode_batch([text], 8, segments=True)
    inputs = {"tokens": tokens, "segments": segments}
    inputs = {each.name: inputs[each.name] for each in bundle.model.inputs}
    given = bundle.model(inputs if len(inputs) > 1 else tokens)
    given = given["hidden_states"] if isinstance(given, dict) else given
    return np.asarray(given)[0, : len(tokenizer.encode(text))]


@pytest.mark.parametrize("name", ["bert_tiny", "distilbert_base"])
def test_vectors_are_means_of_the_tokens_or_the_first(name, tokenizer):
    bundle = bundle_of(tokenizer, name, segments=name == "bert_tiny")
    rows = [states_of(bundle, tokenizer, text) for text in TEXTS]
    means = np.array([row.mean(axis=0) for row in rows])
    np.testing.assert_allclose(encode(bundle, TEXTS, normalise=False), means, atol=1e-5)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(encode(bundle, TEXTS, batch_size=2), unit, atol=1e-5)
    firsts = np.array([row[0] for row in rows])
    np.testing.assert_allclose(encode(bundle, TEXTS, pooling="first", normalise=False), firsts, atol=1e-5)
    settings = settings_of(tokenizer, segments=name == "bert_tiny")
    np.testing.assert_array_equal(encode(bundle.model, TEXTS, settings=settings), encode(bundle, TEXTS))


def test_a_bundle_gives_vectors_by_its_settings_and_keeps_them(tokenizer, tmp_path):
    bundle = bundle_of(tokenizer, pooling="first", normalise=False)
    given = np.array([each["vector"] for each in bundle.predict(TEXTS)])
    np.testing.assert_array_equal(given, encode(bundle, TEXTS, pooling="first", normalise=False))
    again = kerasdl.load_bundle(bundle.save(tmp_path / "texts.zip"))
    np.testing.assert_array_equal([each["vector"] for each in again.predict(TEXTS)], given)
    ids = [tokenizer.encode(text) for text in TEXTS]
    np.testing.assert_array_equal([each["vector"] for each in again.predict(ids)], given)
    assert "turns a text into a vector" in again.card()
    assert get_task("text_encoding").table(again.predict(TEXTS)[0])[0]["numbers"] == 32


@pytest.mark.slow
def test_a_file_of_an_encoder_gives_the_states_that_the_card_pools(tokenizer, tmp_path):
    bundle = bundle_of(tokenizer, pooling="mean")
    labels = np.array([0, 1, 0] * 40, np.int32)
    data = dataclasses.replace(as_dataset((np.array(TEXTS * 40), labels)), task="text_classification")
    bundle.export(tmp_path / "texts.tflite", quantize="dynamic", representative=data)
    assert "the mean of the hidden states of all tokens but the padding" in (tmp_path / "texts.tflite.md").read_text()
    inputs, _ = bundle.task.preprocess([TEXTS[0]], bundle.preprocess)
    states = run_exported(tmp_path / "texts.tflite", inputs)["hidden_states"]
    mean = states[0, inputs["tokens"][0] != 0].mean(axis=0)
    vector = encode(bundle, TEXTS)[0]
    assert mean @ vector / np.linalg.norm(mean) > 0.999


def test_datasets_of_texts_become_inputs_of_an_encoder(tokenizer):
    bundle = bundle_of(tokenizer)
    data = as_dataset((np.array(TEXTS), np.zeros(3, np.int32)))
    inputs, _ = bundle.ready(data).arrays()
    expected, _ = bundle.task.preprocess(TEXTS, bundle.preprocess)
    for name, value in expected.items():
        np.testing.assert_array_equal(inputs[name], value)
    np.testing.assert_array_equal(bundle.ready(bundle.ready(data)).arrays()[0]["tokens"], expected["tokens"])
    with pytest.raises(ArgumentError, match="data must be of the task text_encoding"):
        bundle.ready("digits")


def test_pairs_have_segments_by_the_template(tokenizer):
    inputs, _ = get_task("text_classification").preprocess([("red car", "blue")], settings_of(tokenizer))
    assert inputs["tokens"].tolist() == [[2, 4, 7, 3, 5, 3, 0, 0]]
    assert inputs["segments"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
    alone, _ = get_task("text_classification").preprocess([("red car", "blue")], settings_of(tokenizer, segments=False))
    assert alone.tolist() == inputs["tokens"].tolist()
    two, _ = get_task("text_classification").preprocess(("red car", "blue"), settings_of(tokenizer))
    assert two["tokens"].shape == (2, 8), "a tuple of texts is texts, as a list is"
    with pytest.raises(ArgumentError, match="texts alone, or pairs of texts alone"):
        get_task("text_classification").preprocess([("red", "blue"), "car"], settings_of(tokenizer))


def test_a_classifier_of_pairs_takes_arrays_and_datasets(tokenizer):
    bundle = bundle_of(tokenizer, "bert_tiny_classifier", ("same", "other"))
    pairs, labels = [("red car", "red"), ("blue bus", "green"), ("a ship", "the ship")], np.array([0, 1, 0], np.int32)
    ready = bundle.ready(as_dataset((np.array(pairs), labels), class_names=bundle.labels))
    inputs, targets = ready.arrays()
    expected, _ = bundle.task.preprocess(pairs, bundle.preprocess)
    for name, value in expected.items():
        np.testing.assert_array_equal(inputs[name], value)
    np.testing.assert_array_equal(targets, labels)
    swapped = [pair[::-1] for pair in pairs]
    assert np.abs(bundle.logits(pairs) - bundle.logits(swapped)).max() > 1e-3
    assert set(bundle.evaluate((pairs, ["same", "other", "same"]))) >= {"loss", "accuracy"}


@pytest.mark.slow
def test_a_classifier_of_pairs_learns_and_its_head_is_replaced(tokenizer):
    rng = np.random.default_rng(0)
    colours, things = WORDS[4:7], WORDS[7:10]

    def drawn(count):
        chosen = rng.integers(0, 3, (count, 4))
        pairs = [(f"{colours[a]} {things[b]}", f"{colours[c]} {things[d]}") for a, b, c, d in chosen]
        return pairs, ["same" if row[0] == row[2] else "other" for row in chosen]

    bundle = bundle_of(tokenizer, "bert_tiny_classifier", ("a", "b", "c"))
    bundle = dataclasses.replace(bundle, model=kerasdl.build("bert_tiny_classifier", **bundle.manifest.arguments))
    config = RunConfig(progress="off", batch_size=32, seed=0)
    data = as_dataset(drawn(600), class_names=("other", "same"))
    tuned = bundle.finetune(data, epochs=25, learning_rate=3e-3, freeze="none", config=config)
    assert tuned.labels == ("other", "same")
    pairs, labels = drawn(200)
    assert tuned.evaluate((pairs, labels))["accuracy"] > 0.95  # the share of `other` is 0.67


@pytest.mark.slow
def test_a_program_beside_a_file_feeds_segments(tokenizer, tmp_path):
    bundle = bundle_of(tokenizer, "bert_tiny_classifier", ("a", "b"))
    data = (TEXTS * 10, ["a", "b", "a"] * 10)
    path = tmp_path / "texts.onnx"
    bundle.export(path, representative=data)
    assert "1 at the tokens of the second text of a pair" in (tmp_path / "texts.onnx.md").read_text()
    program = [sys.executable, f"{path}.py", *TEXTS]
    lines = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    for line, answer in zip(lines, bundle.predict(TEXTS), strict=True):
        _, label, score = line.split("\t")
        assert label == answer["label"]
        assert float(score) == pytest.approx(answer["score"], abs=1e-3)


def test_the_command_line_starts_an_encoder_from_texts():
    data = as_dataset((np.array(["red car", "blue bus"] * 20), np.array([0, 1] * 20, np.int32)), class_names=("a", "b"))
    data = dataclasses.replace(data, task="text_classification")
    bundle = text_bundle(data, "bert_tiny_classifier")
    assert bundle.preprocess["segments"]
    tokenizer = kerasdl.sequence.Tokenizer.from_text(bundle.preprocess["tokenizer"])
    assert tokenizer.encode("red car")[0] == tokenizer.begin_id, "the first token is of no word"
    assert len(bundle.predict(["red bus"])) == 1


REFUSED = {
    "labels": ({"labels": ("a",)}, "an encoder gives vectors and has no labels"),
    "pooling": ({"pooling": "last"}, "pooling must be one of"),
    "normalise": ({"normalise": 1}, "normalise must be True or False"),
    "segments": ({"segments": False}, r'Set preprocess\["segments"\] = True'),
    "padding": ({"padding_id": 1}, "padding_id must be 0"),
    "length": ({"length": 9}, "length must fit the model's input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_do_not_fit_are_refused(case, tokenizer):
    changes, error = REFUSED[case]
    with pytest.raises(BundleError, match=error):
        bundle = bundle_of(tokenizer)
        Bundle.of(
            bundle.model,
            name="texts",
            task="text_encoding",
            labels=changes.get("labels", ()),
            preprocess=settings_of(tokenizer, **{key: value for key, value in changes.items() if key != "labels"}),
        )


def test_models_and_bundles_that_do_not_encode_are_refused(tokenizer):
    bundle = bundle_of(tokenizer)
    with pytest.raises(ArgumentError, match="a model needs settings="):
        encode(bundle.model, TEXTS)
    with pytest.raises(ArgumentError, match="a bundle has its own"):
        encode(bundle, TEXTS, settings={"length": 8})
    classifier = bundle_of(tokenizer, "bert_tiny_classifier", ("a", "b"))
    with pytest.raises(ArgumentError, match="an encoder must give hidden states"):
        encode(classifier, TEXTS)
    bundle.model.get_layer("embedding_norm").gamma.assign(np.full(32, np.nan))
    with pytest.raises(DataError, match="finite vectors; that of text 0 is not"):
        encode(bundle, TEXTS)
