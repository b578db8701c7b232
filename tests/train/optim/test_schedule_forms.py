"""The schedules with a closed form against it in float64, and one run of `fit` by each name."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, fit, schedules
from kerasdl.train.optim.schedule_plots import plot_schedules

RUNS = st.integers(20, 1_000_000)
SHARES = st.floats(0.0, 1.0)


def some_steps(steps, *more):
    places = {0, 1, steps // 3, steps // 2, steps - 2, steps - 1, *more}
    return sorted(place for place in places if 0 <= place < steps)


def agree(schedule, expected, steps, *more, rate=1.0):
    """Compares at many steps, to 1e-6 of the highest rate: what float32 has of a cosine."""
    for step in some_steps(steps, *more):
        assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(expected(step), abs=1e-6 * rate), step


def half_cosine(place):
    return (1 + math.cos(math.pi * place)) / 2


@given(RUNS, st.floats(0.1, 4.0), SHARES)
@settings(max_examples=30, deadline=None)
def test_polynomial(steps, power, floor):
    """Keras rounds step / steps to float32, of which 1 - step / steps keeps an error of 1e-7."""
    schedule = schedules.Polynomial(power, floor).over(0.3, steps)
    for step in some_steps(steps):
        left = np.clip(1 - step / steps + np.array([-1e-7, 1e-7]), 0, 1)
        low, high = 0.3 * (floor + (1 - floor) * left**power) + np.array([-1e-7, 1e-7])
        assert low <= float(schedule(step)) <= high, step


@given(RUNS, st.floats(1e-6, 1.0))
@settings(max_examples=30, deadline=None)
def test_exponential(steps, floor):
    agree(schedules.Exponential(floor).over(0.3, steps), lambda step: 0.3 * floor ** (step / steps), steps)


@given(RUNS, st.integers(1, 6), st.floats(1.0, 4.0), SHARES, SHARES)
@settings(max_examples=30, deadline=None)
def test_cosine_restarts(steps, cycles, growth, shrink, floor):
    lengths = growth ** np.arange(cycles)
    starts = np.rint(steps * np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum())

    def expected(step):
        cycle = np.searchsorted(starts, step, side="right") - 1
        place = (step - starts[cycle]) / (starts[cycle + 1] - starts[cycle])
        return 0.3 * shrink**cycle * (floor + (1 - floor) * half_cosine(place))

    near = [int(start) + shift for start in starts for shift in (-1, 0, 1)]
    schedule = schedules.CosineRestarts(cycles, growth, shrink, floor).over(0.3, steps)
    agree(schedule, expected, steps, *near)


def test_cycles_start_anew_on_their_first_step():
    """With the cycle found by a float32 logarithm, as in Keras's class, step 21 of this one comes a cycle late."""
    ours = schedules.CosineRestarts(cycles=2, growth=1.1).over(1.0, 21)
    assert [round(float(ours(step)), 3) for step in (0, 9, 10, 20)] == [1.0, 0.024, 1.0, 0.02]
    theirs = keras.optimizers.schedules.CosineDecayRestarts(1.0, 10, t_mul=1.1)
    assert float(theirs(21)) < 0.1


def test_a_run_shorter_than_its_cycles_still_falls():
    schedule = schedules.CosineRestarts(cycles=5, growth=3.0).over(1.0, 3)
    assert [round(float(schedule(step)), 3) for step in (0, 1, 2)] == [1.0, 1.0, 0.5]


@given(RUNS, st.floats(0.0, 0.95), st.floats(1.0, 100.0), st.floats(1.0, 1e5))
@settings(max_examples=30, deadline=None)
def test_one_cycle(steps, peak, start, end):
    """PyTorch's two phases: to step peak * steps - 1, and from there to the last step."""
    first, top, last = 0.3 / start, peak * steps - 1, steps - 1
    lowest = first / end

    def expected(step):
        if top > 0 and step <= top:
            return 0.3 + (first - 0.3) * half_cosine(step / top)
        begin = max(top, 0)
        return lowest + (0.3 - lowest) * half_cosine((step - begin) / (last - begin))

    agree(schedules.OneCycle(peak, start, end).over(0.3, steps), expected, steps, int(top), int(top) + 1)


def test_one_cycle_ends_exactly_where_it_says():
    schedule = schedules.OneCycle().over(0.3, 100_000)
    assert float(schedule(0)) == pytest.approx(0.3 / 25, rel=1e-6)
    assert float(schedule(99_999)) == pytest.approx(0.3 / 25 / 1e4, rel=1e-6)
    assert [float(schedules.OneCycle().over(0.3, 1)(step)) for step in (0, 5)] == pytest.approx([0.3 / 25 / 1e4] * 2)


@given(st.integers(1, 4096), st.integers(1, 100_000))
@settings(max_examples=30, deadline=None)
def test_noam(width, warmup):
    def expected(step):
        return width**-0.5 * min((step + 1) ** -0.5, (step + 1) * warmup**-1.5)

    schedule = schedules.Noam(width, warmup).over(9.0, None)
    agree(schedule, expected, 1_000_000, warmup - 2, warmup - 1, warmup, rate=(width * warmup) ** -0.5)


@given(RUNS, st.floats(0.0, 0.9), st.sampled_from(["constant", "cosine", "polynomial", "exponential"]))
@settings(max_examples=30, deadline=None)
def test_warmup_rises_to_where_the_other_starts(steps, share, then):
    rising = round(share * steps)
    rest = {
        "constant": lambda place: 1.0,
        "cosine": half_cosine,
        "polynomial": lambda place: 1 - place,
        "exponential": lambda place: 0.01**place,
    }[then]

    def expected(step):
        if step < rising:
            return 0.3 * (step + 1) / (rising + 1)
        return 0.3 * rest((step - rising) / (steps - rising))

    schedule = schedules.Warmup(share, then).over(0.3, steps)
    if not callable(schedule):
        assert (rising, then, schedule) == (0, "constant", 0.3)
        return
    agree(schedule, expected, steps, rising - 1, rising, rising + 1)


def test_warmup_equals_that_of_the_cosine():
    ours = schedules.Warmup(0.2, schedules.Cosine(floor=0.1)).over(0.3, 50)
    theirs = schedules.Cosine(warmup=0.2, floor=0.1).over(0.3, 50)
    assert [float(ours(step)) for step in range(50)] == pytest.approx([float(theirs(step)) for step in range(50)])


def test_warmup_before_a_keras_schedule():
    then = keras.optimizers.schedules.InverseTimeDecay(0.4, 10, 1.0)
    schedule = schedules.Warmup(0.5, then).over(9.0, 40)
    assert [float(schedule(step)) for step in (0, 20, 30)] == pytest.approx([0.4 / 21, 0.4, 0.2])


FORMS = {
    "warmup": schedules.Warmup(0.3, "one_cycle"),
    "warmup of a number": schedules.Warmup(0.3),
    "restarts": schedules.CosineRestarts(3, 1.5, 0.9, 0.1),
    "one cycle": schedules.OneCycle(),
    "noam": schedules.Noam(8, 5),
}


@pytest.mark.parametrize("name", FORMS)
def test_our_forms_come_back_from_a_config_and_run_in_a_graph(name):
    schedule = FORMS[name].over(0.3, 20)
    text = json.dumps(keras.optimizers.schedules.serialize(schedule))
    again = tf.function(keras.optimizers.schedules.deserialize(json.loads(text)))
    for step in range(0, 22, 3):
        assert float(again(tf.constant(step, tf.int64))) == pytest.approx(float(schedule(step)), rel=1e-6)


def test_float64_stays_float64():
    schedule = schedules.OneCycle().over(0.3, 10)
    keras.config.set_floatx("float64")
    try:
        rates = [schedule(3), schedules.Warmup(0.5).over(0.3, 10)(3)]
    finally:
        keras.config.set_floatx("float32")
    assert [rate.dtype for rate in rates] == [tf.float64] * 2
    assert float(rates[1]) == pytest.approx(0.3 * 4 / 6, rel=1e-12)


@pytest.mark.parametrize("name", [*schedules.SCHEDULES, "warmup"])
def test_fit_follows_each_schedule(name, toy, task):
    x, y = toy.data(32)
    source = schedules.Warmup(0.4, "polynomial") if name == "warmup" else name
    settings = {"steps_per_execution": 1, "progress": "off", "monitor": ("loss", "min")}
    config = RunConfig(epochs=5, batch_size=16, optimizer="sgd", learning_rate=0.1, schedule=source, **settings)
    run = fit(toy.model(), (x, y), task=task, config=config)
    rates = run.history["learning_rate"]
    if name == "plateau":
        assert rates[0] == pytest.approx(0.1)
        return
    schedule = schedules.as_schedule(source).over(0.1, 10)
    expected = [float(schedule(step)) if callable(schedule) else 0.1 for step in (1, 3, 5, 7, 9)]
    assert rates == pytest.approx(expected, rel=1e-6)
    assert (len(set(rates)) > 1) == (name != "constant")


def test_the_picture_shows_each_schedule_from_first_to_last_step():
    shown = {"a": "cosine", "b": schedules.Warmup(0.1), "c": "noam", "d": "plateau", "e": "one_cycle"}
    figure = plot_schedules(shown, steps=300, learning_rate=0.2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(shown)
    for axes, source in zip(figure.axes, shown.values(), strict=True):
        schedule = schedules.as_schedule(source).over(0.2, 300)
        places, rates = axes.lines[0].get_data()
        assert list(places) == list(range(300))
        expected = [float(schedule(place)) if callable(schedule) else 0.2 for place in (0, 17, 299)]
        assert [rates[place] for place in (0, 17, 299)] == pytest.approx(expected)
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: plot_schedules({}, steps=10, learning_rate=1.0), "schedules must hold one or more"),
        (lambda: plot_schedules({"a": "cosine"}, steps=1, learning_rate=1.0), "steps must be an integer of 2"),
        (lambda: schedules.Polynomial(power=-1), "power must be a number from 0"),
        (lambda: schedules.Exponential(floor=0), "floor must be a number from 1e-12"),
        (lambda: schedules.CosineRestarts(cycles=0), "cycles must be an integer of 1"),
        (lambda: schedules.CosineRestarts(growth=0.5), "growth must be a number from 1"),
        (lambda: schedules.OneCycle(peak=1.0), "peak must be a number from 0"),
        (lambda: schedules.OneCycle(start=0.5), "start must be a number from 1"),
        (lambda: schedules.Noam(width=0), "width must be an integer of 1"),
        (lambda: schedules.Warmup(1.0), "share must be a number from 0"),
        (lambda: schedules.Warmup(0.1, "plateau"), "before a schedule with a closed form"),
        (lambda: schedules.Warmup(0.1, 0.5), "schedule must be one of"),
        (lambda: schedules.OneCycle().over(0.1, None), "'one_cycle' needs the length of the run"),
        (lambda: schedules.Warmup().over(0.1, None), "'warmup' needs the length of the run"),
    ],
)
def test_wrong_settings_are_refused(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()
