"""Bundles of text classifiers: texts in, labels out; the tokenizer travels as text and is checked."""

import csv
import dataclasses
import json
import subprocess
import sys
import types

import numpy as np
import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.commands import app
from kerasdl.data import as_dataset
from kerasdl.sequence import train_tokenizer
from kerasdl.train import RunConfig

ANIMALS, TOOLS = ("cat", "dog", "horse", "cow"), ("saw", "hammer", "drill", "file")
ROWS = [
    (f"the {noun} is {word} number {k}", kind)
    for k in range(8)
    for kind, nouns in (("animal", ANIMALS), ("tool", TOOLS))
    for noun in nouns
    for word in ("old", "new")
]
TEXTS = [text for text, _ in ROWS]
QUIET = RunConfig(progress="off", batch_size=16)


def small_bundle(kind="word", **changes):
    tokenizer = train_tokenizer(TEXTS, kind, 60)
    settings = {"length": 8, "padding_id": 0, "tokenizer": tokenizer.to_text()} | changes
    arguments = {"length": 8, "vocabulary": 60, "classes": 2, "embedding": 8, "units": 12}
    kerasdl.set_seed(0)
    model = kerasdl.build("gru_classifier", **arguments)
    labels = ("animal", "tool")
    named = {"name": "things", "task": "text_classification", "labels": labels, "preprocess": settings}
    return kerasdl.Bundle.of(model, builder="gru_classifier", arguments=arguments, **named)


@pytest.fixture(scope="module")
def tuned():
    config = dataclasses.replace(QUIET, seed=1)
    labels = [label for _, label in ROWS]
    data = (TEXTS, labels)
    return small_bundle().finetune(data, epochs=12, learning_rate=0.02, freeze="none", config=config)


@pytest.fixture(scope="module")
def saved(tuned, tmp_path_factory):
    return tuned.save(tmp_path_factory.mktemp("bundle") / "things.zip")


def test_texts_go_in_and_labels_come_out(tuned, saved):
    answers = [each["label"] for each in tuned.predict(["the cat is here", "the hammer is new"])]
    assert answers == ["animal", "tool"]
    assert tuned.predict("the dog")[0]["label"] == "animal"
    loaded = kerasdl.load_bundle(saved)
    assert loaded.preprocess["tokenizer"] == tuned.preprocess["tokenizer"]
    np.testing.assert_allclose(loaded.logits(TEXTS), tuned.logits(TEXTS), atol=1e-6)
    ids = kerasdl.sequence.Tokenizer.from_text(loaded.preprocess["tokenizer"]).encode_batch(TEXTS, 8)
    np.testing.assert_allclose(loaded.logits(ids), tuned.logits(TEXTS), atol=1e-6)
    assert tuned.evaluate((np.array(TEXTS), [label for _, label in ROWS]))["accuracy"] > 0.9
    assert 'bundle.predict(["some text"])' in tuned.card()


def test_datasets_of_texts_and_of_ids_of_any_length_are_made_ready():
    bundle = small_bundle()
    labels = np.array([0, 1, 0], np.int32)
    texts = as_dataset((["the cat", "a saw", "dog"], labels), class_names=bundle.labels)
    tokenizer = kerasdl.sequence.Tokenizer.from_text(bundle.preprocess["tokenizer"])
    ids = [tokenizer.encode(text) for text in ("the cat", "a saw", "dog")]
    ready = bundle.ready(texts)
    assert ready.input_shape == (8,)
    assert ready.input_dtype == "int32"
    for other in ((ids, labels), as_dataset((ids, labels), class_names=bundle.labels)):
        assert np.array_equal(bundle.ready(other).arrays()[0], ready.arrays()[0])
    with pytest.raises(kerasdl.ArgumentError, match="task text_classification"):
        bundle.ready("digits")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tokenizer": "{}"}, r"text of a tokenizer\.json"),
        ({"tokenizer": 3}, r"text of a tokenizer\.json"),
        ({"tokenizer": train_tokenizer(TEXTS, "byte_bpe", 300).to_text()}, "60 rows of the model's embedding"),
        ({"padding_id": 1}, "padding_id must be 0, which the model's layer 'mask' masks"),
        (
            {"tokenizer": train_tokenizer(TEXTS, "word", 20).to_text().replace("[PAD]", "[NIL]")},
            "padding_id must be that of the tokenizer, None",
        ),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(changes, error):
    with pytest.raises(kerasdl.BundleError, match=error):
        small_bundle(**changes)


@pytest.mark.parametrize("raw", [{"text": ["the cat"]}, {"the cat"}, types.SimpleNamespace(columns=["text"])])
def test_tables_and_sets_are_refused(raw):
    with pytest.raises(kerasdl.ArgumentError, match=r"texts, or lists of token ids; .* Pass the list or the column"):
        small_bundle().predict(raw)


def test_ids_that_int32_would_fold_are_refused():
    with pytest.raises(kerasdl.ArgumentError, match=r"below 2\*\*31; got 4294967301"):
        small_bundle().predict([[4, 2**32 + 5]])


def test_texts_need_a_tokenizer():
    bundle = small_bundle(tokenizer=None)
    with pytest.raises(kerasdl.ArgumentError, match="settings hold no tokenizer"):
        bundle.predict(["the cat"])
    assert len(bundle.predict([[4, 5]])) == 1


def test_a_large_tokenizer_is_saved(tmp_path):
    words = [f"w{k}" for k in range(40_000)]
    tokenizer = train_tokenizer([" ".join(words)], "word", 50_000)
    model = kerasdl.build("gru_classifier", length=8, vocabulary=50_000, classes=2, embedding=1, units=2)
    settings = {"length": 8, "padding_id": 0, "tokenizer": tokenizer.to_text()}
    named = {"name": "large", "task": "text_classification", "labels": ("a", "b"), "preprocess": settings}
    path = kerasdl.Bundle.of(model, **named).save(tmp_path / "large.zip")
    assert kerasdl.load_bundle(path).preprocess["tokenizer"] == tokenizer.to_text()
    assert len(tokenizer.to_text()) > 2**19


def test_a_file_has_its_tokenizer_and_a_program_beside_it(tuned, tmp_path):
    path = tmp_path / "things.onnx"
    tuned.export(path, representative=(TEXTS, [label for _, label in ROWS]))
    facts = json.loads((tmp_path / "things.onnx.json").read_text())
    assert facts["text"]["tokenizer"] == "things.onnx.tokenizer.json" == facts["preprocessing"]["tokenizer"]
    assert (tmp_path / "things.onnx.tokenizer.json").read_text() == tuned.preprocess["tokenizer"]
    assert "things.onnx.tokenizer.json" in (tmp_path / "things.onnx.md").read_text()
    texts = ["the horse is old", "drill", "the file is new and much longer than eight tokens are"]
    done = subprocess.run(
        [sys.executable, f"{path}.py", *texts], capture_output=True, text=True, check=True, timeout=120
    )
    answers = tuned.predict(texts)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [[text, each["label"]] for text, each in zip(texts, answers, strict=True)]
    assert [float(line[2]) for line in lines] == pytest.approx([each["score"] for each in answers], abs=1e-3)
    assert "kerasdl" not in (tmp_path / "things.onnx.py").read_text()


def test_the_command_line_learns_from_a_csv_file_and_answers_texts(tmp_path):
    with (tmp_path / "things.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "kind"), *ROWS])
    data, out = f"csv:{tmp_path / 'things.csv'}", tmp_path / "out.zip"
    columns = ["--text", "review", "--label", "kind"]
    command = ["finetune", "--task", "text_classification", data, *columns, "--out", str(out), "--epochs", "3"]
    done = CliRunner().invoke(app, [*command, "--learning-rate", "0.02", "--json"])
    assert done.exit_code == 0, done.output
    assert kerasdl.load_bundle(out).labels == ("animal", "tool")
    answer = CliRunner().invoke(app, ["predict", str(out), "the cat is old", "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)[0]["input"] == "the cat is old"
    assert json.loads(answer.output)[0]["label"] in ("animal", "tool")
    figures = CliRunner().invoke(app, ["evaluate", str(out), f"{data}#review,kind", "--json"])
    assert figures.exit_code == 0, figures.output
    assert CliRunner().invoke(app, ["finetune", data, *columns, "--task", "forecasting", "--out", "x.zip"]).exit_code
