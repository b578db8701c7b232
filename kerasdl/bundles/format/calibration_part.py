"""Part of a bundle, calibration.json: the temperature of its scores, and the score below which no class is named."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import ArgumentError, BundleError
from kerasdl.core.outputs.calibration import GREATEST, LEAST, at_temperature
from kerasdl.core.outputs.decoding import decode_classes

from .manifest import parse_json

ROLE, FILE = "calibration", "calibration.json"
MOST_BYTES = 1000


@dataclass(frozen=True)
class Calibration:
    """Calibration of a classifier: scores = softmax(logits / temperature), and no class below the threshold.

    Example:
        >>> Calibration(temperature=1.5, threshold=0.6)
        Calibration(temperature=1.5, threshold=0.6)
    """

    temperature: float
    """Number by which logits are divided before the softmax, from 0.01 to 100."""
    threshold: float
    """Highest score of an example below which its label is None, from 0 to 1."""

    def __post_init__(self):
        for name, low, high in (("temperature", LEAST, GREATEST), ("threshold", 0.0, 1.0)):
            value = getattr(self, name)
            if isinstance(value, (bool, str)):
                checks.refuse(f"{name} must be a number from {low} to {high}", value)
            object.__setattr__(self, name, checks.within(name, value, low, high))

    def scores(self, outputs: Any, kind: str) -> np.ndarray:
        """Returns calibrated scores (B, K) from outputs of the kind `logits` or `probabilities`."""
        return at_temperature(outputs, kind, self.temperature)

    def decided(self, results: list[dict]) -> list[dict]:
        """Returns results of `decode_classes` in which the label of a score below the threshold is None."""
        return [
            {**each, "label": None} if each["score"] < self.threshold else each for each in results
        ]  # scores stay: they show the nearest class

    def to_bytes(self) -> bytes:
        """Returns the content of calibration.json."""
        return (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode()


def read_calibration(extra: Mapping[str, bytes]) -> Calibration | None:
    """Returns the calibration in the further parts of a bundle; None without one.

    Raises:
        BundleError: the part is damaged.
    """
    content = extra.get(ROLE)
    if content is None:
        return None
    if len(content) > MOST_BYTES:
        raise BundleError(f"{FILE} may have at most {MOST_BYTES} bytes; got {len(content)}.")
    values = parse_json(content, FILE)
    names = [each.name for each in dataclasses.fields(Calibration)]
    if not isinstance(values, dict) or sorted(values) != sorted(names):
        raise BundleError(f"{FILE} must be an object with the fields {names} alone; got {str(values)[:100]}.")
    try:
        return Calibration(**values)
    except ArgumentError as error:
        raise BundleError(f"{FILE}: {error}") from None


def check_calibration(bundle: Any) -> None:
    """Refuses a bundle whose calibration is damaged, or is of a bundle that does not answer with one class."""
    if ROLE not in bundle.manifest.parts:
        return
    if read_calibration(bundle.extra) is None:
        checks.refuse(f"the part {ROLE} must be a JSON file", bundle.manifest.parts[ROLE])
    check_classifier(bundle.task, bundle.model, ROLE)


def check_classifier(task: Any, model: Any, doing: str) -> None:
    """Refuses a bundle that does not answer with one of its classes by the scores of one network."""
    is_plain = task.activation == "softmax" and (task.predict, task.exported, task.trainer) == (None, None, None)
    if not is_plain or task.decode is not decode_classes or [len(each.shape) for each in model.outputs] != [2]:
        hint = "Only such answers have a score that can be too low."
        checks.refuse(f"{doing} is for classifiers that name one class for each input", task.name, hint)


def without_calibration(bundle: Any) -> Any:
    """Returns a bundle without its calibration, which holds for the weights that it was fitted to."""
    if ROLE not in bundle.extra:
        return bundle
    extra = {role: content for role, content in bundle.extra.items() if role != ROLE}
    parts = {role: name for role, name in bundle.manifest.parts.items() if role != ROLE}
    return dataclasses.replace(bundle, extra=extra, manifest=dataclasses.replace(bundle.manifest, parts=parts))
