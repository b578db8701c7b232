"""Bias correction of int8 files: errors that are known by construction are taken off, and no file gets worse."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from lite import relative_rmse, run_lite

from kerasdl.deploy import export_tflite
from kerasdl.deploy.export import saved_model
from kerasdl.deploy.export.tracing import program_of
from kerasdl.deploy.samples.sampling import samples_of
from kerasdl.deploy.tflite import converter, runtime
from kerasdl.deploy.tflite.flatbuffer import packed
from kerasdl.deploy.tflite.integers.bias_correction import LAYERS, _corrected, _File, _float_means, corrected_file

L = keras.layers
STEP, LEAST = 0.01, 0.0149  # kernels of 1.27 and LEAST: the grid has steps of 0.01, and LEAST becomes 0.01


def saved(model, arrays, folder):
    program = program_of(model, samples_of(model, arrays).inputs)
    saved_model.write_for_conversion(program, folder, runtime.SIGNATURE)
    return program


def made(model, inputs, folder):
    """The int8 file of a model of one input, its float file, and what `corrected_file` wants besides."""
    program = saved(model, inputs, folder)
    arrays = {program.inputs[0].name: inputs}
    calibrated = converter.calibrated(folder, arrays)
    return calibrated, arrays, program.run


def runner(folder):
    def run(content, arrays):
        (folder / "m.tflite").write_bytes(content)
        return run_lite(folder / "m.tflite", arrays)

    return run


def biases(content):
    """The biases of a file's layers, in real numbers."""
    file = _File(content)
    places = [k for k, _ in enumerate(file.operators) if file.name(k) in LAYERS]
    return [file.constant(file.operators[k].inputs[2]) for k in places]


def with_biases(content, change):
    """The file with other biases: `change` takes the steps (K,) and gives others."""
    file = _File(content)
    for place, each in enumerate(file.operators):
        if file.name(place) in LAYERS:
            data = file.model.buffers[file.graph.tensors[each.inputs[2]].buffer]
            data.data = change(np.array(data.data, np.uint8).view("int32")).astype("int32").view(np.uint8)
    return packed(file.model)


def stack():
    x = image = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(8, 3, padding="same", activation="relu6", name="first")(x)
    x = L.DepthwiseConv2D(3, padding="same", activation="relu", name="second")(x)
    x = L.Add(name="sum")([x, L.Conv2D(8, 1, name="third")(x)])
    return fill_weights(keras.Model(image, L.Dense(4, name="head")(L.GlobalAveragePooling2D(name="mean")(x))))


def images(count=40, side=8, channels=3):
    return np.random.default_rng(0).uniform(0, 1, (count, side, side, channels)).astype("float32")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(stack(), images(), tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory):
    """Convolutions of every form, each an output, before their activation and behind it."""
    x = keras.Input((9, 8, 4), name="image")
    forms = {
        "same": L.Conv2D(3, 3, padding="same"),
        "strided": L.Conv2D(3, (3, 2), strides=2, padding="same"),
        "valid": L.Conv2D(3, (2, 3), strides=(3, 2)),
        "dilated": L.Conv2D(3, 3, dilation_rate=2, padding="same"),
        "grouped": L.Conv2D(6, 3, groups=2),
        "depthwise": L.DepthwiseConv2D(3, strides=2, padding="same"),
        "multiplied": L.DepthwiseConv2D(3, depth_multiplier=2),
        "dense": L.Dense(5),
    }
    model = fill_weights(keras.Model(x, [layer(x) for layer in forms.values()]))
    active = keras.Model(x, [L.ReLU(6.0)(output) for output in model.outputs])
    folder = tmp_path_factory.mktemp("forms")
    return model, active, saved(active, images(6, 9, 4)[:, :, :8], folder), folder


def test_means_before_the_activation_follow_from_mean_inputs(convolutions):
    model, _, program, folder = convolutions
    file = _File(converter.convert(folder, None, {}))
    places = [k for k, _ in enumerate(file.operators) if file.name(k) in LAYERS]
    inputs = images(6, 9, 4)[:, :, :8]
    means = list(_float_means(file, places, {program.inputs[0].name: inputs}).values())
    truth = [np.mean(output, axis=(0, 1, 2)) for output in model(inputs)]
    assert len(means) == len(truth)
    for expected in truth:
        assert any(each.shape == expected.shape and np.allclose(each, expected, atol=1e-5) for each in means)


SINGLE = {  # and how many small weights each output has
    "conv": (lambda activation: L.Conv2D(2, 3, activation=activation, name="layer"), 16),
    "depthwise": (lambda activation: L.DepthwiseConv2D(3, activation=activation, name="layer"), 8),
    "dense": (lambda activation: L.Dense(3, activation=activation, name="layer"), 8),
}


@pytest.mark.parametrize("activation", [None, "relu6"])
@pytest.mark.parametrize("name", SINGLE)
def test_the_bias_takes_up_what_rounding_the_kernel_loses(name, activation, tmp_path):
    make, small = SINGLE[name]
    x = keras.Input((9,) if name == "dense" else (6, 6, 2), name="x")
    model = keras.Model(x, make(activation)(x))
    layer = model.get_layer("layer")
    kernel = np.full(layer.kernel.shape, LEAST, "float32")
    kernel[(0,) * max(1, kernel.ndim - 2)] = 1.27
    layer.kernel.assign(kernel)
    layer.bias.assign(np.linspace(-1, 4.6, layer.bias.shape[0]))  # some outputs end at 0, some at 6, under relu6
    inputs = np.random.default_rng(0).uniform(0.5, 1.5, (64, *x.shape[1:])).astype("float32")
    calibrated, arrays, run = made(model, inputs, tmp_path)
    content = calibrated.quantized()
    done = corrected_file(content, calibrated.content, arrays, run, runner(tmp_path))
    (before,), (after,) = biases(content), biases(done.content)
    lost = (LEAST - STEP) * small * inputs[np.arange(64) % 4 != 3].mean()
    np.testing.assert_allclose(after - before, lost, rtol=0.05)
    assert "biases of 1 layers are corrected: means of 48 examples, rmse difference on 16 others from" in done.note
    files = [runner(tmp_path)(each, arrays) for each in (content, done.content)]
    errors = [relative_rmse(model(inputs), *outputs.values()) for outputs in files]
    assert errors[1] < 0.5 * errors[0]


def test_biases_moved_in_every_layer_come_back(plain, tmp_path):
    calibrated, arrays, run = plain
    content = calibrated.quantized()
    damaged = with_biases(content, lambda steps: steps + np.where(np.arange(len(steps)) % 2, 900, -1300))
    done = corrected_file(damaged, calibrated.content, arrays, run, runner(tmp_path))
    assert "biases of 4 layers" in done.note
    truth, once = run(arrays), runner(tmp_path)
    errors = [relative_rmse(*truth.values(), *once(each, arrays).values()) for each in (content, damaged, done.content)]
    assert errors[1] > 3 * errors[0]
    assert errors[2] < 1.1 * errors[0]
    first, last = _File(damaged), _File(done.content)
    for place in (k for k, _ in enumerate(first.operators) if first.name(k) in LAYERS):
        kernels = [each.constant(each.operators[place].inputs[1]) for each in (first, last)]
        np.testing.assert_array_equal(*kernels)


def test_no_file_gets_worse(plain, tmp_path):
    calibrated, arrays, _ = plain
    content, run = calibrated.quantized(), runner(tmp_path)
    done = corrected_file(content, calibrated.content, arrays, lambda arrays: run(content, arrays), run)
    assert done.content == content
    assert done.note.startswith("biases stay: corrected ones are no better: means of 30 examples")
    assert "on 10 others from 0 to" in done.note


@pytest.mark.parametrize(("rows", "said"), [(slice(0, 1), "means of 1 examples"), (slice(0, 12), "on 12 of the same")])
def test_few_and_constant_examples(plain, rows, said, tmp_path):
    calibrated, arrays, run = plain
    content = calibrated.quantized()
    for few in (arrays["image"][rows], np.full_like(arrays["image"][rows], 0.5)):
        done = corrected_file(content, calibrated.content, {"image": few}, run, runner(tmp_path))
        assert said in done.note
        once = runner(tmp_path)
        errors = [
            relative_rmse(*run({"image": few}).values(), *once(each, {"image": few}).values())
            for each in (content, done.content)
        ]
        assert errors[1] <= errors[0]


def test_operations_that_read_one_bias_get_one_each(plain, tmp_path):
    calibrated, arrays, run = plain
    content = with_biases(calibrated.quantized(), np.zeros_like)
    file = _File(content)
    layers = [each for k, each in enumerate(file.operators) if file.name(k) in LAYERS]
    tensors = [file.graph.tensors[each.inputs[2]] for each in layers]
    tensors[1].buffer = tensors[0].buffer  # one buffer, two tensors
    done = corrected_file(packed(file.model), calibrated.content, arrays, run, runner(tmp_path))
    alone = corrected_file(content, calibrated.content, arrays, run, runner(tmp_path))
    assert "biases of 4 layers are corrected" in done.note
    for shared, own in zip(biases(done.content), biases(alone.content), strict=True):
        np.testing.assert_array_equal(shared, own)


def test_layers_without_bias_and_layers_in_float_stay(plain, tmp_path):
    calibrated, arrays, run = plain
    file = _File(calibrated.quantized())
    without = file.operators[next(k for k, _ in enumerate(file.operators) if file.name(k) == "FULLY_CONNECTED")]
    without.inputs = np.array([*without.inputs[:2], -1], "int32")
    assert _corrected(packed(file.model), calibrated.content, arrays)[1] == 3
    names = {each.name.decode() for each in _File(calibrated.content).graph.tensors}
    partly = calibrated.quantized(keep={name for name in names if "/second" in name})
    assert _corrected(partly, calibrated.content, arrays)[1] == 3
    every = calibrated.quantized(keep=names)
    done = corrected_file(every, calibrated.content, arrays, run, runner(tmp_path))
    assert done.content == every
    assert done.note == "biases are not corrected: no layer has an int8 kernel and a bias of its own"


def test_one_scale_for_the_whole_kernel(plain, tmp_path):
    calibrated, arrays, run = plain
    float_file, file = _File(calibrated.content), _File(calibrated.quantized())
    place, twin = (
        next(k for k, _ in enumerate(each.operators) if each.name(k) == "FULLY_CONNECTED")
        for each in (file, float_file)
    )
    inputs, kernel, bias = file.operators[place].inputs
    real = float_file.constant(float_file.operators[twin].inputs[1])
    scale = np.abs(real).max() / 127
    file.model.buffers[file.graph.tensors[kernel].buffer].data = (
        np.round(real / scale).astype("int8").reshape(-1).view(np.uint8)
    )
    for tensor, step in ((kernel, scale), (bias, scale * file.scale(inputs).item())):
        grid = file.graph.tensors[tensor].quantization
        grid.scale, grid.zeroPoint = np.array([step], "float32"), np.array([0], "int64")
    done = corrected_file(packed(file.model), calibrated.content, arrays, run, runner(tmp_path))
    assert "biases of 4 layers are corrected" in done.note


def test_a_kernel_that_is_not_the_float_one_is_left_alone(plain):
    calibrated, arrays, _ = plain
    file = _File(calibrated.quantized())
    kernel = file.operators[1].inputs[1]
    data = file.model.buffers[file.graph.tensors[kernel].buffer]
    data.data = np.roll(np.array(data.data, np.uint8), 1)
    assert _corrected(packed(file.model), calibrated.content, arrays)[1] == 3


def test_branches_and_states_are_refused_by_name(plain, tmp_path):
    calibrated, arrays, run = plain
    file = _File(calibrated.quantized())
    file.model.subgraphs = [file.graph, file.graph]
    content = packed(file.model)
    done = corrected_file(content, calibrated.content, arrays, run, runner(tmp_path))
    assert (done.content, done.note) == (content, "biases are not corrected: the file holds branches, loops or states")


def test_the_export_corrects_on_request(tmp_path):
    x = keras.Input((8, 8, 3), name="image")
    y = L.Conv2D(8, 3, activation="relu6", name="conv")(x)
    flat = L.Flatten()(y)
    model = fill_weights(keras.Model(x, [L.Dense(3, name="one")(flat), L.Dense(4, name="two")(flat)]))
    options = {"quantize": "int8", "representative": images(64)}
    report = export_tflite(model, tmp_path / "m.tflite", correct_biases=True, **options)
    (note,) = [note for note in report.notes if note.startswith("biases")]
    assert "('one')" in note
    assert "('two')" in note
    report = export_tflite(model, tmp_path / "m.tflite", **options)
    assert not any(note.startswith("biases") for note in report.notes)
