"""Output of the commands: tables for people, JSON for programs, one line for an error."""

import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerasdl.core import errors, refusals

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
EXIT_HELP = (
    "Exit codes: 0 done; 1 unexpected; 2 a mistake in the call; 3 data, a bundle or a file that cannot be read; "
    "4 an export refused; 5 training failed; 6 a package is missing; 75 preempted, the state is saved; 130 interrupted."
)


def reported(command: Callable) -> Callable:
    """Decorator that turns kerasdl's errors into one line and an exit code."""

    @functools.wraps(command)
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
            text = " ".join(str(error).split())
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


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table with numbers aligned right; wide if the output is not a terminal."""
    rows = [[_cell(value) for value in row] for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold")
    for position, name in enumerate(columns):
        is_number = rows and all(row[position].lstrip("-").replace(",", "")[:1].isdigit() for row in rows)
        table.add_column(escape(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH_ELSEWHERE)
    console.print(table)


def show_json(value: Any) -> None:
    """Prints one JSON document, in ASCII if the output is not UTF-8."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not is_utf8))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
