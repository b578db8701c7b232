"""Nets of the contract: every name, one for each distinct tiny net, and those that are exported.

Rows that depend on the net alone run for every distinct net. Rows that depend on exporters, the bridge or QAT run for
the cover (`make cover`), which holds every feature of every net, and for all that `make prove` asks for.
"""

import json
import os
import re
from pathlib import Path

import kerasdl

COVER = Path(__file__).with_name("cover.json")
# Set by tools/prove.py: the nets to prove, and those of them to prove at full size.
PROVED, PROVED_IN_FULL = (os.environ.get(key, "").split() for key in ("KERASDL_PROVE", "KERASDL_PROVE_IN_FULL"))


def _tiny_net(spec: kerasdl.ModelSpec) -> str:
    return json.dumps([spec.builder, {**spec.arguments, **spec.tiny}], sort_keys=True)


NAMES = kerasdl.list_models()
# The widths of one builder share a tiny preset: what costs seconds runs once for each distinct net.
STANDS_FOR = {_tiny_net(kerasdl.spec(name)): name for name in reversed(NAMES)}
DISTINCT = sorted(STANDS_FOR.values())
UNPROVEN = ("generative",)
"""Families whose exports and QAT no lane proves yet; `make prove NAMES=...` shows what holds. Each file is checked."""
COVERABLE = [name for name in DISTINCT if kerasdl.spec(name).family not in UNPROVEN]
EXPORTED = sorted(json.loads(COVER.read_text())["nets"]) if COVER.exists() else COVERABLE


def _every_class(cover: dict) -> list[str]:
    """Returns the nets of the cover that bring a class of layer, which together have all of them."""
    found, seen = [], set()
    for name, features in cover.items():
        classes = {re.split(r"[ (\[]", each.removeprefix("layer: "))[0] for each in features if each[:5] == "layer"}
        if classes - seen:
            found.append(name)
            seen |= classes
    return sorted(found)


EVERY_CLASS = _every_class(json.loads(COVER.read_text())["nets"]) if COVER.exists() else COVERABLE


def distinct_name(name: str) -> str:
    """Returns the net that stands for all with the same tiny preset."""
    return STANDS_FOR[_tiny_net(kerasdl.spec(name))]


if PROVED:
    NAMES = [name for name in NAMES if name in PROVED]
    DISTINCT = EXPORTED = EVERY_CLASS = sorted({distinct_name(name) for name in NAMES})


# Nets that are exported at full size too, for docs/exporting.md: one or more minutes each, so not all.
FULL_SIZE = sorted(
    {
        *("mlp", "mlp_regressor", "rnn_classifier", "gru_classifier", "lstm_classifier", "bilstm_classifier"),
        *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "resnet18", "resnet50", "resnet50_keras"),
        *("alexnet_2012", "vit_tiny"),
    }
)
