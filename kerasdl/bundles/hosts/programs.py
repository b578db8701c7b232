"""Programs beside an exported file, which run it: of images in Python, Kotlin and Swift, of texts and time series in
Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasdl.core import files

from .host_file import host_file
from .kotlin_program import kotlin_program
from .python_program import python_program
from .series_program import series_program
from .swift_program import swift_program
from .text_program import text_program


def write_programs(path: Path, facts: Mapping[str, Any], activation: str | None, labels: Path) -> list[Path]:
    """Writes programs for a .tflite or .onnx file beside it: NAME.py, and NAME.kt and NAME.swift beside a TFLite
    file of a classifier or detector.

    Args:
        path: the exported file.
        facts: content of the JSON beside it.
        activation: activation of the bundle's task.
        labels: the file of labels.

    Returns:
        The written paths; none for what answers about no image, text or series in a form known here.
    """
    if path.suffix in (".tflite", ".onnx"):
        text = text_program(path.name, facts, activation) or series_program(path.name, facts)
        if text is not None:
            program = path.with_name(f"{path.name}.py")
            files.write_text(program, text)
            return [program]
    file = host_file(path.name, facts, activation)
    if file is None or path.suffix not in (".tflite", ".onnx"):
        return []
    texts = {".py": python_program(file)}
    if path.suffix == ".tflite" and not file.gives_pixels:
        texts |= {".kt": kotlin_program(file, labels.name), ".swift": swift_program(file, labels.name)}
    written = []
    for suffix, text in texts.items():
        written.append(path.with_name(path.name + suffix))
        files.write_text(written[-1], text)
    return written
