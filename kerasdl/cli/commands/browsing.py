"""Commands that list and describe models and bundles, without TensorFlow."""

import dataclasses
from typing import Annotated

import typer

import kerasdl
from kerasdl.core import EXPORT_FORMATS, checks

from ..application import Json, app
from ..output import metric_rows, reported, show_json, show_table


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
        (spec.name, spec.task, spec.params, _millions(spec.macs), _exports(spec), spec.qat, _sources(spec, pretrained))
        for spec in specs
    ]
    show_table("models", ("name", "task", "weights", "MACs", "exports", "QAT", "pretrained"), rows)


@app.command()
@reported
def describe(name: Annotated[str, typer.Argument(help="A model's name.")], json: Json = False) -> None:
    """Show the specification of a model."""
    spec = kerasdl.spec(name)
    if json:
        return show_json({**dataclasses.asdict(spec), "macs": spec.macs})
    fields = {
        **dataclasses.asdict(spec),
        "macs": spec.macs,
        "exports": _exports(spec),
        **{f"no {k}": v for k, v in spec.exports.items()},
    }
    show_table(name, ("field", "value"), [(key, value) for key, value in fields.items() if value not in ("", (), {})])


@app.command()
@reported
def bundles(json: Json = False) -> None:
    """List the bundles of kerasdl and of installed packages."""
    loaded = {name: kerasdl.load_bundle(name) for name in kerasdl.bundles.list_bundles()}
    package_of = kerasdl.bundles.package_of
    if json:
        extras = ({"digest": each.digest, "package": package_of(name)} for name, each in loaded.items())
        return show_json(
            [{**dataclasses.asdict(each.manifest), **more} for each, more in zip(loaded.values(), extras, strict=True)]
        )
    columns = ("name", "task", "labels", "weights", "measured", "package")
    rows = [
        (name, each.task.name, len(each.labels), each.model.count_params(), _figures(each), package_of(name))
        for name, each in loaded.items()
    ]
    show_table("bundles", columns, rows)


def _exports(spec) -> str:
    refused = [name for name in EXPORT_FORMATS if name in spec.exports]
    return "all" if not refused else "all but " + ", ".join(refused)


def _millions(macs: int | None) -> str:
    return "" if macs is None else f"{macs / 1e6:,.1f} M"


def _sources(spec, bundled: dict[str, list[str]]) -> str:
    peers = [name if kind == "keras-applications" else kind for kind, name in spec.weights.items()]
    return ", ".join([*bundled.get(spec.name, ()), *peers])


def _figures(bundle) -> str:
    return "; ".join(
        f"{data} {name} {value:.4g}" for data, name, value in metric_rows(bundle.manifest.metrics) if name != "loss"
    )
