"""Export to Hugging Face: what is imported again is what was exported, and transformers computes the same."""

import json
import os
import subprocess
import sys

import exported_peers
import keras
import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl import sequence
from kerasdl.core import ArgumentError, safetensors
from kerasdl.weights import bundle_from, export_hugging_face, import_weights, model_from

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)
TINY = dict(length=8, vocabulary=60, width=32, depth=2, heads=2, hidden=48, positions=16, dropout=0.0)
OVER = {**TINY, "encoder": "bert_tiny"}
SEQ2SEQ = {**kerasdl.spec("t5_small").tiny, "depth": 2, "dropout": 0.0}
CASES = {
    "bert": ("bert_tiny", TINY),
    "bert_bare": ("bert_tiny", {**TINY, "pooler": False, "activation": "gelu_tanh", "epsilon": 1e-5}),
    "distilbert": ("distilbert_base", TINY),
    "roberta": ("roberta_base", {**TINY, "padding_id": 3}),
    "bert_classifier": ("bert_tiny_classifier", {**OVER, "classes": 3}),
    "distilbert_classifier": ("distilbert_classifier", {**TINY, "classes": 2}),
    "roberta_classifier": ("roberta_classifier", {**TINY, "classes": 4}),
    "roberta_tagger": ("roberta_tagger", {**TINY, "classes": 5}),
    "bert_masked_lm": ("bert_tiny_masked_lm", OVER),
    "distilbert_masked_lm": ("distilbert_masked_lm", TINY),
    "roberta_masked_lm": ("roberta_masked_lm", TINY),
    "gpt2": ("gpt2_small", {**kerasdl.spec("gpt2_small").tiny, "hidden": 40, "dropout": 0.0}),
    "llama": ("llama_7b", {**kerasdl.spec("llama_7b").tiny, "base": 5_000.0}),
    "qwen2": ("qwen2_0_5b", kerasdl.spec("qwen2_0_5b").tiny),
    "t5": ("t5_small", SEQ2SEQ),
    "t5_v1_1": ("t5_base_v1_1", SEQ2SEQ),
}
QUICK = ("roberta", "bert_masked_lm", "gpt2", "t5")


def built(case):
    name, arguments = CASES[case]
    model = kerasdl.build(name, **arguments)
    fill_weights(model)
    return model


def again(case, folder):
    """Returns the net that the import makes of an exported folder."""
    name, arguments = CASES[case]
    if case.endswith("masked_lm"):
        model = kerasdl.build(name, **arguments)
        assert import_weights(model, folder).head
        return model
    lengths = {key: arguments[key] for key in ("length", "target_length") if key in arguments}
    return model_from(folder, **lengths, **({"pooler": False} if "bare" in case else {}))


def drawn(case, model):
    """Returns inputs of a net, and the same by the names of transformers."""
    rng, padding = np.random.default_rng(1), CASES[case][1].get("padding_id", 1 if "roberta" in case else 0)
    shapes = {each.name: (3, each.shape[1]) for each in model.inputs}
    inputs = {
        name: rng.integers(4, 20 if "t5" in case else 50, shape).astype("int32") for name, shape in shapes.items()
    }
    if "segments" in inputs:
        inputs["segments"] %= 2
    first = next(iter(inputs))
    is_causal = case in ("gpt2", "llama", "qwen2")
    if not is_causal:
        inputs[first][1, 5:] = padding
    named = {"tokens": "input_ids", "source": "input_ids", "segments": "token_type_ids", "target": "decoder_input_ids"}
    theirs = {named[name]: value for name, value in inputs.items()}
    theirs |= {} if is_causal else {"attention_mask": inputs[first] != padding}
    return (inputs if len(inputs) > 1 else inputs[first]), theirs


def first_output(model, inputs):
    return np.asarray(keras.tree.flatten(model(inputs, training=False))[0])


@pytest.mark.parametrize(
    "case", [*QUICK, *(pytest.param(each, marks=pytest.mark.bars) for each in CASES if each not in QUICK)]
)
def test_what_is_imported_again_is_what_was_exported(case, tmp_path):
    model = built(case)
    assert export_hugging_face(model, tmp_path / case) == tmp_path / case
    copy = again(case, tmp_path / case)
    assert [each.name for each in copy.layers] == [each.name for each in model.layers]
    for own, other in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(own, other, err_msg=own.path)
    inputs, _ = drawn(case, model)
    np.testing.assert_allclose(first_output(copy, inputs), first_output(model, inputs), atol=1e-6)


@pytest.mark.bars
def test_transformers_computes_the_same(tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process."""
    find = "import importlib.util as util; raise SystemExit(not all(map(util.find_spec, ('torch', 'transformers'))))"
    if subprocess.run([PYTHON, "-c", find]).returncode:
        pytest.skip("transformers is needed to read the folders, here or in the Python that PEERS_PYTHON names")
    expected = {}
    for case in CASES:
        model, folder = built(case), tmp_path / case
        inputs, named = drawn(case, model)
        export_hugging_face(model, folder, shard_bytes=30_000)
        np.savez(folder / "inputs.npz", **named)
        expected[case] = first_output(model, inputs), named.get("attention_mask")
    command = [PYTHON, exported_peers.__file__, *(str(tmp_path / case) for case in CASES)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    for case, (ours, mask) in expected.items():
        with np.load(tmp_path / case / "answers.npz") as file:
            theirs = file["answers"]
        if mask is not None and "t5" not in case and theirs.shape[:2] == mask.shape:
            ours, theirs = ours[mask], theirs[mask]
        assert np.std(theirs) > 1e-3, "constant answers prove nothing"
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1.0, np.abs(theirs).max()), err_msg=case)


def test_large_weights_are_written_in_several_files(tmp_path):
    model = built("gpt2")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    export_hugging_face(model, whole)
    (tmp_path / "parts").mkdir()
    export_hugging_face(model, parts, shard_bytes=6_000)
    files = sorted(each.name for each in parts.glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((parts / safetensors.INDEX).read_text())
    one, several = safetensors.read(whole), safetensors.read(parts)
    assert {*index["weight_map"]} == {*one} == {*several}
    assert index["metadata"]["total_size"] == sum(each.nbytes for each in one.values())
    for name, array in one.items():
        np.testing.assert_array_equal(array, several[name])
        assert (parts / index["weight_map"][name]).stat().st_size < 6_000 + 4_000 or array.nbytes > 6_000
    assert safetensors.read_metadata(parts / files[0]) == {"format": "pt"}


def test_a_bundle_keeps_labels_and_tokenizer(tmp_path):
    texts = ["a good day", "a bad day", "good and bad"]
    tokenizer = sequence.train_tokenizer(texts, "wordpiece", 60, lowercase=True, ends=True)
    model = built("bert_classifier")
    settings = {"length": 8, "padding_id": 0, "segments": True, "tokenizer": tokenizer.to_text()}
    bundle = kerasdl.Bundle.of(
        model, name="mood", task="text_classification", labels=("bad", "good", "both"), preprocess=settings
    )
    copy = bundle_from(export_hugging_face(bundle, tmp_path / "mood"), length=8)
    assert copy.labels == bundle.labels
    assert copy.preprocess["tokenizer"] == tokenizer.to_text()
    for own, other in zip(bundle.predict(texts), copy.predict(texts), strict=True):
        assert own["label"] == other["label"]
        np.testing.assert_allclose(list(own["scores"].values()), list(other["scores"].values()), atol=1e-6)
    names = json.loads((tmp_path / "mood" / "tokenizer_config.json").read_text())
    assert names["pad_token"] == tokenizer.token_of(0)


@pytest.mark.bars
@pytest.mark.parametrize(("pooling", "normalise"), [("mean", True), ("first", False)])
def test_a_bundle_of_an_encoder_keeps_its_pooling(pooling, normalise, tmp_path):
    texts = ["a good day", "a bad day"]
    tokenizer = sequence.train_tokenizer(texts, "wordpiece", 60, lowercase=True, ends=True)
    settings = {"length": 8, "padding_id": 0, "segments": True, "tokenizer": tokenizer.to_text()}
    settings |= {"pooling": pooling, "normalise": normalise}
    bundle = kerasdl.Bundle.of(built("bert"), name="vectors", task="text_encoding", preprocess=settings)
    copy = bundle_from(export_hugging_face(bundle, tmp_path / "vectors"))
    assert {key: copy.preprocess[key] for key in settings} == settings
    np.testing.assert_allclose(sequence.encode(bundle, texts), sequence.encode(copy, texts), atol=1e-6)


def test_a_bundle_of_a_decoder_keeps_tokenizer_and_template(tmp_path):
    """A vocabulary without padding, whose id 0 is a token, as that of GPT-2."""
    pieces = {"!": 0, "a": 1, "b": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(pieces))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = sequence.load_tokenizer(tmp_path / "vocab.json")
    template = {"jinja": "{{ messages[0].content }}", "stop": ["<|endoftext|>"]}
    settings = {"length": 16, "tokenizer": tokenizer.to_text(), "chat_template": template}
    network = kerasdl.build("gpt2_small", **{**CASES["gpt2"][1], "length": None, "vocabulary": 4})
    fill_weights(network)
    bundle = kerasdl.Bundle.of(network, name="writer", task="language_modeling", preprocess=settings)
    folder = export_hugging_face(bundle, tmp_path / "writer")
    config = json.loads((folder / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (3, 3)
    copy = bundle_from(folder)
    assert copy.preprocess == settings
    assert copy.model.input_shape == (None, None)
    assert copy.predict(["ab!"]) == bundle.predict(["ab!"])
    written = sequence.generate(copy.model, [tokenizer.encode("ab!")], 4, temperature=0, tokenizer=tokenizer)
    longer = np.array([tokenizer.encode("ab!")])
    assert written[0, 0] == np.asarray(network(longer, training=False))[0, -1].argmax()


def test_networks_that_transformers_would_compute_otherwise_are_refused(tmp_path):
    gpt2 = built("gpt2")
    tuned = sequence.lora(gpt2, 2, targets="block1_mlp_expand")
    changed = kerasdl.build("gpt2_small", **CASES["gpt2"][1])
    changed.get_layer("block2_mlp_norm").epsilon = 1e-3
    tokens = keras.Input((8,), dtype="int32")
    own = keras.Model(
        tokens, keras.layers.Dense(2)(keras.layers.Embedding(9, 4, name="embedding")(tokens)), name="gpt2"
    )
    other = kerasdl.build("gru_language_model", length=4, vocabulary=9, embedding=4, units=4, depth=1)
    for source, rule in (
        (tuned, r"must have no adapters; got 'block1_mlp_expand'.*merge_lora"),
        (changed, "another 'block2_mlp_norm'"),
        (own, "named 'gpt2' must have the layers of its builder"),
        (other, r"must be one of .*'bert_masked_lm'.*got 'recurrent_language_model'"),
        ("gpt2", "source must be a bundle or a functional model"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            export_hugging_face(source, tmp_path / "new")
        assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="folder must be new or empty"):
        export_hugging_face(gpt2, tmp_path)
    with pytest.raises(ArgumentError, match="shard_bytes must be"):
        export_hugging_face(gpt2, tmp_path / "new", shard_bytes=0)


def test_a_head_of_another_table_is_refused(tmp_path):
    """Logits of a masked language model that are no products with the vectors of the tokens."""
    model = built("bert_masked_lm")
    export_hugging_face(model, tmp_path / "tied")
    arrays = {name: np.array(each) for name, each in safetensors.read(tmp_path / "tied").items()}
    table = arrays["bert.embeddings.word_embeddings.weight"]
    file = tmp_path / "model.safetensors"
    safetensors.write(file, {**arrays, "cls.predictions.decoder.weight": table})
    import_weights(model, file)
    safetensors.write(file, {**arrays, "cls.predictions.decoder.weight": table + 1})
    with pytest.raises(kerasdl.core.WeightsError, match=r"no layer here reads 'cls\.predictions\.decoder\.weight'"):
        import_weights(model, file)
