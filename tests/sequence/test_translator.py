"""Translator: its loss in NumPy, sampling, coverage, decoding against a loop and all sequences, exposure bias."""

import itertools

import keras
import numpy as np
import pytest
from filling import fill_weights
from regularized import check_regularizers_count

import kerasdl
from kerasdl.core import ArgumentError, get_task
from kerasdl.data import as_dataset
from kerasdl.sequence import ExposureBias, Translator, draw_alignment, exposure_bias, teacher_forcing
from kerasdl.train import RunConfig, fit

NAMES = kerasdl.list_models("sequence/seq2seq*")


def network_of(name="seq2seq", **settings):
    """Returns a small net whose tokens differ without training."""
    network = fill_weights(kerasdl.build(name, **{**kerasdl.spec(name).tiny, **settings}))
    for layer, factor in {"head": 6.0, "target_embedding": 4.0}.items():
        network.get_layer(layer).set_weights([factor * weight for weight in network.get_layer(layer).get_weights()])
    return network


def drawn(network, batch=6, seed=0):
    return get_task("sequence_to_sequence").example(network, batch, seed)


def log_probabilities(logits):
    logits = np.asarray(logits, "float64")
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def loss_of(translator, x, y, weights=None):
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
    logits = translator(tensors, training=True)
    return float(translator.compute_loss(tensors, keras.ops.convert_to_tensor(y), logits, weights, training=True))


def by_example(network, x, y):
    """Returns the mean cross-entropy of the tokens of each example that count."""
    chances = log_probabilities(network(x, training=False))
    counted = y != -1
    picked = np.take_along_axis(chances, np.maximum(y, 0)[..., None], axis=-1)[..., 0]
    return -(picked * counted).sum(1) / counted.sum(1)


def test_targets_are_shifted_behind_the_start():
    target, labels = teacher_forcing(np.array([[5, 6, 3, 0], [4, 4, 4, 3]]))
    assert target.tolist() == [[2, 5, 6, 3], [2, 4, 4, 4]]
    assert labels.tolist() == [[5, 6, 3, -1], [4, 4, 4, 3]]
    assert (target.dtype, labels.dtype) == (np.int32, np.int32)
    for wrong in ([5, 6], [[0.5]], [[-1]]):
        with pytest.raises(ArgumentError, match="targets must be token ids"):
            teacher_forcing(wrong)


def test_loss_is_the_mean_over_tokens_that_count_then_over_examples():
    network = network_of()
    (x, y), weights = drawn(network), np.array([1, 2, 0, 1, 3, 1], "float32")
    assert (y == -1).any()
    expected = by_example(network, x, y)
    translator = Translator(network)
    np.testing.assert_allclose(loss_of(translator, x, y), expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(loss_of(translator, x, y, weights), (expected * weights).mean(), rtol=1e-4)
    with pytest.raises(ArgumentError, match="one number a sequence"):
        loss_of(translator, x, y, np.ones(y.shape, "float32"))


def test_regularizers_of_the_network_count():
    network = network_of()
    x, y = drawn(network)
    translator = Translator(network)
    check_regularizers_count(translator, lambda: loss_of(translator, x, y))


def test_coverage_adds_what_is_attended_again():
    network = network_of("seq2seq_luong")
    x, y = drawn(network)
    translator, plain = Translator(network, coverage=0.5), Translator(network)
    shares = translator.alignment(x["source"], x["target"])
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
    assert (shares[x["source"][:, None].repeat(5, 1) == 0] == 0).all()
    extra = []
    for row, labels in zip(shares, y, strict=True):
        past, costs = np.zeros(7), []
        for weights, label in zip(row, labels, strict=True):
            costs += [np.minimum(weights, past).sum()] if label != -1 else []
            past = past + weights
        extra.append(np.mean(costs))
    assert np.mean(extra) > 0.05
    np.testing.assert_allclose(loss_of(translator, x, y), loss_of(plain, x, y) + 0.5 * np.mean(extra), rtol=1e-4)


def test_scheduled_sampling_reads_its_own_answers_in_the_share_that_grows():
    network = network_of()
    x, y = drawn(network, batch=200)
    translator = Translator(network, scheduled_sampling=1.0, sampling_steps=10)
    translator.compile("sgd")
    own = np.asarray(network(x, training=False)).argmax(-1)
    mixed = np.concatenate([x["target"][:, :1], np.where(x["target"][:, 1:] == 0, 0, own[:, :-1])], axis=1)
    plain, sampled = (by_example(network, {**x, "target": t}, y).mean() for t in (x["target"], mixed))
    assert abs(plain - sampled) > 0.01
    np.testing.assert_allclose(loss_of(translator, x, y), plain, rtol=1e-4)  # before the first update
    translator.optimizer.iterations.assign(25)
    np.testing.assert_allclose(loss_of(translator, x, y), sampled, rtol=1e-4)
    translator.optimizer.iterations.assign(5)
    logits = keras.ops.convert_to_tensor(np.eye(20, dtype="float32")[np.full(own.shape, 19)])
    share = np.asarray(translator._mixed(keras.ops.convert_to_tensor(x["target"]), logits) == 19)[:, 1:]
    real = x["target"][:, 1:] != 0
    assert abs(share[real].mean() - 0.5) < 0.08


def greedy_by_hand(network, source, length):
    """Takes the likeliest token at each step of the whole net, and feeds it back."""
    rows = np.zeros((len(source), length + 1), "int32")
    rows[:, 0] = 2
    done = np.zeros(len(source), bool)
    for step in range(length):
        logits = np.asarray(network({"source": source, "target": rows[:, :-1]}, training=False))
        rows[:, step + 1] = np.where(done, 0, logits[:, step].argmax(-1))
        done |= rows[:, step + 1] == 3
    return rows[:, 1:]


@pytest.mark.parametrize("name", NAMES)
def test_compiled_decoding_equals_a_plain_loop(name):
    network = network_of(name)
    source = drawn(network, batch=40)[0]["source"]
    found = Translator(network).translate(source, batch_size=16)
    np.testing.assert_array_equal(found, greedy_by_hand(network, source, 5))
    assert len({tuple(row) for row in found}) > 3
    assert (found.dtype, found.shape) == (np.int32, (40, 5))


def test_a_sequence_ends_with_its_end_token():
    network = network_of()
    kernel, bias = network.get_layer("head").get_weights()
    bias[3] = 6.0
    network.get_layer("head").set_weights([kernel, bias])
    source = drawn(network, batch=30)[0]["source"]
    found = Translator(network).translate(source)
    ends = (found == 3).argmax(1)[(found == 3).any(1)]
    assert len(set(ends)) > 1
    for row in found[(found == 3).any(1)]:
        assert (row[np.flatnonzero(row == 3)[0] + 1 :] == 0).all()


@pytest.mark.parametrize("name", ["seq2seq", "seq2seq_lstm"])
def test_a_beam_of_all_sequences_is_exact(name):
    network = network_of(name, vocabulary=5, target_length=3)
    source = drawn(network, batch=3)[0]["source"]
    found = Translator(network).translate(source, width=125, length_penalty=0.8)
    sequences = [s for n in (1, 2, 3) for s in itertools.product(range(5), repeat=n)]
    sequences = [s for s in sequences if 3 not in s[:-1] and (len(s) == 3 or s[-1] == 3)]
    padded = np.array([list(s) + [0] * (3 - len(s)) for s in sequences])
    target = np.concatenate([np.full((len(padded), 1), 2), padded[:, :-1]], axis=1).astype("int32")
    lengths = np.array(list(map(len, sequences)))
    for row, best in zip(source, found, strict=True):
        repeated = np.repeat(row[None], len(padded), axis=0)
        chances = log_probabilities(network({"source": repeated, "target": target}, training=False))
        picked = np.take_along_axis(chances, padded[..., None], axis=-1)[..., 0]
        scores = (picked * (np.arange(3) < lengths[:, None])).sum(1) / ((5 + lengths) / 6) ** 0.8
        assert best.tolist() == padded[scores.argmax()].tolist()


def test_exposure_bias_counts_tokens_and_sequences():
    network = network_of()
    x, y = drawn(network, batch=30)
    translator = Translator(network)
    own = greedy_by_hand(network, x["source"], 5)
    y[:10] = np.where(own[:10] == 0, -1, own[:10])  # ten answers are right
    x["target"][:10] = np.concatenate([np.full((10, 1), 2), np.maximum(y[:10, :-1], 0)], axis=1)
    found = exposure_bias(translator, (x, y), batch_size=8)
    forced = np.asarray(network(x, training=False)).argmax(-1)
    np.testing.assert_allclose(found.teacher_forced, (forced == y)[y != -1].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.free_running, (own == y)[y != -1].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.exact_match, ((own == y) | (y == -1)).all(1).mean(), rtol=1e-5)
    assert found.exact_match >= 1 / 3
    assert ExposureBias(0.5, 0.25, 0.0).gap == 0.25
    weights = np.arange(30, dtype="float32") % 4
    found = exposure_bias(translator, (x, y, weights), batch_size=8)
    shares = {"teacher_forced": forced == y, "free_running": own == y}
    of_tokens = (y != -1) * weights[:, None]
    for name, right in shares.items():
        np.testing.assert_allclose(getattr(found, name), (right * of_tokens).sum() / of_tokens.sum(), rtol=1e-5)
    are_right = ((own == y) | (y == -1)).all(1)
    np.testing.assert_allclose(found.exact_match, (are_right * weights).sum() / weights.sum(), rtol=1e-5)
    with pytest.raises(ArgumentError, match="with labels"):
        exposure_bias(translator, (x["source"], y))
    with pytest.raises(ArgumentError, match="labels must be tokens from 0 to 19"):
        fit(translator, (x, y + 10), config=RunConfig(epochs=1, progress="off"))


def test_alignment_is_drawn_over_its_tokens(tmp_path):
    weights = np.random.default_rng(0).uniform(size=(4, 6))
    axes = draw_alignment(weights, "abcde", ["x", "y"], tmp_path / "alignment.png").axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), weights[:2, :5])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list("abcde")
    assert (tmp_path / "alignment.png").stat().st_size > 1000
    for wrong in ((weights[0], "a", "b"), (weights, "abcdefg", "a"), (weights, "a", ""), (weights * np.nan, "a", "b")):
        with pytest.raises(ArgumentError, match="must be"):
            draw_alignment(*wrong)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"scheduled_sampling": 1.5}, "scheduled_sampling must"),
        ({"sampling_steps": 0}, "sampling_steps must"),
        ({"coverage": -1.0}, "coverage must"),
        ({"seed": -1}, "seed must"),
    ],
)
def test_settings_out_of_range_are_refused(settings, rule, tiny):
    with pytest.raises(ArgumentError, match=rule):
        Translator(tiny("seq2seq"), **settings)


def test_logits_that_are_no_numbers_are_refused(tiny):
    network = tiny("seq2seq")
    kept = network.get_weights()
    network.set_weights([np.full(each.shape, np.nan) for each in kept])
    try:
        for width in (1, 2):
            with pytest.raises(ArgumentError, match="logits of a network that writes must be finite"):
                Translator(network).translate(np.ones((2, 7), int), width=width)
    finally:
        network.set_weights(kept)


def test_what_cannot_be_translated_is_refused(tiny):
    translator = Translator(tiny("seq2seq"))
    for wrong in ([5, 6], [[5, 6]], np.zeros((1, 7)), np.zeros((0, 7), int)):
        with pytest.raises(ArgumentError, match="source must be token ids"):
            translator.translate(wrong)
    source = np.ones((1, 7), int)
    for settings, rule in (({"width": 0}, "width"), ({"length": 0}, "length"), ({"length_penalty": -1.0}, "penalty")):
        with pytest.raises(ArgumentError, match=rule):
            translator.translate(source, **settings)
    for unknown in (-1, 99):
        with pytest.raises(ArgumentError, match="source must be token ids from 0 to"):
            translator.translate(np.full((1, 7), unknown))
    with pytest.raises(ArgumentError, match="coverage needs a network with attention"):
        Translator(tiny("seq2seq_no_attention"), coverage=1.0)
    with pytest.raises(ArgumentError, match="alignment needs a network with attention"):
        Translator(tiny("seq2seq_no_attention")).alignment(source, source)
    free = kerasdl.build("seq2seq", length=None, target_length=None, vocabulary=9, embedding=4, units=4)
    with pytest.raises(ArgumentError, match="length must be given"):
        Translator(free).translate(source)
    assert Translator(free).translate(source, length=2).shape == (1, 2)


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

    network = kerasdl.build("seq2seq", length=6, target_length=6, vocabulary=12, embedding=16, units=32)
    translator = Translator(network, scheduled_sampling=0.2, coverage=0.1)
    config = RunConfig(epochs=3, batch_size=32, learning_rate=8e-3, strategy=None, progress="off")
    run = fit(translator, pairs(2000), config=config)
    found = exposure_bias(run.trainer, as_dataset(pairs(200)))
    assert found.exact_match > 0.9
    assert found.teacher_forced > 0.95
