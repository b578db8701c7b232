"""Fuzz: whatever is done to a bundle, reading it gives the honest files, a sound model, or one BundleError."""

import copy
import functools
import json
import math
import tempfile

import numpy as np
import pytest
from forging import forge_model, members, read_bundle, summed, write_bundle, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasdl.bundles.format import archive, model_file
from kerasdl.core import memory
from kerasdl.core.errors import BundleError

MODELS = ("mlp", "mobilenet_v2", "vit_tiny", "gru_classifier")
GROWTH = 700 * 2**20
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def fuzz(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=CHECKS)


@pytest.fixture(autouse=True)
def _bounded(tmp_path, monkeypatch):
    """Nothing is written but the temporary folders, which go; memory stays bounded."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(temporary)
    memory.forget_peak()
    before = memory.held_memory()
    yield
    assert list(temporary.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} <= {"temporary", "forged.zip", "honest.zip"}
    assert memory.peak_memory() - before < GROWTH


@pytest.fixture
def honest(tiny, tmp_path):
    """Gives the files of an honest bundle of a tiny model by its name."""

    @functools.cache
    def make(name):
        return members(write_bundle(tiny(name), tmp_path / "honest.zip").read_bytes())

    return make


@pytest.fixture
def outcome(tmp_path):
    """Reads a forged bundle; gives its model, or None where it was refused."""

    def read(content):
        path = tmp_path / "forged.zip"
        path.write_bytes(content)
        try:
            return read_bundle(path)[1]
        except BundleError as error:
            if "\n" in str(error) or len(str(error)) > 1000:
                raise
            return None

    return read


POSITION = st.floats(0, 1, exclude_max=True)
EDIT = st.tuples(
    st.sampled_from(["flip", "insert", "delete", "cut", "copy"]), POSITION, POSITION, st.binary(min_size=1, max_size=8)
)


def edited(content: bytes, edits) -> bytes:
    for kind, start, end, extra in edits:
        first = int(start * len(content))
        last = min(len(content), first + 1 + int(end * 40))
        if kind == "flip":
            content = content[:first] + extra + content[first + len(extra) :]
        elif kind == "insert":
            content = content[:first] + extra + content[first:]
        elif kind == "delete":
            content = content[:first] + content[last:]
        elif kind == "copy":
            content = content[:first] + content[first:last] + content[first:]
        else:
            content = content[:first]
    return content


@pytest.mark.parametrize("name", MODELS)
def test_an_untouched_bundle_is_read(name, honest, outcome, tiny):
    loaded = outcome(zipped(honest(name)))
    inputs = np.ones((2, *tiny(name).input_shape[1:]), tiny(name).input.dtype)
    np.testing.assert_array_equal(loaded(inputs), tiny(name)(inputs))


@pytest.mark.slow
@fuzz(400)
@given(edits=st.lists(EDIT, min_size=1, max_size=4))
def test_edits_anywhere_in_the_zip_give_the_honest_files_or_an_error(edits, honest, tmp_path):
    path = tmp_path / "forged.zip"
    path.write_bytes(edited(zipped(honest("mlp")), edits))
    try:
        with archive.read(path) as folder:
            found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    except BundleError:
        return
    assert found == honest("mlp")


@fuzz(120)
@given(
    name=st.sampled_from(["bundle.json", "preprocess.json", "model.keras"]),
    edits=st.lists(EDIT, min_size=1, max_size=3),
)
def test_edits_under_right_checksums_give_a_model_or_an_error(name, edits, honest, outcome, tiny):
    files = honest("mlp")
    loaded = outcome(zipped(summed({**files, name: edited(files[name], edits)})))
    if loaded is not None:
        assert [weight.shape for weight in loaded.weights] == [weight.shape for weight in tiny("mlp").weights]


@fuzz(120)
@given(edits=st.lists(EDIT, min_size=1, max_size=6), part=st.sampled_from(["config.json", "model.weights.h5"]))
def test_edits_inside_the_model_file_give_a_model_or_an_error(edits, part, honest, outcome):
    files = honest("mlp")
    inner = members(files["model.keras"])
    inner[part] = edited(inner[part], edits)
    outcome(zipped(summed({**files, "model.keras": zipped(inner)})))


NUMBERS = [0, -1, 1, 2, 7, 1000, 2**20, 2**24, 2**31, 2**63, -(2**63), 10**30, 0.5, -1.5, 1e8, 1e300, math.nan]
TEXTS = [
    "",
    "relu",
    "float32",
    "int8",
    "string",
    "channels_first",
    "same",
    "kerasdl>ClassToken",
    "/etc/passwd",
    "x" * 300,
]
LISTS = [[], [None], [[]], [1, 2, 3], [2**24] * 3, ["head", 0, 0]]
WIDE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2**24}, "registered_name": None}
HOSTILE = st.sampled_from(
    [None, True, False, *NUMBERS, *TEXTS, *LISTS, {}, {"class_name": "Lambda", "config": {}}, WIDE]
)


def places(value, path=()):
    """Returns the path of every part of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, each in inner for place in places(each, (*path, key))]


def mutated(value, changes):
    """Replaces, deletes, swaps or doubles parts of a JSON value."""
    value = copy.deepcopy(value)
    for kind, where, other, hostile in changes:
        found = places(value)
        if not found:
            return value
        *path, key = found[int(where * len(found))]
        parent = functools.reduce(lambda each, step: each[step], path, value)
        if kind == "delete":
            del parent[key]
        elif kind == "double" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == "swap":
            parent[key] = copy.deepcopy(
                functools.reduce(lambda each, step: each[step], found[int(other * len(found))], value)
            )
        else:
            parent[key] = copy.deepcopy(hostile)
    return value


CHANGE = st.tuples(st.sampled_from(["replace", "replace", "delete", "double", "swap"]), POSITION, POSITION, HOSTILE)


@pytest.mark.parametrize("name", MODELS)
@fuzz(40)
@given(changes=st.lists(CHANGE, min_size=1, max_size=3))
def test_any_configuration_gives_a_sound_model_or_an_error(name, changes, honest, outcome):
    files = honest(name)
    forged = forge_model(files["model.keras"], lambda config: mutated(config, changes))
    loaded = outcome(zipped(summed({**files, "model.keras": forged})))
    if loaded is not None:
        assert sum(math.prod(weight.shape) for weight in loaded.weights) * 4 <= len(members(forged)["model.weights.h5"])


@fuzz(150)
@given(changes=st.lists(CHANGE, min_size=1, max_size=3))
def test_any_manifest_is_read_whole_or_refused(changes, honest, tmp_path):
    files = honest("mlp")
    text = json.dumps(mutated(json.loads(files["bundle.json"]), changes)).encode()
    path = tmp_path / "forged.zip"
    path.write_bytes(zipped(summed({**files, "bundle.json": text})))
    try:
        manifest, _ = read_bundle(path)
    except BundleError:
        return
    assert json.loads(manifest.to_json()) == json.loads(text)


NAMES = st.sampled_from(["model.keras", "bundle.json", "card.md", "SHA256SUMS", "preprocess.json"])
OTHER = (
    NAMES
    | st.sampled_from(["../card.md", "/card.md", "card.md/x", "CARD.MD", "sub/card.md", "con\0"])
    | st.text(min_size=1, max_size=6)
)


@fuzz(150)
@given(old=NAMES, new=OTHER, right=st.booleans(), keep=st.booleans())
def test_renamed_dropped_and_added_files_are_refused(old, new, right, keep, honest, outcome):
    files = honest("mlp")
    moved = {name: content for name, content in files.items() if keep or name != old}
    moved[new] = files[old]
    if right and new.isascii() and "\n" not in new:
        moved = summed(moved)
    loaded = outcome(zipped(moved))
    needed = {"model.keras", "bundle.json", "card.md", "preprocess.json"}
    if loaded is not None:
        assert needed <= set(moved)
        assert right or moved == files


@fuzz(1000)
@given(edits=st.lists(EDIT, min_size=1, max_size=8))
def test_edits_in_the_weights_file_end_in_shapes_or_an_error(edits, honest, tmp_path):
    content = members(honest("mlp")["model.keras"])["model.weights.h5"]
    path = tmp_path / "forged.zip"
    path.write_bytes(edited(content, edits))
    try:
        with archive.one_error(path):
            shapes = model_file._stored_shapes(path)
    except BundleError:
        return
    assert sum(map(math.prod, shapes.elements())) <= path.stat().st_size
