"""Output of the commands: tables for people, JSON for programs, one line for an error."""

import base64
import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerasdl.core import errors, refusals, wording

# Exit code of each error; a misspelt option gives 2 too.
EXIT_CODES = (
    (errors.ArgumentError, 2),
    (errors.UnknownNameError, 2),
    (errors.DataError, 3),
    (errors.BundleError, 3),
    (errors.WeightsError, 3),
    (errors.ExportError, 4),
    (errors.TrainingError, 5),
    (errors.MissingPackageError, 6),
    (errors.KerasdlError, 1),
    (OSError, 3),
)
WIDTH_ELSEWHERE = 160
MOST_WHOLE = 48
"""Letters up to which a word is never broken."""
# Arguments in advice, and the options that are these on the command line.
OPTIONS = {
    "resume=False": "--no-resume",
    "pass folder=": "pass --folder",
    "learning rate, or pass clip_norm=": "--learning-rate",
    "Give validation=, or": "Give --validation, or in Python",
    "representative=": "--data",
    "raw_shape=": "--raw-shape",
    "split 'all'": "--split all",
    "Pass scores=True": "Pass --scores",
    "selective='auto'": "--selective",
    "quantize='dynamic'": "--quantize dynamic",
    "Export float32 (quantize=None)": "Export float32, without --quantize",
    "Or pass a tolerance= that you accept": "In Python, tolerance= accepts a larger difference",
    "images=, the folder of the images": "--images, the folder of the images",
}
EXIT_HELP = (
    "Exit codes: 0 done; 1 unexpected; 2 a mistake in the call; 3 data, a bundle or a file that cannot be read; "
    "4 an export refused; 5 training failed; 6 a package is missing; 75 preempted, the state is saved; 130 interrupted."
)


def reported(command: Callable) -> Callable:
    """Decorator that turns kerasdl's errors into one line and an exit code."""

    @functools.wraps(command)
    @wording.command_line(OPTIONS)
    def run(*args, **kwargs):
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a label may have characters that the terminal's encoding lacks
                stream.reconfigure(errors="backslashreplace")
        warnings.showwarning = lambda message, *place: print(f"warning: {message}", file=sys.stderr)
        try:
            return command(*args, **kwargs)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            print("error: interrupted.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of the pipe has ended; Python's last flush must not fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except tuple(kind for kind, _ in EXIT_CODES) as error:
            text = wording.spelled(" ".join(str(error).split()))
            if refusals.is_first_report(text):
                print("error:", text, file=sys.stderr)
            code = next(code for kind, code in EXIT_CODES if isinstance(error, kind))
            raise typer.Exit(code) from None
        except Exception as error:
            if os.environ.get("KERASDL_DEBUG"):
                raise
            reason = " ".join(str(error).split())[:300]
            print(f"error: unexpected {type(error).__name__}: {reason} (KERASDL_DEBUG=1 shows where)", file=sys.stderr)
            raise typer.Exit(1) from None

    return run


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], spare: Sequence[str] = ()) -> None:
    """Prints a table with numbers aligned right and words whole; wide if the output is not a terminal.

    Args:
        title: the title.
        columns: the name of each column.
        rows: the values of each row.
        spare: columns that are left out, in this order, until the words of the others fit.
    """
    rows = [[_cell(value) for value in row] for row in rows]
    console = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=WIDTH_ELSEWHERE)
    columns_of = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    is_number = {
        name: bool(cells) and all(cell.lstrip("-").replace(",", "")[:1].isdigit() for cell in cells)
        for name, cells in columns_of.items()
    }
    whole = {
        name
        for name, cells in columns_of.items()
        if is_number[name] or all(" " not in cell and len(cell) <= MOST_WHOLE for cell in cells)
    }
    longest = {
        name: max(map(len, [name, *cells] if name in whole else f"{name} {' '.join(cells)}".split()))
        for name, cells in columns_of.items()
    }
    shown, left_out = list(columns), []
    for name in spare:
        if sum(longest[each] + 3 for each in shown) + 1 > console.width:
            shown.remove(name)
            left_out.append(name)
    if whole >= set(shown) and sum(longest[each] + 3 for each in shown) + 1 > console.width:
        whole.discard(max(shown, key=longest.get))  # else rich cuts words off; the longest, a path, takes more lines
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in shown:
        justify = "right" if is_number[name] else "left"
        table.add_column(escape(name), justify=justify, overflow="fold", no_wrap=name in whole)
    for row in rows:
        table.add_row(*(escape(cell) for cell, name in zip(row, columns, strict=True) if name in shown))
    console.print(table)
    if left_out:
        print(f"Left out at this width: {', '.join(reversed(left_out))}. See --json or a wider terminal.")


def show_results(names: Sequence[str], results: Sequence[Any], rows_of: Callable[[Any], list[dict]]) -> None:
    """Prints what a bundle answered to each input, in as many rows as its task says; "-" where a row lacks a column.

    Args:
        names: of the inputs.
        results: one for each input, as `Bundle.predict` gives them.
        rows_of: the `table` of the task.
    """
    rows = [
        {"input": name, **row}
        for name, result in zip(names, results, strict=True)
        for row in rows_of(result) or [{}]  # an input in which nothing was found is named too
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    show_table("predictions", columns, [[row.get(column) for column in columns] for row in rows])


def metric_rows(metrics: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str, float]]:
    """Returns the figures of a manifest as rows: data, figure, value."""
    return [(data, name, value) for data, figures in metrics.items() for name, value in figures.items()]


def show_json(value: Any) -> None:
    """Prints one JSON document, in ASCII if the output is not UTF-8.

    Arrays become lists; bytes become their UTF-8 text, or `{"base64": ...}` if they hold none.
    """
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(_plain(value), indent=2, ensure_ascii=not is_utf8))


def _plain(value: Any) -> Any:
    """Returns a value as what JSON has: objects, lists, texts, numbers, null."""
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(_plain(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode("ascii")}
    if hasattr(value, "numpy"):  # tensors of TensorFlow
        value = value.numpy()
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _cell(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_cell, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_cell(each)}' for key, each in value.items())}}}"
    return str(value)
