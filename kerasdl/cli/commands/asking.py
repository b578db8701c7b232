"""Commands that ask a bundle: predictions for raw input, and figures over labelled data."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

import kerasdl
from kerasdl.core import checks

from .. import path_checks
from ..application import EVALUATED, BundleName, Data, Images, Json, SeriesName, Time, app, data_name
from ..output import reported, show_json, show_results

FILES = path_checks.EXPORTED


@app.command()
@reported
def predict(
    bundle: BundleName,
    inputs: Annotated[list[str], typer.Argument(help="Images, folders, .json lists; texts, or .txt files; csv:FILE.")],
    draw: Annotated[
        Path | None, typer.Option(help="A folder for a picture of each input, for detectors and segmenters.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Least score of an object, for detectors.")] = None,
    context: Annotated[
        str | None, typer.Option(help="The text that questions are about, or a .txt file; for such bundles.")
    ] = None,
    time: Time = None,
    series: SeriesName = None,
    json: Json = False,
) -> None:
    """Predict labels and scores for raw input, or the next steps of time series."""
    path_checks.check_inputs(bundle, inputs)
    loaded = kerasdl.load_bundle(bundle)
    if draw is not None and loaded.task.draw is None:
        checks.refuse("--draw is for bundles whose answers can be drawn, such as those of detectors", loaded.task.name)
    if min_score is not None:
        if loaded.task.draw is None:
            checks.refuse("--min-score is for detectors", loaded.task.name)
        loaded = dataclasses.replace(loaded, preprocess={**loaded.preprocess, "min_score": min_score})
    if context is not None and not loaded.preprocess.get("tokenizer"):
        checks.refuse("--context is for bundles that answer questions", loaded.task.name)
    of_series, raw, unread = kerasdl.cli.series_data, None, []
    levels, frames = loaded.preprocess.get("levels"), loaded.task.draw is not None
    if of_series.takes_series(loaded, inputs[0]):
        names, results = of_series.forecasts_of(loaded, inputs, time, series)
    elif loaded.preprocess.get("tokenizer"):
        names, raw, unread = kerasdl.cli.text_start.read_texts(inputs)
        raw = kerasdl.cli.text_start.with_context(loaded.task.name, raw, context)
    else:
        names, raw, unread = kerasdl.cli.read_inputs([*map(Path, inputs)], levels, frames=frames)
    if raw is not None:
        results = loaded.predict(raw)
    if json:
        show_json([{"input": name, **result} for name, result in zip(names, results, strict=True)])
    else:
        show_results(names, results, loaded.task.table)
    if draw is not None:
        written = kerasdl.cli.write_drawings(draw, names, raw, results, loaded)
        if not json:
            print(f"{draw}/ holds {', '.join(written)}.")
    for line in unread:
        print("error:", line, file=sys.stderr)
    if unread:
        raise typer.Exit(3)


@app.command(epilog=EVALUATED)
@reported
def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle, as in predict; or a .tflite or .onnx file.")],
    data: Data,
    images: Images = None,
    split: Annotated[str | None, typer.Option(help="train, validation, test or all, whatever the rule below.")] = None,
    of: Annotated[
        str | None, typer.Option("--bundle", help="With a file: its bundle, measured on the same images.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="A folder for evaluation.json, confusion.png, and mistakes.png or objects.png."),
    ] = None,
    time: Time = None,
    series: SeriesName = None,
    json: Json = False,
) -> None:
    """Measure a bundle, or an exported file in its own runtime, on labelled data: figures, classes, mistakes."""
    is_file = bundle.endswith(FILES)
    if of is not None and not is_file:
        checks.refuse("--bundle stands beside a .tflite or .onnx file", bundle)
    path_checks.check_exported(bundle) if is_file else path_checks.check_bundle(bundle)
    if of is not None:
        path_checks.check_bundle(of)
    path_checks.check_data(data)
    path_checks.check_paths("--images must be a folder", images)
    shown, name, beside = kerasdl.cli.evaluation_report, data_name(data), {}
    if is_file:
        loaded = None if of is None else kerasdl.load_bundle(of)
        evaluation, own, different = kerasdl.bundles.evaluate_file(bundle, name, split, loaded, images=images)
        if own is not None:
            beside = {"bundle": dict(own.figures)}
            beside["bundle"] |= {} if different is None else {"answers_that_differ": different}
    else:
        loaded, of_series = kerasdl.load_bundle(bundle), kerasdl.cli.series_data
        if of_series.takes_series(loaded, name):
            chosen = of_series.series_to_measure(loaded, name, of_series.of_bundle(loaded, time, series), split)
        else:
            chosen = kerasdl.bundles.choose_evaluation_data(loaded, name, split, images=images)
        evaluation = kerasdl.bundles.evaluate_classes(loaded, chosen)
    written = [] if report is None else shown.write_report(report, evaluation)
    if json:
        return show_json({**shown.as_json(evaluation), **beside})
    shown.show_evaluation(f"{bundle} on {data}", evaluation)
    if beside:
        same = ", ".join(f"{each} {own.figures[each]:.4g}" for each in evaluation.figures if each in own.figures)
        count = "" if different is None else f"; {different} of {len(evaluation.truth)} answers differ from the file's"
        print(f"{of} itself: {same}{count}.")
    if written:
        print(f"{report}/ holds {', '.join(written)}.")
