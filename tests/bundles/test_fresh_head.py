"""Fine-tuning a net of several outputs on other labels: rebuilt by its builder, all but the layers of labels kept."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from registering import registered, registering

from kerasdl import Bundle, BundleError, build, load_bundle
from kerasdl.core import ArgumentError, Task, checks, register_task
from kerasdl.core.outputs.model_shapes import input_shape_of
from kerasdl.core.registry.rebuilding import rebuild_head
from kerasdl.data import as_dataset
from kerasdl.train import RunConfig, Trainer

QUIET = RunConfig(progress="off", strategy=None)


def finder(*, features=6, classes=3, width=8, extra=False):
    """A net that says of a row which class it is, and where."""
    x = rows = keras.Input((features,), name="rows")
    x = layers.Dense(width, activation="relu", name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    tower = layers.Dense(8, activation="relu", name="tower")(x)
    scores = layers.Dense(classes, name="class_logits")(tower)
    outputs = {
        "scores": layers.Dense(classes, name="class_scale")(scores),
        "place": layers.Dense(2, name="place")(tower),
    }
    if extra:
        outputs["size"] = layers.Dense(1, name="size")(tower)
    return keras.Model(rows, outputs, name="finder")


class Finding(Trainer):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        named = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y["name"], y_pred["scores"])
        return named + keras.losses.MeanSquaredError()(y["place"], y_pred["place"])


def check(settings, labels, model):
    checks.at_least("features", settings.get("features"), input_shape_of(model)[0])
    outputs = model.output["scores"].shape[-1]
    if len(labels) != outputs:
        checks.refuse(f"the head of scores must have a label for each of its {outputs} columns", labels)


def found(outputs, labels, context):
    rows = zip(outputs["scores"].argmax(-1), outputs["place"], strict=True)
    return [{"label": labels[name], "place": place.tolist()} for name, place in rows]


TASK = Task(
    name="finding",
    module=__name__,
    loss=lambda: None,
    metrics=list,
    monitor=("val_loss", "min"),
    check=check,
    preprocess=lambda raw, settings: (np.asarray(raw, "float32"), None),
    preprocess_layers=lambda settings, shape: [],
    decode=found,
    replace_head=None,
    example=None,
    predict=lambda networks, inputs, batch_size: networks["model"].predict(inputs, batch_size=batch_size, verbose=0),
    trainer=Finding,
    summary="names rows and says where they are",
)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registering():
        register_task(TASK)
        registered(finder, task="finding")
        yield


def bundle_of(model=None, **settings):
    keras.utils.set_random_seed(1)
    given = {"builder": "finder", "arguments": {"classes": 3}, "labels": ("a", "b", "c"), **settings}
    return Bundle.of(model or build("finder"), name="it", task="finding", preprocess={"features": 6}, **given)


def rows(*names, count=40):
    rng = np.random.default_rng(0)
    labels = {"name": rng.integers(0, len(names), count), "place": rng.normal(size=(count, 2)).astype("float32")}
    return as_dataset((rng.normal(size=(count, 6)).astype("float32"), labels), class_names=names)


@pytest.mark.parametrize("names", [("x", "y", "z", "w", "v"), ("x", "y", "z")], ids=["more", "as many"])
def test_layers_that_depend_on_the_labels_are_fresh_and_all_others_kept(names):
    bundle = bundle_of()
    model, fresh = rebuild_head(bundle.model, "finder", bundle.manifest.arguments, names, TASK.label_arguments)
    assert fresh == ["class_logits", "class_scale"]
    assert model.output["scores"].shape == (None, len(names))
    for layer in bundle.model.layers:
        pairs = zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True)
        same = [ours.shape == theirs.shape and (ours == theirs).all() for ours, theirs in pairs]
        assert all(same) or layer.name in fresh
        assert not (same and same[0] and layer.name in fresh)  # kernels are drawn, biases are zero


def test_a_bundle_is_tuned_to_other_labels_and_says_what_was_fresh(tmp_path):
    bundle = bundle_of()
    tuned = bundle.finetune(rows("x", "y"), epochs=1, freeze="none", learning_rate=1e-3, config=QUIET)
    assert tuned.labels == ("x", "y")
    assert tuned.manifest.arguments == {"classes": 2}
    assert tuned.manifest.provenance["fresh layers"] == "class_logits, class_scale"
    assert "class_logits, class_scale" in tuned.card()
    again = load_bundle(tuned.save(tmp_path / "tuned.zip"))
    assert {each["label"] for each in again.predict(np.ones((3, 6)))} <= {"x", "y"}
    kept = bundle.finetune(rows("a", "b", "c"), epochs=1, freeze="none", learning_rate=1e-3, config=QUIET)
    assert kept.labels == bundle.labels
    assert "fresh layers" not in kept.manifest.provenance


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"builder": "", "arguments": {}}, "by its builder"),
        ({"arguments": {"extra": True}}, r"must build the outputs of 'finder', \['scores', 'place'\]"),
        ({"arguments": {"width": 4}}, r"but for those of its labels.*'stem'"),
        ({"arguments": {"features": 5}}, r"but for those of its labels.*'stem'"),
    ],
    ids=["no builder", "another output", "another width", "another input"],
)
def test_what_would_be_lost_is_refused_by_name(given, said):
    with pytest.raises(ArgumentError, match=said):
        bundle_of(**given).finetune(rows("x", "y"), epochs=1, freeze="none", learning_rate=1e-3, config=QUIET)


def test_an_output_that_the_builder_does_not_make_is_not_dropped():
    bundle = bundle_of(build("finder", extra=True))
    with pytest.raises(ArgumentError, match=r"must build the outputs of 'finder', \['scores', 'place', 'size'\]"):
        bundle.finetune(rows("x", "y"), epochs=1, freeze="none", learning_rate=1e-3, config=QUIET)


def test_a_builder_that_is_not_told_its_labels_is_refused():
    model = build("finder")
    with pytest.raises(ArgumentError, match="must have layers that depend on the number of labels"):
        rebuild_head(model, "finder", {}, ("x", "y"), lambda labels: {})


def test_a_task_says_its_own_rule_of_labels():
    with pytest.raises(BundleError, match="the head of scores must have a label for each of its 3 columns"):
        bundle_of(labels=("a", "b"))


def test_validation_of_other_classes_is_refused():
    with pytest.raises(ArgumentError, match="validation data must have the training data's classes"):
        bundle_of().finetune(rows("x", "y"), rows("a", "b"), epochs=1, freeze="none", config=QUIET)


def test_a_regressor_learns_other_values_in_stages(tiny):
    """The builder of `mlp_regressor` calls them targets; its head is the fresh layer of both stages."""
    settings = {"mean": [0.0] * 4, "std": [1.0] * 4}
    model = build("mlp_regressor", features=4, targets=1)
    bundle = Bundle.of(model, name="r", task="tabular_regression", preprocess=settings, labels=("price",))
    bundle = dataclasses.replace(
        bundle,
        manifest=dataclasses.replace(bundle.manifest, builder="mlp_regressor", arguments={"features": 4, "targets": 1}),
    )
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    tuned = bundle.finetune((x, x[:, :2]), labels=("first", "second"), epochs=3, config=QUIET)
    assert tuned.manifest.arguments == {"features": 4, "targets": 2}
    assert tuned.manifest.provenance["fresh layers"] == "head"
    assert set(tuned.predict(x[:1])[0]) == {"first", "second"}
