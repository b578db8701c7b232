"""Four toys through task, `fit`, resume, bundle, export: the pattern of families that are no classifiers."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import copying
import gan
import grid
import squares

from kerasdl import Bundle, BundleError, load_bundle
from kerasdl.core import ArgumentError
from kerasdl.core.registry import tasks
from kerasdl.data import as_dataset
from kerasdl.deploy import export_onnx, export_tflite, run_exported
from kerasdl.train import RunConfig, fit

NETWORKS = {
    "gan": lambda: {"model": gan.generator(), "discriminator": gan.discriminator()},
    "copying": lambda: {"model": copying.seq2seq()},
    "squares": lambda: {"model": squares.detector()},
}
TOYS = {"gan": gan.TASK, "copying": copying.TASK, "squares": squares.TASK}
SETTINGS = {"gan": {"latent": gan.LATENT}, "copying": {"length": copying.LENGTH}, "squares": {"side": squares.SIDE}}
DATA = {"gan": gan.ring, "copying": copying.examples, "squares": squares.scenes}


@pytest.fixture(scope="module", autouse=True)
def registered():
    for task in TOYS.values():
        tasks.register_task(task)
    yield
    for task in TOYS.values():
        del tasks._tasks[task.name]


def networks_of(name, seed=1):
    keras.utils.set_random_seed(seed)
    return NETWORKS[name]()


def trained(name, count=128, **settings):
    networks = networks_of(name)
    config = RunConfig(**{"epochs": 2, "batch_size": 32, "strategy": None, "progress": "off", **settings})
    model = networks["model"] if len(networks) == 1 else TOYS[name].trainer(networks)
    run = fit(model, DATA[name](count), task=TOYS[name], config=config)
    return networks, run


def bundle_of(name, networks):
    return Bundle.of(networks, name=name, task=TOYS[name], preprocess=SETTINGS[name])


def raw_of(name):
    if name == "squares":
        return list(squares.scenes(3, seed=9)[0][..., 0])
    return copying.sequences(3, seed=9) if name == "copying" else np.ones((3, gan.LATENT))


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_a_run_that_stops_and_goes_on_ends_with_the_same_weights(name, tmp_path):
    whole, _ = trained(name, epochs=3, monitor=None, restore_best=False)
    trained(name, epochs=1, folder=tmp_path / "run", restore_best=False)
    resumed, run = trained(name, epochs=3, folder=tmp_path / "run", restore_best=False)
    assert run.resumed
    for role, network in whole.items():
        for ours, theirs in zip(network.weights, resumed[role].weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_a_bundle_keeps_all_networks_and_answers_through_its_task(name, suffix, tmp_path):
    bundle = bundle_of(name, networks_of(name))
    again = load_bundle(bundle.save(tmp_path / f"toy{suffix}"))
    assert list(again.networks) == list(NETWORKS[name]())
    assert again.predict(raw_of(name)) == bundle.predict(raw_of(name))
    assert len(again.predict(raw_of(name))) == 3
    rows = [TOYS[name].table(result) for result in again.predict(raw_of(name))]
    assert all(isinstance(row, dict) for found in rows for row in found)
    data = as_dataset(DATA[name](40, seed=3))
    assert again.evaluate(data) == pytest.approx(bundle.evaluate(data))
    assert TOYS[name].summary in again.card()
    assert "knows the labels" not in again.card()
    assert "gives a value" not in again.card()
    assert f"## Limits\n\n{TOYS[name].limits}".rstrip() in again.card()


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_files_of_the_main_network_compute_what_it_does(name, tmp_path):
    model = networks_of(name)["model"]
    inputs = as_dataset(DATA[name](8)).arrays()[0]
    if name == "gan":
        inputs = np.random.default_rng(0).normal(size=(8, gan.LATENT)).astype("float32")
    expected = keras.tree.flatten(model(inputs))
    for path, export in ((tmp_path / "toy.tflite", export_tflite), (tmp_path / "toy.onnx", export_onnx)):
        export(model, path)
        named = inputs if isinstance(inputs, dict) else {model.inputs[0].name: inputs}
        given = run_exported(path, named)
        for name_of, right in zip(model.output_names, expected, strict=True):
            np.testing.assert_allclose(given[name_of], right, atol=1e-4)


def generated_by_file(path, source):
    """Copies sequences by a file alone: its encoder once, and its step a token."""
    encoded = run_exported(path, source, signature="encoder")
    token, state, tokens = np.full((len(source), 1), copying.START, "int32"), encoded["state"], []
    for _ in range(copying.LENGTH):
        step = {"token": token, "state": state, "memory": encoded["memory"]}
        given = run_exported(path, step, signature="step")
        token, state = given["logits"].argmax(-1).astype("int32"), given["next_state"]
        tokens.append(token)
    return np.concatenate(tokens, axis=1)


@pytest.mark.parametrize(
    ("file", "quantize"), [("copies.tflite", None), ("copies.tflite", "dynamic"), ("copies", None)]
)
def test_a_file_of_encoder_and_step_generates_what_the_bundle_does(file, quantize, tmp_path):
    networks = networks_of("copying")
    scale = {"head": 40.0, "source_embedding": 40.0, "given_embedding": 40.0}  # so that tokens differ without training
    for name, factor in scale.items():
        layer = networks["model"].get_layer(name)
        layer.set_weights([factor * weight for weight in layer.get_weights()])
    bundle = bundle_of("copying", networks)
    layers = networks["model"].layers
    called = [len(layer._inbound_nodes) for layer in layers]
    report = bundle.export(tmp_path / file, quantize=quantize, representative=as_dataset(copying.examples(100)))
    assert [len(layer._inbound_nodes) for layer in layers] == called  # the bundle's own net is as it was
    assert list(report.signatures) == ["encoder", "step"]
    assert [each.judged_on.of for each in report.signatures.values()] == [100, 500]
    raw = copying.sequences(20, seed=9)
    expected = [each["tokens"] for each in bundle.predict(raw)]
    given = generated_by_file(tmp_path / file, copying.padded(raw))
    assert [row[: len(tokens)].tolist() for row, tokens in zip(given, raw, strict=True)] == expected
    assert len({token for tokens in expected for token in tokens}) > 2


def test_what_several_networks_cannot_be_exported_as_is_refused(tmp_path):
    bundle = bundle_of("copying", networks_of("copying"))
    with pytest.raises(ArgumentError, match=r"an \.onnx file holds one network, and toy_copying exports several"):
        bundle.export(tmp_path / "copies.onnx")
    with pytest.raises(ArgumentError, match="raw_shape is for tasks that export one network"):
        bundle.export(tmp_path / "copies.tflite", raw_shape=(5,))
    with pytest.raises(ArgumentError, match="trainable is for tasks that export one network"):
        bundle.export(tmp_path / "copies.tflite", trainable=True)
    assert not list(tmp_path.iterdir())


def test_a_gan_exports_its_generator_alone(tmp_path):
    bundle = bundle_of("gan", networks_of("gan"))
    noise = np.random.default_rng(0).normal(size=(40, gan.LATENT)).astype("float32")
    report = bundle.export(tmp_path / "gan.tflite", representative=noise)
    assert not report.signatures
    assert [each.name for each in report.inputs] == ["noise"]
    given = run_exported(tmp_path / "gan.tflite", noise)["point"]
    np.testing.assert_allclose(given, [row["point"] for row in bundle.predict(noise)], atol=1e-4)


@pytest.mark.slow
def test_a_gan_learns_to_make_points_of_the_ring():
    networks, run = trained("gan", 512, epochs=60)
    assert set(run.history) >= {"d_loss", "g_loss"}
    before, after = (gan.distance(each, None) for each in (networks_of("gan"), networks))
    assert after["radius_error"] < 0.3 < before["radius_error"]
    assert after["empty_sectors"] <= 2


@pytest.mark.slow
def test_sequences_are_copied_after_training_with_weights_of_steps():
    bundle = bundle_of("copying", trained("copying", 600, epochs=60, learning_rate=1e-2)[0])
    held = as_dataset(copying.examples(100, seed=7))
    assert bundle.evaluate(held)["copied"] > 0.9
    assert bundle.predict([[3, 4, 5], [7]]) == [{"tokens": [3, 4, 5]}, {"tokens": [7]}]
    with pytest.raises(ArgumentError, match="raw must be lists of 1 to 5 tokens"):
        bundle.predict([[]])


@pytest.mark.slow
def test_squares_are_found_in_images_of_another_size():
    bundle = bundle_of("squares", trained("squares", 512, epochs=40, learning_rate=5e-3)[0])
    figures = bundle.evaluate(as_dataset(squares.scenes(100, seed=7)))
    assert figures["recall"] > 0.8
    assert figures["boxes_a_square"] < 1.5
    assert figures["loss"] < 0.3
    large = np.zeros((32, 48), "float32")
    large[4:16, 6:24] = 1
    (found,) = bundle.predict([large])
    assert np.abs(np.array(found["boxes"][0]) - [6, 4, 24, 16]).max() < 5


def test_a_bundle_of_two_networks_is_tuned_as_a_whole():
    bundle = bundle_of("gan", networks_of("gan"))
    quiet = RunConfig(progress="off", strategy=None)
    points = as_dataset(gan.ring(64))
    tuned = bundle.finetune(points, epochs=1, freeze="none", learning_rate=None, config=quiet)
    for role, network in bundle.networks.items():
        pairs = zip(network.get_weights(), tuned.networks[role].get_weights(), strict=True)
        assert any((ours != theirs).any() for ours, theirs in pairs)
    with pytest.raises(ArgumentError, match="is tuned as a whole"):
        bundle.finetune(points, epochs=1, freeze="staged", config=quiet)
    with pytest.raises(ArgumentError, match="logits are of tasks"):
        bundle.logits(raw_of("gan"))


def test_a_network_that_the_manifest_does_not_name_is_refused(tmp_path):
    bundle = bundle_of("gan", networks_of("gan"))
    with pytest.raises(BundleError, match="each further part of the manifest"):
        Bundle(bundle.model, bundle.manifest, bundle.preprocess)


@pytest.mark.slow
def test_q_learning_finds_the_shortest_ways_and_goes_on_bit_for_bit(tmp_path):
    whole = grid.Agent()
    run = grid.play(whole, 5)
    assert run.best.value == pytest.approx(grid.BEST, rel=0.02)
    assert run.history["return"][0] < run.best.value
    grid.play(grid.Agent(), 2, tmp_path / "run")
    resumed = grid.Agent()
    again = grid.play(resumed, 5, tmp_path / "run")
    assert again.resumed
    assert again.history["return"] == run.history["return"]
    np.testing.assert_array_equal(resumed.kept.numpy(), whole.kept.numpy())
    for ours, theirs in zip(resumed.network.weights, whole.network.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
