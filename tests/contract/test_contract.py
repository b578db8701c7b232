"""Contract of every registered model, from building to learning; the names come from the registry."""

import json
import subprocess
import sys
from pathlib import Path

import contract_rows as rows
import numpy as np
import pytest
from cases import DISTINCT, EXPORTED, NAMES, distinct_name
from tiny_nets import by_groups, leaves

import kerasdl

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def _grouped_convolutions():
    with by_groups():
        yield


@pytest.mark.parametrize("name", NAMES)
def test_spec_says_what_it_must(name, net):
    rows.check_spec(kerasdl.spec(name), net(distinct_name(name)))


@pytest.mark.parametrize("name", NAMES)
def test_full_size_has_the_exact_number_of_weights(name):
    rows.check_count(kerasdl.spec(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_graph_is_flat(name, net):
    rows.check_flat(net(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_outputs_are_the_golden_ones(name, net):
    """`make golden` stores them anew."""
    rows.check_golden(net(name), json.loads((GOLDEN / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", DISTINCT)
def test_forward_is_finite_and_depends_on_the_input(name, net):
    rows.check_forward(net(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_free_sizes(name, net):
    """Nets with free sizes equal the fixed ones, and take another size too."""
    rows.check_free_sizes(net(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_mixed_precision(name, net):
    rows.check_mixed_precision(net(name))


@pytest.mark.parametrize("name", DISTINCT)
def test_save_and_load(name, net, tmp_path):
    rows.check_saving(net(name), tmp_path)


@pytest.mark.parametrize("name", DISTINCT)
def test_every_weight_gets_a_gradient_and_the_loss_falls(name, net):
    rows.check_learning(net(name))


@pytest.mark.slow
def test_a_saved_model_loads_in_a_process_that_knows_only_kerasdl(net, tmp_path):
    """Saved models load after `import kerasdl` alone, without custom_objects; the cover has all classes."""
    expected = {}
    for name in EXPORTED:
        net(name).model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", *leaves(net(name).inputs))
        expected[name] = leaves(net(name).outputs)
    program = (
        "import kerasdl, keras, numpy, pathlib, sys\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.keras'):\n"
        "    model = keras.models.load_model(path)\n"
        "    inputs = keras.tree.pack_sequence_as(model.input, [*numpy.load(path.with_suffix('.npz')).values()])\n"
        "    numpy.savez(path.with_suffix('.out.npz'), *keras.tree.flatten(model(inputs, training=False)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name in EXPORTED:
        given = np.load(tmp_path / f"{name}.out.npz").values()
        for leaf, right in zip(given, expected[name], strict=True):
            np.testing.assert_allclose(leaf, right, rtol=1e-5, atol=1e-6)
