"""Commands that explain: where a net looks, and a report of a classifier's errors."""

from pathlib import Path
from typing import Annotated

import typer

import kerasdl
from kerasdl.core import checks

from .. import path_checks
from ..application import BundleName, Json, app, data_name
from ..output import reported, show_json

METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam", "occlusion", "saliency", "integrated_gradients")
COMPARISONS = ("occlusion", "score_cam", "grad_cam")


@app.command()
@reported
def explain(
    bundle: BundleName,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="A folder for a picture of each image.")] = Path("explained"),
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "grad_cam",
    label: Annotated[str | None, typer.Option(help="The class that is explained; without it the likeliest.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A .tflite or .onnx file of this bundle: does it look at the same places?")
    ] = None,
    compare_by: Annotated[
        str, typer.Option(help="With --file: occlusion, score_cam, or, of int8 files, grad_cam with --data.")
    ] = "occlusion",
    data: Annotated[str | None, typer.Option(help="With --compare-by grad_cam: the data of the export.")] = None,
    json: Json = False,
) -> None:
    """Show where a classifier looks: a picture with heat for each image."""
    checks.known_name("method", method, METHODS)
    checks.one_of("--compare-by", compare_by, COMPARISONS)
    if file is None and (compare_by != "occlusion" or data is not None):
        checks.refuse("--compare-by and --data are for --file", "no file")
    path_checks.check_data(data)
    path_checks.check_inputs(bundle, [*map(str, images)])
    path_checks.check_paths("--file must be an exported file", file)
    loaded = kerasdl.load_bundle(bundle)
    if loaded.task.name != "image_classification":
        checks.refuse("explain is for classifiers of images", loaded.task.name)
    names, raw, unread = kerasdl.cli.read_inputs(images, loaded.preprocess.get("levels"))
    if unread:
        checks.refuse("images must be readable", unread[0])
    compared = None
    if file is not None:
        calibration = kerasdl.cli.training_data.calibration_data(data, None, loaded.task.name)
        compared = kerasdl.bundles.compare_attention(file, raw, loaded, method=compare_by, representative=calibration)
    rows = kerasdl.cli.explanations.explain_images(loaded, names, raw, method, label, compared, out)
    if json:
        return show_json(rows)
    for row in rows:
        same = "" if file is None else f"; {file.name} looks at the same places to {row['correlation']:.2f}"
        print(f"{row['input']}: {row['label']} {row['score']:.1%}{same}")
    print(f"{out}/ holds {', '.join(row['picture'] for row in rows)}.")


@app.command()
@reported
def report(
    bundle: BundleName,
    data: Annotated[str, typer.Option(help="A folder of class folders, digits, tfds:NAME.")],
    out: Annotated[Path, typer.Option(help="The HTML file; its figures go beside it as JSON.")] = Path("report.html"),
    split: Annotated[str | None, typer.Option(help="train, validation, test or all; as in evaluate.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Training images, in which copies of the data are looked for.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a page on a classifier's errors: classes, calibration, mistakes, doubtful labels, copies."""
    path_checks.check_bundle(bundle)
    path_checks.check_data(data, train)
    loaded = kerasdl.load_bundle(bundle)
    chosen = kerasdl.bundles.choose_evaluation_data(loaded, data_name(data), split)
    others = None if train is None else kerasdl.data.load(data_name(train), "train", scale=None)
    found = kerasdl.explain.report(loaded, chosen.dataset, train=others)
    found.write(out)
    figures = found.figures
    if json:
        return show_json(figures)
    for note in chosen.notes:
        print(note)
    low, high = figures["accuracy_interval"]
    print(f"{figures['accuracy']:.1%} of {figures['examples']} are right (95 %: {low:.1%} to {high:.1%}).")
    copies = f", {len(figures['copies'])} pairs of copies" if "copies" in figures else ""
    print(f"{len(figures['mistakes'])} mistakes, {len(figures['suspected_labels'])} doubtful labels{copies}.")
    print(f"{out} and {out.with_suffix('.json')} hold the report.")
