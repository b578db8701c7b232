"""Python program that runs an exported forecaster of time series by its runtime and NumPy."""

from collections.abc import Mapping
from string import Template
from typing import Any

from .python_program import OPENED

PROGRAM = '''\
"""Forecasts of a time series by the exported file of this name: `python PROGRAM $usage`.

A CSV file has a head line with the columns, and a row for each step, oldest first. Needs $package and numpy.
"""

import csv
import sys
from pathlib import Path

import numpy as np
$import_line

FILE = Path(__file__).with_name($name)
CHANNELS = $channels
AHEAD = $ahead
LENGTH, HORIZON, TARGETS = $length, $horizon, $targets
MEAN = np.array($mean)
STD = np.array($std)
$opened


def columns(path, names):
    """Returns columns of a CSV file (rows, columns); an empty cell is missing."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in names if rows and name not in rows[0]]
    if not rows or missing:
        raise SystemExit(f"{path} must have rows with the columns {names}; it lacks {missing or 'rows'}.")
    return np.array([[float(row[name] or "nan") for name in names] for row in rows])


def prepared(values, places):
    """Returns values (steps, columns) without gaps, as the file takes them."""
    for step in range(1, len(values)):
        values[step] = np.where(np.isnan(values[step]), values[step - 1], values[step])
    values = np.where(np.isnan(values), MEAN[places], values)
    return $scaled


def fed(values, dtype, scale, zero_point):
    """Returns the input of the file, in integers where it takes these."""
    if scale:
        bounds = np.iinfo(dtype)
        values = np.clip(np.round(values / scale) + zero_point, bounds.min, bounds.max)
    return values.astype(dtype)[None]


def forecast(path, ahead=None):
    """Returns the next values of each target by name, HORIZON numbers each, with quantiles or deviations."""
    window = columns(path, CHANNELS)[-LENGTH:]
    if len(window) < LENGTH or np.isnan(window).all(axis=0).any():
        raise SystemExit(f"{path} must have {LENGTH} rows or more, with a value in each column.")
    given = {$window: fed(prepared(window, slice(None)), *$window_form)}
$ahead_lines
$run_lines
$output_lines
    table = {}
    for place, name in enumerate(CHANNELS[:TARGETS]):
$table_lines
    return table


if __name__ == "__main__":
    if len(sys.argv) != $arguments:
        raise SystemExit(f"usage: python {sys.argv[0]} $usage")
    table = forecast(*sys.argv[1:])
    print("step", *table, sep="\\t")
    for step in range(HORIZON):
        print(step + 1, *(f"{values[step]:.6g}" for values in table.values()), sep="\\t")
'''
AHEAD = """\
    places = [CHANNELS.index(name) for name in AHEAD]
    known = columns(ahead, AHEAD)[:HORIZON]
    if len(known) < HORIZON:
        raise SystemExit(f"{{ahead}} must have {{HORIZON}} rows or more.")
    given[{name!r}] = fed(prepared(known, places), *{form})"""
LITERT = "    value = RUNNER(**given)[{output!r}][0]"
ONNX = "    value = SESSION.run([{output!r}], given)[0][0]"
UNSCALED = {
    "point": "    value = value * STD[:TARGETS] + MEAN[:TARGETS]",
    "quantiles": "    value = value * STD[:TARGETS, None] + MEAN[:TARGETS, None]",
    "gaussian": """\
    spread = np.stack([STD[:TARGETS], np.ones(TARGETS)], axis=1)
    value = value * spread + np.stack([MEAN[:TARGETS], np.log(STD[:TARGETS])], axis=1)""",
}
TABLES = {
    "point": "        table[name] = value[:, place]",
    "gaussian": """\
        table[name] = value[:, place, 0]
        table[f"{name} std"] = np.exp(value[:, place, 1])""",
    "quantiles": """\
        levels = np.sort(value[:, place], axis=-1)
        table[name] = levels[:, $middle].mean(axis=-1)
        table |= {f"{name} {level:g}": levels[:, k] for k, level in enumerate($levels)}""",
}


def series_program(name: str, facts: Mapping[str, Any]) -> str | None:
    """Returns the source of the program for a .tflite or .onnx file; None for what is no forecaster.

    Args:
        name: name of the file.
        facts: content of the JSON beside it.
    """
    series, outputs = facts.get("series"), facts.get("outputs", ())
    if not series or len(outputs) != 1:
        return None
    is_onnx, future = name.endswith(".onnx"), series["future"]
    inputs = {each["name"]: each for each in facts["inputs"]}
    first = "window" if future else next(iter(inputs))
    (output,) = outputs
    lines = [f"    value = {output['scale']!r} * (value.astype('float64') - {output['zero_point']})"]
    lines = lines if output["scale"] else ["    value = value.astype('float64')"]
    lines += [] if series["in_unit"] else [UNSCALED[series["distribution"]]]
    return Template(PROGRAM).substitute(
        usage="series.csv future.csv" if future else "series.csv",
        arguments=3 if future else 2,
        package="onnxruntime" if is_onnx else "ai-edge-litert",
        import_line="import onnxruntime" if is_onnx else "from ai_edge_litert.interpreter import Interpreter",
        name=repr(name),
        **{each: repr(series[each]) for each in ("channels", "length", "horizon", "targets", "mean", "std")},
        ahead=repr(future),
        opened=OPENED[is_onnx],
        scaled="values" if series["in_unit"] else "(values - MEAN[places]) / STD[places]",
        window=repr(first),
        window_form=_form(inputs[first]),
        ahead_lines=AHEAD.format(name="future", form=_form(inputs["future"])) if future else "",
        run_lines=(ONNX if is_onnx else LITERT).format(output=output["name"]),
        output_lines="\n".join(lines),
        table_lines=_table_lines(series),
    )


def _form(tensor: Mapping[str, Any]) -> tuple:
    return tensor["dtype"], tensor["scale"], tensor["zero_point"]


def _table_lines(series: Mapping[str, Any]) -> str:
    lines, levels = TABLES[series["distribution"]], series["levels"]
    if not levels:
        return lines
    distances = [abs(level - 0.5) for level in levels]
    middle = [place for place, distance in enumerate(distances) if distance < min(distances) + 1e-9]
    return Template(lines).substitute(middle=middle, levels=levels)
