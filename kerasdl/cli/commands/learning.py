"""Commands that train: fine-tuning of a bundle, and the quickstart."""

import time
from pathlib import Path
from typing import Annotated

import typer

import kerasdl
from kerasdl.bundles.format import archive
from kerasdl.core import checks

from ..application import Json, app, load_data, load_validation
from ..output import metric_rows, reported, show_json, show_table

# Bundle that is fine-tuned on images if none is named.
START = "imagenet_efficientnet_lite0"


@app.command()
@reported
def finetune(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[BUNDLE] DATA",
            help=f"A bundle and data, as in evaluate; images alone are learnt by {START}, with --from by the peer.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the new bundle goes: a folder, or a .zip.")],
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 5,
    freeze: Annotated[str, typer.Option(help="staged, features (head alone) or none.")] = "staged",
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    folder: Annotated[Path | None, typer.Option(help="Keeps the run here, so that a killed one goes on.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Start from a peer: keras-applications:NAME, hf://owner/name, a folder."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="With --from: a local file of the peer's weights.")] = None,
    model: Annotated[str | None, typer.Option(help="With --from: our net, where the peer does not tell it.")] = None,
    side: Annotated[
        int | None, typer.Option(help="Height and width of the images in pixels; smaller is faster.")
    ] = None,
    seed: Annotated[int, typer.Option(help="One seed for everything but the split.")] = 0,
    json: Json = False,
) -> None:
    """Fine-tune a copy of a bundle on your data, such as a folder of images in class folders."""
    archive.check_replaceable(out)
    kerasdl.set_seed(seed)
    start = time.perf_counter()
    if len(names) not in ((1, 2) if source is None else (1,)):
        checks.refuse("a bundle and data must be named, or the data alone with --from", names)
    *bundle, data = names
    train, validation = load_data(data, "train"), load_validation(data)
    if source is None:
        if not bundle and not train.images:
            checks.refuse(f"a bundle must be named, since {START} is the default for images alone", data)
        loaded = kerasdl.load_bundle(*bundle or [START])
        if side is not None:
            loaded = kerasdl.bundles.resized(loaded, (side, side, loaded.model.input_shape[-1]))
    else:
        shape = None if side is None else (side, side, 3)
        loaded = kerasdl.weights.bundle_from(source, model=model, file=weights, image_shape=shape)
    config = kerasdl.train.RunConfig(
        batch_size=batch_size, folder=folder, seed=seed, schedule="cosine", progress="off" if json else "auto"
    )
    name = out.name.removesuffix(".zip")
    tuned = loaded.finetune(
        train, validation, epochs=epochs, freeze=freeze, learning_rate=learning_rate, config=config, name=name
    )
    tuned.save(out)
    figures = {"bundle": str(out), "seconds": time.perf_counter() - start, **tuned.manifest.metrics}
    if json:
        return show_json(figures)
    show_table(str(out), ("data", "figure", "value"), metric_rows(tuned.manifest.metrics))


@app.command()
@reported
def quickstart(
    out: Annotated[Path, typer.Option(help="The folder to fill.")] = Path("quickstart"),
    data: Annotated[str, typer.Option(help="What to learn: emoji or digits.")] = "emoji",
    seed: Annotated[int, typer.Option(help="One seed for everything.")] = 0,
    json: Json = False,
) -> None:
    """Fine-tune a pretrained bundle on few images, export it and verify the files: about two minutes."""
    figures = kerasdl.cli.run_quickstart(out, data=data, seed=seed, quiet=json)
    if json:
        show_json(figures)
