"""Embedded texts: sentiment, Shakespeare, Jane Austen, English-Spanish verses, hand-tagged addresses.

`tools/make_embedded_data.py` packs them. Each file is JSON behind xz: `texts`, `labels` (`scores` of `sentiment`),
`classes` where labels are their numbers, and `tied`, pairs of an example and the first one of its group.
"""

import json
import lzma

import numpy as np

from ..dataset import Dataset
from ..sources import Examples
from ..splits import grouped_split
from .pictures import FILES

LICENCES = {
    "sentiment": "MIT (VADER's ground truth, C.J. Hutto)",
    "shakespeare": "public domain; as the package shakespeare 0.6 holds it, CC BY 2.5 (Open Knowledge Foundation)",
    "austen": "public domain",
    "verses": "public domain (World English Bible; Reina-Valera 1909)",
    "addresses": "MIT (usaddress, The Atlanta Journal Constitution)",
}
FEELINGS = ("negative", "positive")
SCORES = "sentiment:score"


def read_text(name: str, split: str) -> Dataset:
    """Returns a fixed split of strings; duplicates are in one split.

    Labels are int32 classes of `sentiment`, `shakespeare` and `austen`, float32 scores of `sentiment:score`, and
    strings of `verses` and `addresses`. All sentences of one review are in one split.
    """
    base = name.partition(":")[0]
    with lzma.open(FILES / f"{base}.json.xz") as file:
        content = json.load(file)
    texts, classes = np.array(content["texts"]), tuple(content.get("classes", ()))
    labels = np.array(content["scores" if base == "sentiment" else "labels"])
    groups = np.arange(len(texts))
    for row, first in content["tied"]:
        groups[row] = first
    strata = np.sign(labels) if base == "sentiment" else labels if classes else np.zeros(len(labels))
    indices = grouped_split(strata, groups, split)
    if name == "sentiment":
        indices, classes = indices[labels[indices] != 0], FEELINGS
        labels = labels > 0
    if labels.dtype.kind != "U":
        labels = labels.astype(np.int32 if classes else np.float32)
    return Dataset(
        name=name,
        task="text_classification" if classes else "unknown",
        class_names=classes,
        input_shape=(),
        input_dtype="string",
        size=len(indices),
        licence=LICENCES[base],
        seekable=True,
        scale=None,
        source=Examples(texts[indices], labels[indices]),
    )
