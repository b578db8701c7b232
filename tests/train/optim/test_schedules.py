"""The schedules against their closed forms."""

import math

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasdl.core.errors import ArgumentError
from kerasdl.train import schedules


@given(st.integers(20, 400), st.floats(0.0, 0.5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_cosine(steps, warmup, floor, share):
    rate, step = 0.2, round(share * (steps - 1))
    rising = round(warmup * steps)
    if step < rising:
        expected = rate * (step + 1) / (rising + 1)
    else:
        falling = (step - rising) / (steps - rising)
        expected = rate * (floor + (1 - floor) * (1 + math.cos(math.pi * falling)) / 2)
    found = float(schedules.Cosine(warmup=warmup, floor=floor).over(rate, steps)(step))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(st.integers(8, 400), st.floats(0.0, 1.0))
def test_step(steps, share):
    step = round(share * (steps - 1))
    drops = (step >= round(0.25 * steps)) + (step >= round(0.5 * steps)) + (step >= round(0.9 * steps))
    found = float(schedules.Step(at=(0.25, 0.5, 0.9), factor=0.5).over(0.8, steps)(step))
    assert found == pytest.approx(0.8 * 0.5**drops, rel=1e-6)


def test_constant_and_plateau_begin_with_the_rate():
    assert schedules.Constant().over(0.3, None) == 0.3
    assert schedules.Plateau().over(0.3, None) == 0.3


def test_a_keras_schedule_is_taken_as_it_is():
    given_one = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    assert schedules.as_schedule(given_one).over(9.0, 3) is given_one


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: schedules.Cosine(warmup=1.0), "warmup must be a number from 0"),
        (lambda: schedules.Step(at=(0.7, 0.2)), "at must be rising shares"),
        (lambda: schedules.Plateau(patience=0), "patience must be an integer of 1"),
        (lambda: schedules.Cosine().over(0.1, None), "'cosine' needs the length of the run"),
        (lambda: schedules.as_schedule(0.1), "schedule must be one of"),
    ],
)
def test_wrong_schedules_are_refused(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()
