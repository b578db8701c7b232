"""Small untrained translators whose answers depend on the source."""

import keras
from filling import fill_weights

import kerasdl


def heeding_source(name: str, **arguments) -> keras.Model:
    """Builds a net whose attention to the source weighs three times what filled weights give it."""
    network = fill_weights(kerasdl.build(name, **{**kerasdl.spec(name).tiny, "depth": 1, **arguments}))
    for layer in network.layers:
        if layer.name.endswith(("_memory_value", "_memory_output")):
            layer.set_weights([3 * weight for weight in layer.get_weights()])
    return network
