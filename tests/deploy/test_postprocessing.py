"""Two models as one file: the second reads the outputs of the first, each in its own precision."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core import ArgumentError, ExportError
from kerasdl.deploy import export_with_postprocess, read_metadata, run_exported
from kerasdl.deploy.tflite.flatbuffer import operators

SIDE = 6


def network():
    keras.utils.set_random_seed(2)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(image)
    return keras.Model(
        image,
        {
            "height": keras.layers.Conv2D(2, 1, name="height")(x),
            "area": keras.layers.GlobalAveragePooling2D(name="area")(x),
        },
        name="network",
    )


def halving():
    """A model with a loop, which halves numbers three times, and with a layer name of the network."""

    @keras.saving.register_keras_serializable("test_postprocessing")
    class Halving(keras.layers.Layer):
        def call(self, area):
            start = (keras.ops.convert_to_tensor(0), area)
            return keras.ops.while_loop(lambda step, x: step < 3, lambda step, x: (step + 1, x / 2), start)[1]

    height, area = keras.Input((SIDE, SIDE, 2), name="height"), keras.Input((8,), name="area")
    peak = keras.layers.GlobalMaxPooling2D(name="conv")(height)
    return keras.Model(
        {"height": height, "area": area}, {"peak": peak, "half": Halving(name="half")(area)}, name="post"
    )


def images(count=64, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIDE, SIDE, 3)).astype("float32")


def expected_of(model, post, inputs):
    singles = [post(model(inputs[place : place + 1])) for place in range(len(inputs))]
    return {name: np.concatenate([each[name] for each in singles]) for name in singles[0]}


@pytest.mark.slow
@pytest.mark.parametrize("file", ["m.tflite", "m.onnx", "m"])
def test_a_float_file_gives_what_both_models_give(file, tmp_path):
    model, post, inputs = network(), halving(), images(5)
    report = export_with_postprocess(model, post, tmp_path / file, metadata={"labels": ["a"]}, samples=images(20, 1))
    assert sorted(each.name for each in report.outputs) == ["half", "peak"]
    assert read_metadata(tmp_path / file)["labels"] == ["a"]
    right = expected_of(model, post, inputs)
    for place in range(5):
        given = run_exported(tmp_path / file, inputs[place : place + 1])
        for name, value in right.items():
            np.testing.assert_allclose(given[name][0], value[place], atol=1e-5, err_msg=name)
    assert report.bytes == sum(each.stat().st_size for each in tmp_path.rglob("*") if each.is_file()) or file == "m"


@pytest.mark.parametrize("file", ["m.tflite", pytest.param("m.onnx", marks=pytest.mark.slow)])
def test_integers_end_before_the_second_model(file, tmp_path):
    model, post, inputs = network(), halving(), images(5)
    report = export_with_postprocess(
        model, post, tmp_path / file, quantize="int8", representative=images(), tolerance=0.2
    )
    assert any(note.startswith("post follows in float32: area, height") for note in report.notes)
    if file == "m.tflite":
        floats = {each.name for each in operators((tmp_path / file).read_bytes()) if each.is_float}
        assert "WHILE" in report.operations
        assert "CONV_2D" not in floats
    right, given = expected_of(model, post, inputs), run_exported(tmp_path / file, inputs[:1])
    gap = np.abs(given["peak"] - right["peak"][:1]).max()
    assert 0 < gap < 0.05  # the network rounds
    assert 0 < np.abs(given["half"] - right["half"][:1]).max() < 0.01


def peak_and(name, shape=(SIDE, SIDE, 2)):
    """A model whose second output is an input unchanged."""
    area, height = keras.Input((8,), name="area"), keras.Input(shape, name="height")
    peak = keras.layers.GlobalMaxPooling2D(name="top")(height)
    return keras.Model({"height": height, "area": area}, {"peak": peak, name: area}, name="post")


@pytest.mark.parametrize("file", ["m.tflite", "m.onnx"])
def test_an_output_keeps_the_name_that_an_input_bears_too(file, tmp_path):
    model, post, inputs = network(), peak_and("area"), images(1)
    report = export_with_postprocess(model, post, tmp_path / file)
    assert sorted(each.name for each in report.outputs) == ["area", "peak"]
    given, right = run_exported(tmp_path / file, inputs), expected_of(model, post, inputs)
    for name, value in right.items():
        np.testing.assert_allclose(given[name], value, atol=1e-5, err_msg=name)


def test_outputs_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"other names than the inputs of model; got \['image'\]"):
        export_with_postprocess(network(), peak_and("image"), tmp_path / "m.onnx")
    with pytest.raises(
        ArgumentError, match=r"'height' of postprocess must be float32 \(None, 6, 6, 2\), as .* got .*6, 6, 3"
    ):
        export_with_postprocess(network(), peak_and("area", shape=(SIDE, SIDE, 3)), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_answers_that_are_all_empty_are_told(tmp_path):
    area = keras.Input((8,), name="area")
    height = keras.Input((SIDE, SIDE, 2), name="height")
    few = keras.layers.ReLU(threshold=1e3, name="few")(area)
    silent = keras.Model({"height": height, "area": area}, {"few": few}, name="silent")
    report = export_with_postprocess(network(), silent, tmp_path / "m.tflite")
    assert any(note.startswith("every answer that was compared is empty") for note in report.notes)


def test_a_file_that_finds_nothing_where_the_model_finds_something_is_refused(tmp_path, monkeypatch):
    run = kerasdl.deploy.postprocessing.run_exported
    monkeypatch.setattr(
        kerasdl.deploy.postprocessing, "run_exported", lambda *a: {name: 0 * value for name, value in run(*a).items()}
    )
    with pytest.raises(ExportError, match="must find what the model finds; it finds nothing"):
        export_with_postprocess(network(), peak_and("area"), tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_names_that_do_not_fit_and_options_of_other_files_are_refused(tmp_path):
    model, post = network(), halving()
    other = keras.Model(
        [keras.Input((8,), name="area"), odd := keras.Input((SIDE, SIDE, 2), name="odd")],
        keras.layers.GlobalMaxPooling2D()(odd),
    )
    names = r"\['area', 'height'\], and those of settings; got \['area', 'odd'\]"
    with pytest.raises(ArgumentError, match="must have inputs of the names " + names):
        export_with_postprocess(model, other, tmp_path / "m.tflite")
    with pytest.raises(ArgumentError, match="integer_io is for files whose outputs are those of the network"):
        export_with_postprocess(model, post, tmp_path / "m.tflite", integer_io=True)
    with pytest.raises(ArgumentError, match="the suffix of path must be one of"):
        export_with_postprocess(model, post, tmp_path / "m.pb")
    with pytest.raises(ArgumentError, match="a SavedModel holds no integers"):
        export_with_postprocess(model, post, tmp_path / "m", quantize="int8")
    assert not list(tmp_path.iterdir())
