"""Embedded bundle of a translator of dates: small, as good as its card says, strings in and strings out."""

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.data.text.generated_pairs import WAYS


def test_dates_are_written_in_iso_form():
    bundle = kerasdl.load_bundle("dates_seq2seq")
    assert bundle.manifest.metrics["dates test"]["exact_match"] >= 0.98
    dates = ["Monday, 2 March 1987", "2 III 1987", "02.03.1987", "the 2nd of March, 1987", "19870302"]
    assert bundle.predict(dates) == [{"text": "1987-03-02"}] * len(dates)
    assert (EMBEDDED / "dates_seq2seq.zip").stat().st_size < 500_000


@pytest.mark.slow
def test_dates_of_the_test_are_as_right_as_the_card_says():
    bundle, data = kerasdl.load_bundle("dates_seq2seq"), kerasdl.data.load("dates", "test")
    stated = bundle.manifest.metrics["dates test"]["exact_match"]
    sources, targets = data.arrays()
    right = np.array([each["text"] for each in bundle.predict(list(sources))]) == targets
    assert right.mean() == pytest.approx(stated, abs=0.002)
    assert len(WAYS) == 20
