"""Import of PEFT's LoRA and DoRA: the formula on the peer's arrays, by names of Hugging Face, and refusals."""

import json

import numpy as np
import pytest
from peer_files import write_safetensors

import kerasdl
from kerasdl.core.errors import WeightsError
from kerasdl.weights import import_peft

MODULES = [
    f"vit.encoder.layer.{block}.attention.{part}" for block in (0, 1) for part in ("attention.query", "output.dense")
]
MODULES.append("vit.encoder.layer.0.intermediate.dense")
WIDTHS = {"query": (32, 32), "output.dense": (32, 32), "intermediate.dense": (32, 128)}


def arrays_of(modules=MODULES, rank=2, norms=False, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for module in modules:
        rows, columns = next(widths for end, widths in WIDTHS.items() if module.endswith(end))
        prefix = f"base_model.model.{module}.lora_"
        arrays[f"{prefix}A.weight"] = rng.normal(size=(rank, rows)).astype("float32")
        arrays[f"{prefix}B.weight"] = rng.normal(size=(columns, rank)).astype("float32")
        if norms:
            arrays[f"{prefix}magnitude_vector"] = rng.uniform(1, 2, columns).astype("float32")
    return arrays


def write(folder, arrays, **settings):
    folder.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "bias": "none", "rank_pattern": {}, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_safetensors(folder / "adapter_model.safetensors", arrays)
    return folder


@pytest.mark.parametrize("norms", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("rank_stable", [False, True])
def test_kernels_are_changed_by_the_peers_formula(tiny, tmp_path, norms, rank_stable):
    net = tiny("vit_tiny")
    arrays = arrays_of(norms=norms)
    tuned = import_peft(net, write(tmp_path / "adapter", arrays, use_rslora=rank_stable), name="peer")
    for module in MODULES:
        block = f"block{int(module.split('.')[3]) + 1}"
        layer, weight = f"{block}_attention", "query/kernel" if "query" in module else "attention_output/kernel"
        if "intermediate" in module:
            layer, weight = f"{block}_mlp_expand", "kernel"
        kernel = tuned.get_layer(layer).inner_weights()[weight].numpy()
        rows = 32
        prefix = f"base_model.model.{module}.lora_"
        torch_weight = kernel.reshape(rows, -1).T + 3 / (2**0.5 if rank_stable else 2) * (
            arrays[f"{prefix}B.weight"] @ arrays[f"{prefix}A.weight"]
        )
        if norms:
            lengths = np.linalg.norm(torch_weight, axis=1)
            torch_weight = torch_weight * (arrays[f"{prefix}magnitude_vector"] / lengths)[:, None]
        found = tuned.get_layer(layer).effective_weights()[weight]
        np.testing.assert_allclose(np.asarray(found).reshape(rows, -1).T, torch_weight, atol=1e-4)
    x = np.random.default_rng(1).normal(size=(2, *net.input_shape[1:]))
    merged = kerasdl.sequence.merge_lora(tuned)
    np.testing.assert_allclose(merged(x), tuned(x), atol=1e-4)
    assert np.abs(np.asarray(tuned(x)) - np.asarray(net(x))).max() > 0.1


def test_nets_saved_without_their_head_have_no_prefix(tiny, tmp_path):
    arrays = {name.replace("model.vit.", "model."): array for name, array in arrays_of().items()}
    assert import_peft(tiny("vit_tiny"), write(tmp_path / "adapter", arrays)).get_layer("block2_attention").changes


def test_modules_by_the_names_of_transformers_5_are_the_same(tiny, tmp_path):
    arrays, net = arrays_of(), tiny("vit_tiny")
    newer = {
        "encoder.layer": "layers",
        "attention.attention.query": "attention.q_proj",
        "intermediate.dense": "mlp.fc1",
    }
    newer["attention.output.dense"] = "attention.o_proj"
    renamed = {}
    for name, array in arrays.items():
        for old, new in newer.items():
            name = name.replace(old, new)
        renamed[name] = array
    assert not {*renamed} & {*arrays}
    one, other = (import_peft(net, write(tmp_path / "adapter", each)) for each in (arrays, renamed))
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_what_would_compute_something_else_is_refused_by_name(tiny, tmp_path):
    net, arrays, folder = tiny("vit_tiny"), arrays_of(), tmp_path / "adapter"
    query = f"base_model.model.{MODULES[0]}.lora_"
    cases = {
        "peft_type|LORA": (arrays, {"peft_type": "LOHA"}),
        "bias is 'all'": (arrays, {"bias": "all"}),
        "rank_pattern": (arrays, {"rank_pattern": {"query": 4}}),
        "init_lora_weights is 'pissa'": (arrays, {"init_lora_weights": "pissa"}),
        "alora_invocation_tokens": (arrays, {"alora_invocation_tokens": [7, 8]}),
        "use_dora is true, and there alone; it is True": (arrays, {"use_dora": True}),
        "use_dora is true, and there alone; it is False": (arrays_of(norms=True), {"use_dora": False}),
        r"must be that of its arrays, \[2\]; got 4": (arrays, {"r": 4}),
        "positive alpha": (arrays, {"lora_alpha": -1}),
        "lora_A and lora_B alone; got 'classifier.weight'": (
            {**arrays, "classifier.weight": np.zeros(2, "float32")},
            {},
        ),
        r"A \(r, in\) and B": ({name: array for name, array in arrays.items() if name != f"{query}B.weight"}, {}),
        "finite": ({**arrays, f"{query}A.weight": np.full((2, 32), np.nan, "float32")}, {}),
        r"\(32, 32\) inputs and outputs; got \(31, 32\)": (
            {**arrays, f"{query}A.weight": np.zeros((2, 31), "float32")},
            {},
        ),
        "none for 'vit.encoder.layer.9": (
            {name.replace("layer.1", "layer.9"): array for name, array in arrays.items()},
            {},
        ),
    }
    for text, (tensors, settings) in cases.items():
        with pytest.raises(WeightsError, match=text):
            import_peft(net, write(folder, tensors, **settings))
    (folder / "adapter_config.json").unlink()
    with pytest.raises(WeightsError, match="must hold adapter_config"):
        import_peft(net, folder)
