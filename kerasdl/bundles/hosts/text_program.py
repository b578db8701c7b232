"""Python program that runs an exported text classifier by its runtime, NumPy and the package tokenizers."""

from collections.abc import Mapping
from string import Template
from typing import Any

from .python_program import ACTIVATIONS, OPENED

PROGRAM = '''\
"""Labels of texts by the exported file of this name: `python PROGRAM "some text" ...`.

Needs $package, numpy and tokenizers.
"""

import sys
from pathlib import Path

import numpy as np
$import_line
from tokenizers import Tokenizer

FILE = Path(__file__).with_name($name)
TOKENIZER = Tokenizer.from_file(str(Path(__file__).with_name($tokenizer)))
LABELS = $labels
LENGTH, PADDING = $length, $padding$threshold
$opened


def model_input(text):
    """Returns the token ids of a text (1, LENGTH), cut and padded."""
    TOKENIZER.no_padding()
    TOKENIZER.enable_truncation(LENGTH)
    ids = TOKENIZER.encode(text).ids
    return np.array([ids + [PADDING] * (LENGTH - len(ids))], "int32")


def scores(text):
    """Returns the score of each label for a text."""
$run_lines
$output_lines


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(f"texts must be given: python {sys.argv[0]} 'some text' ...")
    for text in sys.argv[1:]:
        of_labels = scores(text)
        best = int(of_labels.argmax())
        label = $label
        print(f"{text}\\t{label}\\t{of_labels[best]:.4f}")
'''
LITERT = """\
    outputs = RUNNER(**{feed})
    value = outputs[{output!r}][0]"""
ONNX = """\
    (value,) = SESSION.run([{output!r}], {feed})
    value = value[0]"""


FEEDS = {"tokens": "model_input(text)", "segments": 'np.zeros((1, LENGTH), "int32")'}


def text_program(name: str, facts: Mapping[str, Any], activation: str | None) -> str | None:
    """Returns the source of the program for a .tflite or .onnx file; None for what is no classifier of texts.

    Args:
        name: name of the file.
        facts: content of the JSON beside it.
        activation: activation of the bundle's task.
    """
    text, inputs, outputs = facts.get("text"), facts.get("inputs", ()), facts.get("outputs", ())
    names = [each["name"] for each in inputs]
    is_classifier = (
        len(outputs) == 1
        and (len(names) == 1 or sorted(names) == sorted(FEEDS))
        and facts.get("gives") in ("logits", "probabilities")
    )
    if not text or not is_classifier or not facts.get("labels") or activation != "softmax":
        return None
    is_onnx, gives_logits = name.endswith(".onnx"), facts["gives"] == "logits"
    calibration = facts.get("calibration")
    output_lines = ACTIVATIONS[activation if gives_logits else None]
    if calibration and gives_logits:
        output_lines = f"    value = value / {calibration['temperature']!r}\n{output_lines}"
    if outputs[0]["scale"]:
        real = f"{outputs[0]['scale']!r} * (value.astype('float32') - {outputs[0]['zero_point']})"
        output_lines = f"    value = {real}\n{output_lines}"
    feeds = {name: FEEDS[name] if len(names) > 1 else FEEDS["tokens"] for name in names}
    feed = "{" + ", ".join(f"{name!r}: {value}" for name, value in feeds.items()) + "}"
    return Template(PROGRAM).substitute(
        package="onnxruntime" if is_onnx else "ai-edge-litert",
        import_line="import onnxruntime" if is_onnx else "from ai_edge_litert.interpreter import Interpreter",
        name=repr(name),
        tokenizer=repr(text["tokenizer"]),
        labels="[\n" + "".join(f"    {label!r},\n" for label in facts["labels"]) + "]",
        length=text["length"],
        padding=text["padding_id"],
        threshold=f"\nTHRESHOLD = {calibration['threshold']!r}" if calibration else "",
        opened=OPENED[is_onnx],
        run_lines=(ONNX if is_onnx else LITERT).format(feed=feed, output=outputs[0]["name"]),
        output_lines=output_lines,
        label='LABELS[best] if of_labels[best] >= THRESHOLD else "none of these"' if calibration else "LABELS[best]",
    )
