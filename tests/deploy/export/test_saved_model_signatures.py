"""SavedModels of several models: a signature each, shared layers once, judged and run by name."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.deploy import export_saved_model, run_exported

L = keras.layers


def test_a_folder_has_a_signature_for_each_model(tmp_path):
    table = L.Embedding(4000, 16, name="table")
    words, label = keras.Input((5,), dtype="int32", name="words"), keras.Input((1,), dtype="int32", name="label")
    models = {
        "text": keras.Model(words, L.GlobalAveragePooling1D(name="mean")(table(words))),
        "label": keras.Model(label, L.Flatten(name="row")(table(label))),
    }
    rng = np.random.default_rng(0)
    inputs = {"text": rng.integers(0, 4000, (9, 5)), "label": rng.integers(0, 4000, (9, 1))}
    report = export_saved_model(models, tmp_path / "two", samples=inputs)
    assert [each.judged_on.used for each in report.signatures.values()] == [9, 9]
    assert report.worst_relative < 1e-6
    assert report.bytes < 1.5 * 4000 * 16 * 4
    for name, model in models.items():
        (given,) = run_exported(tmp_path / "two", inputs[name], signature=name).values()
        np.testing.assert_allclose(given, model(inputs[name]), atol=1e-6)
    with pytest.raises(ArgumentError, match=r"two has the signatures \('label', 'text'\), one of which must be named"):
        run_exported(tmp_path / "two", inputs["text"])
    with pytest.raises(ArgumentError, match="image_bytes is for one model"):
        export_saved_model(models, tmp_path / "again", image_bytes={})
