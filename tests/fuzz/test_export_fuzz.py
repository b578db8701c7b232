"""Random nets export right or are refused by name; and the fuzzer itself sees what is wrong."""

import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import fuzz_child
import fuzz_exporting
import fuzz_judging as judging
import fuzz_layers
import fuzz_nets
import fuzz_rows
import keras
import numpy as np
import pytest

SEEDS = (0, 1, 4, 7)  # images, sequences, tokens, pairs of sequences: about half a CPU minute each


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_nets_export_right_or_are_refused_by_name(seed):
    figures = fuzz_exporting.run(1700, seed, nets=1)
    assert figures.nets == 1
    assert figures.outputs > 20
    assert not figures.finds, str(figures)


@pytest.mark.slow
def test_a_wrong_file_and_a_crash_are_finds(monkeypatch):
    outputs = fuzz_exporting._outputs
    monkeypatch.setattr(fuzz_exporting, "_outputs", lambda *given: [value + 1e-2 for value in outputs(*given)])
    answer = fuzz_exporting._answer({"seed": 2, "format": "onnx", "only": [1, 3]})
    assert answer["outcome"] == "judged"
    assert [number for number, _ in answer["wrong"]] == [1, 3]
    child = fuzz_exporting.Child(fuzz_exporting.__file__, 400.0, 40)
    try:
        child._start()
        child.process.kill()
        child.process.wait()  # then its pipe is broken
        assert child.ask({"seed": 2, "format": "onnx", "only": [1]})["outcome"] == "gone"
        assert child.ask({"seed": 2, "format": "onnx", "only": [1]})["outcome"] == "judged"
    finally:
        child.end()


@pytest.mark.parametrize(("said", "outcome"), [(fuzz_child.DRAWN, "crashed"), ("", "gone")])
def test_a_process_that_ends_before_the_model_has_answered_is_no_fault_of_a_file(said, outcome, tmp_path):
    child, command = (
        fuzz_exporting.Child(fuzz_exporting.__file__, 400.0, 40),
        [sys.executable, "-c", f"print({said!r}); input()"],
    )
    child.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.lines, child.stack = Queue(), tmp_path / "stack"
    threading.Thread(target=fuzz_child.read, args=(child.process.stdout, child.lines), daemon=True).start()
    assert child.ask({"seed": 0, "format": "onnx", "only": [1]})["outcome"] == outcome


def test_every_layer_of_keras_is_drawn_or_left_out_with_a_reason():
    source = "".join(Path(module.__file__).read_text() for module in (fuzz_layers, fuzz_rows, fuzz_nets))
    names = {}
    for name in (name for name in dir(keras.layers) if name[0].isupper()):
        names.setdefault(getattr(keras.layers, name), []).append(name)  # MaxPool2D is MaxPooling2D
    missing = [those for those in names.values() if not any(f'"{name}"' in source for name in those)]
    assert missing == []


def test_a_branch_alone_is_the_branch_of_the_net():
    whole, alone = fuzz_nets.drawn(2), fuzz_nets.drawn(2, (5,))
    assert alone.rows == {5: whole.rows[5]}
    index = list(whole.rows).index(5)
    x = [array[:3] for array in whole.friendly]
    np.testing.assert_array_equal(judging.answers(whole.model, x)[index], judging.answers(alone.model, x)[0])


def test_a_net_has_random_weights_and_no_statistic_at_its_default():
    nets = [fuzz_nets.drawn(seed).model for seed in (0, 2, 11)]
    weights = [weight for net in nets for layer in net.layers for weight in layer.weights]
    names = {weight.path.rsplit("/", 1)[-1] for weight in weights}
    assert {"kernel", "bias", "gamma"} <= names
    assert all(np.abs(weight.numpy()).min() > 0 for weight in weights)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], False),
        ([[1.0, 2.0], [3.0, 4.0003]], False),
        ([[1.0, 2.0], [3.0, 4.001]], True),
        ([[1.0, np.nan], [3.0, 4.0]], True),
        ([[1.0, 2.0], [3.0, np.inf]], True),
    ],
)
def test_an_entry_is_wrong_beyond_the_bound_of_its_own_example(given, wrong):
    expected = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    told = judging.wrong_entry(["zeros", "one"], expected, np.zeros((2, 2)), np.array(given, "float32"))
    assert (told is not None) == wrong


def test_entries_on_which_the_model_disagrees_with_itself_are_not_held_against_a_file():
    expected, given = np.array([[1.0, 5.0]], "float32"), np.array([[1.0, 7.0]], "float32")
    assert judging.wrong_entry(["one"], expected, np.array([[0.0, 0.1]]), given) is None
    assert judging.wrong_entry(["one"], expected, np.array([[0.1, 0.0]]), given) is not None


def test_a_denormal_may_be_taken_for_zero_and_nothing_else_may():
    names = ["zeros", "smallest", "denormal", "one"]
    expected = np.array([[1.0], [0.0], [0.0], [0.0]], "float32")
    still = np.zeros((4, 1))
    flushed = np.array([[1.0], [0.0], [1.0], [0.0]], "float32")
    assert judging.wrong_entry(names, expected, still, flushed) is None
    assert judging.wrong_entry(names, expected, still, np.array([[1.0], [0.0], [0.0], [1.0]], "float32")) is not None


def test_a_file_that_keeps_the_sign_of_a_denormal_which_the_model_takes_for_zero_is_right():
    names = ["zeros", "minute", "denormal"]
    expected = np.array([[0.0, 4.0], [2.0, 2.0], [0.0, 4.0]], "float32")  # counts on both sides of zero
    kept = np.array([[0.0, 4.0], [2.0, 2.0], [2.0, 2.0]], "float32")
    assert judging.wrong_entry(names, expected, np.zeros((3, 2)), kept) is None
    assert "denormal" in judging.wrong_entry(names, expected, np.zeros((3, 2)), expected[[0, 1, 1]] + np.eye(3, 2, -2))


def test_noise_is_what_one_unit_in_the_last_place_does():
    entry = keras.Input((1,))
    model = keras.Model(entry, keras.layers.Rescaling(1e6, offset=-1e6)(entry))
    x = [np.ones((1, 1), "float32")]
    (moved,) = judging.noise(model, x, judging.answers(model, x))
    assert 0.05 < moved[0, 0] < 0.5


def test_a_saturated_layer_does_not_hide_the_noise_behind_it():
    """Differences of tanh near 1 are a unit or two, which a norm enlarges a thousand times."""
    entry = keras.Input((4,))
    high = keras.layers.Rescaling(9.0)(entry), keras.layers.Rescaling(10.0)(entry)
    gap = keras.layers.Subtract()([keras.layers.Activation("tanh")(each) for each in high])
    model = keras.Model(entry, keras.layers.LayerNormalization(epsilon=1e-6)(gap))
    x = [np.array([[1.0, 0.95, 0.9, 0.85]], "float32")]
    (moved,) = judging.noise(model, x, judging.answers(model, x))
    assert 1e-5 < moved.max() < 1e-2


def test_an_example_on_which_a_layer_overflows_is_not_judged():
    entry = keras.Input((2,))
    far = keras.layers.Activation("exponential")(entry)
    model = keras.Model(entry, keras.layers.Activation("sigmoid")(far))
    x = [np.array([[1.0, 2.0], [1.0, 99.0]], "float32")]
    (moved,) = judging.noise(model, x, judging.answers(model, x))
    assert moved[0].max() < 1e-5
    np.testing.assert_array_equal(moved[1], np.inf)


def test_the_sign_of_the_rounding_of_a_mean_is_noise():
    entry = keras.Input((7,))
    norm = keras.layers.LayerNormalization(epsilon=1e-14)(entry)
    steps = [keras.layers.Discretization([bound])(norm) for bound in (0.0, 100.0)]
    model, x = keras.Model(entry, steps), [np.full((3, 7), 0.7, "float32")]
    near, far = judging.noise(model, x, judging.answers(model, x))
    np.testing.assert_array_equal(near, 1.0)
    np.testing.assert_array_equal(far, 0.0)


def test_an_integer_file_must_give_numbers_where_the_model_does():
    expected = np.array([[1.0], [np.inf]], "float32")
    assert judging.lost(["zeros", "ten_times"], expected, np.array([[0.0], [np.nan]], "float32")) is None
    assert "zeros" in judging.lost(["zeros", "ten_times"], expected, np.array([[np.nan], [0.0]], "float32"))


def test_a_branch_without_float64_is_left_out_and_the_others_keep_their_draw():
    net = fuzz_nets.drawn(940329, (5, 6))  # an average over volumes, and a PReLU
    exact = fuzz_nets.in_float64(940329, net)
    assert list(net.rows) == [5, 6]
    assert list(exact.rows) == [6]
    assert exact.model.outputs[0].shape == net.model.outputs[1].shape
    x = [array[:3] for array in net.friendly]
    np.testing.assert_allclose(judging.answers(exact.model, x)[0], judging.answers(net.model, x)[1], rtol=1e-4)
