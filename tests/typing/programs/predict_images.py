"""Answers of a bundle."""

from typing import assert_type

import kerasdl

answers = kerasdl.load_bundle("digits_mobilenet").predict(["one.png", "two.png"])
for answer in answers:
    print(answer["label"], answer["score"])
assert_type(answers, list[dict])
