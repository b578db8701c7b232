"""Manifest of a bundle, bundle.json, validated field by field since a stranger may have written it."""

import dataclasses
import json
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .archive import MANIFEST, check_name, one_error, refuse

SCHEMA = 2
FIRST = 1  # the schema of bundles without the field `outputs`
MAX_JSON = 2**20
MAX_SETTINGS = 2**26  # settings hold the text of a tokenizer
JSON_DEPTH = 16
MAX_TEXT = 10_000
MAX_LABELS = 100_000
MAX_SIZE = 2**24
PARTS = {"model": "model.keras", "preprocess": "preprocess.json", "card": "card.md"}
NETWORK = ".keras"  # the ending of parts that are networks
QUANTIZATION = "quantization"  # the role of the part by which a model rounds
OUTPUTS = ("logits", "probabilities", "values")
DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "string")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of bundle.json; the constructor checks every field and turns lists into tuples."""

    schema: int = SCHEMA
    """Version of the schema."""
    name: str
    """Name of the bundle."""
    task: str
    """Name of its `Task`."""
    builder: str = ""
    """Registered model that it was built from, or ""."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the builder."""
    inputs: tuple[Mapping[str, Any], ...]
    """`{"name", "shape", "dtype"}` of each input; shapes are without the batch, None for free sizes."""
    labels: tuple[str, ...] = ()
    """Names of the outputs, in order."""
    outputs: str = ""
    """Kind of the outputs: `logits`, `probabilities` or a regression's `values`; "" leaves it to the model's graph."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Figures by name, grouped by the name of the data they were measured on."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Origin: data, settings, seed and versions."""
    licence: str = ""
    """Licence of the weights."""
    parts: Mapping[str, str] = field(default_factory=lambda: dict(PARTS))
    """File of each role: `model`, `preprocess` and `card`; further roles are networks, in files that end in
    `.keras`, and others such as `tokenizer`."""

    def __post_init__(self):
        if type(self.schema) is not int or self.schema != SCHEMA:
            refuse(f"this kerasdl reads bundles of schema {SCHEMA}", self.schema, "Upgrade kerasdl if it is higher.")
        checked = {
            "name": _text("name", self.name),
            "task": _text("task", self.task),
            "builder": _text("builder", self.builder, empty=True),
            "arguments": _json("arguments", _mapping("arguments", self.arguments)),
            "inputs": tuple(_input(each) for each in _items("inputs", self.inputs, 64)),
            "labels": tuple(_text("a label", each) for each in _items("labels", self.labels, MAX_LABELS)),
            "metrics": _metrics(self.metrics),
            "provenance": _json("provenance", _mapping("provenance", self.provenance)),
            "licence": _text("licence", self.licence, empty=True),
            "parts": _parts(self.parts),
        }
        if self.outputs not in ("", *OUTPUTS):
            refuse(f"outputs must be one of {OUTPUTS}", self.outputs)
        if len(set(checked["labels"])) < len(checked["labels"]):
            refuse("labels must differ from one another", checked["labels"])
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def to_json(self) -> str:
        """Returns the text of bundle.json."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Returns the manifest in the text of a bundle.json.

        Raises:
            BundleError: it is not a JSON object of this schema; the text names the field.
        """
        values = _mapping(MANIFEST, parse_json(text, MANIFEST))
        names = {each.name for each in dataclasses.fields(cls)}
        if type(values.get("schema")) is int and values["schema"] == FIRST:
            values = {"outputs": "", **values, "schema": SCHEMA}
        if values.get("schema") != SCHEMA:
            cls(**{**dict.fromkeys(names), "schema": values.get("schema")})
        if set(values) != names:
            apart = {"missing": sorted(names - set(values)), "unknown": sorted(set(values) - names)[:4]}
            refuse(f"{MANIFEST} must have all fields of schema {SCHEMA} and no others", apart)
        return cls(**values)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Returns the manifest of a verified folder, and checks that all parts exist.

    Raises:
        BundleError: bundle.json or a part is missing or invalid.

    Example:
        >>> with archive.read("mine.zip") as folder:
        ...     print(read_manifest(folder).labels)
    """
    folder = Path(folder)
    manifest = Manifest.from_json(_read(folder / MANIFEST))
    for role, name in manifest.parts.items():
        if not (folder / name).is_file():
            refuse(f"the part {role!r} must be a file of the bundle", name)
    return manifest


def read_json(path: str | os.PathLike, most: int = MAX_JSON) -> Any:
    """Returns the content of a JSON file of a bundle, of `most` bytes at most.

    Raises:
        BundleError: it is missing, too large or not plain JSON.
    """
    return parse_json(_read(Path(path), most), Path(path).name)


def parse_json(text: str | bytes, what: str, *, depth: int = JSON_DEPTH) -> Any:
    """Returns plain, finite, bounded JSON: no double key, no NaN, no lone surrogate, no nesting beyond `depth`.

    Raises:
        BundleError: the text, called `what` in the error, breaks one of these rules.
    """
    with one_error(what, "text"):
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_no_double_keys, parse_constant=_no_constant)
    return _json(what, value, depth=depth, limit=len(text), lists=list)


def _read(path: Path, most: int = MAX_JSON) -> bytes:
    with one_error(path, "file"), open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        refuse(f"{path.name} may have at most {most} bytes", f"{path.stat().st_size} bytes")
    return content


def _no_double_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        refuse("keys of a JSON object must differ", next(key for key in keys if keys.count(key) > 1))
    return values


def _no_constant(name: str):
    refuse("numbers in JSON must be finite", name)


def _json(where: str, value: Any, *, depth: int = JSON_DEPTH, limit: int = MAX_TEXT, lists: type = tuple) -> Any:
    """Returns a copy of a JSON value, checked against all limits, with lists as `lists`."""
    if depth < 1 and isinstance(value, (Mapping, list, tuple)):
        refuse(f"{where} may not be nested so deeply", type(value).__name__)
    if isinstance(value, Mapping):
        return {
            _text(f"a key of {where}", key, limit=limit, empty=True, lines=True): _json(
                where, each, depth=depth - 1, limit=limit, lists=lists
            )
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return lists(_json(where, each, depth=depth - 1, limit=limit, lists=lists) for each in value)
    if isinstance(value, str):
        return _text(f"a text in {where}", value, limit=limit, empty=True, lines=True)
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**64):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    refuse(f"{where} must hold plain, finite JSON values", value)


def _text(where: str, value: Any, *, limit: int = 200, empty: bool = False, lines: bool = False) -> str:
    if not isinstance(value, str) or len(value) > limit or not (value or empty):
        refuse(f"{where} must be a text of {0 if empty else 1} to {limit} characters", value)
    if any("\ud800" <= character <= "\udfff" for character in value) or not (lines or value.isprintable()):
        refuse(f"{where} must be printable text", value)
    return value


def _mapping(where: str, value: Any) -> Mapping:
    if not isinstance(value, Mapping):
        refuse(f"{where} must be an object with named fields", value)
    return value


def _items(where: str, value: Any, most: int) -> list | tuple:
    if not isinstance(value, (list, tuple)) or len(value) > most:
        refuse(f"{where} must be a list of at most {most}", value)
    return value


def _input(value: Any) -> dict[str, Any]:
    if set(_mapping("an input", value)) != {"name", "shape", "dtype"}:
        refuse("an input must have the fields name, shape and dtype", sorted(map(str, value)))
    shape = tuple(_items("an input's shape", value["shape"], 8))
    if not all(size is None or (type(size) is int and 0 < size <= MAX_SIZE) for size in shape):
        refuse(f"sizes in an input's shape are None or from 1 to {MAX_SIZE}", shape)
    if value["dtype"] not in DTYPES:
        refuse(f"an input's dtype must be one of {DTYPES}", value["dtype"])
    return {"name": _text("an input's name", value["name"]), "shape": shape, "dtype": value["dtype"]}


def _metrics(value: Any) -> dict[str, dict[str, float]]:
    checked: dict[str, dict[str, float]] = {}
    for data, figures in _mapping("metrics", value).items():
        _text("a name of data in metrics", data)
        for name, figure in _mapping(f"metrics[{data!r}]", figures).items():
            if not isinstance(figure, numbers.Real) or isinstance(figure, bool) or not math.isfinite(figure):
                refuse(f"metrics[{data!r}][{name!r}] must be a finite number", figure)
        checked[data] = {_text("a name in metrics", name): float(figure) for name, figure in figures.items()}
    return checked


def _parts(value: Any) -> dict[str, str]:
    missing = [role for role in PARTS if role not in _mapping("parts", value)]
    if missing:
        refuse(f"parts must name the files of {tuple(PARTS)}", f"none for {missing}")
    return {_text("a role in parts", role): check_name(_text(f"parts[{role!r}]", name)) for role, name in value.items()}
