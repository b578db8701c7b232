"""Signatures of files that hold several models: names, examples and errors by name, and one report over all."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.errors import KerasdlError

from .parity import ExportReport
from .tracing import stateful_layers

DEFAULTS = ("serve", "serving_default")  # what runs where no signature is named: the only model of a file


def check_models(models: Mapping[str, keras.Model]) -> None:
    """Refuses models that no file of several signatures can hold, and names that no signature can have.

    Raises:
        ArgumentError: there is no model, a name is no word, or a model keeps its state from call to call.
    """
    if not models:
        checks.refuse("models by name must hold one model or more", dict(models))
    for name, model in models.items():
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)):
            checks.refuse("a signature's name must be letters, digits and _, a letter first", name)
        if name in DEFAULTS:
            checks.refuse(
                f"a signature of several must not be called {' or '.join(DEFAULTS)}", name, "Say what it does."
            )
        if not isinstance(model, keras.Model):
            checks.refuse(f"signature {name!r} must be a keras.Model", type(model).__name__)
        if kept := stateful_layers(model):
            rule = f"a model of several must keep no state between calls (signature {name!r})"
            checks.refuse(rule, kept[0].name, "Let it take the state as an input and give the next one as an output.")


def by_signature(argument: str, values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns what an argument holds for each signature; None for all where it is None itself.

    Raises:
        ArgumentError: it is no mapping, a name is missing, or a name is none of a signature.
    """
    if values is None:
        return dict.fromkeys(names)
    if not isinstance(values, Mapping):
        checks.refuse(f"{argument} of several models must be a dict by signature", type(values).__name__)
    if unknown := [name for name in values if name not in names]:
        checks.refuse(f"{argument} must be by the signatures {tuple(names)}", unknown[0])
    if missing := [name for name in names if name not in values]:
        rule = f"{argument} must hold data for each of the signatures {tuple(names)}"
        checks.refuse(rule, tuple(values), f"Add {missing[0]!r}.")
    return {name: values[name] for name in names}


def chosen_signature(file: str, names: Sequence[str], asked: str | None) -> str | None:
    """Returns the signature of a file to run: that which is asked for, else `serve`, else its only one.

    Args:
        file: the file's name, for messages.
        names: its signatures; files of other makers may have none, which gives None.
        asked: a name or None.

    Raises:
        ArgumentError: it has no such signature, or several and none is asked for.
    """
    if asked is not None:
        if not names:
            checks.refuse(f"{file} has no signatures", asked, "Leave signature= out.")
        return checks.one_of(f"signature of {file}", asked, tuple(names))
    usual = [name for name in DEFAULTS if name in names]
    if len(names) > 1 and not usual:
        checks.refuse(f"{file} has the signatures {tuple(names)}, one of which must be named", None, "Pass signature=.")
    return next(iter([*usual, *names]), None)


@contextmanager
def of_signature(name: str) -> Iterator[None]:
    """Puts the name of a signature before the text of errors raised on purpose inside the block."""
    try:
        yield
    except KerasdlError as error:
        raise type(error)(f"signature {name!r}: {error}") from error


def together(reports: Mapping[str, ExportReport], seconds: float) -> ExportReport:
    """Returns one report over those of all signatures of a file: the worst figures, and everything told by name."""
    each = list(reports.values())
    agreements = [report.top1_agreement for report in each if report.top1_agreement is not None]
    rows = [replace(row, layer=f"{name}: {row.layer}") for name, report in reports.items() for row in report.layers]
    worst = max(each, key=lambda report: (report.measure == "rmse", report.worst_relative))  # float16 may have both
    operations: dict[str, int] = {}
    for report in each:
        operations |= {name: operations.get(name, 0) + count for name, count in report.operations.items()}
    return replace(
        each[0],
        operations=dict(sorted(operations.items())),
        worst_absolute=max(report.worst_absolute for report in each),
        worst_relative=worst.worst_relative,
        measure=worst.measure,
        tolerance=worst.tolerance,
        top1_agreement=min(agreements, default=None),
        seconds=seconds,
        drifts=_named(reports, "drifts"),
        hostile=_named(reports, "hostile"),
        notes=tuple(f"{name}: {note}" for name, report in reports.items() for note in report.notes),
        layers=tuple(sorted(rows, key=lambda row: -row.error)),
        calibrated_on=None,
        judged_on=None,
        held_out=all(report.held_out for report in each),
        inputs=(),
        outputs=(),
        signature="",
        signatures=dict(reports),
    )


def _named(reports: Mapping[str, ExportReport], figures: str) -> tuple:
    return tuple(
        replace(drift, output=f"{name}: {drift.output}")
        for name, report in reports.items()
        for drift in getattr(report, figures)
    )
