"""Encoder-decoder transformers: counts by the papers' tables, padding, causality, cached decoding, refusals."""

import itertools

import keras
import numpy as np
import pytest
from seq2seq_nets import heeding_source

import kerasdl
from kerasdl.core import ArgumentError, get_task
from kerasdl.layers import PaddingMask
from kerasdl.sequence import Translator, exposure_bias, teacher_forcing
from kerasdl.sequence.seq2seq.decoding import encoder_and_step
from kerasdl.sequence.transformer.bart import bart
from kerasdl.sequence.transformer.memory_steps import encoder_and_cached_step
from kerasdl.sequence.transformer.t5 import t5
from kerasdl.sequence.transformer.vaswani import transformer
from kerasdl.train import RunConfig, fit

NAMES = ("transformer_base", "t5_small", "t5_base_v1_1", "bart_base")


def drawn(network, batch=6, seed=0):
    return get_task("sequence_to_sequence").example(network, batch, seed)


def dense(inputs, outputs, bias=True):
    return inputs * outputs + bias * outputs


def blocks(width, depth, attention, perceptron, norm):
    """Returns the weights of both halves: two branches with a norm each in the encoder, three in the decoder."""
    return depth * ((attention + perceptron + 2 * norm) + (2 * attention + perceptron + 3 * norm))


@pytest.mark.parametrize(
    ("name", "width", "hidden"), [("transformer_base", 512, 2048), ("transformer_big", 1024, 4096)]
)
def test_count_of_the_first_transformer(name, width, hidden):
    """Its sinusoids have no weights, and one matrix of 37,000 rows serves source, target and logits."""
    perceptron = dense(width, hidden) + dense(hidden, width)
    expected = 37_000 * width + blocks(width, 6, 4 * dense(width, width), perceptron, 2 * width)
    assert kerasdl.spec(name).params == expected


@pytest.mark.parametrize(
    ("name", "width", "depth", "heads", "hidden", "maps"),
    [
        ("t5_small", 512, 6, 8, 2048, 2),
        ("t5_base", 768, 12, 12, 3072, 2),
        ("t5_base_v1_1", 768, 12, 12, 2048, 3),
    ],
)
def test_count_of_t5(name, width, depth, heads, hidden, maps):
    """32 buckets a head in each half, a factor in each norm, a gate and a last layer in version 1.1."""
    inner = blocks(width, depth, 4 * width * 64 * heads, maps * width * hidden, width)
    ends = 32_128 * width * (maps - 1) + 2 * 32 * heads + 2 * width
    assert kerasdl.spec(name).params == inner + ends


@pytest.mark.parametrize(
    ("name", "width", "depth", "hidden"), [("bart_base", 768, 6, 3072), ("bart_large", 1024, 12, 4096)]
)
def test_count_of_bart(name, width, depth, hidden):
    """Two tables of 1,026 positions, each with a norm."""
    perceptron = dense(width, hidden) + dense(hidden, width)
    inner = blocks(width, depth, 4 * dense(width, width), perceptron, 2 * width)
    assert kerasdl.spec(name).params == 50_265 * width + 2 * (1026 * width + 2 * width) + inner


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_and_later_tokens_no_logits_before(name):
    network = heeding_source(name)
    longer = kerasdl.build(name, **{**kerasdl.spec(name).tiny, "depth": 1, "length": 12, "target_length": 9})
    longer.set_weights(network.get_weights())
    inputs, _ = drawn(network)
    padding = Translator(network).padding
    assert (inputs["source"] == padding).any()
    expected = np.asarray(network(inputs, training=False))
    padded = {
        "source": np.pad(inputs["source"], [(0, 0), (0, 5)], constant_values=padding),
        "target": np.pad(inputs["target"], [(0, 0), (0, 4)], constant_values=padding),
    }
    given = np.asarray(longer(padded, training=False))
    np.testing.assert_allclose(given[:, :5], expected, atol=1e-5 * np.abs(expected).max())
    changed = {**inputs, "target": inputs["target"].copy()}
    changed["target"][:, 3:] = 7
    later = np.asarray(network(changed, training=False))
    np.testing.assert_allclose(later[:, :3], expected[:, :3], atol=1e-5 * np.abs(expected).max())
    assert np.abs(later[:, 3:] - expected[:, 3:]).max() > 1e-3


def greedy_by_hand(network, source, length, start=2, end=3):
    """Takes the likeliest token at each step of the whole net, and feeds it back."""
    padding = Translator(network).padding
    rows = np.full((len(source), length + 1), padding, "int32")
    rows[:, 0] = start
    done = np.zeros(len(source), bool)
    for step in range(length):
        logits = np.asarray(network({"source": source, "target": rows[:, :-1]}, training=False))
        rows[:, step + 1] = np.where(done, padding, logits[:, step].argmax(-1))
        done |= rows[:, step + 1] == end
    return rows[:, 1:]


@pytest.mark.parametrize("name", NAMES)
def test_cached_steps_write_what_the_whole_net_writes(name):
    network = heeding_source(name)
    source = drawn(network, batch=40)[0]["source"]
    found = Translator(network).translate(source, batch_size=16)
    np.testing.assert_array_equal(found, greedy_by_hand(network, source, 5))
    assert len({tuple(row) for row in found}) > 3


def test_start_and_end_may_be_other_tokens():
    network = heeding_source("bart_base", depth=2)
    source = drawn(network, batch=40)[0]["source"]
    often = int(np.bincount(Translator(network).translate(source).ravel()).argmax())
    ended = Translator(network).translate(source, start=4, end=often)
    np.testing.assert_array_equal(ended, greedy_by_hand(network, source, 5, start=4, end=often))
    assert (ended == Translator(network).padding).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_step_gives_the_logits_of_the_whole_net(name):
    network = heeding_source(name)
    inputs, _ = drawn(network, batch=3)
    halves = encoder_and_step({"model": network})
    samples = get_task("sequence_to_sequence").exported_samples(halves, inputs)
    given = halves["step"].predict(samples["step"], verbose=0)["logits"].reshape(5, 3, -1).swapaxes(0, 1)
    expected = np.asarray(network(inputs, training=False))
    np.testing.assert_allclose(given, expected, atol=1e-5 * np.abs(expected).max())
    assert {layer.name for layer in halves["step"].layers} >= {"cache_places", "next_decoder1_attention_scores_key"}


@pytest.mark.parametrize("name", ["transformer_base", pytest.param("t5_small", marks=pytest.mark.slow)])
def test_a_beam_of_all_sequences_is_exact(name):
    network = heeding_source(name, vocabulary=5, target_length=3)
    source = drawn(network, batch=3)[0]["source"]
    found = Translator(network).translate(source, width=125, length_penalty=0.8)
    sequences = [s for n in (1, 2, 3) for s in itertools.product(range(5), repeat=n)]
    sequences = [s for s in sequences if 3 not in s[:-1] and (len(s) == 3 or s[-1] == 3)]
    padded = np.array([list(s) + [0] * (3 - len(s)) for s in sequences])
    target = np.concatenate([np.full((len(padded), 1), 2), padded[:, :-1]], axis=1).astype("int32")
    lengths = np.array(list(map(len, sequences)))
    for row, best in zip(source, found, strict=True):
        fed = {"source": np.repeat(row[None], len(padded), axis=0), "target": target}
        chances = np.asarray(keras.ops.log_softmax(network(fed, training=False)))
        picked = np.take_along_axis(chances, padded[..., None], axis=-1)[..., 0]
        scores = (picked * (np.arange(3) < lengths[:, None])).sum(1) / ((5 + lengths) / 6) ** 0.8
        assert best.tolist() == padded[scores.argmax()].tolist()


def test_what_has_no_cached_step_is_refused():
    network = heeding_source("bart_base", length=None, target_length=None)
    with pytest.raises(ArgumentError, match="at most 16 places, those of 'target_positions'"):
        Translator(network).translate([[5, 6]], length=17)
    assert Translator(network).translate([[5, 6]], length=16).shape == (1, 16)
    with pytest.raises(ArgumentError, match="must have a longest length"):
        encoder_and_step({"model": network})
    with pytest.raises(ArgumentError, match="places"):
        encoder_and_cached_step(network, 0)
    for arguments in ({"start": 20}, {"end": -1}):
        with pytest.raises(ArgumentError, match="from 0 to 19"):
            Translator(network).translate([[5, 6]], length=2, **arguments)
    source, target = (keras.Input((4,), dtype="int32", name=name) for name in ("source", "target"))
    embedding = keras.layers.Embedding(9, 8)
    x, memory = embedding(target), embedding(source)
    pooled = keras.layers.Conv1D(8, 3, padding="causal", name="mixing")(x)
    shared = kerasdl.layers.DotProductAttention(True, name="shared")
    for y, rule in (
        (_attended(_attended(x, x, True, layer=shared), x, True, layer=shared), "must be called once; got 'shared'"),
        (pooled, "compute each token by itself, and causal attention; got 'mixing, a Conv1D"),
        (keras.layers.LayerNormalization((1, 2), name="over")(x), "got 'over, a LayerNormalization"),
        (_attended(x, x, False), "must be causal"),
        (_attended(x, x, True, PaddingMask()(source)), "without a mask of its own"),
        (_attended(x, memory, True), "or to the memory"),
        (memory, "one output that depends on its target"),
    ):
        other = keras.Model({"source": source, "target": target}, keras.layers.Dense(9)(y))
        with pytest.raises(ArgumentError, match=rule):
            encoder_and_cached_step(other, 4)
    with pytest.raises(ArgumentError, match="give logits"):
        Translator(keras.Model({"source": source, "target": target}, embedding(target)[:, 0]))


def _attended(x, memory, causal, mask=None, layer=None):
    query, key = (keras.layers.Reshape((-1, 2, 4))(each) for each in (x, memory))
    given = {} if mask is None else {"key_mask": mask}
    layer = layer or kerasdl.layers.DotProductAttention(causal, name="scores")
    y = layer([query, key, key], **given)
    return keras.layers.Reshape((-1, 8))(y)


@pytest.mark.parametrize("build", [transformer, t5, bart])
@pytest.mark.parametrize("wrong", [{"depth": 0}, {"vocabulary": 1}, {"dropout": 1.5}, {"hidden": 0}])
def test_settings_out_of_range_are_refused(build, wrong):
    with pytest.raises(ArgumentError, match=f"{next(iter(wrong))} must"):
        build(**wrong)


def test_a_bundle_wants_the_padding_0():
    task, network = get_task("sequence_to_sequence"), heeding_source("bart_base", vocabulary=7)
    text = kerasdl.sequence.train_tokenizer(["abc"], "char", 7).to_text()
    settings = {"length": 7, "target_length": 5, "tokenizer": text}
    with pytest.raises(ArgumentError, match="must pad with 0; got 1"):
        task.check(settings, [], network)
    with pytest.raises(ArgumentError, match="must pad with 0; got 1"):
        task.check({"length": 7, "target_length": 5}, [], network)
    task.check(settings, [], heeding_source("bart_base", vocabulary=7, padding=0))


@pytest.mark.slow
def test_words_are_reversed_after_training():
    rng = np.random.default_rng(0)

    def pairs(count):
        lengths = rng.integers(1, 6, (count, 1))
        source = np.where(np.arange(6) < lengths, rng.integers(4, 12, (count, 6)), 0).astype("int32")
        targets = np.zeros_like(source)
        for row, target, (length,) in zip(source, targets, lengths, strict=True):
            target[: length + 1] = [*row[:length][::-1], 3]
        target, labels = teacher_forcing(targets)
        return {"source": source, "target": target}, labels

    keras.utils.set_random_seed(0)
    sizes = dict(length=6, target_length=6, vocabulary=12, width=32, depth=1, heads=2, hidden=64, dropout=0.0)
    rates = {"learning_rate": 6e-3, "schedule": "one_cycle"}
    config = RunConfig(epochs=12, batch_size=32, **rates, seed=0, strategy=None, progress="off")
    run = fit(Translator(kerasdl.build("transformer_base", **sizes)), pairs(2000), config=config)
    assert exposure_bias(run.trainer, pairs(200)).exact_match > 0.95
