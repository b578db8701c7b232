"""Whom the contract test covers: every registered model, and one name for each distinct tiny net."""

import json

import kerasdl


def _tiny_net(spec: kerasdl.ModelSpec) -> str:
    return json.dumps([spec.builder, {**spec.arguments, **spec.tiny}], sort_keys=True)


NAMES = kerasdl.list_models()
# The widths of one builder share a tiny preset: what costs seconds runs once for each distinct net.
DISTINCT = sorted({_tiny_net(kerasdl.spec(name)): name for name in reversed(NAMES)}.values())


# Nets that are exported at full size too, for docs/exporting.md: one or more minutes each, so not all.
FULL_SIZE = sorted(
    {
        *("mlp", "mlp_regressor", "rnn_classifier", "gru_classifier", "lstm_classifier", "bilstm_classifier"),
        *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "resnet18", "resnet50", "resnet50_keras"),
        *("alexnet_2012", "vit_tiny"),
    }
)
