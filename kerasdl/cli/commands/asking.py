"""Commands that ask a bundle: predictions for raw input, and figures over labelled data."""

import sys
from pathlib import Path
from typing import Annotated

import typer

import kerasdl

from ..application import BundleName, Data, Json, app, load_data
from ..output import reported, show_json, show_results, show_table


@app.command()
@reported
def predict(
    bundle: BundleName,
    inputs: Annotated[list[Path], typer.Argument(help="Images, folders of images, or .json lists.")],
    json: Json = False,
) -> None:
    """Predict labels and scores for raw input."""
    loaded = kerasdl.load_bundle(bundle)
    names, raw, unread = kerasdl.cli.read_inputs(inputs, loaded.preprocess.get("levels"))
    results = loaded.predict(raw)
    if json:
        show_json([{"input": name, **result} for name, result in zip(names, results, strict=True)])
    else:
        show_results(names, results, loaded.task.table)
    for line in unread:
        print("error:", line, file=sys.stderr)
    if unread:
        raise typer.Exit(3)


@app.command()
@reported
def evaluate(
    bundle: BundleName,
    data: Data,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    json: Json = False,
) -> None:
    """Measure a bundle on labelled data."""
    figures = kerasdl.load_bundle(bundle).evaluate(load_data(data, split))
    if json:
        return show_json(figures)
    show_table(f"{bundle} on {data} ({split})", ("figure", "value"), list(figures.items()))
