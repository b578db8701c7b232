"""Bundles that answer questions: settings, saved and loaded, figures by hand, exports with parity, commands."""

import dataclasses
import json

import numpy as np
import pytest
from filling import fill_weights
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.cli.commands import app
from kerasdl.core import ArgumentError, BundleError, DataError
from kerasdl.data import DataWarning, as_dataset
from kerasdl.data.text import question_data
from kerasdl.metrics import squad
from kerasdl.sequence import QuestionAnswerer, train_tokenizer
from kerasdl.train import RunConfig

NAMES, PLACES = ("ada", "bob", "eve", "ian"), ("rome", "oslo", "lima", "bonn")
CONTEXTS = [
    f"some time ago , {name} went to {place} and {other} stayed ."
    for name in NAMES
    for place in PLACES
    for other in NAMES
    if other != name
]
QUESTIONS = ["who went ?" if k % 2 else "to where ?" for k in range(len(CONTEXTS))]
ANSWERS = [context.split()[4 if k % 2 else 7] for k, context in enumerate(CONTEXTS)]
PLANTED = [[(each, text.index(f" {each} ") + 1)] for each, text in zip(ANSWERS, CONTEXTS, strict=True)]
DATA = question_data(QUESTIONS, CONTEXTS, PLANTED)
SIZES = dict(encoder="bert_tiny", width=16, depth=1, heads=2, hidden=32, positions=16, dropout=0.0)
QUIET = RunConfig(progress="off", batch_size=16)


def answerer(length=12, **changes):
    tokenizer = train_tokenizer([*CONTEXTS, *QUESTIONS], "word", 60, ends=True)
    kerasdl.set_seed(0)
    network = kerasdl.build("bert_answerer", length=length, vocabulary=tokenizer.vocabulary, **SIZES)
    return QuestionAnswerer(fill_weights(network), tokenizer, **{"stride": 3, **changes})


def bundle_of(**changes):
    made = answerer(**{key: value for key, value in changes.items() if key in ("length", "no_answer", "stride")})
    parts = made.bundle_parts("answers")
    return Bundle.of(**{**parts, "preprocess": {**parts["preprocess"], **changes}})


def test_a_bundle_is_saved_with_its_tokenizer_and_answers_raw_strings_of_any_length(tmp_path):
    bundle = bundle_of(no_answer=True)
    loaded = kerasdl.load_bundle(bundle.save(tmp_path / "answers.zip"))
    raw = [*zip(QUESTIONS[:6], CONTEXTS[:6], strict=True), ("who went ?", " ".join(CONTEXTS[:20]))]
    results = loaded.predict(raw)
    assert results == bundle.predict(raw)
    for (_, context), result in zip(raw, results, strict=True):
        assert len(result["answers"]) == 3
        for each in result["answers"]:
            assert each["answer"] is None or each["answer"] == context[each["start"] : each["end"]]
    assert loaded.predict(raw[-1]) == loaded.predict([raw[-1]])
    line = next(line for line in loaded.card().splitlines() if line.startswith("print(bundle.predict("))
    assert eval(line, {"bundle": loaded, "print": list})[0]["answer"] in (None, "The", "cat", "sat")


def test_figures_are_those_of_the_answers():
    bundle, data = bundle_of(), DATA.take(10)
    figures = bundle.evaluate(data)
    given = [each["answer"] for each in bundle.predict(list(zip(QUESTIONS[:10], CONTEXTS[:10], strict=True)))]
    wanted = squad([[each] for each in ANSWERS[:10]], given)
    assert {key: figures[key] for key in wanted} == wanted
    ready = bundle.ready(data)
    logits = bundle.model.predict(ready.source.inputs, verbose=0)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(shares, ready.source.labels[..., None], axis=-1)
    assert figures["loss"] == pytest.approx(-np.log(picked).mean(), rel=1e-4)
    right = (logits.argmax(axis=-1) == ready.source.labels).all(axis=1).mean()
    assert figures["span_accuracy"] == pytest.approx(right)
    assert bundle.evaluate(ready) == figures
    part = bundle.evaluate(as_dataset(ready.arrays(), task="question_answering"))
    assert sorted(part) == ["loss", "span_accuracy"]
    made = answerer()
    assert made.measure(QUESTIONS[:10], CONTEXTS[:10], [[each] for each in ANSWERS[:10]]) == wanted


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tokenizer": None}, "must hold a tokenizer"),
        ({"stride": 12}, "stride must be"),
        ({"stride": -1}, "stride must be"),
        ({"stride": None}, "stride must be"),
        ({"longest": 0}, "longest must be"),
        ({"no_answer": "yes"}, "no_answer must be True or False"),
        ({"threshold": float("nan")}, "threshold must be"),
        ({"segments": False}, r'preprocess\["segments"\] = True'),
        ({"length": 11}, "length must"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, error):
    parts = answerer().bundle_parts("answers")
    with pytest.raises(BundleError, match=error):
        Bundle.of(**{**parts, "preprocess": {**parts["preprocess"], **changes}})


def test_other_networks_labels_and_templates_are_refused():
    parts = answerer().bundle_parts("answers")
    with pytest.raises(BundleError, match="answers questions has no labels"):
        Bundle.of(**{**parts, "labels": ("a", "b")})
    tagger = kerasdl.build("bert_tagger", length=12, vocabulary=60, classes=2, **SIZES)
    with pytest.raises(BundleError, match=r"one output, logits \(B, 2, T\)"):
        Bundle.of(**{**parts, "model": tagger})
    bare = train_tokenizer(CONTEXTS, "word", 60)
    with pytest.raises(ArgumentError, match="template must begin with a token of its own"):
        QuestionAnswerer(parts["model"], bare, no_answer=True)
    with pytest.raises(ArgumentError, match="must be a list of texts"):
        answerer().answer("who ?", CONTEXTS[:1])
    with pytest.raises(ArgumentError, match="lists of one length"):
        answerer().answer(["who ?"], CONTEXTS[:2])


def test_data_that_would_teach_something_else_are_refused():
    bundle = bundle_of()
    bare = question_data(["who ?", "who ?"], CONTEXTS[:2], [[], ["rome"]])
    with pytest.raises(ArgumentError, match=r"1 without'.* Set no_answer, or leave them out"):
        bundle.ready(bare)
    assert bundle_of(no_answer=True).ready(bare).size > 2
    with pytest.raises(ArgumentError, match="data must be of the task question_answering"):
        bundle.ready("sentiment")
    long = question_data(["who ?", "who ?"], CONTEXTS[:2], [[(CONTEXTS[0], 0)], ["rome"]])
    with pytest.warns(DataWarning, match=r"1 of 2 questions .* that no window holds whole, such as 'who"):
        assert bundle.ready(long).size == 1
    with pytest.warns(DataWarning), pytest.raises(ArgumentError, match=r"a window of .* must hold an answer"):
        bundle.ready(question_data(["who ?"], CONTEXTS[:1], [[(CONTEXTS[0], 0)]]))
    weighted = dataclasses.replace(DATA, source=dataclasses.replace(DATA.source, weights=np.ones(DATA.size)))
    with pytest.raises(ArgumentError, match="must have no weights"):
        bundle.ready(weighted)
    with pytest.raises(ArgumentError, match="question_data makes it of lists"):
        bundle.evaluate(([("who ?", CONTEXTS[0])], ["ada"]))
    kernel = bundle.model.get_layer("head").kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(DataError, match="finite"):
        bundle.predict([("who ?", CONTEXTS[0])])


@pytest.mark.bars
def test_a_tiny_net_learns_planted_answers_and_its_files_give_the_same(tmp_path):
    """Questions ask for the person, the place or what no text says; windows of 12 hold a part of each text."""
    asked = [*QUESTIONS, *["where stayed ?"] * len(QUESTIONS)]
    data = question_data(asked, [*CONTEXTS, *CONTEXTS], [*PLANTED, *[[]] * len(QUESTIONS)])
    order = np.random.default_rng(0).permutation(data.size)
    train, test = (data.of_examples(data.source.pick(part)) for part in (order[:72], order[72:]))
    made = answerer(no_answer=True)
    start = Bundle.of(**made.bundle_parts("answers"))
    before = start.evaluate(test)
    tuned = start.finetune(train, epochs=60, freeze="none", learning_rate=0.01, config=QUIET)
    after = tuned.evaluate(test)
    assert before["has_answer_exact_match"] < 0.3
    assert min(after["has_answer_exact_match"], after["no_answer_exact_match"]) >= 0.9
    assert after["f1"] >= after["exact_match"]
    staged = tuned.finetune(train, epochs=2, config=QUIET)
    assert staged.evaluate(test)["exact_match"] >= 0.8
    (tokens, expected), (question, context) = answers_by_hand(tuned, None), (QUESTIONS[0], CONTEXTS[0])
    for name in ("answers.tflite", "answers.onnx"):
        report = tuned.export(tmp_path / name, representative=test)
        assert report.worst_relative < 1e-4
        assert answers_by_hand(tuned, tmp_path / name)[1] == expected
        card = (tmp_path / f"{name}.md").read_text()
        assert "beginning with the last 3 ids" in card
        assert (tmp_path / f"{name}.tokenizer.json").exists()
    assert expected == tuned.predict([(question, context)])[0]["answer"]
    assert tokens.shape[1] == 12
    int8 = tuned.export(tmp_path / "int8.tflite", quantize="int8", representative=train)
    assert int8.bytes > 0


def answers_by_hand(bundle, path):
    """Returns windows and the answer of an app that follows the steps on a file's card, from a file or the model."""
    import tokenizers

    from kerasdl.deploy import run_exported

    question, context = QUESTIONS[0], CONTEXTS[0]
    backend = tokenizers.Tokenizer.from_str(bundle.preprocess["tokenizer"])
    backend.enable_truncation(12, stride=3, strategy="only_second")
    backend.enable_padding(length=12, pad_id=0)
    first = backend.encode(question, context)
    encodings = [first, *first.overflowing]
    fed = {
        "tokens": np.array([each.ids for each in encodings], "int32"),
        "segments": np.array([each.type_ids for each in encodings], "int32"),
    }
    (logits,) = run_exported(path, fed).values() if path else (bundle.model.predict(fed, verbose=0),)
    best = (-np.inf, "")
    for encoding, (starts, ends) in zip(encodings, np.asarray(logits), strict=True):
        places = [place for place, text in enumerate(encoding.sequence_ids) if text == 1]
        for first_place in places:
            for last_place in places:
                span = encoding.offsets[first_place][0], encoding.offsets[last_place][1]
                if 0 <= last_place - first_place < 30:
                    best = max(best, (float(starts[first_place] + ends[last_place]), context[slice(*span)]))
    return fed["tokens"], best[1]


@pytest.mark.bars
def test_commands_learn_from_a_file_predict_and_evaluate(tmp_path):
    paragraphs = [
        {"context": context, "qas": [{"question": question, "answers": [{"text": text, "answer_start": start}]}]}
        for question, context, ((text, start),) in zip(QUESTIONS, CONTEXTS, PLANTED, strict=True)
    ]
    file, out = tmp_path / "mine.json", tmp_path / "answers.zip"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    runner, name = CliRunner(), f"squad:{file}"
    learn = ["finetune", "--task", "question_answering", name, "--out", str(out), "--epochs", "1"]
    learnt = runner.invoke(app, learn)
    assert learnt.exit_code == 0, learnt.output
    assert "by a hash of the text" in learnt.output
    assert "exact_match" in learnt.output
    other = runner.invoke(app, ["finetune", "--task", "token_tagging", name, "--out", str(tmp_path / "b.zip")])
    assert other.exit_code == 2
    measured = runner.invoke(app, ["evaluate", str(out), name, "--json"])
    assert measured.exit_code == 0, measured.output
    assert {"exact_match", "f1", "loss"} <= set(json.loads(measured.output))
    (tmp_path / "text.txt").write_text(CONTEXTS[0])
    for context in (CONTEXTS[0], str(tmp_path / "text.txt")):
        asked = runner.invoke(app, ["predict", str(out), "who went ?", "to where ?", "--context", context, "--json"])
        assert asked.exit_code == 0, asked.output
        rows = json.loads(asked.output)
        assert [each["input"] for each in rows] == ["who went ?", "to where ?"]
        assert all(each["answer"] in CONTEXTS[0] for each in rows)
    (tmp_path / "asked.json").write_text(
        json.dumps([{"question": "who went ?", "context": CONTEXTS[0]}, ["who ?", "ada"]])
    )
    listed = runner.invoke(app, ["predict", str(out), str(tmp_path / "asked.json")])
    assert listed.exit_code == 0, listed.output
    bare = runner.invoke(app, ["predict", str(out), "who went ?"])
    assert bare.exit_code == 2
    assert "--context" in bare.output
    both = runner.invoke(app, ["predict", str(out), str(tmp_path / "asked.json"), "--context", "ada"])
    assert both.exit_code == 2
