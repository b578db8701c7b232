"""Exported encoder-decoder transformers: a loop over the files writes the same tokens as the bundle."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from seq2seq_nets import heeding_source

from kerasdl.bundles import Bundle
from kerasdl.core import get_task
from kerasdl.deploy import export_onnx, run_exported

SETTINGS = {"length": 7, "target_length": 5}


def bundle_of(name):
    """Returns a bundle, and sources whose answers differ without training."""
    network = heeding_source(name, **({"padding": 0} if name == "bart_base" else {}))
    sources = get_task("sequence_to_sequence").example(network, 24, 0)[0]["source"]
    return Bundle.of(network, name="ids", task="sequence_to_sequence", preprocess=SETTINGS), sources


def host_loop(encode, step, shapes, source):
    """Writes tokens by two functions: the encoder once, and the step a token; caches begin with zeros."""
    given = {"source": source, **encode({"source": source})}
    state = {name: given.get(name, np.zeros((len(source), *shape), "float32")) for name, shape in shapes.items()}
    token, rows = np.full((len(source), 1), 2, "int32"), []
    for place in range(SETTINGS["target_length"]):
        state |= {"token": token, "position": np.full(len(source), place, "int32")}
        after = step(state)
        token = after.pop("logits").argmax(-1).astype("int32")[:, None]
        state |= {name.removeprefix("next_"): cache for name, cache in after.items()}
        rows.append(token[:, 0])
    return [row[: row.index(3)] if 3 in row else row for row in np.stack(rows, axis=1).tolist()]


def check_written(written, bundle, sources):
    assert written == [each["tokens"] for each in bundle.predict(list(sources))]
    assert len(set(map(tuple, written))) > 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantize", "width"), [("transformer_base", None, 16), ("t5_small", "dynamic", 8), ("bart_base", None, 16)]
)
def test_a_tflite_file_of_two_signatures_writes_the_same_tokens(name, quantize, width, tmp_path):
    bundle, sources = bundle_of(name)
    path = tmp_path / "ids.tflite"
    data = get_task("sequence_to_sequence").example(bundle.model, 100, 0)
    report = bundle.export(path, quantize=quantize, representative=data)
    assert list(report.signatures) == ["encoder", "step"]
    inputs = Interpreter(str(path)).get_signature_runner("step").get_input_details()
    shapes = {each: tuple(detail["shape"][1:]) for each, detail in inputs.items()}
    assert shapes["decoder1_attention_scores_key"] == (5, 2, width)
    signatures = [
        lambda given, signature=signature: run_exported(path, given, signature=signature)
        for signature in ("encoder", "step")
    ]
    check_written(host_loop(*signatures, shapes, sources), bundle, sources)


@pytest.mark.slow
def test_two_onnx_files_write_the_same_tokens(tmp_path):
    bundle, sources = bundle_of("transformer_base")
    task = get_task("sequence_to_sequence")
    halves = task.exported({"model": bundle.model})
    samples = task.exported_samples(halves, task.example(bundle.model, 20, 0)[0])
    for part, half in halves.items():
        export_onnx(half, tmp_path / f"{part}.onnx", samples=samples[part])
    shapes = {tensor.name: tensor.shape[1:] for tensor in halves["step"].inputs}
    files = [lambda given, part=part: run_exported(tmp_path / f"{part}.onnx", given) for part in ("encoder", "step")]
    check_written(host_loop(*files, shapes, sources), bundle, sources)
