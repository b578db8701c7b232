"""T5 and BART with the weights of transformers: the same logits, and the same tokens, greedily and by a beam.

Frozen answers of small peers stand in tests/frozen/seq2seq; where transformers is installed peers are built here too.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import seq2seq_peers as peers
from peer_files import write_safetensors

from kerasdl.core import ArgumentError, WeightsError
from kerasdl.sequence import Translator
from kerasdl.weights import model_from

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)
SIZES = {"length": max(peers.LENGTHS), "target_length": peers.WRITTEN}


def compare(name, network, expected):
    case = peers.CASES[name]
    pairs = peers.pairs_of(case)
    logits = np.asarray(network(pairs, training=False))
    assert np.std(expected["logits"]) > 1e-2, "constant logits prove nothing"
    bound = 1e-4 * max(1.0, np.abs(expected["logits"]).max())
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=bound)
    translator = Translator(network)
    for way, width in (("greedy", 1), ("beam", peers.WIDTH)):
        ids = {"start": case.start, "end": case.end}
        written = translator.translate(pairs["source"], width=width, length_penalty=10.0, **ids)
        np.testing.assert_array_equal(written, expected[way], err_msg=way)
        assert len({tuple(row) for row in written}) > 3


def frozen(name, folder):
    """Writes the weights of a small peer to a file, and returns its answers and its config."""
    with np.load(peers.FROZEN / f"{name}.npz") as file:
        shapes, config = (json.loads(str(file[key])) for key in ("shapes", "config"))
        answers = {key: file[key] for key in file if key not in ("shapes", "config")}
    arrays = {key: peers.weights_of(key, tuple(shape)) for key, shape in shapes.items()}
    write_safetensors(folder / "model.safetensors", arrays)
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [peers.CASES[name].kind]}))
    return answers, config, arrays


@pytest.mark.parametrize("name", ["t5", pytest.param("t5_v1_1", marks=pytest.mark.slow), "bart"])
def test_frozen_answers(name, tmp_path):
    answers, _, _ = frozen(name, tmp_path)
    compare(name, model_from(tmp_path, **SIZES), answers)


@pytest.mark.slow
def test_answers_of_the_peers(tmp_path):
    """In a process of its own, since torch after TensorFlow may end the process."""
    find = "import importlib.util as util; raise SystemExit(not all(map(util.find_spec, ('torch', 'transformers'))))"
    if subprocess.run([PYTHON, "-c", find]).returncode:
        pytest.skip("transformers is needed to build the peers, here or in the Python that PEERS_PYTHON names")
    subprocess.run([PYTHON, peers.__file__, tmp_path], check=True, capture_output=True)
    for name in peers.CASES:
        with np.load(tmp_path / name / "answers.npz") as file:
            compare(name, model_from(tmp_path / name, **SIZES), dict(file))


def test_what_a_file_has_and_the_network_has_not_is_refused(tmp_path):
    _, _, arrays = frozen("bart", tmp_path)
    plain = {name.removeprefix("model."): array for name, array in arrays.items()}
    plain["encoder.embed_tokens.weight"] = plain["shared.weight"]  # a second name of a tied array
    write_safetensors(tmp_path / "model.safetensors", plain)
    assert model_from(tmp_path, **SIZES).name == "bart"
    with pytest.raises(WeightsError, match=r"no layer here reads 'decoder\.layers\.1\."):
        model_from(tmp_path, **SIZES, depth=1)
    write_safetensors(tmp_path / "model.safetensors", {**plain, "final_logits_bias": np.ones((1, 40), "float32")})
    with pytest.raises(WeightsError, match="no layer here reads 'final_logits_bias'"):
        model_from(tmp_path, **SIZES)
    frozen("t5_v1_1", tmp_path)
    for change in ({"gated": False, "activation": "relu"}, {"tied": True}):
        with pytest.raises(WeightsError, match="no layer here reads"):
            model_from(tmp_path, **SIZES, **change)


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("t5", {"feed_forward_proj": "gated-relu"}, "feed_forward_proj of config.json must be one of"),
        ("t5", {"num_decoder_layers": 3}, "num_decoder_layers of config.json must be one of"),
        ("t5", {"relative_attention_num_buckets": 16}, "relative_attention_num_buckets of config.json must be one of"),
        ("bart", {"scale_embedding": True}, "scale_embedding of config.json must be one of"),
        ("bart", {"activation_function": "relu"}, "activation_function of config.json must be one of"),
        ("bart", {"decoder_layers": 3}, "decoder_layers of config.json must be one of"),
    ],
)
def test_a_config_of_another_net_is_refused(name, change, rule, tmp_path):
    _, config, _ = frozen(name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, **change, "architectures": [peers.CASES[name].kind]}))
    with pytest.raises(ArgumentError, match=rule):
        model_from(tmp_path)
