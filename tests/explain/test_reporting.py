"""Reports of errors: figures equal scikit-learn's, planted faults are found, and the page stands alone."""

import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
import sklearn.metrics
from PIL import Image

import kerasdl
from kerasdl import explain, metrics
from kerasdl.core import ArgumentError
from kerasdl.core.outputs.decoding import softmax
from kerasdl.data import as_dataset
from kerasdl.explain.reporting.class_figures import class_rows, interval_of

RNG = np.random.default_rng(0)


def given_logits(logits, last=None):
    """A model that answers with its input."""
    entry = keras.Input(np.shape(logits)[1:])
    return keras.Model(entry, keras.layers.Activation(last, name="answer")(entry) if last else entry)


def drawn(count=300, classes=4, strength=2.0):
    truth = RNG.integers(0, classes, count)
    return RNG.normal(size=(count, classes)) + strength * np.eye(classes)[truth], truth


def test_curves_and_areas_equal_scikit_learn():
    scores, truth = RNG.integers(0, 12, 200) / 11.0, RNG.integers(0, 2, 200)  # with ties
    curve = metrics.roc_curve(scores, truth)
    wanted = sklearn.metrics.roc_curve(truth, scores, drop_intermediate=False)
    for own, other in zip((curve.false_positives, curve.true_positives, curve.thresholds), wanted, strict=True):
        np.testing.assert_allclose(own, other)
    assert curve.area == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores))
    for labels in (np.zeros(3), np.ones(3), [0, 1, 2]):
        with pytest.raises(ArgumentError, match="at least one of each"):
            metrics.roc_curve([0.1, 0.2, 0.3], labels)
    with pytest.raises(ArgumentError, match="finite rows"):
        metrics.roc_curve([0.1, np.nan], [0, 1])


def test_rows_of_classes_equal_scikit_learn():
    logits, truth = drawn()
    scores = softmax(logits)
    rows = class_rows(scores, truth, list("abcd"))
    wanted = sklearn.metrics.precision_recall_fscore_support(truth, scores.argmax(axis=1))
    for name, values in zip(("precision", "recall", "f1", "examples"), wanted, strict=True):
        np.testing.assert_allclose([row[name] for row in rows], values, err_msg=name)
    for number, row in enumerate(rows):
        is_class, score = truth == number, scores[:, number]
        assert row["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(is_class, score))
        assert row["average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(is_class, score))


def test_a_class_without_examples_has_no_figures():
    rows = class_rows(np.eye(3)[[0, 1, 0]], np.array([0, 1, 1]), list("abc"))
    assert rows[2] == {
        "class": "c",
        "examples": 0,
        "precision": None,
        "recall": None,
        "f1": None,
        "roc_auc": None,
        "average_precision": None,
    }
    assert rows[0]["recall"] == 1.0


@pytest.mark.parametrize(("right", "count", "low", "high"), [(0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662)])
def test_intervals_are_wilsons(right, count, low, high):
    """Figures of https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I."""
    assert interval_of(right, count) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_an_overconfident_net_is_found_and_mended():
    logits, truth = drawn(2000, 5, 1.5)
    honest, boastful = explain.reliability(logits * 1.5, truth), explain.reliability(6.0 * logits, truth)
    assert honest.error < 0.04
    assert boastful.error > 0.1
    assert boastful.error_scaled < boastful.error / 3
    assert boastful.temperature == pytest.approx(4.0, rel=0.15)
    assert sum(row["examples"] for row in boastful.bins) == 2000
    assert explain.reliability(logits[:5], truth[:5]).temperature is None
    for wrong in (np.full((9, 3), np.nan), softmax(logits[:9, :3])):
        with pytest.raises(ArgumentError, match="logits must be"):
            explain.reliability(wrong, np.zeros(9, int))
    for classes in (truth + 5, truth + 0.5):
        with pytest.raises(ArgumentError, match="truth must be classes from 0 to 4"):
            explain.reliability(logits, classes)
    worse = explain.reliability(-logits, truth)  # worse than chance: no temperature mends it
    assert worse.error_scaled is None


def test_planted_wrong_labels_are_suspected():
    logits, truth = drawn(500, 4, 6.0)
    labels, planted = truth.copy(), RNG.choice(500, 25, replace=False)
    labels[planted] = (labels[planted] + 1) % 4
    found = explain.suspected_labels(softmax(logits), labels)
    is_planted = np.isin(found.places, planted)
    assert is_planted.sum() >= 20  # the others are below the threshold of their true class
    assert is_planted.mean() > 0.9
    np.testing.assert_array_equal(found.likelier[is_planted], truth[found.places[is_planted]])
    assert (np.diff(found.margins) <= 0).all()
    with pytest.raises(ArgumentError, match="classes from 0 to 3"):
        explain.suspected_labels(softmax(logits), labels + 1)
    with pytest.raises(ArgumentError, match="scores must be probabilities"):
        explain.suspected_labels(logits, labels)


def photo(seed, side=64):
    return np.asarray(
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    )


def test_copies_are_found_whatever_their_size_light_and_compression(tmp_path):
    photos = [photo(seed) for seed in range(40)]
    Image.fromarray(photos[3]).save(tmp_path / "low.jpg", quality=40)
    copies = [
        np.asarray(Image.open(tmp_path / "low.jpg")),
        np.asarray(Image.fromarray(photos[7]).resize((31, 45))),
        np.clip(photos[9].astype(int) + 12, 0, 255).astype("uint8"),
    ]
    assert explain.find_copies(copies, photos) == [(0, 3), (1, 7), (2, 9)]
    assert explain.find_copies([*photos, photos[5]]) == [(5, 40)]
    assert explain.find_copies([np.full((9, 9, 1), 0, "uint8"), photo(1)]) == []
    with pytest.raises(ArgumentError, match="image 1: float64"):
        explain.find_copies([photos[0], photos[1] / 255.0])


def test_a_report_of_arrays_holds_what_was_planted(tmp_path):
    logits, truth = drawn(200, 3, 4.0)
    labels, cameras = truth.copy(), np.array(["old", "new"])[RNG.integers(0, 2, 200)]
    wrong = np.flatnonzero(cameras == "old")[:40]
    logits[wrong] = 8.0 * np.eye(3)[(truth[wrong] + 1) % 3]  # the old camera misleads
    found = explain.report(given_logits(logits), (logits, labels), labels=list("abc"), slices={"camera": cameras})
    figures = found.figures
    assert figures["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert figures["loss"] == pytest.approx(sklearn.metrics.log_loss(labels, softmax(logits)), rel=1e-5)
    np.testing.assert_array_equal(figures["confusion"], sklearn.metrics.confusion_matrix(labels, logits.argmax(axis=1)))
    assert figures["slices"][0]["value"] == "old"
    scores = [row["score"] for row in figures["mistakes"]]
    assert scores == sorted(scores, reverse=True)
    assert {row["place"] for row in figures["mistakes"]} >= set(wrong.tolist())
    losses = -np.log(softmax(logits)[np.arange(200), labels])
    top = figures["top_losses"]
    np.testing.assert_allclose([row["loss"] for row in top], np.sort(losses)[::-1][:24], rtol=1e-5)
    assert {row["place"] for row in top} <= set(wrong.tolist())
    assert not found.pictures
    found.write(tmp_path / "deep" / "report.html")
    assert json.loads((tmp_path / "deep" / "report.json").read_text())["examples"] == 200
    assert "http" not in re.sub(r"<title>.*?</title>", "", (tmp_path / "deep" / "report.html").read_text())


@pytest.mark.parametrize("form", ["softmax", "one-hot", "column"])
def test_other_forms_of_outputs_and_labels_give_the_same_report(form):
    logits, truth = drawn(60, 3)
    plain = explain.report(given_logits(logits), (logits, truth)).figures
    labels = {"one-hot": np.eye(3, dtype="int8")[truth], "column": truth[:, None].astype("uint8")}.get(form, truth)
    net = given_logits(logits, "softmax" if form == "softmax" else None)
    given = explain.report(net, (logits, labels)).figures
    assert given["confusion"] == plain["confusion"]
    assert given["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    assert given["labels"] == ["0", "1", "2"]


def test_a_bundle_is_reported_on_with_pictures(tmp_path):
    bundle = kerasdl.load_bundle("digits_mobilenet")
    data, train = (kerasdl.data.load("digits", split, scale=None) for split in ("test", "train"))
    found = explain.report(bundle, data, train=train.take(50))
    assert found.figures["accuracy"] == pytest.approx(bundle.evaluate(data)["accuracy"])
    mistakes = len(found.figures["mistakes"])
    assert 0 < mistakes == len(found.pictures["mistakes"]) == len(found.pictures["looked_at"])
    row = found.figures["mistakes"][0]
    np.testing.assert_array_equal(found.pictures["mistakes"][0], data.source.inputs[row["place"]])
    found.write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") >= mistakes
    copies = explain.report(bundle, train.take(20), train=train.take(50)).figures
    assert {first for first, _ in copies["copies_in_train"]} == set(range(20))


@pytest.mark.slow
def test_a_calibrated_bundle_is_judged_at_its_temperature():
    bundle, data = kerasdl.load_bundle("digits_mobilenet"), kerasdl.data.load("digits", "test", scale=None)
    plain = explain.report(bundle, data)
    calibrated = bundle.calibrate("digits")
    temperature = calibrated.calibration.temperature
    found = explain.report(calibrated, data)
    logits = np.log(plain.curves["scores"])
    np.testing.assert_allclose(found.curves["scores"], softmax(logits / temperature), atol=1e-6)
    assert found.figures["loss"] != plain.figures["loss"]
    assert found.figures["confusion"] == plain.figures["confusion"]


def test_what_is_no_classifier_is_refused():
    logits, truth = drawn(20, 3)
    net = given_logits(logits)
    with pytest.raises(ArgumentError, match="labels must be one class an example, from 0 to 2"):
        explain.report(net, (logits, truth + 1))
    with pytest.raises(ArgumentError, match="several, none or soft ones"):
        explain.report(net, (logits, np.full((20, 3), 1 / 3)))
    with pytest.raises(ArgumentError, match="names of the 3 classes"):
        explain.report(net, (logits, truth), labels=["a"])
    with pytest.raises(ArgumentError, match="one value for each of the 20"):
        explain.report(net, (logits, truth), slices={"camera": [1, 2]})
    with pytest.raises(ArgumentError, match="logits or softmax probabilities"):
        explain.report(given_logits(logits, "sigmoid"), (logits, truth))
    with pytest.raises(ArgumentError, match="one output"):
        explain.report(given_logits(logits[:, :1]), (logits[:, :1], truth))
    with pytest.raises(ArgumentError, match="finite"):
        explain.report(net, (np.where(logits > 2, np.nan, logits), truth))
    with pytest.raises(ArgumentError, match="must have its classes"):
        explain.report(kerasdl.load_bundle("digits_mobilenet"), kerasdl.data.load("glyphs", "test", scale=None).take(9))
    with pytest.raises(ArgumentError, match="a bundle has its own"):
        explain.report(kerasdl.load_bundle("digits_mobilenet"), "digits", labels=["a"])
    with pytest.raises(ArgumentError, match="must have labels"):
        explain.report(net, as_dataset(logits))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is needed to open the page")
def test_a_browser_opens_the_page_without_network_and_without_errors(tmp_path):
    bundle = kerasdl.load_bundle("digits_mobilenet")
    explain.report(bundle, kerasdl.data.load("digits", "test", scale=None)).write(tmp_path / "report.html")
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--screenshot={tmp_path / 'page.png'}"]
    words += ["--window-size=1100,2400", (tmp_path / "report.html").as_uri()]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert not re.findall(r"CONSOLE.*|net_error.*|ERR_.*", result.stderr)
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert (shown < 128).mean() > 0.01  # ink
