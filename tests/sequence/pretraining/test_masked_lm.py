"""Masked language models: counts, the tied head, learning, new masks in each step, filling, and weights handed over."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from regularized import check_regularizers_count

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError
from kerasdl.sequence import MaskedLM, continuing_pieces, take_weights, train_tokenizer
from kerasdl.sequence.pretraining.filling_task import filling_settings
from kerasdl.sequence.transformer.text_heads import ENCODERS
from kerasdl.train import RunConfig, fit

SIZES = {"length": 8, "width": 32, "depth": 1, "heads": 2, "hidden": 64, "positions": 16, "dropout": 0.0}
TEXTS = [f"{animal} {verb} {place}" for animal, verb, place in zip(
    ["a cat", "a dog", "a fish"] * 2, ["sleeps", "barks", "swims"] * 2, ["on sofas", "at doors", "in lakes"] * 2,
    strict=True,
)]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, "word", 30, special=["[MASK]"], ends=True)


def network(tokenizer, **changes):
    return kerasdl.build("bert_tiny_masked_lm", **{**SIZES, "vocabulary": tokenizer.vocabulary, **changes})


def inputs_of(tokenizer, texts):
    tokens, segments = tokenizer.encode_batch(texts, 8, segments=True)
    return {"tokens": tokens, "segments": segments}


@pytest.mark.parametrize("name", [*kerasdl.list_models("*_masked_lm"), "electra_generator"])
def test_counts_are_those_of_the_encoder_and_its_head(name):
    encoder = kerasdl.spec(name).arguments.get("encoder", "bert_base")
    sizes = ENCODERS[encoder].sizes
    width, vocabulary = sizes["width"], sizes.get("vocabulary", 30_522)
    columns = sizes.get("embedding", width)
    pooler = 0 if encoder in ("distilbert_base", "electra_small") else width * width + width
    head = width * columns + columns + 2 * columns + vocabulary  # dense layer, norm, bias of the logits
    assert kerasdl.spec(name).params == kerasdl.spec(encoder).params - pooler + head


@pytest.mark.parametrize("encoder", ["bert_tiny", "albert_base", "electra_small"])
def test_logits_are_products_with_the_vectors_of_the_tokens(tokenizer, encoder):
    narrow = {} if encoder == "bert_tiny" else {"embedding": 16}
    model = fill_weights(network(tokenizer, encoder=encoder, **narrow))
    normed = keras.Model(model.inputs, model.get_layer("head_norm").output)
    inputs = inputs_of(tokenizer, TEXTS[:2])
    table = np.asarray(model.get_layer("embedding").embeddings)
    wanted = np.asarray(normed(inputs)) @ table.T + np.asarray(model.get_layer("head_bias").table)
    np.testing.assert_allclose(np.asarray(model(inputs)), wanted, atol=1e-4)


def test_it_learns_to_fill_masks_and_a_bundle_answers_alike(tokenizer):
    keras.utils.set_random_seed(0)
    trainer = MaskedLM(network(tokenizer), tokenizer, rate=0.3)
    config = RunConfig(epochs=40, batch_size=24, learning_rate=1e-2, seed=0, strategy=None, progress="off")
    data = inputs_of(tokenizer, TEXTS * 8)
    run = fit(trainer, data, config=config)
    assert run.model is trainer.main
    answers = trainer.fill(["a dog [MASK] at doors", "a [MASK] swims in [MASK]"])
    assert [[each["token"] for each in answer["masks"]] for answer in answers] == [["barks"], ["fish", "lakes"]]
    assert answers[1]["text"].split() == ["a", "fish", "swims", "in", "lakes"]
    bundle = Bundle.of(
        trainer.main,
        name="fills",
        task="masked_language_modeling",
        preprocess=filling_settings(tokenizer, 8, segments=True),
        builder="bert_tiny_masked_lm",
        arguments={**SIZES, "vocabulary": tokenizer.vocabulary},
    )
    assert bundle.predict(["a dog [MASK] at doors"])[0]["text"] == answers[0]["text"]
    assert "print(bundle.predict(['some [MASK] text']))" in bundle.card().splitlines()
    assert len(bundle.predict(["some [MASK] text"])) == 1
    assert bundle.evaluate(kerasdl.data.as_dataset(np.array(TEXTS)))["masked_accuracy"] > 0.6
    with pytest.raises(ArgumentError, match="must have a \\[MASK\\]"):
        bundle.predict(["a dog barks"])


def test_masks_are_new_in_each_step_those_of_validation_stay_and_the_seed_decides(tokenizer):
    data = inputs_of(tokenizer, TEXTS)

    def drawn(seed, training):
        trainer = MaskedLM(network(tokenizer), tokenizer, rate=0.4, seed=seed)
        return np.stack([trainer(data, training=training)["answers"] for _ in range(3)])

    steps = drawn(1, True)
    assert (steps[0] != steps[1]).any()
    np.testing.assert_array_equal(steps, drawn(1, True))
    assert (steps != drawn(2, True)).any()
    fixed = drawn(1, False)
    np.testing.assert_array_equal(fixed[0], fixed[1])


def test_regularizers_of_the_network_count(tokenizer):
    trainer, data = MaskedLM(network(tokenizer), tokenizer), inputs_of(tokenizer, TEXTS[:4])
    outputs = trainer(data, training=False)
    check_regularizers_count(trainer, lambda: trainer.compute_loss(data, None, outputs))


def test_pairs_of_sentences_add_a_second_loss(tokenizer):
    trainer = MaskedLM(network(tokenizer, pairs=True), tokenizer)
    data, labels = inputs_of(tokenizer, TEXTS[:4]), np.array([0, 1, 1, 0])
    outputs = trainer(data, training=False)
    both = float(trainer.compute_loss(data, labels, outputs))
    alone = float(trainer.token_loss(outputs["answers"], outputs["logits"]))
    assert both - alone == pytest.approx(float(trainer.pair_loss(labels, outputs["pair"])), abs=1e-5)
    with pytest.raises(ArgumentError, match="pairs with labels"):
        trainer.compute_loss(data, None, outputs)
    config = RunConfig(epochs=1, strategy=None, progress="off")
    assert "pair_accuracy" in fit(trainer, (data, labels), config=config).history
    single = MaskedLM(network(tokenizer), tokenizer)
    with pytest.raises(ArgumentError, match="another one from texts alone"):
        single.compute_loss(data, labels, single(data))
    with pytest.raises(ArgumentError, match="no weights"):
        single.compute_loss(data, None, single(data), np.ones(4))


def test_an_encoder_is_handed_to_a_classifier(tokenizer):
    pretrained = fill_weights(network(tokenizer))
    sizes = {**SIZES, "vocabulary": tokenizer.vocabulary}
    classifier = kerasdl.build("bert_tiny_classifier", classes=3, **sizes)
    report = take_weights(classifier, pretrained)
    assert report.fresh == ("pooler", "head")
    assert report.left == ("head_dense", "head_norm", "head_bias")
    assert "taken; fresh: pooler, head" in str(report)
    last, inputs = "block1_mlp_norm", inputs_of(tokenizer, TEXTS)
    states = [keras.Model(each.inputs, each.get_layer(last).output)(inputs) for each in (pretrained, classifier)]
    np.testing.assert_allclose(*states, atol=1e-5)


def test_nets_of_other_sizes_are_refused_and_keep_their_weights(tokenizer):
    classifier = kerasdl.build("bert_tiny_classifier", classes=3, **{**SIZES, "vocabulary": 50})
    before = classifier.get_weights()
    with pytest.raises(ArgumentError, match="one shape in both"):
        take_weights(classifier, network(tokenizer))
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="alone")])
    with pytest.raises(ArgumentError, match="share the names"):
        take_weights(other, classifier)


def test_tokenizers_and_networks_that_do_not_fit_are_refused(tokenizer):
    with pytest.raises(ArgumentError, match="must have one of the tokens"):
        MaskedLM(network(tokenizer), train_tokenizer(TEXTS, "word", 30))
    with pytest.raises(ArgumentError, match="must give logits"):
        MaskedLM(kerasdl.build("bert_tiny", **SIZES, vocabulary=30, pooler=False), tokenizer)
    with pytest.raises(ArgumentError, match="rate must be"):
        MaskedLM(network(tokenizer), tokenizer, rate=1.0)


@pytest.mark.parametrize(("kind", "inside"), [("wordpiece", "##"), ("bpe", ""), ("word", None)])
def test_pieces_inside_a_word_are_told_from_its_beginning(kind, inside):
    tokenizer = train_tokenizer(["low lower lowest slow slower"] * 3, kind, 24, special=["[MASK]"])
    ids = continuing_pieces(tokenizer)
    assert bool(ids) == (inside is not None)
    for word in ("lower", "slowest"):
        first, *others = tokenizer.encode(word)
        assert first not in ids
        assert set(others) <= set(ids)
    with pytest.raises(ArgumentError, match="whole words"):
        continuing_pieces(train_tokenizer(["low"], "char", 9))
