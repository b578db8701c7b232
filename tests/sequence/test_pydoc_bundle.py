"""Embedded classifier of docstrings: small, strings in and parts of the standard library out, as good as its card."""

import platform

import pytest

import kerasdl
from kerasdl.bundles.listing import EMBEDDED

TEXTS = {
    "Return a future aggregating results from the given coroutines or futures.": "asyncio",
    "Move the turtle forward by the specified distance.": "turtle",
    "Fail if the two objects are unequal as determined by the '==' operator.": "unittest",
    "Return the sum of the two operands, rounded to the context's precision.": "decimal",
    "Bind to all widgets at an event SEQUENCE a call to function FUNC.": "tkinter",
}


def test_docstrings_are_told_by_their_part_of_the_library():
    bundle = kerasdl.load_bundle("pydoc_lstm")
    assert [each["label"] for each in bundle.predict(list(TEXTS))] == list(TEXTS.values())
    assert (EMBEDDED / "pydoc_lstm.zip").stat().st_size < 2_000_000


@pytest.mark.slow
def test_the_card_says_what_the_test_split_gives():
    bundle = kerasdl.load_bundle("pydoc_lstm")
    found = bundle.evaluate(kerasdl.data.load("pydoc", "test"))["accuracy"]
    same_python = platform.python_version() in bundle.manifest.provenance["data"]
    assert found == pytest.approx(bundle.manifest.metrics["pydoc test"]["accuracy"], abs=0.004 if same_python else 0.1)
