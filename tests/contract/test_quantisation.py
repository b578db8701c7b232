"""Nets of every class of layer cross the bridge to tf_keras, and quantise as far as their spec says."""

import pytest
from cases import EVERY_CLASS
from contract_rows import check_bridge, check_quantisation


@pytest.mark.parametrize("name", EVERY_CLASS)
def test_bridge_gives_the_same_outputs(name, net):
    """Split into single operations, and back, in tests/deploy/keras2/test_legacy_models.py."""
    check_bridge(net(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_CLASS)
def test_quantises_as_far_as_its_spec_says(name, net, tmp_path):
    check_quantisation(net(name), tmp_path)
