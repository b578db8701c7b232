"""bundle.json: every field that a stranger wrote is checked, and the error names it."""

import dataclasses
import json

import numpy as np
import pytest
from forging import FIELDS
from hypothesis import given
from hypothesis import strategies as st

from kerasdl.bundles.format.manifest import MAX_JSON, SCHEMA, Manifest, parse_json, read_json, read_manifest
from kerasdl.core.errors import BundleError

FULL = Manifest(
    **{**FIELDS, "name": "schön"},
    builder="mlp",
    arguments={"hidden": ((1, 2), (3,)), "dropout": 0.5, "note": None},
    metrics={"digits test": {"accuracy": np.float32(0.5), "count": 3}},
    provenance={"seed": 7, "versions": {"keras": "3.15.1"}},
    licence="Apache-2.0",
    parts={"model": "model.keras", "preprocess": "preprocess.json", "card": "card.md", "ema": "ema/model.keras"},
)


def test_round_trip_is_exact():
    assert Manifest.from_json(FULL.to_json()) == FULL
    assert FULL.arguments["hidden"] == ((1, 2), (3,))
    assert FULL.metrics == {"digits test": {"accuracy": 0.5, "count": 3.0}}
    assert Manifest.from_json(FULL.to_json().encode()) == FULL


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(arguments=st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
def test_any_plain_arguments_come_back(arguments):
    manifest = Manifest(**FIELDS, arguments=arguments)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("schema", SCHEMA + 1, f"schema {SCHEMA}; got {SCHEMA + 1}. Upgrade kerasdl"),
        ("schema", True, "schema"),
        ("schema", None, "schema"),
        ("name", "", "name"),
        ("name", "a\nb", "name"),
        ("name", "x" * 201, "name"),
        ("name", 3, "name"),
        ("task", None, "task"),
        ("builder", ["mlp"], "builder"),
        ("arguments", [1], "arguments"),
        ("arguments", {"a": 2**64}, "finite JSON values"),
        ("arguments", {"a": "x" * 10_001}, "arguments"),
        ("inputs", {}, "inputs"),
        ("inputs", [{"name": "x", "shape": [0], "dtype": "float32"}], "shape"),
        ("inputs", [{"name": "x", "shape": [1.5], "dtype": "float32"}], "shape"),
        ("inputs", [{"name": "x", "shape": [10**12], "dtype": "float32"}], "shape"),
        ("inputs", [{"name": "x", "shape": [1] * 9, "dtype": "float32"}], "shape"),
        ("inputs", [{"name": "x", "shape": [1], "dtype": "object"}], "dtype"),
        ("inputs", [{"name": "x", "shape": [1]}], "name, shape and dtype"),
        ("labels", "abc", "labels"),
        ("labels", [""], "label"),
        ("labels", [1], "label"),
        ("labels", ["x"] * 100_001, "labels"),
        ("metrics", {"test": 0.5}, "metrics"),
        ("metrics", {"test": {"accuracy": "high"}}, "accuracy"),
        ("metrics", {"test": {"accuracy": True}}, "accuracy"),
        ("provenance", "by hand", "provenance"),
        ("licence", 3, "licence"),
        ("parts", {"model": "model.keras"}, "parts"),
        ("parts", {"model": "../m", "preprocess": "p", "card": "c"}, "names in a bundle"),
        ("parts", {"model": 1, "preprocess": "p", "card": "c"}, "model"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(field, value, said):
    values = {**json.loads(FULL.to_json()), field: value}
    with pytest.raises(BundleError) as caught:
        Manifest.from_json(json.dumps(values))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_figures_are_finite(figure):
    with pytest.raises(BundleError, match="finite"):
        Manifest(**FIELDS, metrics={"test": {"loss": figure}})


def test_fields_are_all_there_and_no_others():
    values = json.loads(FULL.to_json())
    with pytest.raises(BundleError, match=r"'unknown': \['extra'\]"):
        Manifest.from_json(json.dumps({**values, "extra": 1}))
    for field in dataclasses.fields(Manifest):
        fewer = {name: value for name, value in values.items() if name != field.name}
        with pytest.raises(BundleError, match=field.name):
            Manifest.from_json(json.dumps(fewer))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "must differ"),
        ('{"a": {"b": 1, "b": 1}}', "must differ"),
        ("NaN", "finite"),
        ("[1e999]", "finite"),
        ("-Infinity", "finite"),
        ("[" * 17 + "]" * 17, "nested so deeply"),
        ("[" * 100_000, "damaged"),
        ('["\\ud800"]', "printable"),
        ("1" * 5000, "damaged"),
        ("{", "damaged"),
        ("", "damaged"),
        (b"\xff\xfe", "damaged"),
    ],
)
def test_json_is_plain_finite_and_bounded(text, said):
    with pytest.raises(BundleError, match=said):
        parse_json(text, "test.json")


def test_json_at_the_bounds_is_read():
    assert parse_json("[" * 16 + "]" * 16, "test.json")[0][0] == json.loads("[" * 14 + "]" * 14)
    assert parse_json('{"a": [1.5, null, true, "ü\\n"]}', "test.json") == {"a": [1.5, None, True, "ü\n"]}


def test_large_and_missing_files_are_refused(tmp_path):
    (tmp_path / "large.json").write_text('"' + "x" * MAX_JSON + '"')
    with pytest.raises(BundleError, match="at most"):
        read_json(tmp_path / "large.json")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_manifest(tmp_path)


def test_every_part_is_a_file_of_the_bundle(tmp_path):
    (tmp_path / "bundle.json").write_text(FULL.to_json())
    for name in ("model.keras", "preprocess.json", "card.md"):
        (tmp_path / name).touch()
    with pytest.raises(BundleError, match="'ema'"):
        read_manifest(tmp_path)
    (tmp_path / "ema").mkdir()
    (tmp_path / "ema/model.keras").touch()
    assert read_manifest(tmp_path) == FULL
