"""Text encoders with the weights of transformers: the same hidden states, pooled vectors and logits.

Frozen answers of small peers stand in tests/frozen/encoders; where transformers is installed peers are built here too.
"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import text_encoder_peers as peers
from peer_files import write_safetensors

import kerasdl
from kerasdl.core import ArgumentError, WeightsError
from kerasdl.weights import bundle_from, model_from

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)


def frozen(name, folder):
    """Writes the folder of a small peer, and returns its answers."""
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        shapes, config = (json.loads(str(file[key])) for key in ("shapes", "config"))
        answers = {key: file[key] for key in file if key not in ("shapes", "config")}
    arrays = {key: peers.array_of(key, tuple(shape)) for key, shape in shapes.items()}
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "model.safetensors", arrays)
    (folder / "config.json").write_text(json.dumps(config))
    return answers, arrays, config


def compare(name, folder, expected):
    """Compares our outputs with a peer's, without those of the padding, which no one reads."""
    case = peers.CASES[name]
    texts = peers.texts_of(case)
    model = model_from(folder, length=max(peers.LENGTHS))
    given = model(texts if case.segments else texts["tokens"], training=False)
    given = given if isinstance(given, dict) else dict.fromkeys(expected, given)
    real = texts["tokens"] != case.settings.get("pad_token_id", 0)
    assert given.keys() == expected.keys()
    for key, value in expected.items():
        pair = [
            np.asarray(each)[real] if value.shape[:2] == real.shape else np.asarray(each)
            for each in (given[key], value)
        ]
        assert np.std(pair[1]) > 1e-2, "constant answers prove nothing"
        np.testing.assert_allclose(*pair, rtol=0, atol=1e-4 * max(1.0, np.abs(pair[1]).max()), err_msg=key)


@pytest.mark.parametrize("name", peers.CASES)
def test_frozen_answers(name, tmp_path):
    answers, _, _ = frozen(name, tmp_path)
    compare(name, tmp_path, answers)


@pytest.mark.slow
def test_answers_of_the_peers(tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process."""
    find = "import importlib.util as util; raise SystemExit(not all(map(util.find_spec, ('torch', 'transformers'))))"
    if subprocess.run([PYTHON, "-c", find]).returncode:
        pytest.skip("transformers is needed to build the peers, here or in the Python that PEERS_PYTHON names")
    subprocess.run([PYTHON, peers.__file__, tmp_path], check=True, capture_output=True)
    for name in peers.CASES:
        with np.load(tmp_path / name / "answers.npz") as file:
            compare(name, tmp_path / name, dict(file))


def test_the_encoder_of_a_classifier_keeps_its_own_head(tmp_path):
    """Pretrained files have no head: it stays fresh, and the report says so; model_from refuses such a gap."""
    _, arrays, config = frozen("bert", tmp_path)
    model = kerasdl.build("bert_classifier", **SMALL, classes=4)
    before = model.get_layer("head").kernel.numpy()
    report = kerasdl.import_weights(model, tmp_path)
    assert not report.head
    assert report.notes == ("'head' stays fresh, since the file has no such layer",)
    np.testing.assert_array_equal(model.get_layer("head").kernel, before)
    np.testing.assert_array_equal(model.get_layer("pooler").kernel, arrays["pooler.dense.weight"].T)
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(WeightsError, match="must fill the whole of bert_classifier; 'head' stays fresh"):
        model_from(tmp_path, length=12)


SMALL = dict(vocabulary=60, width=32, depth=3, heads=4, hidden=48, positions=20, length=12)


def test_a_file_of_pretraining_and_names_of_the_first_files_are_read(tmp_path):
    answers, arrays, config = frozen("bert", tmp_path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    named = {f"bert.{name}": array for name, array in arrays.items()}
    for new, before in old.items():
        named = {name.replace(new, before): array for name, array in named.items()}
    assert sum(name.endswith("gamma") for name in named) == 7
    write_safetensors(tmp_path / "model.safetensors", {**named, "cls.predictions.bias": np.ones(60, "float32")})
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    compare("bert", tmp_path, answers)
    bare = {name: array for name, array in named.items() if "pooler" not in name}
    write_safetensors(tmp_path / "model.safetensors", bare)
    with pytest.raises(WeightsError, match="'pooler'"):
        model_from(tmp_path, length=12)
    assert model_from(tmp_path, length=12, pooler=False).output_shape == (None, 12, 32)


def test_files_in_shards_and_of_a_net_with_more_blocks(tmp_path):
    answers, arrays, _ = frozen("bert", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    names = sorted(arrays)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in halves.items():
        write_safetensors(tmp_path / file, {name: arrays[name] for name in part})
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    compare("bert", tmp_path, answers)
    with pytest.raises(WeightsError, match="'block4_attention_query'"):
        model_from(tmp_path, depth=4, length=12)
    with pytest.raises(WeightsError, match=r"no layer here reads 'encoder\.layer\.2"):
        model_from(tmp_path, depth=2, length=12)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"architectures": ["MambaModel"]}, "architectures of config.json must name one of .*'BertModel'"),
        ({"architectures": []}, "architectures of config.json"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type of config.json"),
        ({"is_decoder": True}, "is_decoder of config.json"),
        ({"hidden_act": "mish"}, "hidden_act must be one of"),
        ({"hidden_size": [1, 2]}, "settings of config.json must be numbers"),
        ({"vocab_size": "60"}, "settings of config.json must be numbers"),
        ({"vocab_size": 60.0}, "settings of config.json must be numbers"),
        ({"vocab_size": -1}, "settings of config.json must be numbers"),
        ({"vocab_size": 10**12}, "vocabulary of config.json must fit weights of"),
        ({"hidden_size": 10**9}, "width of config.json must fit weights of"),
        ({"num_hidden_layers": 10**7}, "blocks of config.json must be 256 at most"),
    ],
)
def test_a_config_of_another_net_is_refused(change, error, tmp_path):
    _, _, config = frozen("bert", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ArgumentError, match=error):
        model_from(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", None])
def test_a_config_that_cannot_be_read_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        model_from(tmp_path)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(56))]


def text_folder(name, folder, **files):
    """Writes the folder of a small peer with a vocabulary and further files."""
    frozen(name, folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))


MODULES = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]


def test_a_folder_becomes_a_bundle_with_tokenizer_and_pooling(tmp_path):
    files = {"modules.json": MODULES[:2], "1_Pooling/config.json": {"pooling_mode_cls_token": True}}
    text_folder("bert", tmp_path, **files, **{"sentence_bert_config.json": {"max_seq_length": 12}})
    bundle = bundle_from(str(tmp_path))
    assert bundle.preprocess["length"] == 12
    model = model_from(tmp_path, length=12)
    tokens = np.array([[2, 7, 9, 3] + 8 * [0]], "int32")
    first = np.asarray(model({"tokens": tokens, "segments": 0 * tokens})["hidden_states"])[0, 0]
    np.testing.assert_allclose(bundle.predict(["w3 w5"])[0]["vector"], first, atol=1e-5)
    again = kerasdl.load_bundle(bundle.save(tmp_path / "bundle.zip"))
    np.testing.assert_array_equal(again.predict(["w3 w5"])[0]["vector"], bundle.predict(["w3 w5"])[0]["vector"])


def test_a_classifier_becomes_a_bundle_with_its_labels(tmp_path):
    text_folder("bert_classifier", tmp_path)
    bundle = bundle_from(str(tmp_path), length=9)
    assert bundle.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    model = model_from(tmp_path, length=9)
    tokens = np.array([[2, 7, 3, 9, 3, 0, 0, 0, 0]], "int32")
    segments = np.array([[0, 0, 0, 1, 1, 0, 0, 0, 0]], "int32")
    expected = np.asarray(model({"tokens": tokens, "segments": segments}))
    np.testing.assert_allclose(bundle.logits([("w3", "w5")]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"problem_type": "multi_label_classification"}, "problem_type of config.json"),
        ({"problem_type": "regression"}, "problem_type of config.json"),
        ({"id2label": ["a", "b", "c"]}, "id2label of config.json"),
    ],
)
def test_a_head_of_other_scores_becomes_no_bundle(change, error, tmp_path):
    text_folder("bert_classifier", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ArgumentError, match=error):
        bundle_from(str(tmp_path))


def test_a_head_of_one_number_becomes_no_bundle(tmp_path):
    _, arrays, config = frozen("bert_classifier", tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    write_safetensors(
        tmp_path / "model.safetensors",
        {name: array[:1] if name.startswith("classifier") else array for name, array in arrays.items()},
    )
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "LABEL_0"}}))
    assert model_from(tmp_path, length=9).output_shape == (None, 1)
    with pytest.raises(ArgumentError, match="two classes or more"):
        bundle_from(str(tmp_path))


@pytest.mark.parametrize("name", ["bert_classifier", "minilm_classifier", "bert_tagger"])
def test_an_encoder_becomes_a_bundle_with_a_fresh_head(name, tmp_path):
    text_folder("bert", tmp_path)
    bundle = bundle_from(str(tmp_path), model=name, classes=3, length=9)
    assert bundle.manifest.provenance["head"] == "fresh"
    assert bundle.labels == ("class 0", "class 1", "class 2")
    assert len(bundle.predict(["w3 w5"])) == 1
    states = model_from(tmp_path, length=9)
    tokens = np.array([[2, 7, 9, 3] + 5 * [0]], "int32")
    last = keras.Model(bundle.model.input, bundle.model.get_layer("block3_mlp_norm").output)
    inputs = {"tokens": tokens, "segments": 0 * tokens}
    np.testing.assert_allclose(last(inputs), states(inputs)["hidden_states"], atol=1e-5)


def answering_folder(folder):
    """Writes the folder of a frozen tagger as one of an answerer with its first two outputs; returns their logits."""
    text_folder("bert_tagger", folder)
    answers, arrays, config = frozen("bert_tagger", folder)
    head = {f"qa_outputs.{part}": arrays[f"classifier.{part}"][:2] for part in ("weight", "bias")}
    body = {name: array for name, array in arrays.items() if not name.startswith("classifier")}
    write_safetensors(folder / "model.safetensors", {**body, **head})
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForQuestionAnswering"]}))
    return answers["logits"][..., :2]


def test_the_head_of_answers_is_read(tmp_path):
    expected = answering_folder(tmp_path)
    texts = peers.texts_of(peers.CASES["bert_tagger"])
    real = texts["tokens"] != 0
    given = np.asarray(model_from(tmp_path, length=12)(texts, training=False)).transpose(0, 2, 1)
    np.testing.assert_allclose(given[real], expected[real], atol=1e-4)
    bundle = bundle_from(str(tmp_path), length=12)
    assert (bundle.task.name, bundle.labels) == ("question_answering", ())
    assert bundle.manifest.provenance["head"] == "the peer's"
    assert bundle.predict([("w3", "w5 w6 w7")])[0]["answer"] in "w5 w6 w7"
    text_folder("bert", tmp_path)
    fresh = bundle_from(str(tmp_path), model="bert_answerer", length=9)
    assert fresh.manifest.provenance["head"] == "fresh"
    assert fresh.predict([("w3", "w5 w6 w7")])[0]["answer"] in "w5 w6 w7"


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"modules.json": [MODULES[0], MODULES[2]]}, "must name Transformer, Pooling"),
        ({"modules.json": MODULES, "1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "must name one of"),
        ({"modules.json": MODULES}, "must name one of"),
        ({"sentence_bert_config.json": {"max_seq_length": "12"}}, "max_seq_length of sentence_bert_config"),
    ],
)
def test_a_pooling_that_is_not_here_is_refused(files, error, tmp_path):
    text_folder("bert", tmp_path, **files)
    with pytest.raises(ArgumentError, match=error):
        bundle_from(str(tmp_path))


def test_a_folder_of_texts_takes_no_pixels_and_needs_a_tokenizer(tmp_path):
    frozen("bert", tmp_path)
    with pytest.raises(ArgumentError, match="takes no image_shape="):
        bundle_from(str(tmp_path), image_shape=(8, 8, 3))
    with pytest.raises(WeightsError, match="must hold a tokenizer"):
        bundle_from(str(tmp_path), length=12)
