"""Freezing in `finetune` and `Bundle.finetune`: one vocabulary of stages, groups and rates; earlier names; refusals."""

import keras
import numpy as np
import pytest

from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError
from kerasdl.train import LayerRates, RunConfig, finetune
from kerasdl.train.methods import finetuning

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 4)).astype("float32"), RNG.integers(0, 3, 16).astype("int32")


def net():
    keras.utils.set_random_seed(0)
    x = entry = keras.Input((4,), name="row")
    for name in ("first", "second", "third"):
        x = keras.layers.Dense(5, activation="tanh", name=name)(x)
    return keras.Model(entry, keras.layers.Dense(3, name="head")(x))


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({}, [("head", 2), ("stage1", 4)]),
        ({"freeze_epochs": 5}, [("head", 5), ("stage1", 1)]),
        ({"freeze": "gradual", "groups": 2}, [("head", 2), ("stage1", 2), ("stage2", 2)]),
        ({"freeze": "gradual", "groups": 2, "freeze_epochs": 0}, [("stage1", 3), ("stage2", 3)]),
        ({"freeze": "backbone"}, [("head", 6)]),
        ({"freeze": "none"}, [("stage1", 6)]),
    ],
    ids=str,
)
def test_stages_by_freeze_and_freeze_epochs(monkeypatch, given, stages):
    assert stages_of(monkeypatch, **given) == stages


def stages_of(monkeypatch, **given):
    """Returns the name and the epochs of each stage of six epochs, none of which is trained."""
    seen = []
    monkeypatch.setattr(finetuning, "fit", lambda *_, config, **__: seen.append((config.stage[1], config.epochs)))
    finetune(net(), (X, Y), **given, config=RunConfig(epochs=6, progress="off"))
    return seen


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        ({"probe": 0.5}, {"freeze_epochs": 3}),
        ({"probe": 1.0}, {"freeze": "backbone"}),
        ({"gradual": True, "groups": 2}, {"freeze": "gradual", "groups": 2, "freeze_epochs": 2}),
        ({"gradual": False, "probe": 0.0}, {"freeze": "none"}),
    ],
    ids=str,
)
def test_arguments_of_earlier_versions_mean_the_same_and_warn(monkeypatch, earlier, now):
    with pytest.warns(DeprecationWarning, match="finetune: instead of probe and gradual pass freeze=") as caught:
        before = stages_of(monkeypatch, **earlier)
    assert caught[0].filename == __file__
    assert before == stages_of(monkeypatch, **now)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"freeze": "features"}, r"freeze must be one of \('staged', 'gradual', 'backbone', 'none'\)"),
        ({"freeze": "none", "freeze_epochs": 2}, "freeze='none' takes no freeze_epochs; got 2"),
        ({"freeze": "backbone", "freeze_epochs": 2}, "freeze='backbone' takes no freeze_epochs; got 2"),
        ({"freeze_epochs": 7}, "freeze_epochs must be a whole number from 0 to the 6 epochs; got 7"),
        ({"freeze_epochs": 0.5}, "freeze_epochs must be a whole number from 0 to the 6 epochs; got 0.5"),
        ({"freeze": "gradual", "groups": 1}, 'freeze="gradual" needs 2 groups or more; got 1'),
        ({"layer_decay": 1.5}, "layer_decay must be"),
        ({"probe": 1.5}, "probe must be"),
        ({"probe": 0.5, "freeze": "staged"}, "probe and gradual must not be given beside freeze and freeze_epochs"),
    ],
    ids=str,
)
def test_freezing_that_says_two_things_or_none_is_refused(monkeypatch, given, text):
    with pytest.raises(ArgumentError, match=text):
        stages_of(monkeypatch, **given)


def bundle_of(model):
    settings = {"mean": [0.0] * 4, "std": [1.0] * 4}
    kinds = {"task": "tabular_classification", "preprocess": settings, "labels": ("a", "b", "c")}
    return Bundle.of(model, name="rows", **kinds)


def tuned(epochs=4, **given):
    """Returns a bundle, what each stage of its fine-tuning trains and at which rates, and the new bundle."""
    bundle = bundle_of(net())
    stages = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            rates = self.model.optimizer
            free = [layer for layer in self.model.layers if layer.trainable_weights]
            known = isinstance(rates, LayerRates)
            stages.append({layer.name: rates.factor_of(layer.weights[0]) if known else 1.0 for layer in free})

    config = RunConfig(batch_size=8, progress="off")
    return bundle, stages, bundle.finetune((X, Y), epochs=epochs, callbacks=[Look()], config=config, **given)


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({}, [{"head": 1.0}, {"first": 1 / 3, "second": 1 / 3, "third": 1 / 3, "head": 1.0}]),
        (
            {"freeze": "gradual", "layer_decay": 0.5},
            [
                {"head": 1.0},
                {"third": 0.5, "head": 1.0},
                {"second": 0.25, "third": 0.5, "head": 1.0},
                {"first": 0.125, "second": 0.25, "third": 0.5, "head": 1.0},
            ],
        ),
        ({"freeze": "backbone"}, [{"head": 1.0}]),
        ({"freeze": "none"}, [{"first": 1.0, "second": 1.0, "third": 1.0, "head": 1.0}]),
        (
            {"freeze": "none", "groups": 3, "layer_decay": 0.5},
            [{"first": 0.125, "second": 0.25, "third": 0.5, "head": 1.0}],
        ),
    ],
    ids=str,
)
def test_a_bundle_reaches_gradual_unfreezing_groups_and_rates(given, stages):
    before, seen, after = tuned(**given)
    assert seen == [{name: pytest.approx(rate) for name, rate in each.items()} for each in stages]
    assert after.manifest.provenance["freeze"] == given.get("freeze", "staged")
    assert after.manifest.provenance.get("layer decay") == given.get("layer_decay")
    learnt = {layer.name for layer in before.model.layers if layer.weights} & set(stages[-1])
    for layer in before.model.layers:
        others = after.model.get_layer(layer.name).get_weights()
        changed = any(np.any(a != b) for a, b in zip(layer.get_weights(), others, strict=True))
        assert changed == (layer.name in learnt)


def test_norms_of_a_bundle_stand_still_where_asked():
    x = entry = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(5, name="first")(x))
    model = keras.Model(entry, keras.layers.Dense(3, name="head")(x))
    bundle = bundle_of(model)
    quiet = RunConfig(batch_size=8, progress="off")
    for given, moves in (({}, True), ({"train_norms": False}, False)):
        after = bundle.finetune((X, Y), epochs=2, freeze="none", config=quiet, **given)
        pairs = zip(model.get_layer("norm").get_weights(), after.model.get_layer("norm").get_weights(), strict=True)
        assert all(np.any(a != b) for a, b in pairs) == moves


def test_the_earlier_word_for_a_frozen_backbone_warns():
    with pytest.warns(DeprecationWarning, match='instead of freeze="features" pass "backbone"') as caught:
        _, stages, after = tuned(epochs=1, freeze="features")
    assert caught[0].filename == __file__
    assert stages == [{"head": 1.0}]
    assert after.manifest.provenance["freeze"] == "backbone"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"freeze": "half"}, r"freeze must be one of \('staged', 'gradual', 'backbone', 'none'\)"),
        (
            {"freeze": "backbone", "groups": 2},
            "trains the head alone, without groups and their rates; got {'groups': 2}",
        ),
        ({"freeze": "none", "freeze_epochs": 1}, "freeze='none' takes no freeze_epochs; got 1"),
        ({"freeze": "gradual", "groups": 1}, "needs 2 groups or more"),
    ],
    ids=str,
)
def test_freezing_of_a_bundle_that_has_no_effect_is_refused(given, text):
    with pytest.raises(ArgumentError, match=text):
        tuned(**given)
