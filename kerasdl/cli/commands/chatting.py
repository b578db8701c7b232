"""Command that talks with a language model, in one line or in many turns."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

import kerasdl

from .. import path_checks
from ..application import BundleName, Json, app
from ..output import reported, show_json

RESET, QUIT = "/reset", "/quit"


@app.command(epilog=f"Without messages each line of the input is one; {RESET} forgets all turns, {QUIT} ends.")
@reported
def chat(
    bundle: BundleName,
    messages: Annotated[list[str] | None, typer.Argument(help="Messages, answered one after the other.")] = None,
    system: Annotated[str | None, typer.Option(help="First message, of the system, which is never cut.")] = None,
    template: Annotated[Path | None, typer.Option(help="File with a template of Jinja; else the bundle's.")] = None,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.8,
    top_p: Annotated[float | None, typer.Option(help="Share of the probability that is drawn from.")] = None,
    length: Annotated[int, typer.Option(help="Tokens of a reply at most.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed; an equal one gives an equal chat.")] = 0,
    json: Json = False,
) -> None:
    """Chat with a language model: replies are shown as they are written, and turns are remembered."""
    path_checks.check_bundle(bundle)
    path_checks.check_paths("--template must be a file", template)
    source = None if template is None else template.read_text(encoding="utf-8")
    settings = {"temperature": temperature, "top_p": top_p, "length": length, "seed": seed}
    talk = kerasdl.sequence.Chat(kerasdl.load_bundle(bundle), template=source, system=system, **settings)
    is_shown = not json
    for message in messages or _lines():
        if message == RESET:
            talk.reset()
            continue
        talk.say(message, _show if is_shown else None)
        if is_shown:
            print(flush=True)
    if json:
        show_json(talk.messages)


def _show(piece: str) -> None:
    print(piece, end="", flush=True)


def _lines() -> Iterator[str]:
    """Yields the lines of the input that hold something, up to `/quit` or the end."""
    is_person = sys.stdin.isatty()
    while True:
        if is_person:
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == QUIT:
            return
        if line.strip():
            yield line.strip()
