"""Files in float16 whose rounding adds up: what passes by the root mean square, and what does not."""

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ExportError
from kerasdl.deploy import export_tflite, run_exported
from kerasdl.deploy.tflite import exporter

SAMPLES = np.ones((8, 4), "float32")


@pytest.fixture
def net():
    """A net whose last output is a small difference of large terms: a half holds 300.1 as 300."""
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10, name="head")])
    kernel = np.random.default_rng(0).choice([-0.5, 0.5], (4, 10)).astype("float32")
    kernel[:, 9] = (300.1, -300.0, 0.0, 0.0)
    net.layers[-1].set_weights([kernel, np.zeros(10, "float32")])
    return net


def test_rounding_in_few_entries_passes_by_the_root_mean_square(net, tmp_path):
    report = export_tflite(net, tmp_path / "net.tflite", quantize="float16", samples=SAMPLES)
    assert (report.measure, report.tolerance) == ("rmse", 0.1)
    assert max(drift.relative for drift in report.drifts) > 0.03
    assert 0 < report.worst_relative <= 0.1
    assert any("the root mean square decides" in note for note in report.notes)
    (found,) = run_exported(tmp_path / "net.tflite", SAMPLES).values()
    assert found[0, 9] == pytest.approx(0.0, abs=1e-6)


def test_a_tolerance_that_is_given_leaves_no_room(net, tmp_path):
    with pytest.raises(ExportError, match=r"must stay within 0\.03 of the model"):
        export_tflite(net, tmp_path / "net.tflite", quantize="float16", samples=SAMPLES, tolerance=0.03)
    assert not (tmp_path / "net.tflite").exists()


def test_channels_that_are_swapped_are_refused(net, tmp_path, monkeypatch):
    rows = net.layers[-1].get_weights()[0].T.astype("float16")  # as TFLite keeps them: a row an output
    one, other = next((i, j) for i in range(9) for j in range(i) if (rows[i] != rows[j]).sum() == 1)
    swapped = rows.copy()
    swapped[[one, other]] = rows[[other, one]]
    convert, count = exporter.converter.convert, []

    def wrong(*arguments):
        content = convert(*arguments)
        count.append(content.count(rows.tobytes()))
        return content.replace(rows.tobytes(), swapped.tobytes())

    monkeypatch.setattr(exporter.converter, "convert", wrong)
    with pytest.raises(ExportError, match=r"0\.1 \(rmse\) and 0\.2 in each entry"):
        export_tflite(net, tmp_path / "net.tflite", quantize="float16", samples=SAMPLES)
    assert count[0] == 1
