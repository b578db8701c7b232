"""ELECTRA's pretraining: tokens are replaced at masks alone, both networks learn apart, padding does not count."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from regularized import check_regularizers_count

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.sequence import ReplacedTokens, replaced_token_detector, take_weights, train_tokenizer
from kerasdl.train import RunConfig, fit

TEXTS = ["a cat sleeps on sofas", "a dog barks", "a fish swims in lakes"] * 4
SIZES = {"length": 8, "width": 32, "depth": 1, "heads": 2, "hidden": 64, "positions": 16, "dropout": 0.0}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, "word", 30, special=["[MASK]"], ends=True)


@pytest.fixture
def trainer(tokenizer):
    keras.utils.set_random_seed(0)
    sizes = {**SIZES, "vocabulary": tokenizer.vocabulary}
    generator = kerasdl.build("bert_tiny_masked_lm", **sizes)
    return ReplacedTokens(
        replaced_token_detector(encoder="bert_tiny", **sizes), generator, tokenizer=tokenizer, rate=0.4
    )


def inputs_of(tokenizer):
    tokens, segments = tokenizer.encode_batch(TEXTS, 8, segments=True)
    return {"tokens": tokens, "segments": segments}


def test_tokens_are_replaced_at_masks_alone(trainer, tokenizer):
    data = inputs_of(tokenizer)
    given = {name: np.asarray(each) for name, each in trainer(data, training=True).items()}
    assert given["replaced"].sum() > 0
    assert not given["replaced"][given["answers"] < 0].any()
    trainer.generator.get_layer("head_bias").table.assign(100.0 * np.eye(1, tokenizer.vocabulary, 7))
    sure = {name: np.asarray(each) for name, each in trainer(data, training=True).items()}
    np.testing.assert_array_equal(sure["replaced"] > 0, (sure["answers"] >= 0) & (sure["answers"] != 7))


def test_the_discriminator_gives_the_generator_no_gradient(trainer, tokenizer):
    data = inputs_of(tokenizer)
    with tf.GradientTape(persistent=True) as tape:
        outputs = trainer(data, training=True)
        detected, filled = tf.reduce_sum(outputs["detected"]), tf.reduce_sum(outputs["logits"])
    assert all(each is None for each in tape.gradient(detected, trainer.generator.trainable_variables))
    assert all(each is None for each in tape.gradient(filled, trainer.main.trainable_variables))
    assert all(each is not None for each in tape.gradient(detected, trainer.main.trainable_variables))


def test_regularizers_of_the_network_count(trainer, tokenizer):
    data = inputs_of(tokenizer)
    outputs = dict(trainer(data, training=False))
    check_regularizers_count(trainer, lambda: trainer.compute_loss(data, None, outputs))


def test_padding_counts_in_no_loss(trainer, tokenizer):
    data = inputs_of(tokenizer)
    outputs = dict(trainer(data, training=False))
    padding = data["tokens"] == 0
    changed = {**outputs, "detected": outputs["detected"] + 50.0 * padding}
    losses = [float(trainer.compute_loss(data, None, each)) for each in (outputs, changed)]
    assert padding.any()
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    with pytest.raises(ArgumentError, match="no labels"):
        trainer.compute_loss(data, np.zeros(12), outputs)


def test_both_learn_and_the_encoder_goes_to_a_classifier(trainer, tokenizer):
    before = {role: [np.array(each) for each in network.weights] for role, network in trainer.networks.items()}
    config = RunConfig(epochs=6, batch_size=12, learning_rate=5e-3, strategy=None, progress="off")
    history = fit(trainer, inputs_of(tokenizer), config=config).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert {"masked_accuracy", "detected", "replaced"} <= set(history)
    for role, network in trainer.networks.items():
        assert all((old != np.array(new)).any() for old, new in zip(before[role], network.weights, strict=True))
    classifier = kerasdl.build("bert_tiny_classifier", classes=2, **{**SIZES, "vocabulary": tokenizer.vocabulary})
    assert take_weights(classifier, trainer.main).left == ("detector_dense", "detector")


def test_networks_that_do_not_fit_are_refused(trainer, tokenizer):
    with pytest.raises(ArgumentError, match="roles model and generator"):
        ReplacedTokens({"model": trainer.main}, tokenizer=tokenizer)
    with pytest.raises(ArgumentError, match="must give logits"):
        ReplacedTokens(trainer.generator, trainer.main, tokenizer=tokenizer)
    with pytest.raises(ArgumentError, match="weight must be"):
        ReplacedTokens(trainer.main, trainer.generator, tokenizer=tokenizer, weight=-1.0)
