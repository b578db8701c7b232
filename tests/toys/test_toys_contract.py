"""The contract over the toys: its rows hold for nets of several inputs and outputs, trainers and parts."""

import dataclasses
import sys
from pathlib import Path

import contract_rows as rows
import keras
import numpy as np
import pytest
from registering import registered, registering
from tiny_nets import make_net

sys.path.insert(0, str(Path(__file__).parent))
import gan
from toy_registry import NAMES, register_toys

import kerasdl
from kerasdl.core import EXPORT_FORMATS, ArgumentError, ExportError, get_task, register_task
from kerasdl.data import as_dataset


@pytest.fixture(scope="module")
def toys():
    with registering():
        register_toys()
        yield {name: make_net(name) for name in NAMES}
    assert not {*NAMES} & {*kerasdl.list_models()}


PLAIN = {
    "flat": rows.check_flat,
    "forward": rows.check_forward,
    "free sizes": rows.check_free_sizes,
    "mixed precision": rows.check_mixed_precision,
    "learning": rows.check_learning,
    "bridge": rows.check_bridge,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("row", PLAIN)
def test_a_toy_holds_the_row(row, name, toys):
    PLAIN[row](toys[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_toy_says_what_it_must_and_is_saved(name, toys, tmp_path):
    rows.check_spec(toys[name].spec, toys[name])
    rows.check_count(toys[name].spec)
    rows.check_saving(toys[name], tmp_path)
    rows.check_golden(make_net(name), rows.golden_of(toys[name]))  # the same names and weights each time it is built


# Measured: 0.057 where the bound is 0.05. Rounding its kernels to 8 bits, by itself, moves its outputs by 0.02.
COARSE = pytest.mark.xfail(strict=True, raises=AssertionError, reason="int16x8 of toy_generator is 0.057 off")


def exports():
    for form in EXPORT_FORMATS:
        for name in NAMES:
            marks = [] if form == "float32" else [pytest.mark.slow]
            marks += [COARSE] if (form, name) == ("int16x8", "toy_generator") else []
            yield pytest.param(form, name, marks=marks, id=f"{name}-{form}")


@pytest.mark.parametrize(("form", "name"), [*exports()])
def test_a_toy_is_exported(form, name, toys, tmp_path):
    rows.check_export(toys[name], form, tmp_path)


# A recurrent output and an attended one have ranges of their own, which the placement does not bring to one scale.
JOINED = pytest.mark.xfail(strict=True, raises=ExportError, reason="'tfl.concatenation' of layer 'joined': two scales")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=JOINED) if n == "toy_seq2seq" else n for n in NAMES])
def test_a_toy_quantises_as_far_as_its_spec_says(name, toys, tmp_path):
    rows.check_quantisation(toys[name], tmp_path)


def damped(*, features=3, length=4):
    """A net whose output knows nothing of its input."""
    x = keras.Input((features,), name="x")
    return keras.Model(x, keras.layers.Rescaling(0.0)(keras.layers.Dense(2, name="head")(x)))


def lazy_trainer(networks):
    """Updates the generator alone."""
    made = gan.trainer(networks)
    both = made.minimize
    made.minimize = lambda loss, tape, role: both(loss, tape, role) if role == "model" else None
    return made


def test_rows_fail_where_a_net_does_not_hold_them(toys):
    registered(damped, task="network")
    blind, seq2seq, generator = make_net("damped"), toys["toy_seq2seq"], toys["toy_generator"]
    with pytest.raises(AssertionError):
        rows.check_forward(blind)
    with pytest.raises(AssertionError):
        rows.check_learning(blind)
    with pytest.raises(AssertionError, match="constant outputs"):
        rows.check_golden(blind, rows.golden_of(blind))
    with pytest.raises(AssertionError, match="leave no size open"):
        rows.check_free_sizes(dataclasses.replace(blind, spec=dataclasses.replace(blind.spec, free={"length": None})))
    with pytest.raises(AssertionError):
        rows.check_spec(dataclasses.replace(seq2seq.spec, tiny_limit=13_703), seq2seq)
    with pytest.raises(AssertionError):
        rows.check_count(dataclasses.replace(seq2seq.spec, params=13_703))
    task = dataclasses.replace(gan.TASK, name="toy_lazy_generation", trainer=lazy_trainer)
    register_task(task)
    with pytest.raises(AssertionError, match="hidden1"):
        rows.check_learning(dataclasses.replace(generator, spec=dataclasses.replace(generator.spec, task=task.name)))


def test_a_part_answers_as_a_bundle_of_its_own(toys, tmp_path):
    """A discriminator has no loss and no labels; what it gives comes by example."""
    model = toys["toy_discriminator"].model
    bundle = kerasdl.Bundle.of(model, name="judge", task="network", preprocess={})
    again = kerasdl.load_bundle(bundle.save(tmp_path / "judge"))
    points = gan.ring(3)
    given = [each["output"] for each in again.predict(points)]
    np.testing.assert_allclose(given, model(points), rtol=1e-5)
    with pytest.raises(kerasdl.BundleError, match="neither settings of preprocessing nor labels"):
        kerasdl.Bundle.of(model, name="judge", task="network", preprocess={}, labels=("real",))
    with pytest.raises(ArgumentError, match="something to measure"):
        bundle.evaluate(as_dataset(points))
    outputs = get_task("network").decode({"a": np.zeros((2, 3)), "b": np.ones((2, 1))}, (), None)
    assert [sorted(each) for each in outputs] == [["a", "b"]] * 2
    named = get_task("network").decode([np.zeros((2, 3)), np.ones((2, 1))], (), None)
    assert named[1]["1"] == 1
