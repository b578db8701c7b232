"""Commands for files of other runtimes: export and benchmark."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

import kerasdl
from kerasdl.core import checks

from .. import path_checks
from ..application import BundleName, Images, Json, app
from ..output import reported, show_table

GOOD_AGREEMENT = 0.95  # with predict, below which an int8 file gets advice
WORST = 10  # number of layers shown with the largest errors
Quantize = Annotated[str | None, typer.Option(help="TFLite: float16, dynamic, int8 or int16x8; ONNX: dynamic or int8.")]
Thresholds = Annotated[bool, typer.Option(help="Detectors: the file takes min_score and overlap as inputs.")]


@app.command()
@reported
def export(
    bundle: BundleName,
    path: Annotated[Path, typer.Argument(help=".tflite, .onnx, or a folder for a SavedModel.")],
    quantize: Quantize = None,
    data: Annotated[
        str | None, typer.Option(help="Data that calibrates int8 and on which the file is checked.")
    ] = None,
    images: Images = None,
    raw_shape: Annotated[
        str | None, typer.Option(help="Take the preprocessing into the file: raw input of this shape, 480x640x3.")
    ] = None,
    raw_dtype: Annotated[str, typer.Option(help="With --raw-shape: pixels as float32, or as uint8.")] = "float32",
    scores: Annotated[bool, typer.Option(help="Give probabilities in place of logits.")] = False,
    selective: Annotated[bool, typer.Option(help="TFLite int8: keep the layers that lose most in float.")] = False,
    correct_biases: Annotated[
        bool | None, typer.Option(help="TFLite int8: subtract the mean error of each channel from its bias; yes.")
    ] = None,
    threshold_inputs: Thresholds = False,
    integer_io: Annotated[bool, typer.Option(help="TFLite int8: inputs and outputs are integers too.")] = False,
    layer_report: Annotated[bool, typer.Option(help="TFLite int8: list what each layer loses.")] = False,
    trainable: Annotated[bool, typer.Option(help="TFLite: with signatures to learn on the device.")] = False,
    opset: Annotated[int, typer.Option(help="ONNX: the operator set, 13 to 22.")] = 18,
    dynamic_axes: Annotated[str, typer.Option(help="ONNX: free dimensions, all, batch or none.")] = "all",
    image_bytes: Annotated[bool, typer.Option(help="SavedModel: also take the content of JPEG and PNG files.")] = False,
    json: Json = False,
) -> None:
    """Write a bundle for another runtime and verify the file; report and card are written beside it."""
    hint = "A path without a suffix is the folder of a SavedModel."
    checks.one_of("the suffix of path", path.suffix, (*path_checks.EXPORTED, ""), hint)
    path_checks.check_bundle(bundle)
    path_checks.check_data(data)
    path_checks.check_paths("--images must be a folder", images)
    loaded = kerasdl.load_bundle(bundle)
    report = loaded.export(
        path,
        representative=kerasdl.cli.training_data.calibration_data(data, images, loaded.task.name),
        raw_shape=_shape(raw_shape),
        quantize=quantize,
        raw_dtype=raw_dtype,
        scores=scores,
        selective="auto" if selective else None,
        correct_biases=correct_biases,
        threshold_inputs=threshold_inputs,
        integer_io=integer_io,
        layer_report=layer_report,
        trainable=trainable,
        opset=opset,
        dynamic_axes=dynamic_axes,
        image_bytes=image_bytes,
    )
    if json:
        return print(report.to_json())
    show_export(report, path)
    plain_int8 = quantize == "int8" and path.suffix == ".tflite" and not selective
    if plain_int8 and report.predict_agreement is not None and report.predict_agreement < GOOD_AGREEMENT:
        print("advice: --selective keeps the worst layers in float; `kerasdl finetune --qat 3` trains for int8.")
    for note in report.notes:
        print("note:", note)
    print(files_line(path))


def files_line(path: Path) -> str:
    """Returns a sentence on an exported file, the files beside it, and the command that runs its program."""
    program = path.with_name(f"{path.name}.py")
    names = [each.name for each in sorted(path.parent.iterdir()) if each.name.startswith(f"{path.name}.")]
    beside = f"; beside it: {', '.join(names)}" if names else ""
    return f"Saved to {path}{beside}.{f' Next: `python {program} INPUT`.' if program.is_file() else ''}"


def show_export(report: Any, path: Path) -> None:
    """Prints the figures of an export, the worst layers where they were asked for, and the answers."""
    shown = ("format", "bytes", "worst_absolute", "worst_relative", "top1_agreement", "measure", "tolerance", "seconds")
    rows = [(name, value) for name in shown if (value := getattr(report, name)) is not None]
    show_table(str(path), ("figure", "value"), rows)
    if report.layers:
        worst = [(row.layer, row.operation, row.error) for row in report.layers[:WORST]]
        show_table(f"what layers lose, worst {len(worst)}", ("layer", "operation", "share lost"), worst)
    if report.judged_on is not None:
        print("checked:", report.samples())
    if report.answers():
        print("answers:", report.answers())


@app.command()
@reported
def benchmark(
    paths: Annotated[list[Path], typer.Argument(help=".tflite and .onnx files, SavedModel folders.")],
    threads: Annotated[int, typer.Option(help="Threads that each runtime gets.")] = 1,
    runs: Annotated[int, typer.Option(help="Timed runs of each.")] = 50,
    plot: Annotated[Path | None, typer.Option(help="Draws the latencies into this .png.")] = None,
    json: Json = False,
) -> None:
    """Measure latency, memory and size of exported files side by side, one example at a time, in alternation."""
    if plot is not None:
        checks.one_of("the suffix of --plot", plot.suffix, (".png", ".svg", ".pdf"))
    path_checks.check_exported(*paths)
    compared = kerasdl.deploy.compare(paths, runs=runs, threads=threads)
    if plot is not None:
        compared.plot(plot)
    if json:
        return print(compared.to_json())
    rows = [dataclasses.astuple(row) for row in compared.rows]
    columns = ("file", "kind", "bytes", "gzip bytes", "median ms", "p95 ms", "memory bytes", "ratio")
    show_table(f"{compared.runs} runs in turns, threads: {compared.threads}", columns, rows)


def _shape(text: str | None) -> tuple[int, ...] | None:
    sizes = [] if text is None else text.split("x")
    if not all(size.isdecimal() for size in sizes):
        checks.refuse("a shape must be whole numbers with an x between", text, "Such as 480x640x3.")
    return tuple(map(int, sizes)) or None
