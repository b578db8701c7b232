"""Whom the contract test covers: every registered model, and one name for each distinct tiny net."""

import json

import kerasdl


def _tiny_net(spec: kerasdl.ModelSpec) -> str:
    return json.dumps([spec.builder, {**spec.arguments, **spec.tiny}], sort_keys=True)


NAMES = kerasdl.list_models()
# The widths of one builder share a tiny preset: what costs seconds runs once for each distinct net.
DISTINCT = sorted({_tiny_net(kerasdl.spec(name)): name for name in reversed(NAMES)}.values())


def _smallest_of_each_builder() -> set[str]:
    found: dict[str, str] = {}
    for name in sorted(NAMES, key=lambda name: -kerasdl.spec(name).params):
        found[kerasdl.spec(name).builder] = name
    return set(found.values())


# Full-size nets for what takes a minute a net: the smallest of each builder, and a few forms more.
FORMS = {"mobilenet_v2", "mobilenet_v3_large", "resnet50", "resnet50_keras", "mlp_regressor"}
FORMS |= {"rnn_classifier", "gru_classifier", "lstm_classifier", "bilstm_classifier"}
FULL_SIZE = sorted(_smallest_of_each_builder() | FORMS)
