"""Taggers: counts, padding, tokens as ids, entities with their places, bundles of texts in and tags out."""

import json
import re

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.commands import app
from kerasdl.core import ArgumentError, BundleError, DataError, get_task
from kerasdl.data import as_dataset, load
from kerasdl.deploy import run_exported
from kerasdl.layers import CRF, PaddingMask
from kerasdl.sequence import TokenTable
from kerasdl.sequence.nlp import TagDecoder

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TEXTS = ["Ada Byron left  Rome .", "Rome slept", "", "Ada ran"]


def test_counts_are_the_sums_of_the_equations():
    words, width, letters, character, filters, units, tags = 20_000, 100, 100, 30, 30, 200, 9
    count = words * width + letters * character + 3 * character * filters + filters
    count += 2 * 4 * ((width + filters + units) * units + units) + 2 * units * tags + tags
    assert kerasdl.spec("bilstm_tagger").params == count
    assert kerasdl.spec("bilstm_crf").params == count + tags**2 + 2 * tags


@pytest.mark.parametrize("name", ["bilstm_crf", "bilstm_tagger"])
def test_padding_changes_nothing(name, tiny):
    spec, model = kerasdl.spec(name), tiny(name)
    longer = kerasdl.build(name, **{**spec.tiny, "length": 16})
    longer.set_weights(model.get_weights())
    inputs, _ = get_task("token_tagging").example(model, 4, 0)
    mask = inputs["tokens"] != 0
    padded = {key: np.pad(each, [(0, 0), (0, 8), (0, 0)][: each.ndim]) for key, each in inputs.items()}
    expected, found = model(inputs, training=False).numpy(), longer(padded, training=False).numpy()
    np.testing.assert_allclose(found[:, :8][mask], expected[mask], atol=1e-5)
    if name == "bilstm_crf":
        np.testing.assert_allclose(found[:, 8:], -np.log(5), atol=1e-6)
    other = {**inputs, "characters": np.where(inputs["characters"] > 0, 1, 0)}
    assert np.abs(model(other, training=False).numpy() - expected)[mask].max() > 1e-4


def table():
    return TokenTable.of(TEXTS, word_length=6)


def test_tokens_become_ids_by_the_table():
    own = TokenTable.of(["12 Main St", "77 main"], word_length=3)
    assert own.words == ("00", "main", "st")
    ids = own.encode(["9 MAIN Exx"], length=4)
    assert ids["tokens"].tolist() == [[1, 3, 1, 0]]
    assert ids["characters"].shape == (1, 4, 3)
    assert (ids["characters"][0, 2] == 1).all()  # no letter of it
    assert not ids["characters"][0, 3].any()
    assert TokenTable.from_settings(json.loads(json.dumps(own.settings()))) == own
    assert TokenTable.of(["a b"], characters=False).encode([["b"], []]).tolist() == [[3], [0]]
    with pytest.raises(ArgumentError, match="at most 2 tokens"):
        own.encode(["1 2 3"], length=2)
    with pytest.raises(ArgumentError, match="without spaces"):
        own.encode([["1 2"]])


def test_tagged_data_fit_a_tagger_and_faults_are_named():
    data = load("addresses")
    ready = TokenTable.of(data.source.inputs).tagged(data)
    assert ready.task == "token_tagging"
    assert len(ready.class_names) == len({tag for row in data.source.labels for tag in row.split()}) > 20
    row = ready.source.labels[0]
    assert [ready.class_names[tag] for tag in row[row >= 0]] == data.source.labels[0].split()
    assert (row >= 0).tolist() == (ready.source.inputs["tokens"][0] > 0).tolist()
    with pytest.raises(DataError, match="2 tokens and 1 tags"):
        table().tagged(as_dataset((np.array(["a b"]), np.array(["O"]))))
    with pytest.raises(DataError, match="example 1 has 'X'"):
        table().tagged(as_dataset((np.array(["a", "b"]), np.array(["O", "X"]))), ["O"])


WEIGHTS = {"ada": 1, "byron": 2, "rome": 3}


def bundle(crf=True, **settings):
    """Returns a bundle of a net by hand: the vector of a word is the scores of its tag."""
    own = TokenTable.of(TEXTS, characters=False)
    scores = np.zeros((own.vocabulary, 5), "float32")
    for word, number in enumerate([0, 0, *(WEIGHTS.get(word, 0) for word in own.words)]):
        scores[word, number] = 4.0
    tokens = keras.Input((settings.get("length"),), dtype="int32", name="tokens")
    x = keras.layers.Embedding(own.vocabulary, 5, name="embedding")(tokens)
    outputs = CRF("zeros", name="crf")([x, PaddingMask(name="mask")(tokens)]) if crf else x
    model = keras.Model(tokens, outputs, name="by_hand")
    model.get_layer("embedding").set_weights([scores])
    prepare = {**own.settings(), "tags": TAGS, "length": None, **settings}
    return kerasdl.Bundle.of(model, name="people", labels=TAGS, task="token_tagging", preprocess=prepare)


@pytest.mark.parametrize("crf", [True, False])
def test_a_bundle_takes_texts_and_gives_entities_with_their_places(tmp_path, crf):
    labels = np.array(["B-PER I-PER O B-LOC O", "B-LOC O", "B-PER B-LOC"])
    texts = np.array(["Ada Byron left  Rome .", "Rome slept", "Ada ran"])
    bundle(crf).save(tmp_path / "people.zip")
    made = kerasdl.load_bundle(tmp_path / "people.zip")
    first, empty, last = made.predict([texts[0].item(), "", ["Ada", "ran"]])
    assert first["tags"] == labels[0].split()
    assert [(each["label"], each["text"], each["start"], each["end"]) for each in first["entities"]] == [
        ("PER", "Ada Byron", 0, 9),
        ("LOC", "Rome", 16, 20),
    ]
    assert 0.5 < min(first["scores"]) <= 1.0
    assert empty == {"tokens": [], "tags": [], "scores": [], "entities": []}
    assert [each["text"] for each in last["entities"]] == ["Ada"]
    assert get_task("token_tagging").table(first) == first["entities"]
    figures = made.evaluate((texts, labels))
    assert figures["accuracy"] == pytest.approx(8 / 9)
    assert figures["f1"] == pytest.approx(2 * 4 / (4 + 5))
    logits = 4 * np.eye(5)[[1, 2, 0, 3, 0]]
    expected = -np.log(np.exp(logits[0, 1]) / np.exp(logits[0]).sum()) * 8 + np.log(np.exp(4.0) + 4)
    assert figures["loss"] == pytest.approx(expected / 3, rel=1e-5)
    with pytest.raises(DataError, match="'B-ORG'"):
        made.evaluate((np.array(["Ada"]), np.array(["B-ORG"])))


def test_decoding_keeps_the_scheme_whatever_the_net_says():
    logits = np.zeros((1, 3, 5, 5), "float32")
    logits[..., 2] = 4.0  # inner tags alone
    decoder = TagDecoder(TAGS, "BIO")
    tags = decoder(logits)["tags"].numpy()[0].tolist()
    assert [TAGS[tag] for tag in tags] == ["B-PER", "I-PER", "I-PER"]
    assert TagDecoder()(logits)["tags"].numpy()[0].tolist() == [2, 2, 2]
    assert decoder(logits[:, :, 0])["tags"].numpy()[0].tolist() == [2, 2, 2]  # each token alone
    again = TagDecoder.from_config(decoder.get_config())
    np.testing.assert_array_equal(again(logits)["tags"], decoder(logits)["tags"])


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"tags": TAGS[::-1]}, "tags of the settings"),
        ({"words": ["a", "a"]}, "must differ"),
        ({"words": [str(number) for number in range(99)]}, "fit the 9 ids"),
        ({"characters": ["a"]}, "fit the inputs"),
        ({"scheme": "IOB1"}, "scheme"),
        ({"scheme": "runs"}, "scheme must be that of the labels"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, fault):
    with pytest.raises(BundleError, match=re.escape(fault)):
        bundle(**settings)


def test_weights_of_data_to_measure_are_refused():
    with pytest.raises(ArgumentError, match="must have no weights"):
        bundle().evaluate((np.array(TEXTS[:2]), np.array(["O O O O O", "O O"]), np.zeros(2)))


@pytest.mark.slow
@pytest.mark.parametrize(("crf", "suffix"), [(True, ".tflite"), (True, ".onnx"), (False, ".tflite")])
def test_a_file_holds_the_decoding_and_gives_the_tags_of_the_bundle(tmp_path, crf, suffix):
    made = bundle(crf, length=6)
    path = tmp_path / f"people{suffix}"
    report = made.export(path)
    assert {each.name for each in report.outputs} == {"tags", "scores"}
    tokens = made.ready((np.array(TEXTS[:2]), np.array(["O O O O O", "O O"]))).source.inputs
    for text, ids in zip(TEXTS[:2], tokens, strict=True):
        found = run_exported(path, ids[None])
        (expected,) = made.predict([text])
        assert [TAGS[tag] for tag in found["tags"][0][: len(expected["tags"])]] == expected["tags"]
        np.testing.assert_allclose(found["scores"][0][: len(expected["tags"])], expected["scores"], atol=1e-5)


def test_the_command_line_prints_a_row_an_entity(tmp_path):
    bundle().save(tmp_path / "people.zip")
    (tmp_path / "texts.json").write_text(json.dumps(["Ada left Rome", "left"]))
    words = ["predict", str(tmp_path / "people.zip"), str(tmp_path / "texts.json")]
    rows = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [each["text"] for each in rows[0]["entities"]] == ["Ada", "Rome"]
    shown = CliRunner().invoke(app, words).stdout
    assert "label" in shown
    assert "Rome" in shown
