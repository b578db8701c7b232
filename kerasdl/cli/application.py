"""Application of the command line: the Typer app, and arguments and data that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

import kerasdl
from kerasdl.core import checks

from .output import EXIT_HELP

app = typer.Typer(
    help="Deep learning on Keras 3: build, train, and ship what was trained.",
    epilog=EXIT_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
BundleName = Annotated[str, typer.Argument(help="An embedded name, a folder, a .zip, or hf://owner/name.")]
EVALUATED = (
    "Split: a folder with a test folder is measured on that. A folder without split folders is measured whole, less "
    "the images that the bundle was fine-tuned on or chose its epoch by; so are files of boxes that name no splits. "
    "Other data: the test split. --split overrides."
)
Images = Annotated[
    Path | None,
    typer.Option(help="Folder of the images of a coco:, voc:, yolo: or labelme: name; masks:DIR has its own."),
]
Time = Annotated[str | None, typer.Option(help="Of csv:FILE of time series: the column of times.")]
SeriesName = Annotated[str | None, typer.Option(help="Of csv:FILE of several series: the column that names them.")]
Data = Annotated[
    str, typer.Argument(help="A folder of class folders, masks:DIR, coco:FILE and other boxes, digits, tfds:NAME.")
]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Deep learning on Keras 3: build, train, and ship what was trained."""
    if show:
        print(kerasdl.__version__)
        raise typer.Exit


def data_name(data: str) -> str:
    """Returns the name for `kerasdl.data.load` of data on the command line, by the same rule as `load` itself.

    A folder stands for itself, unless it has the name of a dataset: then ./NAME stands for it.
    """
    name = kerasdl.data.dataset_name(data)
    if ":" not in name:
        names = [record.name for record in kerasdl.data.list_datasets()]
        checks.known_name("dataset or folder", name, names, f"No folder stands at {data}.")
    return name
