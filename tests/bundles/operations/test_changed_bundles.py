"""Bundles through quantize_aware, prune, prune_channels, cluster and distill: a bundle goes in, a bundle comes back."""

import json

import keras
import numpy as np
import pytest
from filling import fill_weights
from forging import members, summed, zipped

from kerasdl.bundles import Bundle, load_bundle, resized
from kerasdl.core import ArgumentError, BundleError
from kerasdl.data import as_dataset
from kerasdl.deploy import cluster, prune, prune_channels, quantize_aware, read_metadata, run_exported
from kerasdl.train import RunConfig, distill, distill_features

L = keras.layers
LABELS = ("dark", "bright")
QUIET = RunConfig(epochs=1, batch_size=16, progress="off")


def make_net(width=8, seed=0):
    image = keras.Input((8, 8, 3), name="image")
    x = L.ReLU(name="relu")(L.Conv2D(width, 3, strides=2, name="conv")(image))
    x = L.ReLU(name="relu2")(L.Conv2D(width, 1, name="conv2")(x))
    return fill_weights(keras.Model(image, L.Dense(2, name="head")(L.GlobalAveragePooling2D(name="pool")(x))), seed)


def bundle_of(model, **more):
    settings = {"image_shape": (8, 8, 3), "scale": (-1, 1), **more.pop("settings", {})}
    kind = {"name": "light", "task": "image_classification", "labels": LABELS, "licence": "CC0"}
    return Bundle.of(model, preprocess=settings, **kind | more)


@pytest.fixture(scope="module")
def raw():
    """Pictures of twice the size of the net's, of all levels of grey, and whether they are bright."""
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 256, (200, 1, 1, 1)) + rng.integers(-20, 21, (200, 16, 16, 3))).clip(0, 255)
    return images.astype("uint8"), (images.mean(axis=(1, 2, 3)) > 127).astype(int)


@pytest.fixture(scope="module")
def bundle():
    return bundle_of(make_net(), provenance={"drawn by": "hand", "exported as tflite": "9 bytes"}).with_metrics(
        "long ago", {"accuracy": 0.1}
    )


@pytest.fixture(scope="module")
def rounding(bundle, raw):
    return quantize_aware(bundle, raw, epochs=1, validation=raw, config=QUIET)


CHANGES = {
    "prune": lambda bundle, raw: prune(bundle, raw, 0.75, config=QUIET),
    "cluster": lambda bundle, raw: cluster(bundle, raw, 4, config=QUIET),
    "prune_channels": lambda bundle, raw: prune_channels(bundle, 0.5, divisor=2),
    "distill": lambda bundle, raw: distill(bundle, bundle_of(make_net(32, seed=1)), raw, config=QUIET),
}


@pytest.mark.parametrize("name", CHANGES)
def test_labels_preparation_and_licence_stay_and_figures_go(name, bundle, raw, tmp_path):
    before = bundle.model.get_weights()
    changed = CHANGES[name](bundle, raw)
    assert (changed.labels, changed.preprocess, changed.manifest.licence) == (LABELS, bundle.preprocess, "CC0")
    assert (changed.name, changed.manifest.metrics, changed.digest) == (f"light_{name}", {}, "")
    assert changed.manifest.provenance["drawn by"] == "hand"
    assert list(changed.manifest.provenance) == ["drawn by", "step 1"]
    assert changed.manifest.provenance["step 1"].startswith(f"{name} of light")
    assert not all(map(np.array_equal, changed.model.get_weights(), before))
    for mine, its in zip(bundle.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, its)
    again = load_bundle(changed.save(tmp_path / "changed.zip"))
    np.testing.assert_array_equal(again.logits(raw[0][:9]), changed.logits(raw[0][:9]))


def test_what_a_change_promises_holds_in_the_bundle(bundle, raw):
    assert np.mean(CHANGES["prune"](bundle, raw).model.get_layer("conv2").kernel == 0) > 0.7
    assert len(np.unique(CHANGES["cluster"](bundle, raw).model.get_layer("conv2").kernel)) <= 4
    assert CHANGES["prune_channels"](bundle, raw).model.get_layer("conv").filters == 4


def test_figures_of_the_validation_data_are_measured_anew(bundle, raw):
    pruned = prune(bundle, raw, 0.5, validation=raw, config=QUIET)
    assert pruned.manifest.metrics == {"arrays validation": pruned.evaluate(raw)}


def test_the_provenance_tells_each_step_and_its_settings(bundle, raw):
    twice = cluster(prune(bundle, raw, 0.75, config=QUIET), raw, 4, preserve_sparsity=True, config=QUIET)
    first, second = twice.manifest.provenance["step 1"], twice.manifest.provenance["step 2"]
    assert "on arrays, 200 examples" in first
    assert {"sparsity 0.75", "epochs 1", "seed 0"} <= set(first.replace(" with ", ", ").split(", "))
    assert second.startswith("cluster of light_prune ")
    assert twice.name == "light_prune_cluster"
    assert "step 2" in twice.card()


def test_a_smaller_net_is_no_longer_its_builder_s(raw):
    made = bundle_of(make_net(), builder="mobilenet_v2", arguments={"width": 1.0})
    assert prune_channels(made, 0.5, divisor=2).manifest.builder == ""
    assert prune(made, raw, config=QUIET).manifest.builder == "mobilenet_v2"


def test_a_model_learns_from_a_bundle_and_takes_its_labels(bundle, raw):
    student = make_net(4, seed=2)
    learnt = distill(student, bundle, raw, config=QUIET)
    assert learnt.model is student
    assert (learnt.labels, learnt.preprocess) == (LABELS, bundle.preprocess)
    assert "drawn by" not in learnt.manifest.provenance
    with pytest.raises(ArgumentError, match="student and teacher must have the same preprocess"):
        distill(bundle_of(make_net(), settings={"scale": (0, 1)}), bundle, raw, config=QUIET)
    with pytest.raises(ArgumentError, match="student and teacher must have the same labels"):
        distill(bundle_of(make_net(), labels=("a", "b")), bundle, raw, config=QUIET)


def test_features_are_learnt_from_a_bundle_as_answers_are(bundle, raw):
    layers = {"guided": "relu", "hint": "relu"}
    learnt = distill_features(bundle, bundle_of(make_net(8, seed=1)), raw, config=QUIET, **layers)
    assert (learnt.name, learnt.labels, learnt.preprocess) == ("light_distill_features", LABELS, bundle.preprocess)
    assert "guided relu, hint relu" in learnt.manifest.provenance["step 1"]
    below, head = (learnt.model.get_layer(name).get_weights()[0] for name in ("conv", "head"))
    assert not np.array_equal(below, bundle.model.get_layer("conv").get_weights()[0])
    np.testing.assert_array_equal(head, bundle.model.get_layer("head").get_weights()[0])
    student = make_net(4, seed=2)
    assert distill_features(student, bundle, raw, config=QUIET, **layers).model is student


def test_what_rounds_answers_saves_and_loads_to_the_bit(rounding, raw, tmp_path):
    images = raw[0]
    floats, given = rounding.to_float().logits(images), rounding.logits(images)
    off = np.sqrt(np.mean((floats - given) ** 2) / np.mean(floats**2))
    assert 0 < off < 0.1
    assert rounding.manifest.metrics == {"arrays validation": rounding.evaluate(raw)}
    again = load_bundle(rounding.save(tmp_path / "rounding.zip"))
    np.testing.assert_array_equal(again.logits(images), given)
    assert again.evaluate(raw) == rounding.evaluate(raw)
    assert again.to_float().quantized is None


@pytest.mark.parametrize("integer_io", [False, True])
def test_the_file_computes_what_the_bundle_does_with_labels_inside(integer_io, rounding, raw, tmp_path):
    report = rounding.export(tmp_path / "net.tflite", integer_io=integer_io)
    assert report.format == "tflite int8 by training"
    assert read_metadata(tmp_path / "net.tflite")["labels"] == list(LABELS)
    assert (tmp_path / "net.tflite.md").exists()
    inputs = rounding.ready(raw).arrays()[0][:32]
    (given,) = run_exported(tmp_path / "net.tflite", inputs).values()
    assert np.mean(given.argmax(-1) == rounding.logits(raw[0][:32]).argmax(-1)) > 0.9


def test_the_file_takes_raw_pixels_with_the_ranges_of_the_training(rounding, raw, tmp_path):
    with pytest.raises(ArgumentError, match="representative must be given"):
        rounding.export(tmp_path / "raw.tflite", raw_shape=(16, 16, 3))
    load_bundle(rounding.save(tmp_path / "rounding.zip")).export(
        tmp_path / "raw.tflite", raw_shape=(16, 16, 3), representative=as_images(raw)
    )
    (given,) = run_exported(tmp_path / "raw.tflite", raw[0][:64].astype("float32")).values()
    expected = rounding.logits(raw[0][:64])
    assert np.sqrt(np.mean((given - expected) ** 2) / np.mean(expected**2)) < 0.1


def as_images(raw):
    return as_dataset(raw, task="image_classification", class_names=LABELS)


@pytest.mark.parametrize("raw_pixels", [{}, {"raw_shape": (16, 16, 3), "raw_dtype": "uint8"}])
def test_the_file_of_what_rounds_gives_probabilities_and_takes_bytes(raw_pixels, rounding, raw, tmp_path):
    report = rounding.export(tmp_path / "net.tflite", representative=as_images(raw), scores=True, **raw_pixels)
    assert report.inputs[0].dtype == raw_pixels.get("raw_dtype", "float32")
    assert report.predict_agreement > 0.95
    assert report.predict_difference < 0.1


def test_what_would_drop_the_rounding_is_refused_by_name(rounding, raw, tmp_path):
    for doing in (
        lambda: rounding.finetune(raw, epochs=1),
        lambda: prune(rounding, raw),
        lambda: quantize_aware(rounding, raw),
        lambda: resized(rounding, (16, 16, 3)),
    ):
        with pytest.raises(ArgumentError, match=r"takes a bundle that does not round.*to_float"):
            doing()
    with pytest.raises(ArgumentError, match=r"must be written as \.tflite in int8"):
        rounding.export(tmp_path / "net.onnx")
    with pytest.raises(ArgumentError, match=r"must be written as \.tflite in int8"):
        rounding.export(tmp_path / "net.tflite", quantize="float16")
    with pytest.raises(ArgumentError, match="correct_biases is for bundles that do not round"):
        rounding.export(tmp_path / "net.tflite", correct_biases=True)


@pytest.mark.parametrize(
    "forge",
    [
        lambda state: state["ranges"].popitem(),
        lambda state: state["ranges"].update(conv_rounded=[1.0, -1.0]),
        lambda state: state["ranges"].update(conv_rounded="wide"),
        lambda state: state["scheme"].update(unknown=1),
        lambda state: state.pop("scheme"),
    ],
)
def test_a_forged_rounding_is_one_clear_error(forge, rounding, tmp_path):
    files = members(rounding.save(tmp_path / "honest.zip").read_bytes())
    state = json.loads(files["quantization.json"])
    forge(state)
    (tmp_path / "forged.zip").write_bytes(zipped(summed(files | {"quantization.json": json.dumps(state).encode()})))
    with pytest.raises(BundleError, match=r"the rounding of .*does not fit the model"):
        load_bundle(tmp_path / "forged.zip")


def test_data_of_other_classes_are_refused(bundle, raw):
    other = as_dataset(raw, task="image_classification", class_names=("cat", "dog"))
    with pytest.raises(ArgumentError, match="must have its classes"):
        prune(bundle, other, config=QUIET)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("export_tflite", r"bundle\.export\('model\.tflite', \.\.\.\)"),
        ("fit", r"bundle\.finetune\(data"),
        ("summary", r"bundle\.model\.summary\(\)"),
    ],
)
def test_names_of_models_are_refused_with_what_does_it_in_a_bundle(name, way):
    bundle = load_bundle("digits_mobilenet")
    with pytest.raises(AttributeError, match=f"a bundle has no {name}, which is of models: call {way}"):
        getattr(bundle, name)
    with pytest.raises(AttributeError, match="'Bundle' object has no attribute 'predikt'"):
        bundle.predikt  # noqa: B018
    assert not hasattr(bundle, name)
