"""GPT-2, Llama and Qwen2 with the weights of transformers: the same logits, and the same tokens greedily.

Frozen answers of small peers stand in tests/frozen/decoders; where transformers is installed peers are built here too.
"""

import json
import os
import subprocess
import sys

import decoder_peers as peers
import numpy as np
import pytest
from peer_files import write_safetensors

import kerasdl
from kerasdl.core import ArgumentError, WeightsError
from kerasdl.sequence import generate
from kerasdl.weights import model_from

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)


def frozen(name, folder):
    """Writes the folder of a small peer, and returns its answers."""
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        shapes, config = (json.loads(str(file[key])) for key in ("shapes", "config"))
        answers = {key: file[key] for key in file if key not in ("shapes", "config")}
    arrays = {key: peers.weights_of(key, tuple(shape)) for key, shape in shapes.items()}
    write_safetensors(folder / "model.safetensors", arrays)
    config |= {"architectures": [peers.CASES[name].kind]}
    (folder / "config.json").write_text(json.dumps(config))
    return answers, arrays, config


def compare(folder, expected):
    model, prompts = model_from(folder, length=None), peers.prompts_of()
    assert np.std(expected["logits"]) > 1e-2, "constant logits prove nothing"
    bound = 1e-4 * max(1.0, np.abs(expected["logits"]).max())
    logits = model(np.array(prompts[:1], "int32"), training=False)
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=bound)
    way = {"temperature": 0, "padding_id": 0}
    np.testing.assert_array_equal(generate(model, prompts, peers.WRITTEN, **way), expected["greedy"])
    assert len(set(expected["greedy"].ravel().tolist())) > 5
    if "zeros" in expected:  # not in answers that were frozen before
        written = generate(model, peers.zeros_of(), peers.WRITTEN, temperature=0, padding_id=-1)
        np.testing.assert_array_equal(written, expected["zeros"])


@pytest.mark.parametrize("name", peers.CASES)
def test_frozen_answers(name, tmp_path):
    compare(tmp_path, frozen(name, tmp_path)[0])


@pytest.mark.slow
def test_answers_of_the_peers(tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process; the weights are in several files."""
    find = "import importlib.util as util; raise SystemExit(not all(map(util.find_spec, ('torch', 'transformers'))))"
    if subprocess.run([PYTHON, "-c", find]).returncode:
        pytest.skip("transformers is needed to build the peers, here or in the Python that PEERS_PYTHON names")
    subprocess.run([PYTHON, peers.__file__, tmp_path], check=True, capture_output=True)
    for name in peers.CASES:
        assert len([*(tmp_path / name).glob("*.safetensors")]) > 1
        with np.load(tmp_path / name / "answers.npz") as file:
            compare(tmp_path / name, dict(file))


def test_published_files_of_gpt2_have_names_without_the_first_part(tmp_path):
    answers, arrays, _ = frozen("gpt2", tmp_path)
    plain = {name.removeprefix("transformer."): array for name, array in arrays.items()}
    write_safetensors(tmp_path / "model.safetensors", {**plain, "h.0.attn.bias": np.ones((1, 1, 24, 24), "float32")})
    compare(tmp_path, answers)


def test_weights_of_another_size_are_refused(tmp_path):
    frozen("gpt2", tmp_path)
    model = kerasdl.build("gpt2_small", **{**kerasdl.spec("gpt2_small").tiny, "width": 32, "vocabulary": 60})
    with pytest.raises(WeightsError, match=r"the first layer that differs is 'positions'"):
        kerasdl.import_weights(model, tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("gpt2", {"activation_function": "relu"}, "activation_function of config.json must be one of"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx of config.json must be"),
        ("llama", {"attention_bias": True}, "attention_bias of config.json must be one of"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "rope_parameters of config.json must"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling of config.json must be one of"),
        ("llama", {"head_dim": 16}, "head_dim of config.json must be"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window of config.json must be one of"),
    ],
)
def test_settings_that_no_net_here_computes_are_refused(name, change, rule, tmp_path):
    _, _, config = frozen(name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ArgumentError, match=rule):
        model_from(tmp_path)
