"""The bundle: what it answers, how it is fine-tuned, saved and exported."""

import dataclasses
import io
import shutil
import time
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.blocks import replace_head
from kerasdl.bundles import Bundle
from kerasdl.bundles import bundle as bundle_module
from kerasdl.core import ArgumentError, BundleError, UnknownNameError
from kerasdl.train import RunConfig

QUIET = RunConfig(batch_size=8, progress="off")


@pytest.fixture
def small(tiny):
    spec = kerasdl.spec("mobilenet_v2")
    return Bundle.of(
        tiny("mobilenet_v2"),
        name="small",
        task="image_classification",
        preprocess={"image_shape": (32, 32, 3), "scale": (-1, 1)},
        labels=("a", "b", "c", "d"),
        builder="mobilenet_v2",
        arguments=dict(spec.tiny),
    )


@pytest.mark.slow
def test_embedded_bundles_are_small_and_do_what_their_cards_say(digits):
    trained_here = ["digits_mobilenet", "glyphs_mobilenet", "glyphs_resnet", "glyphs_vit"]
    assert kerasdl.bundles.list_bundles() == [
        "cartpole_ppo",
        "dates_seq2seq",
        *trained_here,
        "imagenet_efficientnet_lite0",
        "pydoc_lstm",
        "series_tcn",
        "shapes_unet",
        "shapes_yolo",
    ]
    for name in trained_here:
        path = kerasdl.bundles.listing.EMBEDDED / f"{name}.zip"
        assert path.stat().st_size < 1_500_000
        bundle = kerasdl.load_bundle(name)
        data = name.partition("_")[0]
        stated = bundle.manifest.metrics[f"{data} test"]["accuracy"]
        assert bundle.evaluate(data)["accuracy"] == pytest.approx(stated, abs=0.01)
        assert stated > 0.95


def test_predict_takes_raw_images_of_any_form(digits, raw):
    images, labels = raw
    answers = digits.predict(images)
    assert np.mean([answer["label"] == str(label) for answer, label in zip(answers, labels, strict=True)]) > 0.95
    assert sum(answers[0]["scores"].values()) == pytest.approx(1.0)
    assert answers[0]["score"] == max(answers[0]["scores"].values())
    grey = images[0]
    colour = np.repeat(grey.reshape(32, 32, 1), 3, axis=-1)
    alpha = np.concatenate([colour, np.full((32, 32, 1), 255, np.uint8)], axis=-1)
    large = np.kron(colour, np.ones((4, 4, 1), np.uint8))
    expected = digits.logits(grey)
    for form in (grey.reshape(32, 32), colour, alpha, [colour]):
        np.testing.assert_allclose(digits.logits(form), expected, atol=1e-5)
    assert digits.predict(large)[0]["label"] == digits.predict(grey)[0]["label"]


def test_finetune_gives_a_fresh_head_and_leaves_the_old_bundle_alone(small):
    before = [weight.copy() for weight in small.model.get_weights()]
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    classes = np.arange(12) % 3
    tuned = small.finetune((images, classes), epochs=3, labels=("x", "y", "z"), config=QUIET)
    assert tuned.labels == ("x", "y", "z")
    assert tuned.model.output_shape == (None, 3)
    assert tuned.manifest.arguments["classes"] == 3
    assert tuned.manifest.provenance["finetuned from"] == "small"
    for old, new in zip(before, small.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    moved = np.abs(tuned.model.get_layer("stem_conv").get_weights()[0] - before[0]).max()
    assert moved > 0, "the last stage trains every layer"


def test_validation_data_have_the_classes_of_the_training_data(small, monkeypatch):
    few = kerasdl.data.load("digits").per_class(1)
    arrays = np.zeros((10, 32, 32, 1), np.uint8), np.arange(10)
    bundle = kerasdl.load_bundle("glyphs_mobilenet")
    tuned = bundle.finetune(few, arrays, epochs=1, freeze="backbone", config=QUIET)
    assert tuned.labels == few.class_names
    assert tuned.manifest.metrics
    monkeypatch.setattr(bundle_module.finetuning, "finetune_networks", lambda *_, **__: pytest.fail("it trains first"))
    with pytest.raises(ArgumentError, match="validation data must have the training data's classes"):
        bundle.finetune(few, kerasdl.data.load("glyphs", "validation"), epochs=1, config=QUIET)


def test_freezing_features_moves_the_head_alone(small):
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    tuned = small.finetune((images, np.arange(12) % 4), epochs=2, freeze="backbone", config=QUIET)
    assert tuned.labels == small.labels
    for layer in small.model.layers:
        new = tuned.model.get_layer(layer.name).get_weights()
        same = all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), new, strict=True))
        assert same == (layer.name != "head" or not new), layer.name


def test_an_unknown_freeze_is_refused(small):
    with pytest.raises(ArgumentError, match="freeze must be one of"):
        small.finetune((np.zeros((4, 32, 32, 3), np.uint8), np.arange(4)), freeze="half", config=QUIET)


@pytest.mark.parametrize("form", ["bundle", "bundle.zip"])
def test_save_and_load_give_the_same_answers(small, form, tmp_path):
    measured = small.with_metrics("mine", {"accuracy": 0.5})
    measured = dataclasses.replace(
        measured,
        extra={"tokenizer": b"{}"},
        manifest=dataclasses.replace(
            measured.manifest, parts={**measured.manifest.parts, "tokenizer": "tokenizer.json"}
        ),
    )
    path = measured.save(tmp_path / form)
    loaded = kerasdl.load_bundle(path)
    images = np.random.default_rng(1).integers(0, 255, (3, 40, 20, 3), np.uint8)
    np.testing.assert_array_equal(loaded.logits(images), small.logits(images))
    assert loaded.manifest == measured.manifest
    assert loaded.extra == {"tokenizer": b"{}"}
    assert kerasdl.load_bundle(path, digest=loaded.digest).digest == loaded.digest
    with pytest.raises(BundleError, match="digest"):
        kerasdl.load_bundle(path, digest="0" * 64)


def test_folder_and_zip_have_one_digest(small, tmp_path):
    folder, packed = (kerasdl.load_bundle(small.save(tmp_path / form)) for form in ("bundle", "bundle.zip"))
    assert folder.digest == packed.digest != ""


@pytest.mark.slow
def test_the_exported_graph_can_hold_the_preprocessing(digits, raw, tmp_path):
    images, _ = raw
    report = digits.export(tmp_path / "raw.tflite", raw_shape=(32, 32, 3), representative="digits")
    assert report.worst_relative <= report.tolerance
    pixels = np.repeat(images, 3, axis=-1).astype("float32")
    (outputs,) = kerasdl.deploy.run_exported(tmp_path / "raw.tflite", pixels).values()
    np.testing.assert_allclose(outputs, digits.logits(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "raw_shape",
    [(128, 96, 3), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((50, 70, 3), (20, 24, 3)))],
)
def test_a_file_that_resizes_answers_as_predict_does(digits, raw, raw_shape, tmp_path):
    images, _ = raw
    resized = kerasdl.data.prepare_images(images, raw_shape, None)
    digits.export(tmp_path / "raw.tflite", raw_shape=raw_shape)
    (outputs,) = kerasdl.deploy.run_exported(tmp_path / "raw.tflite", resized.astype("float32")).values()
    expected = digits.logits(list(resized))
    assert np.mean(outputs.argmax(axis=-1) == expected.argmax(axis=-1)) >= 0.97
    assert np.sqrt(np.mean(np.square(outputs - expected))) < 0.1 * np.std(expected)


def test_a_raw_shape_of_other_channels_is_refused(digits, tmp_path):
    with pytest.raises(ArgumentError, match=r"a raw image must be \(height, width, 3\)"):
        digits.export(tmp_path / "raw.tflite", raw_shape=(64, 64, 1))
    with pytest.raises(ArgumentError, match="all known"):
        digits.export(tmp_path / "raw.tflite", raw_shape=(0, 0, 3))


@pytest.mark.slow
def test_an_int8_file_keeps_the_accuracy(digits, tmp_path):
    path = tmp_path / "digits.tflite"
    digits.export(path, quantize="int8", representative="digits")
    inputs, labels = digits.ready("digits", split="test").arrays()
    (outputs,) = kerasdl.deploy.run_exported(path, inputs).values()
    stated = digits.manifest.metrics["digits test"]["accuracy"]
    assert np.mean(outputs.argmax(axis=-1) == labels) > stated - 0.02
    assert path.stat().st_size < 0.5 * 4 * digits.model.count_params()


def test_data_of_other_classes_is_not_evaluated(digits):
    with pytest.raises(ArgumentError, match="Fine-tune the bundle"):
        digits.evaluate("glyphs")


def test_names_that_lead_nowhere(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'digits_mobilenet'"):
        kerasdl.load_bundle("digit_mobilenet")
    with pytest.raises(BundleError, match="nothing is at"):
        kerasdl.load_bundle(tmp_path / "none.zip")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.keras", r"net\.keras is a Keras model, .*Bundle\.of\(keras\.saving\.load_model\('.*net\.keras'\)"),
        ("net.h5", r"net\.h5 is a Keras 2 file, .*Bundle\.of\(kerasdl\.deploy\.from_tf_keras\('.*net\.h5'\)"),
        ("net.tflite", r"net\.tflite is a TFLite file\..*run_exported\('.*net\.tflite', inputs\)"),
        ("net.onnx", r"net\.onnx is an ONNX file\..*run_exported"),
        ("net.pth", r"net\.pth is weights alone\..*import_weights\(model, '.*net\.pth'\)"),
        ("photo.jpg", r"photo\.jpg is an image\. Name the bundle first"),
        ("rose/1.jpg", r"rose is a folder without bundle\.json\. .*kerasdl\.data\.load\('.*rose'\)"),
        ("served/saved_model.pb", r"served is a SavedModel\..*run_exported\('.*served', inputs\)"),
    ],
)
def test_a_model_without_a_bundle_is_named_with_what_to_do(name, said, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(BundleError, match=said):
        kerasdl.load_bundle(tmp_path / name.partition("/")[0])


def test_the_program_beside_a_file_is_named(tmp_path):
    for name in ("mine.tflite", "mine.tflite.py"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BundleError, match=r"python .*mine\.tflite\.py INPUT"):
        kerasdl.load_bundle(tmp_path / "mine.tflite")


def test_a_head_is_replaced_in_the_model_of_a_bundle(small):
    with pytest.raises(ArgumentError, match=r"got 'Bundle'\. Of a bundle pass bundle\.model"):
        replace_head(small, 5)


@pytest.fixture
def hub():
    return pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")


def test_a_remote_name_without_a_network_says_how_to_bring_the_bundle(hub, monkeypatch):
    def unreachable(name, file):
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "hf_hub_download", unreachable)
    with pytest.raises(BundleError, match=r"hf download owner/name bundle\.zip --local-dir"):
        kerasdl.load_bundle("hf://owner/name")
    with pytest.raises(ArgumentError, match="hf://owner/name"):
        kerasdl.load_bundle("hf://name")


def test_a_remote_bundle_is_read_through_the_links_of_the_hubs_cache(hub, monkeypatch, tmp_path):
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    blob.write_bytes((kerasdl.bundles.listing.EMBEDDED / "digits_mobilenet.zip").read_bytes())
    (tmp_path / "bundle.zip").symlink_to(blob)
    monkeypatch.setattr(hub, "hf_hub_download", lambda name, file: str(tmp_path / file))
    assert kerasdl.load_bundle("hf://owner/name").name == "digits_mobilenet"


def test_a_tabular_bundle_standardises_raw_rows(tmp_path):
    data = kerasdl.data.load("iris")
    model = kerasdl.build("mlp", features=4, classes=3)
    settings = {"mean": list(data.feature_mean), "std": list(data.feature_std)}
    bundle = Bundle.of(model, name="iris", task="tabular_classification", preprocess=settings, labels=data.class_names)
    tuned = bundle.finetune(data, epochs=30, freeze="none", learning_rate=1e-2, config=QUIET)
    loaded = kerasdl.load_bundle(tuned.save(tmp_path / "iris.zip"))
    assert loaded.evaluate("iris")["accuracy"] > 0.9
    row = np.array(data.feature_mean) * 1.1
    standard = (row - data.feature_mean) / data.feature_std
    expected = model_output(loaded.model, standard)
    np.testing.assert_allclose(loaded.logits([row])[0], expected, atol=1e-5)
    np.testing.assert_allclose(model_output(loaded.deployable(), row), expected, atol=1e-4)


def model_output(model: keras.Model, row) -> np.ndarray:
    return model(np.asarray(row, "float32")[None], training=False).numpy()[0]


def test_finetuning_is_a_function_of_its_seed(small):
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    data = (images, np.arange(12) % 3)
    runs = [small.finetune(data, epochs=1, labels=("x", "y", "z"), config=QUIET).model.get_weights() for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_kept_for_other_data_or_another_bundle_is_not_taken_up(small, tmp_path):
    config = dataclasses.replace(QUIET, folder=tmp_path / "run")
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    small.finetune((images, np.arange(12) % 4), epochs=2, config=config)
    with pytest.raises(ArgumentError, match="fingerprint"):
        small.finetune((255 - images, np.arange(12) % 4), epochs=2, config=config)
    other = dataclasses.replace(small, model=kerasdl.build("mobilenet_v2", **kerasdl.spec("mobilenet_v2").tiny))
    with pytest.raises(ArgumentError, match="the same bundle"):
        other.finetune((images, np.arange(12) % 4), epochs=2, config=config)


def test_a_run_killed_between_its_stages_goes_on_to_the_same_weights(small, tmp_path):
    """Folder of a run killed after the first stage: that stage's folder, and nothing of the second."""
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    data, config = (images, np.arange(12) % 3), dataclasses.replace(QUIET, folder=tmp_path / "run")
    weights = []
    for _ in range(2):
        tuned = small.finetune(data, epochs=3, labels=("x", "y", "z"), config=config)
        weights.append(tuned.model.get_weights())
        shutil.rmtree(tmp_path / "run" / "stage1")
    for whole, resumed in zip(*weights, strict=True):
        np.testing.assert_array_equal(whole, resumed)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"preprocess": {}}, "image_shape must be"),
        ({"preprocess": {"image_shape": (99, 99, 3), "scale": (-1, 1)}}, "must fit the model's input"),
        ({"preprocess": {"image_shape": (32, 32, 3), "scale": None}}, "scale must be"),
        ({"labels": ("a", "b")}, "a label for each of its 4 outputs"),
        ({"labels": ("a", "a", "b", "c")}, "differ from one another"),
        ({"task": "no_such_task"}, "unknown task"),
    ],
)
def test_a_bundle_that_could_not_answer_is_refused(tiny, change, text):
    fields = {"preprocess": {"image_shape": (32, 32, 3), "scale": (-1, 1)}, "task": "image_classification", **change}
    with pytest.raises((BundleError, UnknownNameError), match=text):
        Bundle.of(tiny("mobilenet_v2"), name="odd", **fields)


def test_a_bundle_that_nobody_could_load_is_not_saved(tmp_path):
    image = keras.Input((8, 8, 1))
    settings = {"image_shape": (8, 8, 1), "scale": (0, 1)}
    for layer in (keras.layers.Lambda(lambda x: x), keras.layers.Activation(lambda x: x)):
        own = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(layer(image))))
        bundle = Bundle.of(own, name="own", task="image_classification", preprocess=settings)
        with pytest.raises(BundleError, match=r"from its configuration alone.*Lambda layers"):
            bundle.save(tmp_path / "own.zip")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_never_replaced(small, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "wedding.jpg").write_bytes(b"dear")
    for write in (small.save, lambda path: small.export(path)):
        with pytest.raises((BundleError, ArgumentError), match="photos"):
            write(tmp_path / "photos")
    (tmp_path / "photos" / "bundle.json").write_text("{}")
    with pytest.raises(BundleError, match="may replace only a bundle"):
        small.save(tmp_path / "photos")
    assert (tmp_path / "photos" / "wedding.jpg").read_bytes() == b"dear"


def test_the_digest_is_that_of_the_content_not_of_the_hour(small, tmp_path):
    first = kerasdl.load_bundle(small.save(tmp_path / "one.zip"))
    time.sleep(2.1)  # zip files count in steps of two seconds
    assert kerasdl.load_bundle(small.save(tmp_path / "two.zip")).digest == first.digest


def test_a_trained_model_is_saved_without_its_optimizer(small, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
    tuned = small.finetune((images, np.arange(8) % 4), epochs=2, config=QUIET)
    assert tuned.model.optimizer is not None
    before, after = (bundle.save(tmp_path / f"{name}.zip") for name, bundle in (("small", small), ("tuned", tuned)))
    assert after.stat().st_size < 1.1 * before.stat().st_size
    files = [zipfile.ZipFile(io.BytesIO(zipfile.ZipFile(path).read("model.keras"))) for path in (before, after)]
    sizes = [file.getinfo("model.weights.h5").file_size for file in files]
    assert sizes[0] == sizes[1]


def test_a_sequential_model_of_ones_own_is_fine_tuned_and_exported(tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)]
    )
    settings = {"image_shape": (8, 8, 1), "scale": (0, 1)}
    bundle = Bundle.of(model, name="own", task="image_classification", preprocess=settings, labels=("a", "b"))
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 1), np.uint8)
    tuned = bundle.finetune((images, np.arange(12) % 3), epochs=2, labels=("x", "y", "z"), config=QUIET)
    loaded = kerasdl.load_bundle(tuned.save(tmp_path / "own.zip"))
    report = loaded.export(tmp_path / "own.tflite", quantize="int8", representative=images)
    assert report.worst_relative < 0.1


def test_calibration_sees_every_class():
    data = kerasdl.data.load("digits")
    order = np.argsort(data.source.labels, kind="stable")
    by_class = dataclasses.replace(data, source=data.source.pick(order))
    assert set(by_class.sample(60).arrays()[1]) == set(range(10))
    assert set(by_class.take(60).arrays()[1]) == {0}


@pytest.mark.parametrize(
    ("task", "does", "limit"),
    [
        ("tabular_classification", "names what a row", "any other input still gets one of them"),
        ("tabular_regression", "predicts a number", "a value for any input"),
        ("multi_label_classification", "names all that an image shows", "some of them, or none"),
    ],
)
def test_the_card_says_what_a_task_does_and_cannot(task, does, limit):
    shape = (2, 2, 3) if task.startswith("multi") else (4,)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    settings = {"image_shape": shape, "scale": (0, 1)} if len(shape) > 1 else {"mean": [0.0] * 4, "std": [1.0] * 4}
    card = Bundle.of(model, name="it", task=task, preprocess=settings, labels=("a", "b")).card()
    assert does in card
    assert limit in card


def snippet_of(card):
    return card.partition("```python\n")[2].partition("```")[0]


def test_the_snippet_of_a_card_runs_as_written(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 30, 3), "uint8")).save("photo.jpg")
    renamed = dataclasses.replace(digits, manifest=dataclasses.replace(digits.manifest, name="mine"))
    table = {"mean": [5.8, 3.1, 3.8, 1.2], "std": [0.8, 0.4, 1.8, 0.8]}
    model = kerasdl.build("mlp", features=4, classes=3)
    flowers = Bundle.of(model, name="flowers", task="tabular_classification", preprocess=table, labels=("a", "b", "c"))
    for bundle in (renamed, flowers):
        bundle.save(f"{bundle.name}.zip")
    for bundle in (digits, renamed, flowers):
        exec(snippet_of(bundle.card()), {})
        assert "'label'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, r"Bundle.of must be given name and task and preprocess; got 'none'. Pass name=\"mine\", task="),
        ({"name": "m", "task": "image_classification"}, r"given preprocess; .*Pass preprocess={\"image_shape\""),
        ({"name": "m", "class_names": ("a", "b")}, "got 'class_names'. Did you mean 'labels'"),
    ],
)
def test_arguments_of_a_bundle_that_are_missing_or_unknown_get_a_remedy(settings, text):
    with pytest.raises(kerasdl.ArgumentError, match=text):
        Bundle.of(None, **settings)
    with pytest.raises(kerasdl.ArgumentError, match="fit must be given train; got 'none'"):
        kerasdl.train.fit(None)
