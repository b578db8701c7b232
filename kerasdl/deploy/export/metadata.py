"""Metadata of exported files: labels, preprocessing and any other JSON value by name."""

import json
from collections.abc import Mapping
from typing import Any

from kerasdl.core import checks

WHOLE = "kerasdl"


def checked_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Refuses metadata that cannot be stored as JSON, and labels that are not a list of texts."""
    if metadata is None:
        return
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        checks.refuse("metadata must be a dict by name", metadata)
    labels = metadata.get("labels", [])
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        checks.refuse("the labels of metadata must be a list of texts", labels)
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        checks.refuse("metadata must hold values that JSON can hold", metadata, f"{error}.")


def as_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns all values as one JSON text under the name `kerasdl`, and each as a text of its own for other readers."""

    def text_of(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return {**{name: text_of(value) for name, value in metadata.items()}, WHOLE: text_of(dict(metadata))}


def of_texts(texts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values that `as_texts` wrote, or the texts of another writer."""
    return json.loads(texts[WHOLE]) if WHOLE in texts else dict(texts)


def label_lines(labels: Any) -> str:
    """Returns labels as the text of a labels.txt: one a line, in the order of the outputs; line breaks inside go."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in labels)
