"""Half-precision constants: a buffer that several tensors read keeps its data for those that stay in float32."""

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from lite import run_lite

from kerasdl.deploy import export_tflite
from kerasdl.deploy.tflite.flatbuffer import packed
from kerasdl.deploy.tflite.half_constants import with_half_constants


def test_a_buffer_of_an_exact_tensor_keeps_its_data(tmp_path):
    path = tmp_path / "m.tflite"
    x = keras.Input((6,), name="x")
    y = keras.layers.Dense(6, use_bias=False, name="halved")(x)
    model = keras.Model(x, keras.layers.Dense(6, use_bias=False, name="exact")(y))
    kernel = np.random.default_rng(0).normal(size=(6, 6)).astype("float32")
    model.set_weights([kernel, kernel + 1])  # equal ones would be one tensor
    export_tflite(model, path)
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    (graph,) = file.subgraphs
    one, other = (each.inputs[1] for each in graph.operators)
    graph.tensors[other].buffer = graph.tensors[one].buffer
    last = graph.tensors[graph.operators[1].outputs[0]].name.decode()
    path.write_bytes(with_half_constants(packed(file), lambda name: name == last))
    inputs = np.random.default_rng(1).normal(size=(4, 6)).astype("float32")
    (outputs,) = run_lite(path, {"x": inputs}).values()
    expected = inputs @ kernel.astype("float16").astype("float32") @ kernel
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
