"""Fine-tuning in stages: what learns when, at which rate, with norms that stand still; folds; several views."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights
from sklearn.model_selection import KFold, StratifiedKFold

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.core.outputs.decoding import to_scores
from kerasdl.train import LayerRates, RunConfig, cross_validate, depth_groups, finetune, fit, predict_transformed
from kerasdl.train.methods import finetuning

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(24, 32, 32, 3)).astype("float32"), RNG.integers(0, 4, 24).astype("int32")
QUIET = RunConfig(epochs=4, batch_size=8, learning_rate=1e-2, progress="off", optimizer="sgd")


@pytest.fixture
def net():
    return fill_weights(kerasdl.build("resnet18", **kerasdl.spec("resnet18").tiny))


def values(model):
    return {weight.path: weight.numpy() for weight in model.weights}


def moved(before, model):
    return {path.split("/")[0] for path, value in values(model).items() if np.abs(value - before[path]).max() > 0}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion", "rmsprop"])
def test_factors_scale_updates_and_not_gradients(name):
    """One and ten updates at factor 0.1 against the plain optimizer at a tenth of the rate: the same weights."""
    steps = [[RNG.normal(size=(3,)).astype("float32")] * 2 for _ in range(10)]

    def run(optimizer):
        fast, slow = (keras.Variable([1.0, -2.0, 0.5], name=n) for n in ("fast", "slow"))
        fast._path, slow._path = "fast/kernel", "slow/kernel"
        for gradients in steps:
            optimizer.apply([tf.constant(g) for g in gradients], [fast, slow])
        return fast.numpy(), slow.numpy()

    classes = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "lion": "Lion", "rmsprop": "RMSprop"}
    make = getattr(keras.optimizers, classes[name])
    fast, slow = run(LayerRates(make(0.01), {"slow": 0.1}))
    np.testing.assert_allclose(fast, run(make(0.01))[0], atol=1e-6)
    np.testing.assert_allclose(slow, run(make(0.001))[1], atol=1e-6)
    scaled = [[g[0], 0.1 * g[1]] for g in steps]
    if name in ("adam", "lion"):  # what scaling gradients would have done: nothing
        steps = scaled
        np.testing.assert_allclose(run(make(0.01))[1], run(make(0.01))[0], atol=1e-3)


def test_rates_survive_a_config_and_a_run(net, tmp_path):
    optimizer = LayerRates("adamw", {"stem_conv": 0.25})
    again = LayerRates.from_config(optimizer.get_config())
    assert again.factors == {"stem_conv": 0.25}
    with pytest.raises(ArgumentError, match="factor of stem_conv"):
        LayerRates("adamw", {"stem_conv": 2.0})
    before = values(net)
    config = RunConfig(epochs=1, batch_size=8, optimizer=LayerRates("sgd", {"stem_conv": 0.0}), progress="off")
    fit(net, (IMAGES, LABELS), task="image_classification", config=config)
    assert "stem_conv" not in moved(before, net)
    assert "head" in moved(before, net)


def test_groups_follow_the_depth_and_cut_no_block(net):
    groups = depth_groups(net, 2)
    names = [[layer.name for layer in group] for group in groups]
    assert names[0][0] == "stem_conv"
    assert all(name.startswith("stage2_block1") for name in names[1])
    assert "head" not in names[0] + names[1]
    assert len(depth_groups(net, 50)) == 3  # stem and two blocks
    with pytest.raises(ArgumentError, match="head must name a layer"):
        depth_groups(net, 2, head="top")


def test_layers_that_keras_named_are_told_apart():
    x = tensor = keras.Input((4,))
    for _ in range(5):
        x = keras.layers.Dense(4)(x)
    plain = keras.Model(tensor, keras.layers.Dense(2, name="head")(x))
    assert [len(group) for group in depth_groups(plain, 3)] == [2, 2, 1]


def test_averages_and_constraints_see_the_slowed_weights():
    """Two updates of 1 at a tenth: the average starts as the weights after the first, and goes half the way after."""
    slow = keras.Variable([1.0], name="slow")
    slow._path = "slow/kernel"
    optimizer = LayerRates(keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5), {"slow": 0.1})
    for _ in range(2):
        optimizer.apply([tf.ones(1)], [slow])
    assert slow.numpy() == pytest.approx([0.8])
    (average,) = optimizer.inner_optimizer._model_variables_moving_average
    assert average.numpy() == pytest.approx([0.5 * 0.9 + 0.5 * 0.8])

    layer = keras.layers.Dense(3, kernel_constraint=keras.constraints.UnitNorm(), name="slow")
    layer.build((None, 4))
    optimizer = LayerRates("sgd", {"slow": 0.1})
    optimizer.apply([tf.ones((4, 3)), tf.ones(3)], layer.trainable_variables)
    np.testing.assert_allclose(np.linalg.norm(layer.kernel.numpy(), axis=0), 1.0, atol=1e-5)


def test_the_probe_moves_the_head_alone(net):
    before = values(net)
    finetune(net, (IMAGES, LABELS), freeze="backbone", task="image_classification", config=QUIET)
    assert moved(before, net) == {"head"}


def test_norms_stand_still_while_others_learn(net):
    before = values(net)
    finetune(net, (IMAGES, LABELS), freeze="none", groups=2, task="image_classification", config=QUIET)
    changed = moved(before, net)
    assert {"head", "stem_conv", "stage2_block1_2_conv"} <= changed
    assert not [name for name in changed if name.endswith("_bn")]
    assert all(layer.trainable for layer in net.layers)


def test_layers_are_set_free_from_the_head_down(net, monkeypatch):
    seen = []

    def spy(model, *args, config, **kwargs):
        free = [layer.name for layer in model.layers if layer.trainable_weights]
        seen.append((config.epochs, "head" in free, "stage2_block1_1_conv" in free, "stem_conv" in free))
        return fit(model, *args, config=config, **kwargs)

    monkeypatch.setattr("kerasdl.train.methods.finetuning.fit", spy)
    settings = dict(groups=2, freeze="gradual", freeze_epochs=1, task="image_classification")
    finetune(net, (IMAGES, LABELS), **settings, config=RunConfig(epochs=5, batch_size=8, progress="off"))
    assert seen == [(1, True, False, False), (2, True, True, False), (2, True, True, True)]


def test_lower_groups_learn_more_slowly(net):
    start = net.get_weights()

    def distance(layer_decay):
        net.set_weights(start)
        before = values(net)
        settings = dict(groups=3, layer_decay=layer_decay, task="image_classification")
        finetune(
            net, (IMAGES, LABELS), freeze="none", **settings, config=dataclasses.replace(QUIET, epochs=1, batch_size=24)
        )
        return {path.split("/")[0]: np.linalg.norm(value - before[path]) for path, value in values(net).items()}

    even, steep = distance(1.0), distance(0.1)
    # Of one update; stem and first block are one group, of about the length of the second block.
    assert steep["stem_conv"] == pytest.approx(0.01 * even["stem_conv"], rel=0.02)
    assert steep["stage1_block1_1_conv"] == pytest.approx(0.01 * even["stage1_block1_1_conv"], rel=0.02)
    assert steep["stage2_block1_1_conv"] == pytest.approx(0.1 * even["stage2_block1_1_conv"], rel=0.02)
    assert steep["head"] == pytest.approx(even["head"], rel=1e-4)


def test_a_killed_fine_tuning_goes_on(net, tmp_path, monkeypatch):
    start = net.get_weights()
    settings = dict(groups=2, freeze="gradual", task="image_classification")
    config = RunConfig(epochs=4, batch_size=8, folder=tmp_path, progress="off")
    finetune(net, (IMAGES, LABELS), **settings, config=config)
    expected = net.get_weights()
    # The second stage is lost with the process: it is made again, the first is taken from its folder.
    assert (tmp_path / "head").is_dir()
    net.set_weights(start)
    finetune(net, (IMAGES, LABELS), **settings, config=config)
    for one, other in zip(expected, net.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stages_draw_anew_and_none_takes_up_what_was_to_be_forgotten(tmp_path, monkeypatch):
    def start(seed):
        return fill_weights(kerasdl.build("resnet18", **kerasdl.spec("resnet18").tiny), seed)

    seeds, plain = [], finetuning.fit

    def noting(*args, config, **more):
        seeds.append(config.seed)
        if limit and len(seeds) == limit:
            raise KeyboardInterrupt
        return plain(*args, config=config, **more)

    monkeypatch.setattr(finetuning, "fit", noting)
    settings = dict(groups=1, task="image_classification")
    config = RunConfig(epochs=2, batch_size=8, progress="off", folder=tmp_path / "run")
    limit = 0
    finetune(start(1), (IMAGES, LABELS), **settings, freeze_epochs=1, config=config)
    assert len(set(seeds)) == 2
    alone = start(2)
    finetune(alone, (IMAGES, LABELS), **settings, freeze_epochs=1, config=dataclasses.replace(config, folder=None))
    seeds.clear()
    limit = 2
    with pytest.raises(KeyboardInterrupt):
        again = dataclasses.replace(config, resume=False)
        finetune(start(2), (IMAGES, LABELS), **settings, freeze_epochs=1, config=again)
    limit = 0
    other = start(2)
    finetune(other, (IMAGES, LABELS), **settings, freeze_epochs=1, config=config)
    for one, expected in zip(other.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, expected)


def test_layers_inside_others_have_the_rate_of_their_group():
    """After a fresh head, which clones the model, their weights bear the inner name alone."""
    task = kerasdl.core.get_task("text_classification")
    model = task.replace_head(kerasdl.build("bilstm_classifier", **kerasdl.spec("bilstm_classifier").tiny), 2)
    before, rng = values(model), np.random.default_rng(0)
    data = rng.integers(1, 50, (16, 8)).astype("int32"), rng.integers(0, 2, 16).astype("int32")
    config = RunConfig(epochs=1, batch_size=8, learning_rate=0.01, optimizer="adam", progress="off")
    finetune(model, data, groups=1, freeze="none", layer_decay=1e-6, task=task, config=config)
    moves = {path: np.abs(value - before[path]).max() for path, value in values(model).items()}
    head = [move for path, move in moves.items() if path.startswith("head")]
    rest = [move for path, move in moves.items() if not path.startswith("head")]
    assert len(rest) > 8
    assert max(rest) < 1e-6 < 1e-3 < min(head)


def test_a_name_inside_another_layer_leaves_the_rates_of_outer_layers_alone():
    def layer(name, inner):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name=inner)], name=name)

    tensor = keras.Input((1, 4))
    features = keras.layers.Dense(4, name="mix")(keras.layers.TimeDistributed(layer("low", "mix"))(tensor))
    model = keras.Model(tensor, keras.layers.TimeDistributed(layer("top", "deep"), name="head")(features))
    rates = finetuning._layer_rates_by_depth([*depth_groups(model, 2), [model.get_layer("head")]], 0.5, "sgd")
    assert rates.factors["mix"] == 0.5
    assert {rates.factor_of(weight) for weight in model.get_layer("head").weights} == {1.0}


def test_norms_inside_other_layers_stay_as_they_are():
    frame = keras.Input((8, 8, 1))
    features = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(3, 3, name="conv")(frame))
    backbone = keras.Model(frame, keras.layers.GlobalAveragePooling2D()(features), name="backbone")
    film = keras.Input((2, 8, 8, 1))
    each = keras.layers.TimeDistributed(backbone, name="frames")(film)
    model = keras.Model(film, keras.layers.Dense(4, name="head")(keras.layers.Flatten()(each)))
    data = RNG.normal(size=(16, 2, 8, 8, 1)).astype("float32"), RNG.integers(0, 4, 16)
    before = values(model)
    flags = [layer.trainable for layer in model._flatten_layers()]
    finetune(
        model, data, groups=1, freeze="none", task="image_classification", config=dataclasses.replace(QUIET, epochs=1)
    )
    changed = {path for path, value in values(model).items() if np.abs(value - before[path]).max() > 0}
    assert any("conv" in path for path in changed)
    assert not [path for path in changed if "norm" in path]
    assert [layer.trainable for layer in model._flatten_layers()] == flags


@pytest.mark.parametrize("stratified", [True, False])
def test_folds_are_those_of_scikit_learn(stratified):
    labels = np.array([0] * 12 + [1] * 6 + [2] * 3)
    inputs = np.arange(21)[:, None]
    kind = StratifiedKFold if stratified else KFold
    wanted = [set(held) for _, held in kind(3, shuffle=True, random_state=7).split(inputs, labels)]
    seen = []

    def run(train, held, fold):
        assert not set(train[0][:, 0]) & set(held[0][:, 0])
        seen.append(set(held[0][:, 0]))
        return {"size": len(held[0])}, held[0] * 10

    result = cross_validate(run, (inputs, labels), folds=3, stratified=stratified, seed=7)
    assert seen == wanted
    np.testing.assert_array_equal(result.predictions, inputs * 10)
    assert result.interval("size").mean == 7
    with pytest.raises(ArgumentError, match="whole numbers"):
        cross_validate(run, (inputs, labels * 0.5), folds=3)


def test_predictions_of_some_examples_alone_are_refused():
    data = np.zeros((6, 2)), np.arange(6) % 2
    for rule, predictions in {
        "a prediction for each of its 2": lambda held, fold: held[0][:1],
        "where one fold gives predictions, all must; got {1: None": lambda held, fold: None if fold else held[0],
    }.items():
        with pytest.raises(ArgumentError, match=rule):
            cross_validate(lambda rest, held, fold, of=predictions: ({}, of(held, fold)), data, folds=3)


def test_the_mean_of_views_is_the_mean_of_their_probabilities(tiny):
    model = tiny("resnet18")
    views = [lambda x: x, lambda x: x[:, :, ::-1], lambda x: x[:, ::-1]]
    given = predict_transformed(model, IMAGES, views, batch_size=7)
    expected = np.mean([keras.ops.softmax(model(view(IMAGES), training=False)) for view in views], axis=0)
    np.testing.assert_allclose(given, expected, atol=1e-5)
    with pytest.raises(ArgumentError, match="at least one"):
        predict_transformed(model, IMAGES, [])
    with pytest.raises(ArgumentError, match="at least one example"):
        predict_transformed(model, IMAGES[:0], views)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_views_of_a_net_that_ends_in_probabilities_are_averaged_as_they_are(kind):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation=kind)(inputs))
    rows = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    given = predict_transformed(model, rows, [lambda x: x, lambda x: -x], batch_size=3)
    expected = (model.predict(rows, verbose=0) + model.predict(-rows, verbose=0)) / 2
    np.testing.assert_allclose(given, expected, rtol=1e-5)


def test_several_labels_an_image(tiny):
    model = fill_weights(kerasdl.build("resnet18", **kerasdl.spec("resnet18").tiny))
    task = kerasdl.core.get_task("multi_label_classification")
    images, targets = task.example(model, 16, 0)
    first = float(task.loss()(targets, model(images, training=False)))
    run = fit(model, (images, targets), task=task, config=RunConfig(epochs=6, batch_size=8, progress="off"))
    assert run.history["loss"][-1] < first
    scores = to_scores(np.array([[2.0, -1.0, 0.5]]), task.activation, "logits")
    answer = task.decode(scores, ("a", "b", "c"))[0]
    assert answer["labels"] == ["a", "c"]
    assert answer["scores"]["a"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_model_inside_a_model_is_tuned_by_its_layers():
    """As with keras.applications under a new head: norms inside stand still, and groups cut the inner net."""
    tensor = inner_tensor = keras.Input((8, 8, 3))
    for number in (1, 2):
        features = keras.layers.Conv2D(4, 3, padding="same", name=f"block{number}_conv")(inner_tensor)
        inner_tensor = keras.layers.BatchNormalization(name=f"block{number}_bn")(features)
    inner = keras.Model(tensor, inner_tensor, name="backbone")
    outer = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(inner(outer))
    model = keras.Model(outer, keras.layers.Dense(4, name="head")(features))
    groups = [[layer.name for layer in group] for group in depth_groups(model, 2)]
    assert groups == [["block1_conv", "block1_bn"], ["block2_conv", "block2_bn"]]
    before = {weight.path: weight.numpy() for weight in model.weights}
    images = RNG.normal(size=(24, 8, 8, 3)).astype("float32")
    config = dataclasses.replace(QUIET, epochs=3)
    finetune(
        model, (images, LABELS), freeze="gradual", groups=2, freeze_epochs=1, task="image_classification", config=config
    )
    changed = {p for p, v in ((w.path, w.numpy()) for w in model.weights) if np.abs(v - before[p]).max() > 0}
    assert not [path for path in changed if "_bn" in path]
    assert {path.split("/")[-2] for path in changed} == {"block1_conv", "block2_conv", "head"}
    assert all(layer.trainable for layer in inner.layers)
