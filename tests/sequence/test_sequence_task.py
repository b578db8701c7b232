"""Task sequence_to_sequence: strings in bundles, files of encoder and step that write the same strings, refusals."""

import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError, BundleError, get_task
from kerasdl.data import as_dataset, load
from kerasdl.deploy import export_onnx, run_exported
from kerasdl.sequence import train_tokenizer

WORDS = ["abc", "bca", "cab", "abba", "c"]
SETTINGS = {"length": 7, "target_length": 5}


def bundle_of(name="seq2seq", settings=SETTINGS, **changes):
    """Returns a bundle with a tokenizer of three letters, whose answers differ without training."""
    tokenizer = train_tokenizer(WORDS, "char", 7)
    network = fill_weights(
        kerasdl.build(name, **{**kerasdl.spec(name).tiny, "vocabulary": tokenizer.vocabulary, **changes})
    )
    for layer, factor in {"head": 6.0, "target_embedding": 4.0}.items():
        network.get_layer(layer).set_weights([factor * weight for weight in network.get_layer(layer).get_weights()])
    settings = {**settings, "tokenizer": tokenizer.to_text()}
    return Bundle.of(network, name="letters", task="sequence_to_sequence", preprocess=settings)


def test_texts_and_ids_are_not_mixed():
    bundle = bundle_of()
    (text,), (tokens,) = bundle.predict(["abc"]), bundle.predict([[4, 5, 6]])
    assert list(text) == ["text"]
    assert list(tokens) == ["tokens"]
    for raw in (["abc", [4, 5, 6]], [[4, 5, 6], "abc"]):
        with pytest.raises(ArgumentError, match=r"texts alone.*Ask for each kind"):
            bundle.predict(raw)


def host_loop(encode, step, tokenizer, texts, length):
    """Writes texts by two functions of an exported file: the encoder once, and the step a token."""
    source = tokenizer.encode_batch(texts, 7)
    fixed = encode({"source": source})
    fixed |= {"source": source} if "memory" in fixed else {}
    token, rows = np.full((len(source), 1), 2, "int32"), []
    for _ in range(length):
        given = step({"token": token, **fixed})
        token = given.pop("logits").argmax(-1).astype("int32")[:, None]
        fixed |= {name.removeprefix("next_"): state for name, state in given.items()}
        rows.append(token[:, 0])
    ids = np.stack(rows, axis=1).tolist()
    return [tokenizer.decode(row[: row.index(3)] if 3 in row else row) for row in ids]


@pytest.mark.parametrize("quantize", [None, pytest.param("dynamic", marks=pytest.mark.slow)])
def test_a_tflite_file_of_two_signatures_writes_the_same_strings(quantize, tmp_path):
    bundle, tokenizer = bundle_of(), train_tokenizer(WORDS, "char", 7)
    data = get_task("sequence_to_sequence").example(bundle.model, 100, 0)
    report = bundle.export(tmp_path / "letters.tflite", quantize=quantize, representative=data)
    assert list(report.signatures) == ["encoder", "step"]

    def signature(name):
        return lambda inputs: run_exported(tmp_path / "letters.tflite", inputs, signature=name)

    written = host_loop(signature("encoder"), signature("step"), tokenizer, WORDS, 5)
    assert written == [each["text"] for each in bundle.predict(WORDS)]
    assert len(set(written)) > 1


@pytest.mark.parametrize("name", ["seq2seq_lstm", pytest.param("seq2seq_no_attention", marks=pytest.mark.slow)])
def test_two_onnx_files_write_the_same_strings(name, tmp_path):
    bundle, tokenizer = bundle_of(name), train_tokenizer(WORDS, "char", 7)
    for role, network in bundle.task.exported({"model": bundle.model}).items():
        export_onnx(network, tmp_path / f"{role}.onnx")
    written = host_loop(
        lambda inputs: run_exported(tmp_path / "encoder.onnx", inputs),
        lambda inputs: run_exported(tmp_path / "step.onnx", inputs),
        tokenizer,
        WORDS,
        5,
    )
    assert written == [each["text"] for each in bundle.predict(WORDS)]


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_a_bundle_takes_strings_and_ids_and_keeps_its_tokenizer(suffix, tmp_path):
    bundle = bundle_of()
    again = kerasdl.load_bundle(bundle.save(tmp_path / f"letters{suffix}"))
    found = bundle.predict(WORDS)
    assert again.predict(WORDS) == found
    assert all(isinstance(each["text"], str) for each in found)
    tokenizer = train_tokenizer(WORDS, "char", 7)
    ids = again.predict([tokenizer.encode(word) for word in WORDS])
    assert [tokenizer.decode(each["tokens"]) for each in ids] == [each["text"] for each in found]
    data = load("copy", "test", size=20)
    letters = data.of_examples(type(data.source)(np.array(WORDS), np.array(["a", "ab", "abc", "abca", ""])))
    figures = again.evaluate(letters)
    assert set(figures) >= {"loss", "token_accuracy", "exact_match", "free_running_accuracy"}
    assert "reads a sequence of tokens" in again.card()


def test_texts_become_targets_with_an_end():
    bundle = bundle_of()
    data = load("copy", "test", size=20)
    letters = data.of_examples(type(data.source)(np.array(["ab", "c"]), np.array(["ba", ""])))
    ready = get_task("sequence_to_sequence").ready(letters, bundle.preprocess)
    (x, y), tokenizer = ready.arrays(), train_tokenizer(WORDS, "char", 7)
    a, b, c = (tokenizer.id_of(each) for each in "abc")
    assert x["source"].tolist() == [[a, b, 0, 0, 0, 0, 0], [c, 0, 0, 0, 0, 0, 0]]
    assert x["target"].tolist() == [[2, b, a, 3, 0], [2, 3, 0, 0, 0]]
    assert y.tolist() == [[b, a, 3, -1, -1], [3, -1, -1, -1, -1]]


def test_weights_of_texts_stay_with_them():
    data = get_task("sequence_to_sequence").ready(
        as_dataset((["ab", "c"], ["ba", "c"], [3.0, 0.5])), bundle_of().preprocess
    )
    assert np.asarray(data.source.weights).tolist() == [3.0, 0.5]


def test_what_does_not_fit_is_refused():
    bundle = bundle_of()
    for raw, rule in (
        (["abcabcab"], "at most 7 tokens"),
        ("abc", "must be a list of texts"),
        ([[0.5]], "lists of token ids"),
        ([[-3]], "lists of token ids"),
        ({"text": "ab"}, "Pass the list or the column"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            bundle.predict(raw)
    with pytest.raises(BundleError, match="length must fit the network"):
        bundle_of(settings={"length": 9, "target_length": 5})
    with pytest.raises(BundleError, match="vocabulary must be that of target_embedding"):
        bundle_of(target_vocabulary=9)
    without = Bundle.of(bundle.model, name="ids", task="sequence_to_sequence", preprocess=SETTINGS)
    with pytest.raises(ArgumentError, match="need the tokenizer"):
        without.predict(["ab"])
    with pytest.raises(BundleError, match="has no labels"):
        Bundle.of(bundle.model, name="ids", task="sequence_to_sequence", preprocess=SETTINGS, labels=["a"])
