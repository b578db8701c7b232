"""Description of an exported file for the app that feeds it: labels, inputs, outputs, and the way of an image."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import files
from kerasdl.data.letterboxing import GREY
from kerasdl.deploy import ExportReport
from kerasdl.deploy.export.metadata import label_lines

from ..format.calibration_part import Calibration
from ..hosts.programs import write_programs

REPORT, CARD, LABELS, TOKENIZER = ".json", ".md", ".labels.txt", ".tokenizer.json"
CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
SIGNATURES = "Feed the ids to the signatures of the file, int32 of the shapes that they have."
INTEGERS = ("int8", "uint8", "int16")


def described(bundle: Any, name: str, raw_shape: tuple | None, raw_dtype: str, gives: str) -> dict[str, Any]:
    """Returns what an app must know of a file beside its inputs and outputs; JSON can hold it.

    Args:
        bundle: the bundle that the file holds.
        name: name of the file.
        raw_shape: shape of a raw image where the file contains the preprocessing, else None.
        raw_dtype: dtype of the raw pixels.
        gives: kind of the outputs: `logits`, `probabilities`, `values`, or `answers` of the task's postprocessing.

    Returns:
        `labels`, `task` and `gives`; `preprocessing`, the bundle's settings, where the app applies them; for images
        `image`, with `steps` in words and their numbers; for texts `text`, with the name of the tokenizer's file beside
        it; of a task with `file_facts` these; of a calibrated bundle `calibration`, with its `rule`.
    """
    description = {"labels": list(bundle.labels), "task": bundle.task.name, "gives": gives}
    if raw_shape is None:
        description["preprocessing"] = dict(bundle.preprocess)
    if bundle.preprocess.get("tokenizer"):
        description["text"] = text = _text(bundle.preprocess, name + TOKENIZER)
        if bundle.task.exported is not None:
            text["steps"] = [text["steps"][0], "Leave out the tokens of its template.", SIGNATURES]
        description["preprocessing"] = {**bundle.preprocess, "tokenizer": text["tokenizer"]}
    if {"image_shape", "scale"} <= set(bundle.preprocess):
        description["image"] = _image(bundle.preprocess, raw_shape, raw_dtype)
    if bundle.task.file_facts is not None:
        facts = bundle.task.file_facts(bundle.networks, bundle.preprocess, raw_shape)
        description |= {kind: {**description.get(kind, {}), **each} for kind, each in facts.items()}
    if gives == "answers" and "min_score" in bundle.preprocess:
        description["min_score"] = bundle.preprocess["min_score"]
    if bundle.calibration is not None:
        description["calibration"] = _calibration(bundle.calibration, gives)
    return description


def _calibration(calibration: Calibration, gives: str) -> dict[str, Any]:
    """Returns temperature and threshold, with the temperature in the file where it gives probabilities."""
    temperature, threshold = calibration.temperature, calibration.threshold
    scores = f"scores = softmax(logits / {temperature:.9g})" if gives == "logits" else "The outputs are the scores"
    rule = f"{scores}; where the highest is below {threshold:.9g}, the answer is none of the labels."
    in_file = gives == "probabilities"
    return {"temperature": temperature, "temperature_in_file": in_file, "threshold": threshold, "rule": rule}


def _text(settings: Mapping[str, Any], tokenizer: str) -> dict[str, Any]:
    length, padding = settings["length"], settings.get("padding_id", 0)
    steps = [
        f"Encode the text by {tokenizer}, which the packages `tokenizers` of Python, Rust and JavaScript read.",
        f"Cut the ids to {length}; the tokens of the tokenizer's template stay.",
        f"Put {padding} behind them up to {length}, and feed them as int32 (1, {length}).",
    ]
    if settings.get("segments"):
        steps.append("Feed `segments` in the same form: 0, but 1 at the tokens of the second text of a pair.")
    if settings.get("pooling"):
        of = {"mean": "the mean of the hidden states of all tokens but the padding", "first": "that of the first token"}
        norm = ", divided by its length" if settings.get("normalise", True) else ""
        steps.append(f"The vector of a text is {of[settings['pooling']]}{norm}.")
    return {"tokenizer": tokenizer, "length": length, "padding_id": padding, "steps": steps}


def _image(settings: Mapping[str, Any], raw_shape: tuple | None, raw_dtype: str) -> dict[str, Any]:
    height, width, channels = raw_shape or settings["image_shape"]
    low, high = (0, 255) if raw_shape is not None else settings["scale"]
    factor, offset = (np.asarray(high, float) - low) / 255, np.asarray(low, float)
    colour = CHANNELS[channels]
    grey = ": 0.299 R + 0.587 G + 0.114 B" if channels == 1 else ""
    alpha = "keep alpha" if channels == 4 else "drop alpha, do not blend it"
    steps = [
        f"Decode the image to {colour}, 8 bits a channel{grey}; {alpha}; turn a photo upright by its EXIF tag.",
        *_deep_step(settings.get("levels")),
        _resize_step(height, width, settings.get("letterbox", False)),
        _value_step(factor, offset, raw_shape is not None, raw_dtype),
    ]
    return {
        "channels": colour,
        "height": height,
        "width": width,
        "alpha": "kept" if channels == 4 else "dropped",
        "resize": "bilinear, antialiased (a triangle filter as wide as one new pixel), rounded to whole levels",
        **({"levels": settings["levels"]} if settings.get("levels") else {}),
        **({"letterbox": GREY} if settings.get("letterbox") else {}),
        "multiply": factor.tolist(),
        "add": offset.tolist(),
        "steps": steps,
    }


def _deep_step(levels: int | None) -> list[str]:
    """Returns how files of 16 bits become 8 bits, for a bundle that knows the value of white in them."""
    if not levels:
        return []
    return [f"A file of 16 bits a channel: level = floor(min(value, {levels}) * 256 / {levels + 1})."]


def _resize_step(height: int, width: int, letterbox: bool) -> str:
    if not letterbox:
        return f"Resize it to {height} x {width} (height x width): bilinear and antialiased, aspect ratio not kept."
    return (
        f"Resize it by min({height} / its height, {width} / its width), sides rounded half up, at least 1: bilinear "
        f"and antialiased. Lay it on {height} x {width} pixels (height x width) of level {GREY}, with (free rows) // 2 "
        "above and (free columns) // 2 to the left. Boxes less these, divided by new / old side, are in its pixels."
    )


def _value_step(factor: np.ndarray, offset: np.ndarray, is_raw: bool, raw_dtype: str) -> str:
    if is_raw:
        return f"Feed the pixels, 0 to 255, as {raw_dtype}; the file scales them."
    return (
        f"Feed value = pixel * {_numbers(factor)} + {_numbers(offset)}; where the input holds integers, "
        "round(value / scale) + zero_point, within the bounds of their dtype."
    )


def _numbers(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{each:.9g}" for each in values) + "]" if values.ndim else f"{float(values):.9g}"


def write_beside(bundle: Any, path: Path, report: ExportReport, description: Mapping[str, Any]) -> None:
    """Writes report, labels and card beside a file, under its whole name and `.json`, `.labels.txt` and `.md`.

    A classifier or detector of images also gets a program that runs it, `.py`; a TFLite file also `.kt` and `.swift`.
    A classifier of texts gets its tokenizer, `.tokenizer.json`, and `.py`; a forecaster gets `.py`.
    """
    facts = {**json.loads(report.to_json()), **description}
    for side in ("inputs", "outputs"):
        facts[side] = [{**each, "range": _range(each, side, description)} for each in facts[side]]
    files.write_json(path.with_name(path.name + REPORT), facts)
    if bundle.labels:
        files.write_text(path.with_name(path.name + LABELS), label_lines(bundle.labels))
    if "text" in description:
        files.write_text(path.with_name(description["text"]["tokenizer"]), bundle.preprocess["tokenizer"])
    files.write_text(path.with_name(path.name + CARD), _card(bundle, report, description))
    write_programs(path, facts, bundle.task.activation, path.with_name(path.name + LABELS))


def _range(tensor: Mapping[str, Any], side: str, description: Mapping[str, Any]) -> list[float] | None:
    """Returns the least and the greatest value of an input or output, as real numbers; None where there is none."""
    if tensor["scale"]:
        bounds = np.iinfo(tensor["dtype"])
        return [tensor["scale"] * (bound - tensor["zero_point"]) for bound in (bounds.min, bounds.max)]
    if side == "inputs" and tensor["name"] in description.get("thresholds", ()):
        return [0.0, 1.0]
    image = description.get("image")
    if side == "inputs" and image:
        ends = np.array([[0.0], [255.0]]) * np.atleast_1d(image["multiply"]) + np.atleast_1d(image["add"])
        return [float(ends.min()), float(ends.max())]
    return [0.0, 1.0] if side == "outputs" and description["gives"] == "probabilities" else None


def _card(bundle: Any, report: ExportReport, description: Mapping[str, Any]) -> str:
    """Returns the bundle's card with the use of this file in the place of the bundle's."""
    before, _, rest = bundle.card().partition("## Use\n")
    _, _, after = rest.partition("## Measured\n")
    lines = [line for line in before.splitlines() if not line.startswith("- Input: ")]
    way = description.get("image") or description.get("text") or description.get("series") or {"steps": ()}
    steps = [f"{number}. {step}" for number, step in enumerate(way["steps"], 1)]
    gives = bundle.task.answers if description["gives"] == "answers" else f"The file gives {description['gives']}."
    gives = f"{gives} {description.get('calibration', {}).get('rule', '')}".strip()
    if bounds := description.get("thresholds"):
        defaults = " and ".join(f"`{name}`, such as {value:.9g}" for name, value in bounds.items())
        gives = f"{gives} It also takes {defaults}: a float32 number from 0 to 1 for each image."
    use = ["## Use", "", *steps, *([""] if steps else []), gives, ""]
    return "\n".join([*lines, *use]) + report.to_markdown() + "\n## Measured\n" + after
