"""Commands that list and describe models and bundles, without TensorFlow."""

import ast
import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import kerasdl
from kerasdl.core import EXPORT_FORMATS, ModelSpec, checks, files

from ..application import Json, app
from ..output import metric_rows, reported, show_json, show_table

MOST_LABELS = 12
SHORT_SOURCES = {"keras-applications": "keras", "hugging-face": "hf"}
"""Sources of weights by words that 80 columns have room for, the second as in --from hf://owner/name."""


@app.command()
@reported
def models(
    pattern: Annotated[str, typer.Argument(help="Wildcards, such as 'vision/*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only models of this task.")] = None,
    json: Json = False,
) -> None:
    """List the registered models."""
    specs = [kerasdl.spec(name) for name in kerasdl.list_models(pattern, task=task)]
    if not specs:
        checks.refuse("pattern and task must fit at least one model", f"{pattern} {task or ''}".strip())
    if json:
        return show_json([{**dataclasses.asdict(spec), "macs": spec.macs} for spec in specs])
    pretrained = kerasdl.bundles.bundled_models()
    rows = [
        (spec.name, spec.params, _millions(spec.macs), _sources(spec, pretrained), spec.task, _exports(spec), spec.qat)
        for spec in specs
    ]
    columns = ("name", "params", "MACs", "pretrained", "task", "exports", "QAT")
    show_table("models", columns, rows, spare=("QAT", "exports", "task"))


@app.command()
@reported
def describe(
    name: Annotated[str, typer.Argument(help="A model's name, or a bundle: a name, a folder, a .zip.")],
    json: Json = False,
) -> None:
    """Show the specification of a model, or the content of a bundle."""
    if name not in kerasdl.list_models() and (Path(name).exists() or name in kerasdl.bundles.list_bundles()):
        return show_file(name, json)
    if os.sep in name or Path(name).suffix == ".zip":
        hint = f"Nothing is at that path.{files.near_miss(name)}"
        checks.refuse("a name must be that of a model or of a bundle, or a path", name, hint)
    spec = kerasdl.spec(name)
    size = default_arguments(spec).get("image_shape")
    bundles = kerasdl.bundles.bundled_models().get(name, [])
    if json:
        extra = {"macs": spec.macs, "image_shape": size, "bundles": bundles}
        return show_json({**dataclasses.asdict(spec), **extra})
    fields = {
        "summary": spec.summary,
        "task": spec.task,
        "paper": spec.paper,
        "image size": None if size is None else " x ".join("any" if side is None else str(side) for side in size),
        "params": spec.params,
        "params as in": spec.reference,
        "MACs": _millions(spec.macs),
        "bundles": ", ".join(bundles),
        "pretrained from": ", ".join(_peers(spec)),
        "exports": _exports(spec),
        **{f"no {form}": reason for form, reason in spec.exports.items()},
        "QAT": spec.qat,
        "trained with": ", ".join(f"{role} {partner}" for role, partner in spec.partners.items()),
        "tags": ", ".join(spec.tags),
    }
    show_table(name, ("field", "value"), [(key, value) for key, value in fields.items() if value not in ("", None)])


@app.command()
@reported
def bundles(json: Json = False) -> None:
    """List the bundles of kerasdl and of installed packages."""
    manifests = {name: kerasdl.bundles.bundle_manifest(name) for name in kerasdl.bundles.list_bundles()}
    package_of = kerasdl.bundles.package_of
    if json:
        return show_json(
            [{**dataclasses.asdict(each), "package": package_of(name)} for name, each in manifests.items()]
        )
    columns = ("name", "task", "labels", "measured", "model", "package")
    rows = [
        (name, each.task, len(each.labels) or None, _headline(each), each.builder, package_of(name))
        for name, each in manifests.items()
    ]
    show_table("bundles", columns, rows, spare=("package", "model", "labels"))
    print("`kerasdl describe NAME` shows all figures, labels and the licence of one.")


@app.command()
@reported
def inspect(
    file: Annotated[
        str, typer.Argument(help="A bundle, .keras, .h5, .tflite, .onnx, .safetensors, .pth, or a SavedModel.")
    ],
    json: Json = False,
) -> None:
    """Show what a model file is, what it takes and what it gives."""
    show_file(file, json)


def show_file(path: str, json: bool) -> None:
    """Prints the description of a model file."""
    description = kerasdl.bundles.inspect_file(path)
    if json:
        return show_json(dataclasses.asdict(description))
    rows = [("kind", description.kind), ("bytes", description.bytes)]
    rows += [("input", _tensor(each)) for each in description.inputs]
    rows += [("output", _tensor(each)) for each in description.outputs]
    if description.labels:
        shown = ", ".join(description.labels[:MOST_LABELS])
        more = f", and {len(description.labels) - MOST_LABELS} more" if len(description.labels) > MOST_LABELS else ""
        rows.append((f"labels ({len(description.labels)})", shown + more))
    rows += [(f"preprocessing: {name}", value) for name, value in description.preprocess.items()]
    for name, value in description.facts.items():
        nested = isinstance(value, Mapping)
        rows += [(f"{name}: {key}", _plain_text(each)) for key, each in value.items()] if nested else [(name, value)]
    show_table(path, ("field", "value"), rows)


def default_arguments(spec: ModelSpec) -> dict[str, Any]:
    """Returns the arguments of a model's function: its defaults, read from its source, and those of the variant."""
    module, _, name = spec.builder.partition(":")
    found = importlib.util.find_spec(module.partition(".")[0])
    file = Path(found.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    arguments: dict[str, Any] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else ():
        if isinstance(node, ast.FunctionDef) and node.name == name:
            positional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            pairs = [*zip(positional, node.args.defaults, strict=True)]
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            for argument, default in pairs:
                with contextlib.suppress(ValueError, TypeError):  # None, or a name of the module
                    arguments[argument.arg] = ast.literal_eval(default)
    return {**arguments, **spec.arguments}


def _tensor(tensor: Mapping[str, Any]) -> str:
    shape = tensor["shape"]
    sizes = shape if isinstance(shape, str) else ", ".join("any" if size is None else str(size) for size in shape)
    scale = tensor.get("scale")
    grid = f"; value = {scale:.6g} * (integer - {tensor['zero_point']})" if scale else ""
    return f"{tensor['name']}: {tensor['dtype']} ({sizes}){grid}"


def _plain_text(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and all(isinstance(each, str) and " " in each for each in value):
        return " ".join(f"{number}. {each}" for number, each in enumerate(value, 1))
    return ", ".join(f"{key} {each:.4g}" for key, each in value.items()) if isinstance(value, Mapping) else value


def _exports(spec: ModelSpec) -> str:
    refused = [name for name in EXPORT_FORMATS if name in spec.exports]
    return "all" if not refused else "all but " + ", ".join(refused)


def _millions(macs: int | None) -> str:
    return "" if macs is None else f"{macs / 1e6:,.1f} M"


def _peers(spec: ModelSpec) -> list[str]:
    """Returns the sources of weights as --from takes them, or the name of a library whose files it takes."""
    return [f"{kind}:{name}" if kind == "keras-applications" else kind for kind, name in spec.weights.items()]


def _sources(spec: ModelSpec, bundled: dict[str, list[str]]) -> str:
    """Returns where weights come from in words of few letters; `describe` names bundles and sources in full."""
    kinds = [SHORT_SOURCES.get(kind, kind) for kind in spec.weights]
    return ", ".join([*(["bundle"] if spec.name in bundled else []), *kinds])


def _headline(manifest: Any) -> str | None:
    """Returns the first figure that is no loss, of the data that were measured last, which are those of the test."""
    rows = [row for row in metric_rows(manifest.metrics) if not row[1].endswith("loss")]
    return next((f"{data} {name} {value:.4g}" for data, name, value in rows if data == rows[-1][0]), None)
