"""Whom the contract test covers: every registered model, and one name for each distinct tiny net."""

import json

import kerasdl


def _tiny_net(spec: kerasdl.ModelSpec) -> str:
    return json.dumps([spec.builder, {**spec.arguments, **spec.tiny}], sort_keys=True)


NAMES = kerasdl.list_models()
# The widths of one builder share a tiny preset: what costs seconds runs once for each distinct net.
DISTINCT = sorted({_tiny_net(kerasdl.spec(name)): name for name in reversed(NAMES)}.values())
# One full-size net of each builder and form, for what takes a minute a net.
FULL_SIZE = sorted({"vit_tiny", "mobilenet_v3_small", *DISTINCT} - {"vit_base"})
