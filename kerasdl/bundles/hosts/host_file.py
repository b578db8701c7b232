"""Facts of an exported classifier, detector or segmenter that a program needs, read from the JSON beside the file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OBJECTS = {"boxes", "classes", "scores", "count"}
"""Outputs of a file that gives objects."""
PIXELS = {"classes", "scores"}
"""Outputs of a file that gives the class of each pixel."""
MIN_SCORE = 0.3
"""Lowest score of an object that is named, where a bundle has no other."""


@dataclass(frozen=True)
class Slot:
    """Input or output of a file."""

    name: str
    """The name in the file's signature."""
    index: int
    """The place among the inputs or outputs."""
    dtype: str
    """The dtype of its numbers."""
    scale: float | None
    """Where it holds integers for real numbers: value = scale * (integer - zero_point)."""
    zero_point: int | None
    """The integer of the real number 0."""

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and greatest integer of its dtype."""
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)


@dataclass(frozen=True)
class HostFile:
    """Exported image classifier, detector or segmenter as a program sees it."""

    name: str
    """The name of the file."""
    labels: tuple[str, ...]
    """The name of each output."""
    height: int
    """Pixels of the image that the file takes."""
    width: int
    """Pixels of the image that the file takes."""
    channels: int
    """1 for grey, 3 for RGB."""
    multiply: tuple[float, ...]
    """Input = pixel * multiply + add, a number for each channel; 1 where the file scales."""
    add: tuple[float, ...]
    """Input = pixel * multiply + add."""
    activation: str | None
    """What makes scores of the outputs: "softmax", "sigmoid", or None where they are scores."""
    input: Slot
    """Its input."""
    output: Slot | None
    """Its output; None for a detector, whose outputs are those of `OBJECTS`, and a segmenter with those of `PIXELS`."""
    temperature: float = 1.0
    """Number by which its logits are divided before the softmax."""
    threshold: float | None = None
    """Highest score below which the answer is none of the labels; None names a label always. Of a detector the lowest
    score of an object that is named."""
    overlap: float | None = None
    """IoU above which the less likely of two boxes is dropped, where it and the threshold are inputs of the file."""
    border: int | None = None
    """Level of the borders of a letterbox; None where the image is stretched."""
    gives_pixels: bool = False
    """Whether it gives the class of each pixel."""
    most: int = 0
    """Entries of the outputs of a detector, of which `count` are objects; 0 for other files."""
    slots: Mapping[str, Slot] = field(default_factory=dict)
    """Inputs and outputs by name."""

    @property
    def class_name(self) -> str:
        """Name of the class in the programs, such as `EmojiInt8` for emoji-int8.tflite."""
        words = re.findall(r"[A-Za-z0-9]+", self.name.rpartition(".")[0])
        name = "".join(word[:1].upper() + word[1:] for word in words)
        return name if name[:1].isalpha() else f"Net{name}"


def host_file(name: str, facts: Mapping[str, Any], activation: str | None) -> HostFile | None:
    """Returns the facts of a file that a program needs; None for what answers about no image in a form known here.

    Args:
        name: the name of the file.
        facts: content of the JSON beside it.
        activation: activation of the bundle's task.
    """
    inputs, outputs, image = facts.get("inputs", ()), facts.get("outputs", ()), facts.get("image")
    answers = {each["name"] for each in outputs} if facts.get("gives") == "answers" else set()
    gives_objects, gives_pixels = answers - {"masks"} == OBJECTS, answers == PIXELS
    is_classifier = len(outputs) == 1 and activation and facts.get("gives") in ("logits", "probabilities")
    inputs = [each for each in inputs if each["name"] not in facts.get("thresholds", ())]
    if len(inputs) != 1 or not image or not facts.get("labels") or not (is_classifier or gives_objects or gives_pixels):
        return None
    if image["channels"] not in ("grey", "RGB"):
        return None
    channels = 1 if image["channels"] == "grey" else 3
    threshold = facts.get("min_score", MIN_SCORE) if gives_objects else None
    calibration = facts.get("calibration") or {"temperature": 1.0, "threshold": threshold}
    return HostFile(
        name=name,
        labels=tuple(facts["labels"]),
        height=image["height"],
        width=image["width"],
        channels=channels,
        multiply=_each(image["multiply"], channels),
        add=_each(image["add"], channels),
        activation=activation if facts["gives"] == "logits" else None,
        input=_slot(inputs[0]),
        output=None if gives_objects or gives_pixels else _slot(outputs[0]),
        temperature=calibration["temperature"] if facts["gives"] == "logits" else 1.0,
        threshold=calibration["threshold"],
        overlap=facts.get("thresholds", {}).get("overlap"),
        border=image.get("letterbox"),
        gives_pixels=gives_pixels,
        most=next(each["shape"][1] for each in outputs if each["name"] == "scores") if gives_objects else 0,
        slots={each["name"]: _slot(each) for each in (*facts["inputs"], *outputs)},
    )


def _each(value: Any, channels: int) -> tuple[float, ...]:
    numbers = list(value) if isinstance(value, Sequence) else [value]
    return tuple(map(float, numbers * channels if len(numbers) == 1 else numbers))


def _slot(tensor: Mapping[str, Any]) -> Slot:
    return Slot(*(tensor[key] for key in ("name", "index", "dtype", "scale", "zero_point")))
